import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter, refused } from "../../src/testing/FakeAdapter.ts"
import { fork, hold, reasonOf, select, setUp, sleep } from "./support.ts"

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
