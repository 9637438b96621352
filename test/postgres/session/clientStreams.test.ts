import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Pool, Transaction } from "watertight"
import { seed } from "../../support/index.ts"
import { database } from "../clientSupport.ts"

it.layer(database({ maxConnections: 2 }), { excludeTestServices: true })("streams of the client", (it) => {
  it.effect("stopping at any row, in and out of a transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const pool = yield* Pool.Pool
      const random = seed(3)
      yield* sql`create table seen (round int, i int)`
      // The first fetch asks for 64 rows and the others for 4000.
      const borders = [0, 1, 63, 64, 65, 4_063, 4_064, 4_065, 8_064, 8_065]
      const stops = [...borders, ...Array.from({ length: 30 }, () => random.int(0, 10_000))]
      for (const [round, take] of stops.entries()) {
        const total = random.pick([take, take + 1, 10_000, 50_000])
        const at = `seed ${random.value}, round ${round}: ${take} of ${total}`
        const expected = Array.from({ length: Math.min(take, total) }, (_, index) => index + 1)
        const some = sql<{ i: number }>`select i, repeat('x', i % 100) as x from generate_series(1, ${total}::int) i`
          .stream.pipe(Stream.take(take), Stream.map(({ i }) => i))
        const next = Effect.map(
          sql`select ${round}::int as round`,
          (rows) => assert.deepStrictEqual(rows, [{ round }], at)
        )
        assert.deepStrictEqual(yield* Stream.runCollect(some), expected, at)
        yield* next
        yield* Effect.gen(function*() {
          assert.deepStrictEqual(yield* Stream.runCollect(some), expected, at)
          yield* next
          // A statement for some of the rows of one that is stopped as well.
          yield* some.pipe(
            Stream.filter((i) => i % 997 === 1),
            Stream.runForEach((i) => sql`insert into seen values (${round}, ${i})`)
          )
          yield* next
        }).pipe(Transaction.run())
        const seen = yield* sql<{ i: number }>`select i from seen where round = ${round} order by i`
        assert.deepStrictEqual(seen.map(({ i }) => i), expected.filter((i) => i % 997 === 1), at)
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
