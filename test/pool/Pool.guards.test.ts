/** What the pool promises whatever its adapter, its process and its operators do. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Health from "../../src/pool/Health.ts"
import * as Pool from "../../src/pool/Pool.ts"
import * as PoolError from "../../src/pool/PoolError.ts"
import { FakeAdapter, refused, wrongPassword } from "../../src/testing/FakeAdapter.ts"
import { fork, hold as holdOne, listen, select, setUp as make } from "./support.ts"

const setUp = Effect.fnUntraced(function*(options: Pool.Options = {}, fake: FakeAdapter = new FakeAdapter()) {
  const { pool } = yield* make(options, fake)
  return { events: yield* listen(pool), fake, pool }
})

const hold = (pool: Pool.Pool) => Effect.tap(holdOne(pool), () => TestClock.adjust(1))

/** Opens that many connections, which are idle then. */
const open = Effect.fnUntraced(function*(pool: Pool.Pool, count: number) {
  const holders = yield* Effect.forEach(Array.from({ length: count }), () => hold(pool))
  for (const holder of holders) yield* holder.release
  yield* TestClock.adjust(1)
})

const reasonOf = (exit: Exit.Exit<unknown, unknown>): string | undefined => {
  const error = Exit.findErrorOption(exit) as { readonly value?: { readonly reason: { readonly cause: unknown } } }
  const cause = error.value?.reason.cause
  return PoolError.isPoolError(cause) ? cause.reason._tag : undefined
}

describe("Pool: a question to a connection has a limit of the pool's own", () => {
  const never = () => Effect.never
  const deaf = () => Effect.uninterruptible(Effect.never)
  for (const [kind, silent] of [["that waits for ever", never], ["that cannot even be interrupted", deaf]] as const) {
    it.effect(`ping ${kind}: the connections are replaced`, () =>
      Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ max: 2, controlTimeout: "3 seconds", validateAfter: "1 second" })
        yield* open(pool, 2)
        yield* TestClock.adjust("2 seconds")
        fake.onPing = silent
        const waiter = yield* fork(pool.use(select))
        yield* TestClock.adjust("2 seconds")
        const stats = yield* pool.stats
        assert.strictEqual(stats.validating, 2)
        assert.isAtLeast(stats.unansweredMillis, 1_900)
        assert.include(Health.decide(stats).reasons.map((reason) => reason._tag), "Unanswered")
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
        const after = yield* pool.stats
        assert.strictEqual(after.closed.Unanswered, 2)
        assert.strictEqual(after.validating, 0)
        for (const connection of fake.connections.slice(0, 2)) assert.isTrue(connection.isClosed)
      }))

    it.effect(`reset ${kind}: the connection is replaced`, () =>
      Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ max: 1, controlTimeout: "3 seconds" })
        fake.onReset = silent
        yield* pool.use((connection) => connection.execute("set x", [], undefined))
        const waiter = yield* fork(pool.use(select))
        yield* TestClock.adjust("4 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
        assert.strictEqual((yield* pool.stats).closed.Unanswered, 1)
      }))

    it.effect(`goodbye ${kind}: its place is free after the limit, and the pool can be drained`, () =>
      Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ max: 1, controlTimeout: "3 seconds", shutdownTimeout: "1 minute" })
        yield* open(pool, 1)
        fake.onClose = silent
        yield* pool.clear()
        const waiter = yield* fork(pool.use(select))
        yield* TestClock.adjust("4 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
        const drained = yield* fork(pool.drain())
        yield* TestClock.adjust("4 seconds")
        assert.deepStrictEqual((yield* Fiber.join(drained)).cut, [])
      }))

    it.effect(`cancel ${kind}: the shutdown goes on without it`, () =>
      Effect.gen(function*() {
        const fake = new FakeAdapter()
        const scope = yield* Scope.make()
        const pool = yield* Scope.provide(
          Pool.make(fake, { startup: "lazy", shutdownTimeout: "1 second", controlTimeout: "3 seconds" }),
          scope
        )
        fake.onCancel = silent
        yield* hold(pool)
        const shutdown = yield* fork(pool.shutdown)
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual((yield* Fiber.join(shutdown)).cut.length, 1)
      }))
  }

  it.effect("an adapter with a longer limit of its own: the pool waits twice as long", () =>
    Effect.gen(function*() {
      const fake = Object.assign(new FakeAdapter(), { controlTimeout: 30_000 })
      const { pool } = yield* setUp({ max: 1 }, fake)
      yield* open(pool, 1)
      fake.onPing = never
      yield* TestClock.adjust("2 seconds")
      yield* fork(pool.use(select))
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* pool.stats).validating, 1)
    }))
})

describe("Pool: a deadline belongs to the state that it was set for", () => {
  it.effect("drain, then resume: nobody is cut off, neither those before nor those after", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      const before = yield* hold(pool)
      const drain = yield* fork(pool.drain({ timeout: "1 second" }))
      yield* TestClock.adjust("200 millis")
      yield* pool.resume
      // It is called off, and says so at once.
      assert.deepStrictEqual((yield* Fiber.join(drain)).cut, [])
      const after = yield* hold(pool)
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(before.fiber.pollUnsafe())
      assert.isUndefined(after.fiber.pollUnsafe())
      assert.strictEqual(fake.open.length, 2)
      assert.strictEqual(fake.connections[0]!.cancels, 0)
    }))

  it.effect("drain that was interrupted, then resume: nobody is cut off", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      const holder = yield* hold(pool)
      yield* Fiber.interrupt(yield* fork(pool.drain({ timeout: "1 second" })))
      yield* pool.resume
      yield* TestClock.adjust("1 minute")
      assert.isUndefined(holder.fiber.pollUnsafe())
      assert.strictEqual(fake.open.length, 1)
    }))

  it.effect("drain, resume, drain: the second deadline counts, not the first", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      const holder = yield* hold(pool)
      yield* fork(pool.drain({ timeout: "1 second" }))
      yield* pool.resume
      const second = yield* fork(pool.drain({ timeout: "10 seconds" }))
      yield* TestClock.adjust("9 seconds")
      assert.isUndefined(holder.fiber.pollUnsafe())
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* Fiber.join(second)).cut.length, 1)
    }))

  it.effect("two drains: both end when the pool is empty", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      const holder = yield* hold(pool)
      const drains = [yield* fork(pool.drain({ timeout: "5 seconds" })), yield* fork(pool.drain({ timeout: "1 hour" }))]
      yield* TestClock.adjust("1 second")
      yield* holder.release
      for (const drain of drains) assert.deepStrictEqual((yield* Fiber.join(drain)).cut, [])
    }))

  it.effect("drain, then shutdown: the deadline of the shutdown counts, and both end", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ shutdownTimeout: "10 seconds" })
      const holder = yield* hold(pool)
      const drain = yield* fork(pool.drain({ timeout: "1 second" }))
      const shutdown = yield* fork(pool.shutdown)
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(holder.fiber.pollUnsafe())
      yield* holder.release
      assert.deepStrictEqual((yield* Fiber.join(shutdown)).cut, [])
      assert.deepStrictEqual((yield* Fiber.join(drain)).cut, [])
    }))

  it.effect("shutdown, then drain: at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ shutdownTimeout: "1 hour" })
      yield* open(pool, 2)
      yield* pool.shutdown
      yield* pool.drain()
    }))

  it.effect("attempts that a drain ends: no outage, no pause after resume", () =>
    Effect.gen(function*() {
      const { events, fake, pool } = yield* setUp({ acquireTimeout: "1 minute" })
      fake.onConnect = () => Effect.sleep("200 millis")
      const waiter = yield* fork(pool.use(select))
      yield* TestClock.adjust("50 millis")
      yield* pool.drain()
      assert.strictEqual(fake.interrupted, 1)
      yield* pool.resume
      yield* TestClock.adjust("201 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
      const stats = yield* pool.stats
      assert.strictEqual(stats.connectFailures, 0)
      assert.strictEqual(stats.outageMillis, 0)
      assert.deepStrictEqual(
        events.filter((event) => event._tag === "ConnectFailed").map((event) => event.reason),
        ["Interrupted"]
      )
    }))

  it.effect("clear, immediate: attempts to connect are ended and begun anew", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      fake.onConnect = (attempt) => attempt === 1 ? Effect.never : Effect.void
      const waiter = yield* fork(pool.use(select))
      yield* TestClock.adjust(1)
      yield* pool.clear({ mode: "immediate" })
      yield* TestClock.adjust(1)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
      assert.strictEqual(fake.interrupted, 1)
      assert.strictEqual(fake.attempts.length, 2)
    }))
})

describe("Pool: health recovers by itself", () => {
  for (const [what, fail] of [["cannot be reached", refused], ["refuses for good", wrongPassword]] as const) {
    it.effect(`a server that ${what} and comes back, without a caller: healthy again`, () =>
      Effect.gen(function*() {
        const { fake, pool } = yield* setUp({ acquireTimeout: "1 second" })
        fake.onConnect = () => Effect.fail(fail)
        const failed = yield* fork(pool.use(select))
        yield* TestClock.adjust("2 seconds")
        assert.isTrue(Exit.isFailure(yield* Fiber.await(failed)))
        assert.strictEqual((yield* pool.health)._tag, "Critical")
        yield* TestClock.adjust("5 minutes")
        const attempts = fake.attempts.length
        assert.isAbove(attempts, 3)
        // Calm: at most one attempt in a second or so, on average.
        assert.isBelow(attempts, 300)
        assert.strictEqual(fake.peakConnecting, 1)
        fake.onConnect = () => Effect.void
        yield* TestClock.adjust("2 minutes")
        const health = yield* pool.health
        assert.isFalse(health.reasons.some((reason) => reason._tag === "Unreachable"), Health.describe(health))
        assert.notStrictEqual(Health.combine([health])._tag, "Critical")
        yield* TestClock.adjust("2 minutes")
        assert.strictEqual((yield* pool.health)._tag, "Healthy")
      }))
  }

  it.effect("a suspended pool asks nobody", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ acquireTimeout: "1 second" })
      fake.onConnect = () => Effect.fail(refused)
      yield* fork(pool.use(select))
      yield* TestClock.adjust("2 seconds")
      yield* pool.suspend()
      const attempts = fake.attempts.length
      yield* TestClock.adjust("5 minutes")
      assert.isAtMost(fake.attempts.length, attempts + 1)
    }))
})

describe("Pool: callers that hold connections", () => {
  const within = (pool: Pool.Pool, lane: string | undefined) => {
    const nested = pool.use(() => pool.use(select))
    return lane === undefined ? nested : Pool.withLane(nested, lane)
  }
  for (
    const [what, options, lane] of [
      ["the whole pool", { max: 1 }, undefined],
      ["a lane", { max: 4, lanes: { report: { max: 0.25 } } }, "report"],
      ["what is not kept for a lane", { max: 2, lanes: { login: { guaranteed: 0.5 } } }, undefined]
    ] as ReadonlyArray<readonly [string, Pool.Options, string | undefined]>
  ) {
    it.effect(`${what} is used up by them: they fail at once, and it is counted`, () =>
      Effect.gen(function*() {
        const { events, pool } = yield* setUp({ acquireTimeout: "3 seconds", ...options })
        const fiber = yield* fork(within(pool, lane))
        yield* TestClock.adjust(1)
        assert.strictEqual(reasonOf(yield* Fiber.await(fiber)), "NestedAcquire")
        const stats = yield* pool.stats
        assert.strictEqual(stats.failed.NestedAcquire, 1)
        assert.strictEqual(stats.recent.failed, 1)
        assert.include(
          events.filter((event) => event._tag === "AcquireFailed").map((event) => event.reason),
          "NestedAcquire"
        )
      }))
  }

  it.effect("the adaptive limit is reached by them: they are served, because they have to finish first", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 10, adaptive: true, pipelineDepth: 1 })
      const fibers = yield* Effect.forEach(
        [1, 2, 3, 4, 5, 6],
        () => fork(pool.use(() => Effect.andThen(Effect.sleep("10 millis"), pool.use(select))))
      )
      yield* TestClock.adjust("1 second")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
    }))

  it.effect("a server with no room for a second one: they fail, although `max` is higher", () =>
    Effect.gen(function*() {
      const fake = Object.assign(new FakeAdapter(), { ruleOf: () => ({ about: "x", scope: "Connect", full: true }) })
      fake.onConnect = (attempt) => attempt === 1 ? Effect.void : Effect.fail(refused)
      const { pool } = yield* setUp({ max: 4, acquireTimeout: "5 seconds" }, fake as never)
      const fiber = yield* fork(within(pool, undefined))
      yield* TestClock.adjust(1)
      assert.strictEqual(reasonOf(yield* Fiber.await(fiber)), "NestedAcquire")
    }))
})

describe("Pool: reserve", () => {
  it.effect("a failure: leaves nothing behind in the scope", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, acquireTimeout: "10 millis" })
      yield* hold(pool)
      const scope = yield* Scope.make()
      const fiber = yield* fork(Effect.exit(Scope.provide(pool.reserve, scope)).pipe(Effect.repeat({ times: 50 })))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(fiber)
      const state = scope.state as { readonly finalizers?: { readonly size: number } }
      assert.strictEqual(state.finalizers?.size ?? 0, 0)
    }))

  it.effect("a connection that is reclaimed: the fiber that reserved it goes on with its other work", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ reclaimAfter: "1 second" })
      const fiber = yield* fork(Effect.scoped(Effect.gen(function*() {
        const connection = yield* pool.reserve
        yield* Effect.sleep("5 seconds")
        return yield* Effect.exit(connection.execute("select 1", [], undefined))
      })))
      yield* TestClock.adjust("6 seconds")
      const exit = yield* Fiber.join(fiber)
      assert.isTrue(Exit.isFailure(exit))
      assert.isTrue(fake.connections[0]!.isClosed)
      assert.strictEqual((yield* pool.stats).closed.Reclaimed, 1)
    }))
})

describe("Pool: while it is suspended", () => {
  it.effect("a caller whose time is over fails with Suspended, not as if the database were slow", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ acquireTimeout: "1 second" })
      yield* open(pool, 1)
      yield* pool.suspend({ mode: "hold" })
      const exit = yield* fork(pool.use(select))
      yield* TestClock.adjust("2 seconds")
      const ended = yield* Fiber.await(exit)
      assert.strictEqual(reasonOf(ended), "Suspended")
      assert.strictEqual((yield* pool.stats).failed.Suspended, 1)
    }))
})

describe("Pool: a process that stands still", () => {
  const block = (millis: number) =>
    Effect.sync(() => {
      const end = performance.now() + millis
      while (performance.now() < end);
    })

  for (const factor of [2, 5]) {
    it.live(`callers that wait during a stall of ${factor} × their limit: all are served`, () =>
      Effect.gen(function*() {
        const { events, fake, pool } = yield* setUp({ max: 2, acquireTimeout: "300 millis" })
        const done = yield* Deferred.make<void>()
        const holders = yield* Effect.forEach([1, 2], () => fork(pool.use(() => Deferred.await(done))))
        while (fake.open.length < 2) yield* Effect.sleep(5)
        const waiters = yield* Effect.forEach(
          Array.from({ length: 10 }),
          () => fork(pool.use(() => Effect.sleep(5)))
        )
        yield* Effect.sleep(20)
        yield* block(300 * factor)
        yield* Deferred.succeed(done, undefined)
        for (const fiber of [...holders, ...waiters]) {
          const exit = yield* Fiber.await(fiber)
          assert.isTrue(Exit.isSuccess(exit), reasonOf(exit))
        }
        const stalls = events.filter((event) => event._tag === "ProcessStalled")
        assert.isAtLeast(stalls.reduce((sum, { millis }) => sum + millis, 0), 300 * factor - 150)
      }).pipe(Effect.scoped))
  }

  it.live("a caller that holds a connection during a stall of 2 × reclaimAfter: it keeps it", () =>
    Effect.gen(function*() {
      const { events, fake, pool } = yield* setUp({ max: 1, leakThreshold: "900 millis", reclaimAfter: "1 second" })
      const holder = yield* fork(pool.use(() => Effect.sleep(20)))
      while (fake.open.length < 1) yield* Effect.sleep(1)
      yield* block(2_000)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(holder)))
      assert.strictEqual((yield* pool.stats).closed.Reclaimed, 0)
      assert.isFalse(events.some(({ _tag }) => _tag === "LeakSuspected"))
    }).pipe(Effect.scoped))

  it.live("a caller that gets none all the same: its error says how long the process stood still", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, acquireTimeout: "200 millis" })
      yield* fork(pool.use(() => Effect.never))
      while (fake.open.length < 1) yield* Effect.sleep(5)
      const waiter = yield* fork(Effect.flip(pool.use(select)))
      yield* block(600)
      const error = yield* Fiber.join(waiter)
      const reason = PoolError.fromSqlError(error as never)!.reason
      assert.strictEqual(reason._tag, "AcquireTimeout")
      if (reason._tag !== "AcquireTimeout") return
      assert.isAbove(reason.stalledMillis ?? 0, 400)
      assert.isAtLeast(reason.waitedMillis, 750)
      assert.match(reason.message, /of which this process stood still for 0\.\d s/)
    }).pipe(Effect.scoped))
})
