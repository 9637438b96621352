import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Stream from "effect/Stream"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { connect, connector, fields, one, run, sqlFailure, working } from "../support.ts"

const series = (session: Session, count: number): Stream.Stream<any, any> =>
  session.executeStream("select i from generate_series(1, $1::int) as i", [count], undefined)

const sum = (count: number) => count * (count + 1) / 2

describe("streams", () => {
  for (const inside of [false, true]) {
    const where = inside ? "inside a transaction" : "outside of one"
    const begin = (session: Session) => inside ? session.begin({}) : Effect.void
    const commit = (session: Session) => inside ? session.commit : Effect.void

    it.effect(`all rows arrive once and in order, ${where}`, () =>
      Effect.gen(function*() {
        for (const fetchSize of [1, 7, 1000]) {
          const session = yield* connect({ fetchSize })
          yield* begin(session)
          for (const count of [0, 1, 6, 7, 8, 999, 1000, 1001, 5000].filter((n) => fetchSize > 1 || n < 50)) {
            const rows = yield* Stream.runCollect(series(session, count))
            assert.deepStrictEqual(rows.map((row) => row.i), Array.from({ length: count }, (_, index) => index + 1))
          }
          yield* commit(session)
          assert.isTrue(session.isReady)
        }
      }))

    it.effect(`stopping early at any size leaves the next statement alone, ${where}`, () =>
      Effect.gen(function*() {
        const session = yield* connect()
        yield* begin(session)
        for (const count of [10, 1000, 100_000, 5_000_000]) {
          for (const take of [0, 1, 63, 64, 65, 1500]) {
            const rows = yield* Stream.runCollect(Stream.take(series(session, count), take))
            assert.strictEqual(rows.length, Math.min(take, count))
            assert.strictEqual(yield* one(session, "select 1"), 1)
          }
        }
        yield* commit(session)
        yield* session.reset
        assert.isTrue(session.isReady)
      }))

    it.effect(`types without a codec and transformed rows, ${where}`, () =>
      Effect.gen(function*() {
        const open = yield* connector()
        // The second session knows the columns from the first one.
        for (const session of [yield* open, yield* open]) {
          yield* begin(session)
          const rows = yield* Stream.runCollect(session.executeStream(
            "select i, i::text::tsvector as p from generate_series(1, 100) i",
            [],
            (rows) => rows.map((row: any) => ({ ...row, twice: row.i * 2 })) as any
          ))
          assert.strictEqual(rows.length, 100)
          assert.deepStrictEqual(rows[2], { i: 3, p: "'3'", twice: 6 })
          yield* commit(session)
        }
      }))

    it.effect(`an error in the middle arrives behind the rows before it, ${where}`, () =>
      Effect.gen(function*() {
        const session = yield* connect({ fetchSize: 10 })
        yield* begin(session)
        let seen = 0
        const error = yield* sqlFailure(
          session.executeStream("select 1 / (500 - i) as q from generate_series(1, 1000) i", [], undefined).pipe(
            Stream.runForEach(() => Effect.sync(() => seen++))
          )
        )
        assert.strictEqual(fields(error).code, "22012")
        assert.isAtLeast(seen, 470)
        if (inside) yield* session.rollback
        assert.strictEqual(yield* one(session, "select 1"), 1)
        yield* sqlFailure(Stream.runDrain(session.executeStream("selec", [], undefined)))
        yield* sqlFailure(Stream.runDrain(session.executeStream("select $1", [{}], undefined)))
        assert.strictEqual(yield* one(session, "select 1"), 1)
      }))

    it.live(`interrupting whoever waits for rows stops the server, ${where}`, () =>
      Effect.gen(function*() {
        const session = yield* connect({ fetchSize: 1 })
        yield* begin(session)
        const fiber = yield* Effect.forkChild(
          Stream.runDrain(session.executeStream("select pg_sleep(20) from generate_series(1, 5)", [], undefined)),
          { startImmediately: true }
        )
        yield* working(session)
        const started = performance.now()
        yield* Fiber.interrupt(fiber)
        yield* session.reset
        assert.isBelow(performance.now() - started, 10_000)
        assert.strictEqual(yield* one(session, "select 1"), 1)
      }))
  }

  it.effect("a statement per row runs on the same transaction", () =>
    Effect.gen(function*() {
      const session = yield* connect({ fetchSize: 50 })
      yield* session.begin({})
      yield* run(session, "create temp table doubled (i int) on commit drop")
      yield* Stream.runForEach(series(session, 500), (row) =>
        run(session, "insert into doubled values ($1)", [row.i * 2]))
      assert.strictEqual(yield* one(session, "select sum(i)::int from doubled"), sum(500) * 2)
      // Two streams at once, row by row.
      const pairs = yield* Stream.runCollect(Stream.zip(series(session, 300), series(session, 300)))
      assert.isTrue(pairs.every(([left, right]) =>
        left.i === right.i
      ))
      yield* session.commit
    }))

  it.live("whoever stops early in a transaction waits for few of the rows of a slow result", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp sequence made")
      yield* session.begin({})
      const slow = session.executeStream(
        "select nextval('made') as n, pg_sleep(0.001) from generate_series(1, 100000)",
        [],
        undefined
      )
      const rows = yield* Stream.runCollect(Stream.take(slow, 70))
      assert.strictEqual(rows.length, 70)
      // 64 rows at first, and then no more than some milliseconds bring.
      assert.isBelow(Number(yield* one(session, "select last_value from made")), 200)
      yield* session.commit
    }))

  it.effect("a statement beside a stream outside a transaction waits for its end", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const [count, value] = yield* Effect.all([
        Stream.runCount(series(session, 10_000)),
        one(session, "select 7")
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual([count, value], [10_000, 7])
    }))

  it.effect("a stream of a write applies it once", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table written (i int, p tsvector)")
      const rows = yield* Stream.runCollect(session.executeStream(
        "insert into written select i, i::text::tsvector from generate_series(1, 200) i returning i, p",
        [],
        undefined
      ))
      assert.strictEqual(rows.length, 200)
      assert.strictEqual(yield* one(session, "select count(*)::int from written"), 200)
    }))

  it.effect("a prepared statement that the server has lost is repaired before the first row", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      assert.strictEqual(yield* Stream.runCount(series(session, 100)), 100)
      yield* run(session, "do $$ begin execute 'deallocate all'; end $$")
      assert.strictEqual(yield* Stream.runCount(series(session, 100)), 100)
    }))

  it.live("memory stays flat and the server is held back by a slow consumer", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const before = session.received
      let peak = 0
      const start = process.memoryUsage().rss
      let rows = 0
      yield* session.executeStream(
        "select i, repeat('x', 1000) as filler from generate_series(1, 400000) i",
        [],
        undefined
      ).pipe(
        Stream.mapEffect((row: any) => {
          if (++rows % 10_000 !== 0) return Effect.succeed(row)
          peak = Math.max(peak, process.memoryUsage().rss - start)
          return Effect.as(Effect.sleep("1 millis"), row)
        }),
        Stream.runDrain
      )
      assert.strictEqual(rows, 400_000)
      assert.isAbove(session.received - before, 400_000_000)
      assert.isBelow(peak, 250_000_000)
      const stopped = session.received
      yield* Stream.runDrain(Stream.take(
        session.executeStream("select repeat('x', 100000) as filler from generate_series(1, 5000)", [], undefined),
        100
      ))
      yield* session.reset
      assert.isBelow(session.received - stopped, 20_000_000)
    }))
})
