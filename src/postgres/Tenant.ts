/**
 * Work for one tenant of many in a database: by row-level security, by a role, or by a schema for each.
 *
 * **When to use**
 *
 * For tenants that share a database. For a database for each tenant there is `Pools`.
 *
 * **Details**
 *
 * What makes the tenant (settings that policies read, a role, a `search_path`) is set together with BEGIN in one message,
 * as parameters and never as a part of the SQL, and for the transaction only. So no statement of the transaction runs
 * without it, whoever gets the connection next finds nothing of it, also behind a transaction pooler, and it costs no
 * round trip. A statement outside of `Transaction.run` is a transaction of its own.
 *
 * It fails closed. A statement that would not run as the tenant of its fiber is refused with `TenantMismatch` before it
 * is sent: in a transaction that was begun for another tenant or for none, on a connection of `reserve`, as a stream or
 * a COPY outside of a transaction. With `Postgres.layer({ tenant: "required" })` so is one whose fiber has no tenant.
 *
 * **Gotchas**
 *
 * - A setting that was set for a transaction is the empty text afterwards, not null. A policy therefore says
 *   `nullif(current_setting('app.tenant', true), '')`.
 * - The owner of a table, superusers and roles with BYPASSRLS pass all policies. Give the program a role that is none of
 *   these, or say `alter table … force row level security`. `Tenant.problems` finds what is wrong.
 *
 * **Example** (A request of a tenant)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Transaction } from "watertight"
 * import { Postgres, Tenant } from "watertight/postgres"
 *
 * const orders = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   yield* sql`insert into visit (at) values (now())`
 *   return yield* sql`select * from orders`
 * }).pipe(Transaction.run())
 *
 * const request = (tenant: string) =>
 *   orders.pipe(Tenant.run({ settings: { "app.tenant": tenant }, role: "app_user" }))
 *
 * const DatabaseLive = Postgres.layer({ url: Redacted.make("postgres://app@db/shop"), tenant: "required" })
 * ```
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { SqlError } from "effect/sql/SqlError"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as Options from "../options/Options.ts"
import type { TransactionSettings } from "../transaction/TransactionSettings.ts"
import { isWellFormed } from "../values/text.ts"
import { unknownError } from "./errors/errors.ts"
import { TenantMismatch } from "./errors/TenantMismatch.ts"
import { Sessions } from "./Sessions.ts"
import { quoteName } from "./statement/identifiers.ts"
import { problemsQuery } from "./statement/tenantProblems.ts"

export { TenantMismatch } from "./errors/TenantMismatch.ts"

/**
 * What makes a tenant. At least one of these.
 *
 * @category models
 * @since 0.2.0
 */
export interface Tenant {
  /**
   * Settings that policies read with `current_setting`, by their names, which have a prefix: `"app.tenant"`. A value must
   * not be empty, for that is what a missing one looks like.
   */
  readonly settings?: Readonly<Record<string, string | number | bigint>> | undefined
  /** The role as which the statements run. The user of the connection must be a member of it. */
  readonly role?: string | undefined
  /** The schemas in which names are looked up, the first one first. */
  readonly searchPath?: string | ReadonlyArray<string> | undefined
}

const isName = (value: unknown): boolean =>
  typeof value === "string" && value !== "" && !value.includes("\u0000") && isWellFormed(value) &&
  new TextEncoder().encode(value).length < 64

const settingName = /^[a-z_][\w$]*(?:\.[a-z_][\w$]*)+$/i

const isValue = (value: unknown): boolean =>
  typeof value === "bigint" || typeof value === "number" && Number.isFinite(value) ||
  typeof value === "string" && value !== "" && !value.includes("\u0000") && isWellFormed(value)

const checks = Options.make<Tenant>()("Tenant", {
  settings: Options.custom<Record<string, string>>(
    "an object of values that are not empty, by names with a prefix, such as { \"app.tenant\": id }",
    (value) =>
      typeof value === "object" && value !== null &&
      Object.entries(value).every(([name, each]) => settingName.test(name) && isValue(each))
  ),
  role: Options.custom<string>(
    "the name of a role",
    (value) => isName(value) && value.toLowerCase() !== "none"
  ),
  searchPath: Options.custom<string | ReadonlyArray<string>>(
    "the name of a schema, or several",
    (value) => Array.isArray(value) ? value.length > 0 && value.every(isName) : isName(value)
  )
}, { synonyms: { schema: "searchPath", search_path: "searchPath", tenant: "settings", user: "role" } })

const settingsOf = ({ role, searchPath, settings = {} }: Tenant): TransactionSettings => {
  const path = searchPath === undefined
    ? undefined
    : (typeof searchPath === "string" ? [searchPath] : searchPath).map(quoteName).join(", ")
  const values: Array<readonly [string, string]> = Object.entries(settings).map(([name, value]) => [
    name,
    String(value)
  ])
  if (path !== undefined) values.push(["search_path", path])
  // The last, for the role may not be allowed to set the others.
  if (role !== undefined) values.push(["role", role])
  return { values, scope: path ?? "" }
}

const isSame = (left: TransactionSettings, right: TransactionSettings): boolean =>
  JSON.stringify(left.values) === JSON.stringify(right.values)

const refuse = (database: string, what: string, cause: unknown): Effect.Effect<never, SqlError> =>
  Effect.fail(Outcome.mark(
    Evidence.attach(unknownError(database, what, cause, "tenant"), Evidence.make({})),
    { outcome: "NotSent", scope: "Never", ladder: "Conflict", phase: "Ended", about: "tenant" }
  ))

/**
 * Runs an effect for a tenant: each of its transactions, and each statement outside of one.
 *
 * **Details**
 *
 * Inside of it the same tenant may be named again. Another one is refused, as is one that is named inside a transaction
 * which was begun without it.
 *
 * @category combinators
 * @since 0.2.0
 */
export const run: {
  (tenant: Tenant): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R | Sessions>
  <A, E, R>(self: Effect.Effect<A, E, R>, tenant: Tenant): Effect.Effect<A, E | SqlError, R | Sessions>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, tenant: Tenant): Effect.Effect<A, E | SqlError, R | Sessions> =>
    Effect.flatMap(
      Sessions,
      ({ database, inTransaction, settings }) =>
        Effect.withFiber((fiber): Effect.Effect<A, E | SqlError, R> => {
          const checked = checks.check(tenant)
          if (checked._tag === "Failure") return refuse(database, checked.failure.message, checked.failure)
          const wanted = settingsOf(tenant)
          if (wanted.values.length === 0) {
            return refuse(database, "a tenant is made of settings, a role or a search path: there are none", undefined)
          }
          const current = fiber.getRef(settings)
          if (current !== undefined && current !== "none") {
            return isSame(current, wanted) ? self : mismatch(database)
          }
          return Effect.flatMap(
            inTransaction,
            (isInside): Effect.Effect<A, E | SqlError, R> =>
              isInside ? mismatch(database) : Effect.provideService(self, settings, wanted)
          )
        })
    )
)

const mismatch = (database: string): Effect.Effect<never, SqlError> => {
  const cause = new TenantMismatch({ database, kind: "Other" })
  return refuse(database, cause.message, cause)
}

/**
 * Runs an effect that is the work of no tenant: migrations, reports about all of them.
 *
 * **Details**
 *
 * Inside of `Tenant.run` it is for what runs beside the tenant's transaction. A statement of it in that transaction is
 * refused.
 *
 * @category combinators
 * @since 0.2.0
 */
export const none = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R | Sessions> =>
  Effect.flatMap(Sessions, ({ settings }) => Effect.provideService(self, settings, "none"))

/**
 * Something that lets one tenant see what is another one's.
 *
 * @category models
 * @since 0.2.0
 */
export interface Problem {
  /** What it is about: a role, a table, a view. */
  readonly object: string
  readonly problem: string
}

/**
 * The options of `problems`.
 *
 * @category options
 * @since 0.2.0
 */
export interface ProblemsOptions {
  /** The role that tenants run as. Default: the user of the connection. */
  readonly role?: string | undefined
  /** The column that says whose a row is: tables that have it need policies. Default: no table is asked for that. */
  readonly column?: string | undefined
}

/**
 * Looks for what row-level security does not hold against: roles that pass it, owners, policies that fail where no tenant
 * is set, tables without policies, views that run as their owner.
 *
 * @category getters
 * @since 0.2.0
 */
export const problems = (options: ProblemsOptions = {}): Effect.Effect<ReadonlyArray<Problem>, SqlError, Sessions> =>
  Effect.scoped(Effect.gen(function*() {
    const sessions = yield* Sessions
    const session = yield* sessions.borrow
    const rows = yield* Effect.mapError(
      session.execute(problemsQuery, [options.role ?? null, options.column ?? null], undefined),
      sessions.judge(session)
    )
    return rows as ReadonlyArray<Problem>
  })).pipe(none)
