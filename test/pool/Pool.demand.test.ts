import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import type * as PoolError from "../../src/pool/PoolError.ts"
import { FakeAdapter, refused } from "../../src/testing/FakeAdapter.ts"
import { fork, hold, quick, reasonOf, select, setUp, sleep } from "./support.ts"

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
