/** An outage must not be multiplied: two hundred callers, and a server that rejects all they ask for. */
import { Clock, Effect, Fiber, type Layer, type Scope } from "effect"
import { SqlClient } from "effect/sql"
import type { Breaker, Retry } from "watertight"
import { freshDatabase, type ServerError } from "../support/index.ts"
import { layerAt } from "../transaction/support.ts"

export const callers = 200

export interface Options {
  readonly pool?: { readonly max: number } | undefined
  readonly breaker?: Breaker.Options | false | undefined
  readonly budget?: { readonly capacity?: number; readonly conflictCost?: number } | undefined
  readonly retry?: Retry.Policy | undefined
}

/** What is rejected, and counted: every attempt draws a number, whatever becomes of it. */
export interface Place {
  readonly url: Effect.Effect<string, ServerError, Scope.Scope>
  readonly layer: (url: string, options: Options) => Layer.Layer<SqlClient.SqlClient, unknown>
  readonly tables: ReadonlyArray<string>
  /** The last number that was drawn. */
  readonly attempts: string
}

export const postgres: Place = {
  url: Effect.suspend(() => freshDatabase()),
  layer: layerAt,
  tables: [
    "create sequence attempts",
    `create function work() returns int language plpgsql as $$
      begin
        perform nextval('attempts');
        if (select broken from state) then raise exception using errcode = '40001', message = 'not now'; end if;
        return 1;
      end $$`
  ],
  attempts: "select last_value::int as n from attempts"
}

/**
 * How many calls were made and attempts seen while everything was rejected, and how long all took to be served again.
 * The server rejects until there were `enough` calls.
 */
export const run = Effect.fnUntraced(function*(place: Place, enough: number, options: Options) {
  const url = yield* place.url
  const beside = <A, E>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
    Effect.provide(Effect.flatMap(SqlClient.SqlClient, f), place.layer(url, {}))
  yield* beside((sql) =>
    Effect.forEach(
      ["create table state (broken boolean not null)", "insert into state values (false)", ...place.tables],
      (statement) => sql.unsafe(statement)
    )
  )
  return yield* Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const attempts = beside((sql) => Effect.map(sql.unsafe<{ n: number }>(place.attempts), (rows) => rows[0]!.n))
    const set = (broken: boolean) => beside((sql) => sql`update state set broken = ${broken}`)
    let calls = 0
    let served = new Set<number>()
    const caller = (name: number) =>
      Effect.forever(Effect.andThen(
        Effect.suspend(() => {
          calls++
          return Effect.exit(Effect.tap(sql`select work()`, () => Effect.sync(() => served.add(name))))
        }),
        Effect.sleep("100 millis")
      ))
    const all = yield* Effect.forkChild(
      Effect.all(Array.from({ length: callers }, (_, name) => caller(name)), { concurrency: "unbounded" })
    )
    const everybody = Effect.andThen(
      Effect.sync(() => served = new Set()),
      Effect.repeat(Effect.sleep("10 millis"), { while: () => served.size < callers })
    )
    yield* everybody
    yield* set(true)
    const before = { calls, attempts: yield* attempts }
    yield* Effect.repeat(Effect.sleep("10 millis"), { while: () => calls < before.calls + enough })
    // Calls go on while the attempts are asked for. So at both ends those of which attempts may be seen are counted.
    const seen = (yield* attempts) - before.attempts
    const during = { calls: calls - before.calls, attempts: seen }
    yield* set(false)
    const healed = yield* Clock.currentTimeMillis
    yield* everybody
    const recovery = (yield* Clock.currentTimeMillis) - healed
    yield* Fiber.interrupt(all)
    return { ...during, recovery }
  }).pipe(Effect.provide(place.layer(url, { pool: { max: 10 }, ...options })))
})
