import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Layer, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Pool } from "watertight"
import { Postgres } from "watertight/postgres"
import { postgresUrl } from "../support/index.ts"

const url = () => Redacted.make(postgresUrl())

const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function*() {
    const started = yield* now
    yield* effect
    return (yield* now) - started
  })

const quantile = (values: ReadonlyArray<number>, q: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * q))]!

/** Fifty quick statements at once, several times over; optionally while one runs for a second. */
const fifty = Effect.fnUntraced(function*(slow: boolean) {
  const sql = yield* SqlClient.SqlClient
  const burst = Effect.forEach(Array.from({ length: 50 }, (_, i) => i), (i) => timed(sql`select ${i}::int`), {
    concurrency: "unbounded"
  })
  const run = Effect.map(Effect.replicateEffect(burst, 10), (rounds) => rounds.flat())
  if (!slow) return yield* run
  const [, times] = yield* Effect.all([sql`select pg_sleep(1)`, Effect.andThen(Effect.sleep(1), run)], {
    concurrency: "unbounded"
  })
  return times
})

it.live("one slow statement does not hold up fifty quick ones while there are ten connections", () =>
  Effect.gen(function*() {
    yield* fifty(false)
    // Interleaved, and the best of several, because the machine has other things to do as well.
    const without: Array<number> = []
    const withOne: Array<number> = []
    let max = Infinity
    for (let round = 0; round < 3; round++) {
      without.push(quantile(yield* fifty(false), 0.5))
      const times = yield* fifty(true)
      withOne.push(quantile(times, 0.5))
      max = Math.min(max, quantile(times, 1))
    }
    assert.isBelow(Math.min(...withOne), 3 * Math.min(...without) + 5)
    // Whoever is behind the slow one waits for almost a second.
    assert.isBelow(max, 700)
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 10 } }))))

it.live("the same check fails on a client that shares connections without looking", () =>
  Effect.gen(function*() {
    yield* fifty(false)
    assert.isAbove(quantile(yield* fifty(true), 1), 700)
  }).pipe(Effect.provide(
    PgClient.layer({ url: url(), maxConnections: 10, multiplex: true, multiplexConcurrency: 32 })
  )))

it.live("one slow statement among fifty that nobody knows yet holds up none of them", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const statements = Array.from({ length: 51 }, (_, i) =>
      i === 7 ? timed(sql`select pg_sleep(3)`) : timed(sql.unsafe(`select ${i} as n`)))
    const times = yield* Effect.all(statements, { concurrency: "unbounded" })
    assert.isAbove(times[7]!, 2_900)
    assert.isBelow(
      Math.max(...times.filter((_, i) =>
        i !== 7
      )),
      2_000
    )
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 10 } }))))

it.live("64 fibers are served by 8 connections, and each gets its own answers in order", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.forEach(Array.from({ length: 64 }, (_, i) => i), (i) =>
      Effect.forEach(
        Array.from({ length: 50 }, (_, j) => j),
        (j) =>
          Effect.map(
            sql<{ n: number }>`select ${i * 1000 + j}::int as n`,
            (rows) => assert.deepStrictEqual(rows, [{ n: i * 1000 + j }])
          )
      ), { concurrency: "unbounded" })
    const stats = yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)
    assert.isAtMost(stats.total, 8)
    assert.strictEqual(stats.checkouts, 3200)
    assert.strictEqual(stats.used, 0)
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 8 } }))))

it.live("a failed statement takes none of those that share its connection with it", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const one = (i: number) => i % 5 === 0 ? sql`select 1 / ${0}::int as n` : sql`select ${i}::int as n`
    yield* Effect.forEach([1, 2, 3, 4], one)
    const exits = yield* Effect.forEach(Array.from({ length: 100 }, (_, i) => i), (i) => Effect.exit(one(i)), {
      concurrency: "unbounded"
    })
    exits.forEach((exit, i) => assert.strictEqual(exit._tag, i % 5 === 0 ? "Failure" : "Success"))
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 2 } }))))

it.live("an interrupted statement that shares its connection disturbs none of the others", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const warm = Effect.forEach([1, 2, 3], (i) => sql`select ${i}::int as n`)
    yield* warm
    const results = yield* Effect.forEach(Array.from({ length: 400 }, (_, i) => i), (i) =>
      i % 3 === 0
        ? Effect.as(Effect.timeoutOption(sql`select ${i}::int as n`, 0), i)
        : Effect.map(sql<{ n: number }>`select ${i}::int as n`, (rows) => rows[0]!.n), { concurrency: 40 })
    assert.deepStrictEqual(results, Array.from({ length: 400 }, (_, i) => i))
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 2 } }))))

it.live("transactions and statements that share take turns: neither starves the other", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    let statements = 0
    let transactions = 0
    const statement = Effect.forever(Effect.tap(sql`select ${1}::int`, () => Effect.sync(() => statements++)))
    const transaction = Effect.forever(
      Effect.tap(sql.withTransaction(sql`select ${2}::int`), () => Effect.sync(() => transactions++))
    )
    yield* Effect.all([
      ...Array<typeof statement>(20).fill(statement),
      ...Array<typeof transaction>(5).fill(transaction)
    ], {
      concurrency: "unbounded",
      discard: true
    }).pipe(Effect.timeoutOption("1 second"))
    assert.isAbove(statements, 50)
    assert.isAbove(transactions, 50)
  }).pipe(Effect.provide(Postgres.layer({ url: url(), pool: { max: 2 } }))))

it.live("PgClient is there too, and what it runs goes through the same pool", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const pg = yield* PgClient.PgClient
    const pool = yield* Pool.Pool
    assert.strictEqual(pg, sql as unknown)
    assert.deepStrictEqual(yield* pg`select ${pg.json({ a: [1] })} as j`, [{ j: { a: [1] } }])
    yield* Effect.scoped(Effect.gen(function*() {
      const queue = yield* pg.listen("watertight_test")
      yield* pg.notify("watertight_test", "hello")
      const { Queue } = yield* Effect.promise(() => import("effect"))
      assert.strictEqual((yield* Queue.take(queue)).payload, "hello")
      assert.strictEqual((yield* pool.stats).used, 1)
    }))
  }).pipe(Effect.provide(Layer.fresh(Postgres.layer({ url: url(), pool: { max: 3 } })))))
