/**
 * Tenants that share tables: each sees its own rows, whatever the statements say.
 *
 * The tables belong to somebody else than the role that the work runs as, or their policies would not hold.
 */
import { Effect } from "effect"
import { SqlClient } from "effect/sql"
import { Transaction } from "watertight"
import { Script, Tenant } from "watertight/postgres"

/** What a migration does, once. */
export const migrate = Tenant.none(Script.run(`
  create table invoice (id bigint generated always as identity, tenant text not null, cents bigint not null);
  create index on invoice (tenant);
  alter table invoice enable row level security;
  alter table invoice force row level security;
  -- After a transaction the setting is empty, not null.
  create policy of_tenant on invoice
    using (tenant = nullif(current_setting('app.tenant', true), ''))
    with check (tenant = nullif(current_setting('app.tenant', true), ''));
  create role shop_tenant;
  grant select, insert on invoice to shop_tenant;
`))

/** The work of a request knows nothing of tenants. */
export const bill = (tenant: string, cents: bigint) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`insert into invoice ${sql.insert({ tenant, cents })}`
    const [row] = yield* sql<{ total: string }>`select sum(cents)::text as total from invoice`
    return row!.total
  }).pipe(Transaction.run())

/** What stands around each request: a middleware that knows who asks. */
export const asTenant = (tenant: string) => Tenant.run({ settings: { "app.tenant": tenant }, role: "shop_tenant" })

export const program = Effect.gen(function*() {
  yield* migrate
  const ann = yield* bill("ann", 500n).pipe(asTenant("ann"))
  const bob = yield* bill("bob", 700n).pipe(asTenant("bob"))
  const forged = yield* bill("ann", 1n).pipe(asTenant("bob"), Effect.flip)
  return { ann, bob, forged: forged.reason._tag }
})
