import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Clock, Effect, Fiber, Layer, Logger, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Pool, PoolError } from "watertight"
import { Postgres } from "watertight/postgres"
import { FaultProxy, freshDatabase, postgresUrl } from "../support/index.ts"

const quiet = Logger.layer([])

const layerOf = (proxy: FaultProxy.FaultProxy, pool: Pool.Options) =>
  Layer.provideMerge(Postgres.layer({ url: Redacted.make(proxy.url), pool }), quiet)

const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1e6)

/** A hundred callers that ask again a little after every failure, as callers do. */
const callers = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  let served = 0
  const caller = Effect.forever(
    Effect.matchEffect(sql`select 1`, {
      onFailure: () => Effect.sleep("10 millis"),
      onSuccess: () => Effect.andThen(Effect.sync(() => served++), Effect.sleep("10 millis"))
    })
  )
  const fiber = yield* Effect.forkChild(
    Effect.all(Array<typeof caller>(100).fill(caller), { concurrency: "unbounded", discard: true })
  )
  return { fiber, served: () => served }
})

/** How many attempts a second a pool may make. */
const most = 15

/** Takes the server away for three seconds: how many attempts a second it saw, and when it served again. */
const outage = Effect.fnUntraced(function*(proxy: FaultProxy.FaultProxy) {
  const { fiber, served } = yield* callers
  while (served() < 100) yield* Effect.sleep("5 millis")
  yield* proxy.acceptAndClose
  yield* proxy.cutAll
  const before = proxy.attempts()
  yield* Effect.sleep("3 seconds")
  const perSecond = (proxy.attempts() - before) / 3
  yield* proxy.heal
  const healed = yield* now
  const count = served()
  while (served() === count) yield* Effect.sleep("1 millis")
  const back = (yield* now) - healed
  yield* Fiber.interrupt(fiber)
  return { perSecond, back }
})

it.live(
  "while a server accepts and hangs up, a hundred callers make a handful of attempts a second",
  () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(postgresUrl())
      const { back, perSecond } = yield* outage(proxy).pipe(Effect.provide(layerOf(proxy, { max: 20 })))
      assert.isBelow(perSecond, most)
      assert.isAbove(perSecond, 1)
      assert.isBelow(back, 300 + 100)
    }),
  30_000
)

it.live("the same check fails on a client that lets every caller try for itself", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    const { perSecond } = yield* outage(proxy).pipe(
      Effect.provide(PgClient.layer({ url: Redacted.make(proxy.url), maxConnections: 20 }))
    )
    assert.isAbove(perSecond, 2 * most)
  }), 30_000)

it.live("fifty requests on a cold pool with a slow connect open far fewer than fifty connections", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* proxy.delay(40)
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.forEach(Array.from({ length: 50 }, (_, i) => i), (i) => sql`select ${i}::int`, {
        concurrency: "unbounded"
      })
      const { created } = yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)
      assert.isBelow(created, 25)
    }).pipe(Effect.provide(layerOf(proxy, { max: 50, startup: "lazy" })))
  }))

it.live("a database that is away when the program starts is waited for", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* proxy.refuse
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const answer = yield* Effect.forkChild(sql`select 1 as one`)
      yield* Effect.sleep("200 millis")
      yield* proxy.heal
      assert.deepStrictEqual(yield* Fiber.join(answer), [{ one: 1 }])
    }).pipe(Effect.provide(layerOf(proxy, { max: 2 })))
  }))

it.live("`min` is restored after an outage, without anybody asking for a connection", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const pool = yield* Pool.Pool
      const idle = (n: number) =>
        Effect.gen(function*() {
          while ((yield* pool.stats).idle !== n) yield* Effect.sleep("5 millis")
        }).pipe(Effect.timeout("5 seconds"))
      yield* idle(3)
      yield* proxy.refuse
      yield* proxy.cutAll
      yield* idle(0)
      yield* proxy.heal
      yield* idle(3)
    }).pipe(Effect.provide(layerOf(proxy, { min: 3, max: 5 })))
  }))

it.live("who waits in vain is told who has the connections, and what the last attempt to connect said", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const report = yield* Effect.scoped(Effect.andThen(sql.reserve, Effect.never)).pipe(
        Effect.withSpan("monthly report"),
        Effect.forkChild({ startImmediately: true })
      )
      const error = yield* Effect.flip(sql`select 1`)
      yield* Fiber.interrupt(report)
      const cause = PoolError.fromSqlError(error)
      assert.strictEqual(cause?.reason._tag, "AcquireTimeout")
      assert.match(error.message, /1 of at most 1 connection in use/)
      assert.match(error.message, /in "monthly report"/)
      assert.isTrue(error.isRetryable)

      yield* proxy.refuse
      yield* proxy.cutAll
      const down = yield* Effect.flip(sql`select 1`)
      assert.match(down.message, /ECONNREFUSED/)
      assert.match(down.message, /See whether the database is up/)
    }).pipe(Effect.provide(layerOf(proxy, { max: 1, acquireTimeout: "300 millis" })))
  }))

it.live(
  "the layer waits for borrowers when it is closed, and cuts off those who do not end",
  () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      const started = yield* now
      const slow = yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const fiber = yield* Effect.forkDetach(Effect.exit(sql.withTransaction(sql`select pg_sleep(30)`)))
        const quick = yield* Effect.forkDetach(Effect.exit(sql`select pg_sleep(1)`))
        const running = Effect.map(
          sql<{ count: bigint }>`select count(*) from pg_stat_activity
          where state = 'active' and query like 'select pg_sleep%' and datname = current_database()`,
          ([row]) => Number(row!.count)
        )
        yield* Effect.repeat(running, { until: (count) => count === 2 })
        return { fiber, quick }
      }).pipe(Effect.provide(layerOf(proxy, { max: 4, shutdownTimeout: "3 seconds" })))
      assert.isBelow((yield* now) - started, 15_000)
      assert.strictEqual((yield* Fiber.join(slow.quick))._tag, "Success")
      assert.strictEqual((yield* Fiber.join(slow.fiber))._tag, "Failure")
      yield* proxy.until(() => proxy.open() === 0)
    }),
  30_000
)
