import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Pool, Transaction } from "watertight"
import { seed } from "../support/index.ts"
import { database } from "./support.ts"

it.layer(database({ maxConnections: 2 }), { excludeTestServices: true })("streams of the client", (it) => {
  it.effect("stopping at any row, in and out of a transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const pool = yield* Pool.Pool
      const random = seed(3)
      for (let round = 0; round < 30; round++) {
        const total = random.pick([0, 1, 64, 65, 1_000, 1_001, 50_000, 5_000_000])
        const take = random.chance(0.3) ? random.pick([0, 1, 63, 64, 65, 999, 1_000, 1_001]) : random.int(0, 3_000)
        const at = `seed ${random.value}, round ${round}: ${take} of ${total}`
        const some = sql<{ i: number }>`select i, repeat('x', i % 100) as x from generate_series(1, ${total}::int) i`
          .stream.pipe(Stream.take(take), Stream.runCollect)
        const rows = yield* some
        assert.strictEqual(rows.length, Math.min(total, take), at)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }], at)
        yield* Effect.gen(function*() {
          const inside = yield* some
          assert.strictEqual(inside.length, Math.min(total, take), at)
          assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }], at)
        }).pipe(Transaction.run())
      }
      assert.strictEqual((yield* pool.stats).used, 0)
    }), 60_000)

  it.effect("a statement for each row, on the same transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table doubled (i int, twice int)`
      yield* sql<{ i: number }>`select i from generate_series(1, 2500) i`.stream.pipe(
        Stream.runForEach(({ i }) => sql`insert into doubled values (${i}, ${i * 2})`),
        Transaction.run()
      )
      assert.deepStrictEqual(yield* sql`select count(*)::int as n, sum(twice)::int as s from doubled`, [
        { n: 2_500, s: 2_500 * 2_501 }
      ])
    }))

  it.effect("a million rows in the memory of a few", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const peakOf = (rows: number) =>
        Effect.gen(function*() {
          const before = process.memoryUsage.rss()
          let peak = 0
          let seen = 0
          yield* sql`select i, md5(i::text) as a, md5(i::text) as b from generate_series(1, ${rows}::int) i`.stream
            .pipe(
              Stream.runForEachArray((batch) =>
                Effect.sync(() => {
                  seen += batch.length
                  peak = Math.max(peak, process.memoryUsage.rss())
                })
              )
            )
          assert.strictEqual(seen, rows)
          return peak - before
        })
      yield* peakOf(100_000)
      assert.isBelow(yield* peakOf(1_000_000), 150 * 1024 * 1024)
    }), 60_000)
})
