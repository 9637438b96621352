import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Pool, Transaction } from "watertight"
import { sqlFailure } from "../../transaction/support.ts"
import type { Section } from "../suite.ts"

export const streams: Section = (test, dialect) => {
  const series = (sql: SqlClient.SqlClient, count: number) =>
    sql<{ n: number }>`select n from ${sql.literal(dialect.series(count))} order by n`.stream

  const nobodyHasAny = Effect.flatMap(
    Pool.Pool,
    (pool) => Effect.repeat(Effect.andThen(Effect.yieldNow, pool.stats), { until: (stats) => stats.used === 0 })
  )

  test("have all rows, in order, however many there are", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const count of [1, 1024, 4001, 20_000]) {
        const rows = yield* Stream.runCollect(series(sql, count))
        assert.strictEqual(rows.length, count)
        assert.isTrue(rows.every((row, index) => row.n === index + 1))
      }
      assert.deepStrictEqual(yield* Stream.runCollect(sql`select 1 as a from people where id < 0`.stream), [])
    }))

  test("can be stopped at any row, and what comes next is not disturbed", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const taken of [1, 2, 100, 1023, 4000, 4001]) {
        const rows = yield* Stream.runCollect(Stream.take(series(sql, 20_000), taken))
        assert.strictEqual(rows.length, taken)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      }
      yield* nobodyHasAny
    }))

  test("let their transaction run other statements between two rows, and go on when they are stopped", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(Effect.gen(function*() {
        const doubled = yield* series(sql, 6_000).pipe(
          Stream.take(50),
          Stream.mapEffect(({ n }) =>
            sql<{ m: number }>`select cast(${n} as ${sql.literal(dialect.integer)}) * 2 as m`
          ),
          Stream.runCollect
        )
        assert.deepStrictEqual(doubled.map(([row]) => row!.m), Array.from({ length: 50 }, (_, n) => 2 * (n + 1)))
        assert.strictEqual(yield* Stream.runCount(series(sql, 6_000)), 6_000)
      }))
    }))

  test("fail with what a statement fails with, before the first row and after", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const missing = yield* sqlFailure(Stream.runDrain(sql`select * from nowhere`.stream))
      assert.strictEqual(missing.reason._tag, "SqlSyntaxError")
      // A subquery with more than one row, but not for the first rows.
      let seen = 0
      yield* sqlFailure(Stream.runForEach(
        sql`select n, (select x from (select 1 as x union all select 2) as two where n > 9000) as x
          from ${sql.literal(dialect.series(10_000))}`.stream,
        () => Effect.sync(() => void seen++)
      ))
      assert.isAbove(seen, 0)
      assert.isAtMost(seen, 9_000)
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      yield* nobodyHasAny
    }))

  test("end when whoever reads them is interrupted, or fails", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const reading = yield* Deferred.make<void>()
      const wait = Effect.andThen(Deferred.succeed(reading, undefined), Effect.never)
      const reader = yield* Effect.forkChild(
        Stream.runForEach(series(sql, 20_000), ({ n }) => n === 10 ? wait : Effect.void),
        { startImmediately: true }
      )
      yield* Deferred.await(reading)
      yield* Fiber.interrupt(reader)
      assert.strictEqual(
        yield* Effect.flip(
          Stream.runForEach(series(sql, 20_000), ({ n }) => n === 10 ? Effect.fail("mine") : Effect.void)
        ),
        "mine"
      )
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      yield* nobodyHasAny
    }))
}
