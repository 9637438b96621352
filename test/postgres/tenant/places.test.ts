/** Tenants behind a pooler that gives connections to others between transactions, and on several servers. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Reads, Transaction } from "watertight"
import { Postgres, Script, Tenant } from "watertight/postgres"
import { describeWith, freshDatabase, PgBouncer, PostgresServer } from "../../support/index.ts"
import { databaseAt } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

const tenants = ["a", "b", "c"]

/** A table with row-level security, a schema for each tenant with a table of its own shape, and a role for all. */
const schema = (role: string) => `
  create role ${role};
  create table doc (tenant text not null, n int);
  insert into doc select t, n from unnest(array['a', 'b', 'c']) t, generate_series(1, 3) n;
  alter table doc enable row level security;
  create policy own on doc using (tenant = nullif(current_setting('app.tenant', true), ''))
    with check (tenant = nullif(current_setting('app.tenant', true), ''));
  create schema a; create schema b; create schema c;
  create table a.item (v int); create table b.item (v text); create table c.item (v timestamptz, w int);
  insert into a.item values (1); insert into b.item values ('b'); insert into c.item values ('epoch', 1);
  grant usage on schema a, b, c to ${role};
  grant all on all tables in schema public, a, b, c to ${role};
`

const ofSchemas: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  a: { v: 1 },
  b: { v: "b" },
  c: { v: new Date(0), w: 1 }
}

/** What a tenant sees in every way is its own, and nothing of it is left where the connection goes next. */
const sees = (tenant: string, role: string) =>
  Tenant.run(
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const own = sql<{ tenant: string }>`select distinct tenant from doc`
      const all = [
        yield* own,
        yield* own.unprepared,
        Array.from(yield* Transaction.run(Stream.runCollect(own.stream))),
        yield* Transaction.run(own),
        yield* Transaction.run(Transaction.run(own), { access: "read only" })
      ]
      assert.deepStrictEqual(all.flat().map((row) => row.tenant), all.map(() => tenant))
      assert.deepStrictEqual(yield* sql`select * from item`, [ofSchemas[tenant]!])
      assert.deepStrictEqual(yield* sql`select current_user::text as role`, [{ role }])
    }),
    { settings: { "app.tenant": tenant }, role, searchPath: [tenant, "public"] }
  )

const nothingLeft = Effect.gen(function*() {
  const sql = yield* SqlClient
  const left = yield* Effect.forEach(
    Array.from({ length: 8 }),
    () =>
      Tenant.none(sql<{ tenant: string; path: string; user: string }>`
        select coalesce(current_setting('app.tenant', true), '') as tenant, current_setting('search_path') as path,
          current_user::text as user`),
    { concurrency: 8 }
  )
  assert.deepStrictEqual(
    new Set(left.flat().map((row) => `${row.tenant} ${row.path} ${row.user}`)),
    new Set([
      ` "$user", public postgres`
    ])
  )
})

describeWith("pgbouncer")("tenants behind PgBouncer in transaction mode", () => {
  it.live(
    "3 tenants × 20 fibers × 2 connections of the server: no foreign row, and nothing is left",
    () =>
      Effect.gen(function*() {
        const direct = yield* freshDatabase()
        const role = `r_${new URL(direct).pathname.slice(1)}`
        yield* Script.run(schema(role)).pipe(Effect.provide(databaseAt(direct)))
        yield* Effect.addFinalizer(() =>
          Effect.ignore(
            Script.run(`drop owned by ${role} cascade; drop role ${role}`).pipe(Effect.provide(databaseAt(direct)))
          )
        )
        const url = yield* PgBouncer.make(direct, "transaction")
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* Effect.forEach(
            Array.from({ length: 60 }, (_, index) => tenants[index % 3]!),
            (tenant) => sees(tenant, role),
            { concurrency: 20, discard: true }
          )
          // What fails and what is refused leaves nothing behind either.
          const foreign = Tenant.run(sql`insert into doc values ('b', 9)`, { settings: { "app.tenant": "a" }, role })
          yield* sqlFailure(foreign)
          const rows = [{ tenant: "a", n: 4 }, { tenant: "a", n: 5 }]
          yield* Tenant.run(Bulk.insert("doc", rows), { settings: { "app.tenant": "a" }, role })
          yield* Effect.flip(
            Tenant.run(Bulk.insert("doc", [{ tenant: "b", n: 9 }]), { settings: { "app.tenant": "a" }, role })
          )
          assert.deepStrictEqual(
            yield* Tenant.none(sql`select tenant, count(*)::int as n from doc group by 1 order by 1`),
            [{ tenant: "a", n: 5 }, { tenant: "b", n: 3 }, { tenant: "c", n: 3 }]
          )
          yield* nothingLeft
        }).pipe(Effect.provide(databaseAt(url, { maxConnections: 20, pooler: "transaction", tenant: "required" })))
      }).pipe(Effect.scoped),
    60_000
  )
})

describeWith("standby")("tenants on a primary and a standby", () => {
  it.live("see their own rows on both, also where reads go to the standby", () =>
    Effect.gen(function*() {
      const primary = yield* PostgresServer.make()
      const standby = yield* primary.standby()
      yield* Script.run(schema("of_tenants")).pipe(Effect.provide(databaseAt(primary.url)))
      const layer = Postgres.layer({
        nodes: [primary, standby].map(({ host, port }) => ({ host, port })),
        username: "postgres",
        database: "postgres",
        replicas: { probe: "200 millis", maxStaleness: "5 seconds" },
        tenant: "required"
      })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient
        const port = Tenant.none(sql<{ port: number }>`select current_setting('port')::int as port`)
        const onStandby = Effect.repeat(
          Effect.orElseSucceed(Effect.map(Reads.prefer(port), ([row]) => row!.port), () => primary.port),
          { until: (port) => port === standby.port, times: 500 }
        )
        assert.strictEqual(yield* onStandby, standby.port)
        // The rows themselves have to be there too.
        const known = Tenant.none(sql<{ n: number }>`select count(*)::int as n from doc`)
        yield* Effect.repeat(Reads.replica(Effect.map(known, ([row]) => row!.n)), { until: (n) => n === 9, times: 500 })
        for (const tenant of tenants) {
          yield* sees(tenant, "of_tenants")
          yield* Reads.replica(sees(tenant, "of_tenants"))
        }
        yield* Effect.forEach(
          Array.from({ length: 30 }, (_, index) => index),
          (index) => {
            const run = sees(tenants[index % 3]!, "of_tenants")
            return index % 2 === 0 ? run : Reads.replica(run)
          },
          { concurrency: 10, discard: true }
        )
        yield* nothingLeft
        yield* Reads.replica(nothingLeft)
        yield* sqlFailure(Reads.replica(sql`select * from doc`))
      }).pipe(Effect.provide(layer as Layer.Layer<SqlClient | Postgres.Services>))
    }).pipe(Effect.scoped), 60_000)
})
