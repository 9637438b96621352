import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Pool, Transaction } from "watertight"
import { seed } from "../../support/index.ts"
import { connections, ids, type Section, table, whenRunning, whenStopped } from "../suite.ts"

const ticks = (count: number) =>
  Effect.callback<void>((resume) => {
    const tick = (left: number): void => void (left === 0 ? resume(Effect.void) : setImmediate(() => tick(left - 1)))
    tick(count)
  })

export const interruption: Section = (test, dialect) => {
  const nobodyHasAny = Effect.flatMap(
    Pool.Pool,
    (pool) =>
      Effect.repeat(Effect.andThen(Effect.sleep("1 millis"), pool.stats), {
        until: (stats) => stats.used === 0 && stats.waiting === 0
      })
  )

  test.needing("cancelling")(
    "of a statement goes on at once, and the server gives it up",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        for (const how of ["alone", "in a transaction"] as const) {
          const statement = sql.unsafe(`select ${dialect.sleep(31)}`)
          const fiber = yield* Effect.forkChild(how === "alone" ? statement : Transaction.run(statement))
          yield* whenRunning(dialect, "sleep(31)")
          yield* Fiber.interrupt(fiber)
          yield* whenStopped(dialect, "sleep(31)")
          assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
        }
        yield* nobodyHasAny
      })
  )

  test.needing("cancelling")(
    "of a statement on a connection that has streamed to the end stops it too",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const connection = yield* sql.reserve
        for (let round = 0; round < 3; round++) {
          yield* Stream.runDrain(connection.executeStream("select 1 as one", [], undefined))
          const fiber = yield* Effect.forkChild(connection.execute(`select ${dialect.sleep(33)}`, [], undefined))
          yield* whenRunning(dialect, "sleep(33)")
          yield* Fiber.interrupt(fiber)
          yield* whenStopped(dialect, "sleep(33)")
        }
      })
  )

  test("of who waits for a connection leaves the queue, and others are served", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* Pool.Pool
      yield* Effect.scoped(Effect.gen(function*() {
        const max = Math.min(connections, (yield* pool.stats).max)
        yield* Effect.forEach(Array.from({ length: max }), () => sql.reserve)
        const waiting = yield* Effect.forkChild(
          Effect.forEach([1, 2, 3], () => Transaction.run(sql`select 1 as one`), { concurrency: "unbounded" }),
          { startImmediately: true }
        )
        yield* Effect.repeat(Effect.andThen(Effect.yieldNow, pool.stats), { until: (stats) => stats.waiting === 3 })
        yield* Fiber.interrupt(waiting)
        assert.strictEqual((yield* pool.stats).waiting, 0)
      }))
      assert.deepStrictEqual(yield* Transaction.run(sql`select 1 as one`), [{ one: 1 }])
    }))

  test("at any moment leaves no connection, no transaction, no waiter and no half of one behind", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      const random = seed(17)
      const told: Array<number> = []
      yield* Effect.forEach(
        Array.from({ length: 200 }, (_, n) => n),
        Effect.fnUntraced(function*(n) {
          const fiber = yield* Effect.forkChild(
            Transaction.run(Effect.gen(function*() {
              yield* sql`insert into ${sql(name)} (id) values (${2 * n})`
              yield* Transaction.run(sql`insert into ${sql(name)} (id) values (${2 * n + 1})`)
            }))
          )
          yield* ticks(random.int(1, 40))
          yield* Fiber.interrupt(fiber)
          const exit = yield* Fiber.await(fiber)
          if (exit._tag === "Success") told.push(n)
        }),
        { concurrency: 8, discard: true }
      )
      yield* nobodyHasAny
      const found = yield* ids(name)
      // Both or none, and at least those that were told so.
      assert.deepStrictEqual(found, found.flatMap((id) => id % 2 === 0 ? [id, id + 1] : []))
      for (const n of told) assert.include(found, 2 * n)
      assert.deepStrictEqual(
        yield* Effect.forEach([1, 2, 3, 4, 5, 6, 7, 8], () => Transaction.run(sql`select 1 as one`.values), {
          concurrency: "unbounded"
        }),
        Array(8).fill([[1]])
      )
    }))
}
