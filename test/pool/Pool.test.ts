import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Adapter from "../../src/Adapter.ts"
import * as InvalidOptions from "../../src/options/InvalidOptions.ts"
import * as Pool from "../../src/pool/Pool.ts"
import * as PoolError from "../../src/pool/PoolError.ts"
import { StatementProfile } from "../../src/pool/state/StatementProfile.ts"
import { FakeAdapter, type FakeConnection, refused, wrongPassword } from "../support/fakeAdapter.ts"

const fork = Effect.forkChild({ startImmediately: true })

/** A pool over a fake database. Unless it says otherwise, it is lazy, and does not wait for borrowers at the end. */
const setUp = Effect.fnUntraced(function*(options: Pool.Options = {}, fake: FakeAdapter = new FakeAdapter()) {
  const pool = yield* Pool.make(fake, { startup: "lazy", shutdownTimeout: 0, ...options })
  return { fake, pool }
})

/** Somebody who has a connection until it is told to give it back. */
const hold = Effect.fnUntraced(function*(pool: Pool.Pool) {
  const lent = yield* Deferred.make<Adapter.Connection>()
  const done = yield* Deferred.make<void>()
  const fiber = yield* fork(
    pool.use((connection) => Effect.andThen(Deferred.succeed(lent, connection), Deferred.await(done)))
  )
  return {
    fiber,
    connection: Deferred.await(lent),
    release: Effect.andThen(Deferred.succeed(done, undefined), Fiber.await(fiber))
  }
})

const select = (connection: Adapter.Connection) => connection.execute("select 1", [], undefined)
const sleep = (millis: number) => (connection: Adapter.Connection) =>
  connection.execute(`sleep ${millis}`, [], undefined)

/** The reason of a `PoolError` inside what an effect failed with. */
const reasonOf = <A>(exit: Exit.Exit<A, SqlError>): PoolError.PoolErrorReason => {
  if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
  const error = Cause.findErrorOption(exit.cause)
  if (error._tag === "None") return assert.fail(Cause.pretty(exit.cause))
  const poolError = PoolError.fromSqlError(error.value)
  if (poolError === undefined) return assert.fail(error.value.message)
  return poolError.reason
}

const quick = () => {
  const profile = new StatementProfile()
  profile.observe(0, 10, 0)
  profile.observe(0, 10, 0)
  return profile
}

describe("Pool: capacity and demand", () => {
  it.effect("opens never more than max, counting those being opened and closed", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4, lifetime: "50 millis" })
      fake.onConnect = () => Effect.sleep("30 millis")
      fake.onClose = () => Effect.sleep("40 millis")
      const fibers = yield* Effect.forEach(Array.from({ length: 100 }), () => fork(pool.use(sleep(20))))
      yield* TestClock.adjust("10 seconds")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual(fake.peak, 4)
      assert.isAbove(fake.connections.length, 8)
    }))

  it.effect("opens 4 connections for 20 borrowers if max is 4", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4 })
      yield* Effect.forEach(Array.from({ length: 20 }), () => fork(pool.use(sleep(100))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(fake.connections.length, 4)
      assert.strictEqual((yield* pool.stats).checkouts, 20)
    }))

  it.effect("uses a connection again before it opens one", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      for (let i = 0; i < 1_000; i++) yield* pool.use(select)
      assert.strictEqual(fake.connections.length, 1)
      assert.strictEqual(fake.connections[0]!.ran.length, 1_000)
    }))

  it.effect("gives a returned connection to a waiter while another one is being opened for it", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      const first = yield* hold(pool)
      fake.onConnect = () => Effect.sleep("1 second")
      const second = yield* hold(pool)
      assert.strictEqual(fake.connecting, 1)
      yield* first.release
      assert.strictEqual((yield* second.connection).id, "1")
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* pool.stats, { total: 2, idle: 1, used: 1 })
    }))

  it.effect("opens few connections for a burst of short work when connecting is slow, and none after it", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 50 })
      fake.onConnect = () => Effect.sleep("150 millis")
      const fibers = yield* Effect.forEach(Array.from({ length: 50 }), () => fork(pool.use(sleep(2))))
      yield* TestClock.adjust("150 millis")
      yield* TestClock.adjust("26 millis")
      for (const fiber of fibers) assert.isDefined(fiber.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      // The first four serve all; four more were under way by then.
      assert.strictEqual(fake.connections.length, 8)
      assert.strictEqual(fake.connecting, 0)
    }))

  it.effect("opens at most maxConnecting at a time, and waiting for that counts towards the deadline", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 20, maxConnecting: 2, acquireTimeout: "350 millis" })
      fake.onConnect = () => Effect.sleep("100 millis")
      const fibers = yield* Effect.forEach(
        Array.from({ length: 10 }),
        () => fork(Effect.exit(pool.use(() => Effect.never)))
      )
      yield* TestClock.adjust("349 millis")
      assert.deepInclude(yield* pool.stats, { used: 6, connecting: 2, waiting: 4 })
      yield* TestClock.adjust("1 millis")
      const failed = fibers.filter((fiber) => fiber.pollUnsafe() !== undefined)
      assert.strictEqual(failed.length, 4)
      for (const fiber of failed) assert.strictEqual(reasonOf(yield* Fiber.join(fiber))._tag, "AcquireTimeout")
      assert.strictEqual(fake.peakConnecting, 2)
    }))

  it.effect("is not blocked by a connect that hangs", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4 })
      fake.onConnect = (attempt) => attempt === 1 ? Effect.never : Effect.sleep("10 millis")
      const fiber = yield* fork(pool.use(select))
      yield* TestClock.adjust("1 second")
      yield* TestClock.adjust("10 millis")
      assert.isDefined(fiber.pollUnsafe())
      const other = yield* fork(pool.use(select))
      assert.isDefined(other.pollUnsafe())
    }))

  it.effect("opens min connections at the start, one by one where it must, and refills after a loss", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 7, max: 10, maxConnecting: 2 })
      assert.strictEqual(fake.connections.length, 7)
      fake.onConnect = (attempt) => attempt < 10 ? Effect.fail(refused) : Effect.void
      fake.connections[0]!.lose()
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(fake.attempts.length, 10)
      assert.deepInclude(yield* pool.stats, { total: 7, idle: 7 })
    }))

  it.effect("opens min connections also when a first connection is verified", () =>
    Effect.gen(function*() {
      const { fake } = yield* setUp({ startup: "verify", min: 20, max: 100 })
      assert.strictEqual(fake.connections.length, 20)
    }))

  it.effect("goes up to what is asked for and back to min", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 5, max: 60, idleTimeout: "30 seconds" })
      assert.strictEqual(fake.open.length, 5)
      const holders = yield* Effect.forEach(Array.from({ length: 60 }), () => hold(pool))
      assert.strictEqual(fake.open.length, 60)
      for (const holder of holders) yield* holder.release
      yield* TestClock.adjust("29 seconds")
      assert.strictEqual(fake.open.length, 60)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(fake.open.length, 5)
      yield* TestClock.adjust("10 minutes")
      assert.strictEqual(fake.open.length, 5)
      assert.strictEqual((yield* pool.stats).closed.IdleTimeout, 55)
    }))

  it.effect("has no connection and no timer when min is 0 and nobody comes", () =>
    Effect.gen(function*() {
      const { fake } = yield* setUp({ min: 0 })
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(fake.attempts.length, 0)
    }))

  it.effect("serves nobody more than the database can: an embedded one has one connection", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 5, max: 10 }, new FakeAdapter({ maxConnections: 1 }))
      yield* Effect.forEach(Array.from({ length: 5 }), () => fork(pool.share(quick(), sleep(10))))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(fake.connections.length, 1)
      assert.deepInclude(yield* pool.stats, { min: 1, max: 1, checkouts: 5 })
    }))
})

describe("Pool: waiting", () => {
  it.effect("serves first come, first served, and lets no newcomer overtake", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const order: Array<number> = []
      const first = yield* hold(pool)
      const fibers = yield* Effect.forEach(
        Array.from({ length: 50 }, (_, i) => i),
        (i) => fork(pool.use(() => Effect.andThen(Effect.sync(() => order.push(i)), Effect.yieldNow)))
      )
      yield* fork(Effect.andThen(first.release, pool.use(() => Effect.sync(() => order.push(50)))))
      yield* Effect.forEach(fibers, Fiber.await)
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(order, Array.from({ length: 51 }, (_, i) => i))
    }))

  it.effect("serves 10,000 fibers on 20 connections, all of them and in order", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 20, acquireTimeout: "1 minute" })
      const order: Array<number> = []
      const fibers = yield* Effect.forEach(
        Array.from({ length: 10_000 }, (_, i) => i),
        (i) => fork(pool.use((connection) => Effect.andThen(Effect.sync(() => order.push(i)), sleep(10)(connection))))
      )
      yield* TestClock.adjust("5 seconds")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(fiber.pollUnsafe()!))
      assert.deepStrictEqual(order, Array.from({ length: 10_000 }, (_, i) => i))
      assert.strictEqual(fake.connections.length, 20)
      assert.deepInclude(yield* pool.stats, { used: 0, waiting: 0, checkouts: 10_000, waited: 10_000 })
    }), 60_000)

  it.effect("serves 50,000 in a row on one connection", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      yield* Effect.forEach(Array.from({ length: 50_000 }), () => pool.use(() => Effect.void), { discard: true })
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1, checkouts: 50_000 })
      assert.strictEqual(fake.connections.length, 1)
    }))

  it.effect("is not overflowed by 100,000 waiters whose bodies take no time", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      let served = 0
      for (let i = 0; i < 100_000; i++) yield* fork(pool.use(() => Effect.sync(() => served++)))
      yield* first.release
      assert.strictEqual(served, 100_000)
    }), 60_000)

  it.effect("fails at the deadline, which no retry, dead connection or wait for a place prolongs", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, acquireTimeout: "500 millis", backoffCap: "250 millis" })
      const first = yield* hold(pool)
      const waiter = yield* fork(Effect.exit(pool.use(select)))
      yield* TestClock.adjust("200 millis")
      fake.onConnect = () => Effect.andThen(Effect.sleep("20 millis"), Effect.fail(refused))
      fake.connections[0]!.lose()
      yield* first.release
      yield* TestClock.adjust("299 millis")
      assert.isUndefined(waiter.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const reason = reasonOf(yield* Fiber.join(waiter))
      assert.strictEqual(reason._tag, "AcquireTimeout")
      assert.strictEqual((reason as PoolError.AcquireTimeout).waitedMillis, 500)
    }))

  it.effect("lets a waiter that timed out leave at once: it is not woken, and the others are not disturbed", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, acquireTimeout: "1 second" })
      const first = yield* hold(pool)
      const one = yield* fork(Effect.exit(pool.use(() => Effect.die("it was served"))))
      yield* TestClock.adjust("500 millis")
      const two = yield* hold(pool)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(reasonOf(yield* Fiber.join(one))._tag, "AcquireTimeout")
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* first.release
      assert.strictEqual((yield* two.connection).id, "1")
    }))

  it.effect("passes the connection on when whoever it was made out to has been interrupted", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const second = yield* hold(pool)
      const third = yield* hold(pool)
      yield* Fiber.interrupt(second.fiber)
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* first.release
      assert.strictEqual((yield* third.connection).id, "1")
    }))

  it.effect("fails with QueueFull at once when as many wait as may", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, maxWaiting: 1 })
      yield* hold(pool)
      yield* hold(pool)
      const reason = reasonOf(yield* Effect.exit(pool.use(select)))
      assert.strictEqual(reason._tag, "QueueFull")
      assert.include(reason.message, "queue for a connection to fake://db is full")
      assert.strictEqual((yield* pool.stats).failed.QueueFull, 1)
    }))

  it.effect("lets a caller wait for a connection that can be opened, also if nobody may queue", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, maxWaiting: 0 })
      fake.onConnect = () => Effect.sleep("10 millis")
      const fiber = yield* fork(pool.use(select))
      assert.strictEqual(reasonOf(yield* Effect.exit(pool.use(select)))._tag, "QueueFull")
      yield* TestClock.adjust("10 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
    }))
})

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
      assert.include(reason.message, "the last attempt to connect failed: refused. See whether the database is up")
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

describe("Pool: lending", () => {
  it.effect("gives the connection back after a failure, a defect, a thrown error and an interruption", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      assert.strictEqual(yield* Effect.flip(pool.use(() => Effect.fail("failed"))), "failed")
      assert.isTrue(Exit.hasDies(yield* Effect.exit(pool.use(() => Effect.die("died")))))
      assert.isTrue(Exit.hasDies(
        yield* Effect.exit(pool.use((): Effect.Effect<void> => {
          throw new Error("thrown")
        }))
      ))
      assert.isTrue(Exit.hasDies(
        yield* Effect.exit(pool.share(undefined, (): Effect.Effect<void> => {
          throw new Error("thrown")
        }))
      ))
      assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(pool.use(() => Effect.interrupt))))
      const held = yield* hold(pool)
      yield* Fiber.interrupt(held.fiber)
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1, used: 0, waiting: 0 })
    }))

  it.effect("gives the connection back when BEGIN fails, and destroys what cannot be cleaned up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      yield* Effect.exit(pool.use((connection) => connection.begin({ statement: "fail to begin" })))
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1 })
      yield* pool.use((connection) => connection.begin({}))
      assert.strictEqual(fake.connections[0]!.resets, 1)
      assert.isFalse(fake.connections[0]!.inTransaction)
      fake.onReset = () => Effect.fail(refused)
      yield* pool.use((connection) => connection.begin({}))
      assert.deepStrictEqual(fake.connections[0]!.end, { destroyed: "closed by the pool: ResetFailed" })
      assert.strictEqual((yield* pool.stats).closed.ResetFailed, 1)
    }))

  it.effect("lends nothing that is being cleaned up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      fake.onReset = () => Effect.sleep("50 millis")
      yield* pool.use((connection) => connection.execute("set role admin", [], undefined))
      const next = yield* fork(pool.use((connection) => Effect.sync(() => connection.isReady)))
      yield* TestClock.adjust("49 millis")
      assert.isUndefined(next.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isTrue(yield* Fiber.join(next))
      assert.strictEqual(fake.connections.length, 1)
    }))

  it.effect("fails what a forked fiber runs after the connection was given back", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const gate = yield* Deferred.make<void>()
      const late = yield* pool.use((connection) =>
        Effect.forkDetach(Effect.andThen(Deferred.await(gate), Effect.exit(connection.execute("late", [], undefined))))
      )
      const other = yield* hold(pool)
      yield* Deferred.succeed(gate, undefined)
      const reason = reasonOf(yield* Fiber.join(late))
      assert.strictEqual(reason._tag, "LeaseEnded")
      assert.include(reason.message, "used after it had been given back")
      assert.deepStrictEqual(fake.connections[0]!.ran, [])
      yield* other.release
    }))

  it.effect("fails every method of a connection that was given back, and harms the next borrower by none", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const old = yield* pool.use(Effect.succeed)
      const next = yield* hold(pool)
      const lent = yield* next.connection
      const effects: ReadonlyArray<Effect.Effect<unknown, SqlError>> = [
        old.execute("x", [], undefined),
        old.executeRaw("x", []),
        old.executeValues("x", []),
        old.executeValuesUnprepared("x", []),
        old.executeUnprepared("x", [], undefined),
        Stream.runDrain(old.executeStream("3", [], undefined)),
        old.ping,
        old.reset,
        old.begin({}),
        old.commit,
        old.rollback,
        old.savepoint("a"),
        old.releaseSavepoint("a"),
        old.rollbackSavepoint("a")
      ]
      for (const effect of effects) assert.strictEqual(reasonOf(yield* Effect.exit(effect))._tag, "LeaseEnded")
      old.destroy("by mistake")
      yield* old.close
      yield* old.cancel
      assert.deepInclude({ ...old, isClosed: old.isClosed, isReady: old.isReady, inTransaction: old.inTransaction }, {
        isClosed: true,
        isReady: false,
        inTransaction: false
      })
      assert.isFalse(lent.isClosed)
      assert.deepStrictEqual(fake.connections[0]!.ran, [])
      assert.strictEqual(fake.connections[0]!.cancels, 0)
    }))

  it.effect("stops a stream that is pulled after the connection was given back", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const rows: Array<unknown> = []
      const gate = yield* Deferred.make<void>()
      const reader = yield* pool.use((connection) =>
        Effect.gen(function*() {
          const reader = yield* Effect.forkDetach(
            connection.executeStream("5 rows", [], undefined).pipe(
              Stream.runForEach((row) => Effect.andThen(Effect.sync(() => rows.push(row)), Deferred.await(gate))),
              Effect.exit
            ),
            { startImmediately: true }
          )
          return reader
        })
      )
      assert.strictEqual(rows.length, 1)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(reasonOf(yield* Fiber.join(reader))._tag, "LeaseEnded")
      assert.deepStrictEqual(fake.connections[0]!.ran, ["fetch 1"])
    }))

  it.effect("streams all rows while the connection is lent", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      const rows = yield* Stream.unwrap(
        Effect.map(pool.reserve, (connection) => connection.executeStream("3 rows", [], undefined))
      ).pipe(Stream.runCollect)
      assert.deepStrictEqual(rows, [{ row: 1 }, { row: 2 }, { row: 3 }])
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1 })
    }))

  it.effect("reserves a connection until the scope closes", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(pool.reserve, scope)
      yield* select(connection)
      assert.strictEqual((yield* pool.stats).used, 1)
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1 })
      assert.strictEqual(reasonOf(yield* Effect.exit(select(connection)))._tag, "LeaseEnded")
      // Closing it again is harmless.
      const next = yield* hold(pool)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* pool.stats).used, 1)
      yield* select(yield* next.connection)
    }))

  it.effect("reserves nothing in a scope that is closed", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(reasonOf(yield* Effect.exit(Scope.provide(pool.reserve, scope)))._tag, "LeaseEnded")
      assert.strictEqual((yield* pool.stats).used, 0)
      assert.strictEqual(fake.attempts.length, 0)
    }))

  it.effect("fails whoever waits in a scope that somebody else closes", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const scope = yield* Scope.make()
      const waiter = yield* fork(Effect.exit(Scope.provide(pool.reserve, scope)))
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(reasonOf(yield* Fiber.join(waiter))._tag, "LeaseEnded")
      yield* first.release
      assert.deepInclude(yield* pool.stats, { used: 0, waiting: 0, idle: 1 })
    }))

  it.effect("takes whoever is interrupted while it waits to reserve out of the queue at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const scope = yield* Scope.make()
      const waiter = yield* fork(Scope.provide(pool.reserve, scope))
      yield* Fiber.interrupt(waiter)
      assert.strictEqual((yield* pool.stats).waiting, 0)
      yield* first.release
      assert.strictEqual((yield* pool.stats).idle, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* pool.stats).idle, 1)
    }))

  it.effect("lets an attempt to connect finish when whoever waited for it is interrupted", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      fake.onConnect = () => Effect.sleep("1 second")
      const waiter = yield* fork(pool.use(select))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(waiter)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(fake.interrupted, 0)
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1 })
      assert.deepStrictEqual(yield* pool.use(select), [{ connection: "1" }])
    }))

  it.effect("gives up the place of a lost connection at once, while its borrower still runs", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const second = yield* hold(pool)
      fake.connections[0]!.lose()
      assert.strictEqual((yield* second.connection).id, "2")
      yield* first.release
      assert.deepInclude(yield* pool.stats, { total: 1, used: 1 })
      assert.strictEqual((yield* pool.stats).closed.Lost, 1)
    }))

  it.effect("counts a connection that its borrower destroyed as lost, without cleaning it up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      yield* pool.use((connection) => Effect.sync(() => connection.destroy("it is broken")))
      assert.strictEqual(fake.connections[0]!.resets, 0)
      assert.strictEqual((yield* pool.stats).closed.Lost, 1)
      assert.deepStrictEqual(yield* pool.use(select), [{ connection: "2" }])
    }))

  it.effect("takes a connection that is lost by the time it is open for a failed attempt", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      let storm = true
      const adapter: Adapter.Adapter = Object.assign(Object.create(fake), {
        connect: Effect.tap(fake.connect, (connection) =>
          Effect.sync(() => {
            if (storm) (connection as FakeConnection).lose()
          }))
      })
      const pool = yield* Pool.make(adapter, { max: 4, shutdownTimeout: 0 })
      assert.strictEqual((yield* pool.stats).connectFailures, 1)
      const fiber = yield* fork(pool.use(select))
      yield* TestClock.adjust("2 seconds")
      assert.isBelow(fake.attempts.length, 40)
      storm = false
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual((yield* pool.stats).created, 1)
    }))

  it.effect("keeps going when an observer of a fiber that it resumes throws", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const second = yield* fork(pool.use(() => Effect.void))
      second.addObserver(() => {
        throw new Error("an observer")
      })
      const third = yield* hold(pool)
      yield* Effect.exit(first.release)
      assert.strictEqual((yield* third.connection).id, "1")
      yield* third.release
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1, waiting: 0 })
    }))
})

describe("Pool: sharing", () => {
  it.effect("runs quick statements beside each other on one connection when none is free", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const profile = quick()
      yield* pool.share(profile, select)
      const fibers = yield* Effect.forEach(Array.from({ length: 10 }), () => fork(pool.share(profile, sleep(1))))
      assert.deepInclude(yield* pool.stats, { used: 1, waiting: 0 })
      yield* TestClock.adjust("10 millis")
      for (const fiber of fibers) assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(fake.connections[0]!.resets, 0)
    }))

  it.effect("lets fast statements pass a slow one", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 2 })
      const profile = quick()
      const slow = yield* fork(pool.share(undefined, sleep(1_000)))
      const fast = yield* Effect.forEach(Array.from({ length: 50 }), () => fork(pool.share(profile, sleep(1))))
      yield* TestClock.adjust("60 millis")
      for (const fiber of fast) assert.isDefined(fiber.pollUnsafe())
      assert.isUndefined(slow.pollUnsafe())
    }))

  it.effect("does not share with a neighbour that was abandoned, and cleans the connection up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const profile = quick()
      yield* pool.share(profile, select)
      const one = yield* fork(pool.share(profile, sleep(5)))
      const two = yield* fork(pool.share(profile, sleep(500)))
      yield* Fiber.interrupt(two)
      const three = yield* fork(pool.share(profile, select))
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* TestClock.adjust("5 millis")
      // Nobody waits for the abandoned one but the pool.
      assert.isDefined(one.pollUnsafe())
      assert.isUndefined(three.pollUnsafe())
      assert.strictEqual(fake.connections[0]!.resets, 1)
      yield* TestClock.adjust("500 millis")
      assert.isDefined(three.pollUnsafe())
    }))

  it.effect("takes a connection that died under its statements out at once", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const profile = quick()
      const fibers = yield* Effect.forEach(
        Array.from({ length: 3 }),
        () => fork(Effect.exit(pool.share(profile, sleep(5))))
      )
      // As an adapter does when a statement gets no answer.
      fake.connections[0]!.destroy("no answer")
      for (const fiber of fibers) assert.isTrue(Exit.isFailure(yield* Fiber.join(fiber)))
      assert.strictEqual((yield* pool.stats).closed.Lost, 1)
      assert.deepStrictEqual(yield* pool.share(profile, select), [{ connection: "2" }])
    }))

  for (
    const [when, options, connections] of [
      ["that is switched off", { pipelineDepth: 1 }, {}],
      ["connections cannot pipeline", {}, { canPipeline: false }]
    ] as const
  ) {
    it.effect(`lends a connection of its own to everybody if ${when}`, () =>
      Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ max: 3, ...options }, new FakeAdapter(connections))
        const profile = quick()
        yield* pool.share(profile, select)
        yield* Effect.forEach(Array.from({ length: 10 }), () => fork(pool.share(profile, sleep(10))))
        assert.deepInclude(yield* pool.stats, { used: 3, waiting: 7 })
        yield* TestClock.adjust("1 second")
        assert.strictEqual(fake.connections.length, 3)
      }))
  }
})

describe("Pool: the life of a connection", () => {
  it.effect("ends when it was idle for the idle timeout, neither before nor much later", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ idleTimeout: "10 seconds" })
      yield* TestClock.adjust("3 seconds")
      yield* pool.use(select)
      yield* TestClock.adjust("9999 millis")
      assert.strictEqual(fake.open.length, 1)
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(fake.open.length, 0)
      // A long statement is not idle time.
      const fiber = yield* fork(pool.use(sleep(60_000)))
      yield* TestClock.adjust("60 seconds")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(fake.open.length, 1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(fake.open.length, 0)
    }))

  it.effect("ends by lifetime when it is idle or comes back, not while it is lent, also on a hot pool", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, lifetime: "10 seconds", lifetimeJitter: 0 })
      const holder = yield* hold(pool)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(fake.open.length, 1)
      yield* holder.release
      assert.strictEqual(fake.open.length, 0)
      // A connection that never has a pause.
      const busy = yield* fork(Effect.forever(pool.use(sleep(7))))
      yield* TestClock.adjust("60 seconds")
      yield* Fiber.interrupt(busy)
      assert.strictEqual(fake.connections.length, 7)
    }))

  it.effect("ends at a time of its own: connections opened together do not end together", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 100, max: 100, lifetime: "100 seconds", lifetimeJitter: 0.25 })
      yield* pool.stats
      const perSecond: Array<number> = []
      for (let second = 0; second < 100; second++) {
        const before = fake.connections.length
        yield* TestClock.adjust("1 second")
        perSecond.push(fake.connections.length - before)
      }
      assert.strictEqual(perSecond.slice(0, 74).reduce((a, b) => a + b), 0)
      assert.isAtLeast(perSecond.filter((count) => count > 0).length, 18)
      assert.isAtMost(Math.max(...perSecond), 15)
      assert.strictEqual(fake.open.length, 100)
    }))

  it.effect("is kept alive, and replaced when it does not answer", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 1, keepAlive: "1 minute", idleTimeout: Duration.infinity })
      yield* TestClock.adjust("3 minutes")
      assert.strictEqual(fake.connections[0]!.pings, 3)
      fake.onPing = () => Effect.andThen(Effect.sleep("1 second"), Effect.fail(refused))
      yield* TestClock.adjust("61 seconds")
      assert.deepStrictEqual(fake.connections[0]!.end, { destroyed: "closed by the pool: PingFailed" })
      assert.strictEqual(fake.open.length, 1)
      assert.strictEqual((yield* pool.stats).closed.PingFailed, 1)
    }))

  it.effect("is pinged before it is lent only after it was idle for long", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ validateAfter: "1 second" })
      yield* pool.use(select)
      yield* TestClock.adjust("1 second")
      yield* pool.use(select)
      assert.strictEqual(fake.connections[0]!.pings, 0)
      yield* TestClock.adjust("1001 millis")
      yield* pool.use(select)
      assert.strictEqual(fake.connections[0]!.pings, 1)
    }))

  it.effect("is skipped when it is dead: all are tried within one acquire, and nothing leaks", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 5, max: 5 })
      yield* TestClock.adjust("10 seconds")
      fake.onPing = () => Effect.fail(refused)
      assert.deepStrictEqual(yield* pool.use(select), [{ connection: "6" }])
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* pool.stats, { total: 5, used: 0, waiting: 0 })
      assert.isAtMost(fake.peak, 5)
    }))

  it.effect("does not make its waiter wait when the ping hangs", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 2, max: 4 })
      yield* TestClock.adjust("10 seconds")
      fake.onPing = () => Effect.never
      const fiber = yield* fork(pool.use(select))
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("does not end the pool when every ping dies", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 2, max: 2 })
      fake.onPing = () => Effect.die(new Error("a bug"))
      for (let i = 0; i < 10; i++) {
        yield* TestClock.adjust("10 seconds")
        yield* pool.use(select)
      }
      assert.deepInclude(yield* pool.stats, { used: 0, waiting: 0, total: 2 })
    }))

  it.effect("is opened by a single prober during an outage, and by 1, 2, 4 after it", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 20, acquireTimeout: "1 minute" })
      fake.onConnect = () => Effect.fail(refused)
      const fibers = yield* Effect.forEach(Array.from({ length: 100 }), () => fork(pool.use(sleep(50))))
      yield* TestClock.adjust("3 seconds")
      // Four at once at the beginning, then one after the other, 125 ms apart on average.
      assert.isBelow(fake.attempts.length, 45)
      assert.isAbove(fake.attempts.length, 10)
      assert.isTrue(fake.attempts.slice(4).every((at, i, rest) => i === 0 || at > rest[i - 1]!))
      fake.peakConnecting = 0
      fake.onConnect = () => Effect.sleep("20 millis")
      yield* TestClock.adjust("320 millis")
      assert.isAbove(fake.open.length, 0)
      assert.isAtMost(fake.peakConnecting, 4)
      yield* TestClock.adjust("1 second")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(fiber.pollUnsafe()!))
    }))
})

describe("Pool: construction", () => {
  it.effect("opens the first connection, and lends it first", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ startup: "verify" })
      assert.strictEqual(fake.connections.length, 1)
      yield* pool.use(select)
      assert.strictEqual(fake.connections.length, 1)
      assert.strictEqual((yield* pool.stats).created, 1)
    }))

  it.effect("fails when the database refuses until a person changes something", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.fail(wrongPassword)
      const exit = yield* Effect.exit(Effect.scoped(Pool.make(fake)))
      assert.deepStrictEqual(exit, Exit.fail(wrongPassword))
      assert.strictEqual(fake.attempts.length, 1)
    }))

  it.effect("does not fail when the database cannot be reached just now, and goes on from there", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = (attempt) => attempt < 3 ? Effect.fail(refused) : Effect.void
      const { pool } = yield* setUp({ startup: "verify" }, fake)
      assert.strictEqual((yield* pool.stats).connectFailures, 1)
      const fiber = yield* fork(pool.use(select))
      // The failure counts: the first attempt for the caller waits for the back-off.
      assert.strictEqual(fake.attempts.length, 1)
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("dies when the adapter does", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.die(new Error("a bug"))
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Effect.scoped(Pool.make(fake)))))
    }))

  it.effect("can be interrupted, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.never
      const fiber = yield* fork(Effect.scoped(Pool.make(fake)))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(fake.interrupted, 1)
      assert.strictEqual(fake.connecting, 0)
    }))

  it.effect("opens nothing if it is lazy", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.fail(wrongPassword)
      yield* setUp({ startup: "lazy" }, fake)
      assert.strictEqual(fake.attempts.length, 0)
    }))

  it.effect("provides the pool of the adapter in the context", () => {
    const fake = new FakeAdapter()
    return Effect.gen(function*() {
      const pool = yield* Pool.Pool
      assert.strictEqual(pool.name, "fake://db")
      yield* pool.use(select)
      assert.deepInclude(yield* pool.stats, { min: 20, max: 100, total: 20 })
    }).pipe(
      Effect.provide(Pool.layer(Pool.webApplication).pipe(Layer.provide(Layer.succeed(Adapter.Adapter, fake)))),
      Effect.tap(() => Effect.sync(() => assert.strictEqual(fake.open.length, 0)))
    )
  })

  it.effect.each([
    ["min", [-1, 1.5, Number.NaN, Infinity, "3", 11]],
    ["max", [0, -1, 2.5, Number.NaN, Infinity, "10"]],
    ["maxConnecting", [0, -1, 1.5, Number.NaN, Infinity]],
    ["maxWaiting", [-1, 0.5, Number.NaN, "many"]],
    ["pipelineDepth", [0, -1, 1.5, Number.NaN, Infinity]],
    ["acquireTimeout", [0, -1, "-1 seconds", Number.NaN, "soon", "0 millis"]],
    ["idleTimeout", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["lifetime", [0, -1, "-1 minutes", Number.NaN, "long"]],
    ["lifetimeJitter", [-0.1, 1.1, Number.NaN, "0.5", Infinity]],
    ["validateAfter", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["keepAlive", [0, -1, Number.NaN, "soon"]],
    ["slowStatement", [0, -1, Number.NaN, "soon"]],
    ["backoffBase", [-1, "-1 seconds", Number.NaN, "soon", "6 seconds"]],
    ["backoffCap", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["shutdownTimeout", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["startup", ["eager", 1, true]],
    [
      "scaling",
      [
        true,
        "fast",
        { utilization: 0 },
        { utilization: 1.1 },
        { utilization: Number.NaN },
        { wait: -1 },
        { wait: "soon" },
        { interval: 0 },
        { interval: Number.NaN },
        { window: Infinity },
        { window: "1 day" },
        { window: "1 second", interval: "2 seconds" }
      ]
    ],
    ["size", [10]],
    ["maxLifetime", ["30 minutes"]]
  ] as ReadonlyArray<readonly [string, ReadonlyArray<unknown>]>)(
    "refuses what cannot work: %s",
    ([option, values]) =>
      Effect.gen(function*() {
        for (const value of values) {
          const fake = new FakeAdapter()
          const error = yield* Effect.flip(Effect.scoped(Pool.make(fake, { [option]: value } as Pool.Options)))
          assert.instanceOf(error, InvalidOptions.InvalidOptions, `${option}: ${String(value)}`)
          assert.strictEqual((error as InvalidOptions.InvalidOptions).option, option)
          assert.include(error.message, `Pool: option \`${option}\``)
          assert.strictEqual(fake.attempts.length, 0)
        }
      })
  )

  it.effect("refuses min above max, also if the database has only one connection", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter({ maxConnections: 1 })
      const error = yield* Effect.flip(Effect.scoped(Pool.make(fake, { min: 5, max: 4 })))
      assert.strictEqual(error.message, "Pool: option `min` is 5 and so above `max`, which is 4")
    }))

  it.effect("names the options that there are when it does not know one", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Pool.make(new FakeAdapter(), { maxSize: 5 } as Pool.Options)))
      assert.include(error.message, "`maxSize` does not exist. There are: min, max, maxConnecting")
    }))

  it.effect("accepts the defaults, the presets, and what is infinite where that has a meaning", () =>
    Effect.gen(function*() {
      const all: ReadonlyArray<Pool.Options> = [
        {},
        { min: undefined, max: undefined, lifetime: undefined, startup: undefined },
        Pool.webApplication,
        Pool.backgroundWorker,
        Pool.dataPipeline,
        { ...Pool.webApplication, max: 40 },
        { min: 0, max: 1 },
        { min: 500, max: 500 },
        { scaling: false },
        { scaling: { utilization: 1, wait: Infinity, interval: "5 seconds", window: "5 seconds" } },
        { validateAfter: 0, idleTimeout: 0, shutdownTimeout: 0, maxWaiting: 0, backoffBase: 0 },
        {
          acquireTimeout: Duration.infinity,
          idleTimeout: Duration.infinity,
          lifetime: Duration.infinity,
          validateAfter: Duration.infinity,
          keepAlive: Duration.infinity,
          slowStatement: Duration.infinity,
          shutdownTimeout: Duration.infinity,
          maxWaiting: Infinity
        }
      ]
      for (const options of all) {
        yield* Effect.scoped(Effect.flatMap(Pool.make(new FakeAdapter(), options), (pool) => pool.use(select)))
      }
    }))
})

describe("Pool: shutting down", () => {
  it.effect("fails whoever waits and whoever comes, at once, and waits for borrowers", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, shutdownTimeout: "10 seconds" })
      const holder = yield* hold(pool)
      const waiter = yield* fork(Effect.exit(pool.use(select)))
      const shutdown = yield* fork(pool.shutdown)
      assert.strictEqual(reasonOf(yield* Fiber.join(waiter))._tag, "PoolClosed")
      const exit = yield* Effect.exit(pool.use(select))
      assert.strictEqual(
        reasonOf(exit).message,
        "The pool of fake://db is shut down: the scope of its layer has been closed"
      )
      assert.strictEqual(reasonOf(yield* Effect.exit(pool.share(undefined, select)))._tag, "PoolClosed")
      assert.strictEqual(reasonOf(yield* Effect.exit(Effect.scoped(pool.reserve)))._tag, "PoolClosed")
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(shutdown.pollUnsafe())
      // A borrower can still work.
      yield* select(yield* holder.connection)
      yield* holder.release
      assert.deepStrictEqual(yield* Fiber.join(shutdown), { database: "fake://db", cut: [] })
      assert.strictEqual(fake.connections[0]!.end, "closed")
      assert.deepInclude(yield* pool.stats, { total: 0, used: 0, idle: 0, waiting: 0 })
    }))

  it.effect("cancels what runs at the deadline, cuts the connections, and says who that was", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 3, shutdownTimeout: "2 seconds" })
      fake.onCancel = () => Effect.sleep("100 millis")
      const slow = yield* fork(pool.use(sleep(60_000)).pipe(Effect.withSpan("slow"), Effect.exit))
      const quickOne = yield* fork(pool.use(sleep(1_000)))
      yield* TestClock.adjust("500 millis")
      const shared = yield* fork(Effect.exit(pool.share(undefined, sleep(60_000))))
      const shutdown = yield* fork(pool.shutdown)
      yield* TestClock.adjust("1999 millis")
      assert.isTrue(Exit.isSuccess(quickOne.pollUnsafe()!))
      assert.deepStrictEqual(fake.connections.map(({ cancels }) => cancels), [0, 0, 0])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(fake.connections.map(({ cancels }) => cancels), [1, 0, 1])
      yield* TestClock.adjust("100 millis")
      const report = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(report.cut, [
        { fiberId: slow.id, span: "slow", heldMillis: 2_500, connectionId: "1" },
        { fiberId: shared.id, span: undefined, heldMillis: 2_000, connectionId: "3" }
      ])
      assert.isTrue(Exit.isFailure(yield* Fiber.join(slow)))
      assert.isTrue(Exit.isFailure(yield* Fiber.join(shared)))
      assert.deepStrictEqual(fake.connections[0]!.end, { destroyed: "cut off at the shutdown of the pool" })
      assert.strictEqual(fake.open.length, 0)
      assert.deepInclude(yield* pool.stats, { total: 0, used: 0 })
    }))

  it.effect("happens when the scope closes, and warns of who was cut off", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(Pool.make(fake, { shutdownTimeout: "1 second" }), scope)
      const holder = yield* fork(Effect.exit(pool.use(() => Effect.never)))
      const closing = yield* fork(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.strictEqual(fake.open.length, 0)
      yield* Fiber.interrupt(holder)
      assert.deepInclude(yield* pool.stats, { total: 0, used: 0 })
    }))

  it.effect("is the same for everybody who asks, and goes on when one of them is interrupted", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, shutdownTimeout: "10 seconds" })
      const holder = yield* hold(pool)
      const one = yield* fork(pool.shutdown)
      const two = yield* fork(pool.shutdown)
      yield* Fiber.interrupt(one)
      yield* holder.release
      assert.deepStrictEqual(yield* Fiber.join(two), { database: "fake://db", cut: [] })
      assert.deepStrictEqual(yield* pool.shutdown, { database: "fake://db", cut: [] })
      assert.strictEqual(fake.open.length, 0)
    }))

  it.effect("interrupts attempts to connect, and does not wait for the back-off", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 4, shutdownTimeout: "10 seconds" })
      fake.onConnect = () => Effect.never
      const waiter = yield* fork(Effect.exit(pool.use(select)))
      assert.deepStrictEqual(yield* pool.shutdown, { database: "fake://db", cut: [] })
      assert.strictEqual(fake.interrupted, 1)
      assert.strictEqual(reasonOf(yield* Fiber.join(waiter))._tag, "PoolClosed")

      const other = yield* setUp({ max: 4, shutdownTimeout: "10 seconds" })
      other.fake.onConnect = () => Effect.fail(refused)
      yield* fork(Effect.exit(other.pool.use(select)))
      yield* other.pool.shutdown
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(other.fake.attempts.length, 1)
    }))

  it.effect("waits for connections that are being pinged, cleaned up or closed, or cuts them", () =>
    Effect.gen(function*() {
      for (const hangs of [false, true]) {
        const { fake, pool } = yield* setUp({ min: 2, max: 2, validateAfter: 0, shutdownTimeout: "5 seconds" })
        const step = hangs ? Effect.never : Effect.sleep("1 second")
        fake.onPing = () => step
        fake.onReset = () => step
        yield* pool.use((connection) => connection.execute("set a", [], undefined))
        yield* TestClock.adjust("10 millis")
        const waiter = yield* fork(Effect.exit(pool.use(select)))
        assert.strictEqual(fake.connections[0]!.pings + fake.connections[1]!.pings, 1)
        const shutdown = yield* fork(pool.shutdown)
        yield* TestClock.adjust("1 second")
        assert.strictEqual(shutdown.pollUnsafe() === undefined, hangs)
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual((yield* Fiber.join(shutdown)).cut, [])
        assert.strictEqual(fake.open.length, 0)
        assert.strictEqual(reasonOf(yield* Fiber.join(waiter))._tag, "PoolClosed")
      }
    }))

  it.effect("destroys what the adapter cannot close", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 1, shutdownTimeout: "1 second" })
      fake.onClose = () => Effect.never
      const shutdown = yield* fork(pool.shutdown)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(shutdown)).cut, [])
      assert.strictEqual(fake.open.length, 0)
    }))

  it.effect("cuts at once without a shutdown timeout", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ shutdownTimeout: 0 })
      const holder = yield* fork(Effect.exit(pool.use(sleep(60_000))))
      assert.strictEqual((yield* pool.shutdown).cut.length, 1)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(holder)))
      assert.strictEqual(fake.open.length, 0)
    }))

  it.effect("leaves no timer behind", () =>
    Effect.gen(function*() {
      const clock = yield* Clock.Clock
      let sleeping = 0
      const counting: Clock.Clock = Object.assign(Object.create(clock), {
        sleep: (duration: Duration.Duration) =>
          Effect.suspend(() => {
            sleeping++
            return Effect.ensuring(clock.sleep(duration), Effect.sync(() => sleeping--))
          })
      })
      yield* Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ min: 3, max: 5, idleTimeout: "1 minute" })
        yield* Effect.forEach(Array.from({ length: 8 }), () => fork(Effect.exit(pool.use(sleep(100)))))
        assert.isAbove(sleeping, 0)
        yield* TestClock.adjust("5 minutes")
        fake.onConnect = () => Effect.fail(refused)
        fake.connections.forEach((connection) => connection.lose())
        yield* TestClock.adjust("1 second")
        assert.isAbove(sleeping, 0)
      }).pipe(Effect.scoped, Effect.provideService(Clock.Clock, counting))
      assert.strictEqual(sleeping, 0)
    }))
})
