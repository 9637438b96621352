/** What all candidates have in common that offer Effect 4's `SqlClient`: they are written alike, to the letter. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { BeginTransaction, type SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { accountOf, partiesOf } from "../candidates/sql.ts"
import type { ServerName, Subject } from "./model.ts"

/** Builds a layer. */
export const built = async <A, E>(layer: Layer.Layer<A, E>): Promise<{
  readonly context: Context.Context<A>
  readonly close: () => Promise<void>
}> => {
  const scope = Scope.makeUnsafe()
  return {
    context: await Effect.runPromise(Layer.buildWithScope(layer, scope)),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }
}

/** The operations, as anybody writes them who has a `SqlClient`. */
export const operations = (
  sql: SqlClient,
  server: ServerName
): Pick<Required<Subject<Effect.Effect<unknown, unknown>>>, "echo" | "byKey" | "sleep" | "transaction"> => ({
  echo: server === "postgres"
    ? (n) => Effect.map(sql<{ n: number }>`select ${n}::int as n`, ([row]) => row!.n)
    : (n) => Effect.map(sql<{ n: number | bigint }>`select ${n} as n`, ([row]) => Number(row!.n)),
  byKey: (id) => Effect.map(sql<{ label: string }>`select label from item where id = ${id}`, ([row]) => row!.label),
  sleep: (millis) =>
    server === "postgres"
      ? sql`select pg_sleep(${millis}::float8 / 1000)`
      : sql`select sleep(${millis} / 1000)`,
  transaction: (key) =>
    sql.withTransaction(Effect.gen(function*() {
      const [row] = yield* sql<{ amount: number }>`select amount from item where id = ${key}`
      yield* sql`update account set cents = cents + 1 where id = ${accountOf(key)}`
      yield* sql`insert into entry (account, cents) values (${accountOf(key)}, 1)`
      return row!.amount
    }))
})

/** What a transfer does inside its transaction. */
export const transferBody = (sql: SqlClient, key: number): Effect.Effect<void, SqlError> => {
  const [from, to] = partiesOf(key)
  return Effect.gen(function*() {
    const [a] = yield* sql<{ cents: number }>`select cents from account where id = ${from}`
    const [b] = yield* sql<{ cents: number }>`select cents from account where id = ${to}`
    yield* sql`update account set cents = ${a!.cents - 1} where id = ${from}`
    yield* sql`update account set cents = ${b!.cents + 1} where id = ${to}`
  })
}

/** The loop that everybody writes around `withTransaction`: conflicts are repeated, a little later each time. */
export const transferWithRetries = (sql: SqlClient) => (key: number): Effect.Effect<number, SqlError> =>
  Effect.suspend(() => {
    let attempts = 0
    return sql.withTransaction(Effect.suspend(() => {
      attempts++
      return transferBody(sql, key)
    })).pipe(
      Effect.provideService(BeginTransaction, "begin isolation level serializable"),
      Effect.retry({
        schedule: Schedule.exponential("5 millis").pipe(Schedule.jittered),
        while: ({ reason }) => reason._tag === "SerializationError" || reason._tag === "DeadlockError"
      }),
      Effect.map(() => attempts)
    )
  })
