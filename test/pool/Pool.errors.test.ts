import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import * as PoolError from "../../src/pool/PoolError.ts"
import { refused, wrongPassword } from "../../src/testing/FakeAdapter.ts"
import { fork, hold, reasonOf, select, setUp, sleep } from "./support.ts"

describe("Pool: what an error says", () => {
  it.effect("that no connection became free: who has them, for how long, and how many wait", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 2, acquireTimeout: "3 seconds" })
      const long = yield* fork(pool.use(() => Effect.never).pipe(Effect.withSpan("nightly report")))
      yield* TestClock.adjust("7 seconds")
      yield* fork(pool.use(() => Effect.never))
      const exit = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("1 second")
      yield* fork(pool.use(select))
      yield* TestClock.adjust("2 seconds")
      const error = Cause.squash((yield* Fiber.join(exit) as Effect.Effect<Exit.Failure<never, SqlError>>).cause)
      assert.strictEqual((error as SqlError)._tag, "SqlError")
      assert.strictEqual((error as SqlError).reason._tag, "ConnectionError")
      assert.isTrue((error as SqlError).isRetryable)
      const poolError = (error as SqlError).reason.cause
      assert.isTrue(PoolError.isPoolError(poolError))
      const reason = (poolError as PoolError.PoolError).reason as PoolError.AcquireTimeout
      assert.deepInclude(reason, {
        database: "fake://db",
        max: 2,
        total: 2,
        used: 2,
        idle: 0,
        connecting: 0,
        waiting: 1
      })
      assert.strictEqual(reason.waitedMillis, 3_000)
      assert.deepStrictEqual(reason.holders.map(({ heldMillis }) => heldMillis), [10_000, 3_000])
      assert.deepStrictEqual(reason.holders[0], {
        fiberId: long.id,
        span: "nightly report",
        heldMillis: 10_000,
        connectionId: "1"
      })
      assert.strictEqual(
        (error as SqlError).message,
        "No connection to fake://db became free within 3000 ms: 2 of at most 2 connections in use, 0 idle, " +
          `0 being opened, 1 more waiting, the longest held for 10000 ms by fiber #${long.id} in "nightly report". ` +
          "Hold connections for a shorter time, or raise `max` if the database has room for more"
      )
    }))

  it.effect("that names a slow statement which shares a connection", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, acquireTimeout: "1 second" })
      const slow = yield* fork(pool.share(undefined, sleep(60_000)))
      const exit = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("1 second")
      const reason = reasonOf(yield* Fiber.join(exit)) as PoolError.AcquireTimeout
      assert.deepStrictEqual(reason.holders.map(({ fiberId }) => fiberId), [slow.id])
    }))

  it.effect("that the database cannot be reached: the last failure, and where to look", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, acquireTimeout: "1 second" })
      fake.onConnect = () => Effect.fail(refused)
      const exit = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("1 second")
      const reason = reasonOf(yield* Fiber.join(exit)) as PoolError.AcquireTimeout
      assert.strictEqual(reason.connectError, refused)
      assert.include(reason.message, "could be opened within 1000 ms: refused. See whether the database is up")
      // It is no news once a connection was opened.
      fake.onConnect = () => Effect.void
      const holder = yield* hold(pool)
      yield* TestClock.adjust("1 second")
      yield* holder.connection
      const later = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("1 second")
      assert.isUndefined((reasonOf(yield* Fiber.join(later)) as PoolError.AcquireTimeout).connectError)
    }))

  it.effect("what the database refuses until a person changes something, to everybody who waits", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4 })
      fake.onConnect = () => Effect.andThen(Effect.sleep("10 millis"), Effect.fail(wrongPassword))
      const fibers = yield* Effect.forEach(Array.from({ length: 10 }), () => fork(Effect.flip(pool.use(select))))
      yield* TestClock.adjust("10 millis")
      for (const fiber of fibers) assert.strictEqual(yield* Fiber.join(fiber), wrongPassword)
      assert.strictEqual((yield* pool.stats).failed.ConnectFailed, 10)
    }))

  it.effect("nothing of that while an open connection can serve", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4 })
      const first = yield* hold(pool)
      fake.onConnect = () => Effect.fail(wrongPassword)
      const second = yield* hold(pool)
      yield* TestClock.adjust("5 seconds")
      yield* first.release
      assert.strictEqual((yield* second.connection).id, "1")
    }))

  it.effect("that the adapter died of a defect while it connected", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ acquireTimeout: "1 second" })
      fake.onConnect = () => Effect.die(new Error("a bug"))
      const exit = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("1 second")
      const reason = reasonOf(yield* Fiber.join(exit)) as PoolError.AcquireTimeout
      assert.strictEqual((reason.connectError!.reason.cause as Error).message, "a bug")
      assert.isAbove((yield* pool.stats).connectFailures, 1)
    }))
})
