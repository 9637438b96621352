/** An outage must not be multiplied: two hundred callers, and a server that rejects all they ask for. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber } from "effect"
import { SqlClient } from "effect/sql"
import { Retry } from "watertight"
import type { Postgres } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"
import { layerAt } from "../transactions/support.ts"

const callers = 200
const seconds = 5

/** Every attempt draws a number, whatever becomes of it, so the server knows how many there were. */
const tables = (url: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create sequence attempts`
    yield* sql`create table state (broken boolean not null)`
    yield* sql`insert into state values (false)`
    yield* sql`
      create function work() returns int language plpgsql as $$
      begin
        perform nextval('attempts');
        if (select broken from state) then raise exception using errcode = '53000', message = 'no room'; end if;
        return 1;
      end $$`
  }).pipe(Effect.provide(layerAt(url)))

/** How many calls were made and attempts seen while everything was rejected, and how long all took to be served again. */
const storm = Effect.fnUntraced(function*(options: Postgres.LayerOptions) {
  const url = yield* freshDatabase()
  yield* tables(url)
  return yield* Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const beside = <A, E>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E>) =>
      Effect.provide(Effect.flatMap(SqlClient.SqlClient, f), layerAt(url))
    const attempts = beside((sql) =>
      Effect.map(sql<{ n: number }>`select last_value::int as n from attempts`, (rows) => rows[0]!.n)
    )
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
    yield* Effect.sleep(`${seconds} seconds`)
    const during = { calls: calls - before.calls, attempts: (yield* attempts) - before.attempts }
    yield* set(false)
    const healed = yield* Clock.currentTimeMillis
    yield* everybody
    const recovery = (yield* Clock.currentTimeMillis) - healed
    yield* Fiber.interrupt(all)
    return { ...during, recovery }
  }).pipe(Effect.provide(layerAt(url, { pool: { max: 10 }, ...options })))
})

it.live("the budget bounds what is repeated", () =>
  Effect.gen(function*() {
    const { attempts, calls, recovery } = yield* storm({ breaker: false })
    // The capacity; what was earned before the outage is within it. And those that were under way at either end.
    assert.isAtMost(attempts, calls + 100 + callers)
    assert.isAtLeast(calls, 1000)
    assert.isBelow(recovery, 3000)
  }), 60_000)

it.live(
  "the breaker keeps most calls from being made at all, and lets them through again within one window",
  () =>
    Effect.gen(function*() {
      const { attempts, calls, recovery } = yield* storm({
        breaker: { openDuration: "500 millis" }
      })
      assert.isAtMost(attempts, calls / 4)
      assert.isBelow(recovery, 500 + 3000)
    }),
  60_000
)

it.live("the same check finds repetition without a budget", () =>
  Effect.gen(function*() {
    const { attempts, calls } = yield* storm({
      breaker: false,
      budget: { capacity: Infinity },
      retry: Retry.defaults
    })
    assert.isAbove(attempts, 2 * calls)
  }), 60_000)
