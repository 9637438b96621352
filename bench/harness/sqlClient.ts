/** What all candidates have in common that offer Effect 4's `SqlClient`: they are written alike, to the letter. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import { accountOf } from "../candidates/sql.ts"
import type { ServerName, Subject } from "./model.ts"

/** Builds a layer and takes a service out of it. */
export const opened = async <I, S, R, E>(layer: Layer.Layer<I | R, E>, tag: Context.Key<I, S>): Promise<{
  readonly service: S
  readonly close: () => Promise<void>
}> => {
  const scope = Scope.makeUnsafe()
  const context = await Effect.runPromise(Layer.buildWithScope(layer, scope))
  return {
    service: Context.get(context as Context.Context<I>, tag),
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
