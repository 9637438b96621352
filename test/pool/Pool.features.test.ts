import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import type * as Pool from "../../src/pool/Pool.ts"
import type * as PoolError from "../../src/pool/PoolError.ts"
import { FakeAdapter, wrongPassword } from "../../src/testing/FakeAdapter.ts"
import { fork, hold, listen, reasonOf, select, setUp as make, sleep } from "./support.ts"

/** A pool over a fake database, and what it tells about itself. */
const setUp = Effect.fnUntraced(function*(options: Pool.Options = {}, fake: FakeAdapter = new FakeAdapter()) {
  const { pool } = yield* make(options, fake)
  const events = yield* listen(pool)
  return { fake, pool, events: (tag: Pool.PoolEvent["_tag"]) => events.filter((event) => event._tag === tag) }
})

/** Opens that many connections, which are idle then. */
const open = (pool: Pool.Pool, count: number) =>
  Effect.gen(function*() {
    const holders = yield* Effect.forEach(Array.from({ length: count }), () => hold(pool))
    yield* TestClock.adjust(1)
    for (const holder of holders) yield* holder.release
    // The state takes an answer at the same moment for a sign of life.
    yield* TestClock.adjust(1)
  })

const full = Effect.fail(
  new SqlError({ reason: new ConnectionError({ cause: { code: "53300" }, message: "too many", operation: "connect" }) })
)

describe("Pool: when a connection dies of the network", () => {
  it.effect("those beside it are pinged before they are lent again, and dead ones reach nobody", () =>
    Effect.gen(function*() {
      const { events, fake, pool } = yield* setUp()
      yield* open(pool, 4)
      fake.onPing = (connection) => connection.id === "2" ? Effect.sync(() => connection.lose()) : Effect.void
      fake.connections[0]!.lose()
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(fake.connections.map((connection) => connection.pings), [0, 1, 1, 1])
      assert.deepStrictEqual(fake.open.map((connection) => connection.id), ["3", "4"])
      assert.strictEqual((yield* pool.stats).closed.Lost, 2)
      // The second death was found by a ping, and nobody was left to be suspected who had not answered since.
      assert.strictEqual(events("Suspected").length, 1)
      yield* pool.use(select)
      assert.strictEqual(fake.connections.length, 4)
    }))

  it.effect("a caller's timeout suspects nobody", () =>
    Effect.gen(function*() {
      const { events, fake, pool } = yield* setUp()
      yield* open(pool, 3)
      const fiber = yield* fork(Effect.timeout(pool.use(sleep(1_000)), "10 millis"))
      yield* TestClock.adjust("100 millis")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
      yield* pool.use(select)
      assert.deepStrictEqual(fake.connections.map((connection) => connection.pings), [0, 0, 0])
      assert.strictEqual(events("Suspected").length, 0)
    }))

  it.effect("a wrong password suspects nobody", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 2 })
      yield* open(pool, 1)
      fake.onConnect = () => Effect.fail(wrongPassword)
      const holder = yield* hold(pool)
      const waiter = yield* fork(pool.use(select))
      yield* TestClock.adjust(1)
      yield* holder.release
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(waiter)))
      assert.deepStrictEqual(fake.connections.map((connection) => connection.pings), [0])
    }))
})

describe("Pool: when the server has no room for more", () => {
  it.effect("callers are served from the connections that exist, and nobody fails for it", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      Object.assign(fake, { ruleOf: () => ({ about: "no room", scope: "Connect", full: true }) })
      const { events, pool } = yield* setUp({ max: 10 }, fake)
      fake.onConnect = (attempt) => attempt > 2 ? full : Effect.void
      const fibers = yield* Effect.forEach(Array.from({ length: 20 }), () => fork(pool.use(sleep(10))))
      yield* TestClock.adjust("1 second")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual((yield* pool.stats).effectiveMax, 2)
      assert.strictEqual((yield* pool.stats).max, 10)
      assert.isAtMost(fake.attempts.length, 5)
      fake.onConnect = () => Effect.void
      yield* TestClock.adjust("2 minutes")
      assert.strictEqual((yield* pool.stats).effectiveMax, 10)
      assert.strictEqual(events("OverloadRaised").length, 8)
    }))
})

describe("Pool.clear", () => {
  it.effect("replaces connections as they come back, and disturbs nobody", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 3 })
      yield* open(pool, 2)
      const holder = yield* hold(pool)
      yield* pool.clear()
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(fake.open.map((connection) => connection.id), ["2"])
      assert.isTrue(Exit.isSuccess(yield* holder.release))
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(fake.open, [])
      assert.strictEqual((yield* pool.stats).closed.Cleared, 2)
      assert.deepStrictEqual(yield* pool.use((connection) => Effect.succeed(connection.id)), "3")
    }))

  it.effect("cuts borrowers off if it is to be immediate", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const borrower = yield* fork(pool.use(sleep(1_000)))
      const waiter = yield* fork(pool.use((connection) => Effect.succeed(connection.id)))
      yield* TestClock.adjust(1)
      yield* pool.clear({ mode: "immediate" })
      assert.isTrue(Exit.isFailure(yield* Fiber.await(borrower)))
      yield* TestClock.adjust(1)
      assert.strictEqual(yield* Fiber.join(waiter), "2")
    }))
})

describe("Pool.suspend", () => {
  it.effect("holds callers until the pool is resumed", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      yield* open(pool, 1)
      yield* pool.suspend()
      const order: Array<number> = []
      const fibers = yield* Effect.forEach(
        [1, 2, 3],
        (n) => fork(pool.use(() => Effect.sync(() => order.push(n))))
      )
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(order, [])
      yield* pool.resume
      for (const fiber of fibers) yield* Fiber.join(fiber)
      assert.deepStrictEqual(order, [1, 2, 3])
    }))

  it.effect("rejects callers if it is to", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      yield* pool.suspend({ mode: "reject" })
      assert.strictEqual(reasonOf(yield* Effect.exit(pool.use(select)))._tag, "Suspended")
      yield* pool.resume
      yield* pool.use(select)
      assert.strictEqual((yield* pool.stats).failed.Suspended, 1)
    }))
})

describe("Pool.drain", () => {
  it.effect("lets borrowers finish, closes everything, and holds callers until the pool is resumed", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ min: 1 })
      yield* open(pool, 2)
      const borrower = yield* fork(pool.use(sleep(100)))
      const drain = yield* fork(pool.drain({ timeout: "1 second" }))
      const caller = yield* fork(pool.use((connection) => Effect.succeed(connection.id)))
      yield* TestClock.adjust("100 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(borrower)))
      assert.deepStrictEqual((yield* Fiber.join(drain)).cut, [])
      assert.deepStrictEqual(fake.open, [])
      yield* pool.resume
      assert.strictEqual(yield* Fiber.join(caller), "3")
    }))

  it.effect("cuts off whoever has not finished in time, and says who", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      const borrower = yield* fork(Effect.withSpan(pool.use(sleep(60_000)), "report"))
      yield* TestClock.adjust(1)
      const drain = yield* fork(pool.drain({ timeout: "1 second" }))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* Fiber.join(drain)).cut.map((holder) => holder.span), ["report"])
      assert.isTrue(Exit.isFailure(yield* Fiber.await(borrower)))
      assert.deepStrictEqual(fake.open, [])
      assert.strictEqual((yield* pool.stats).total, 0)
      yield* pool.resume
      yield* pool.use(select)
    }))
})

describe("Pool.resize", () => {
  it.effect("serves those who wait from more connections, and shrinks as connections come back", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const holders = yield* Effect.forEach([1, 2, 3], () => hold(pool))
      yield* TestClock.adjust(1)
      assert.strictEqual(fake.open.length, 1)
      yield* pool.resize({ max: 3 })
      yield* TestClock.adjust(1)
      assert.strictEqual(fake.open.length, 3)
      yield* pool.resize({ max: 2 })
      yield* TestClock.adjust(1)
      assert.strictEqual(fake.open.length, 3)
      for (const holder of holders) yield* holder.release
      yield* TestClock.adjust(1)
      assert.strictEqual(fake.open.length, 2)
      assert.strictEqual((yield* pool.stats).closed.Resized, 1)
    }))

  it.effect("fails with what cannot work", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 5 })
      const error = yield* Effect.flip(pool.resize({ min: 6 }))
      assert.strictEqual(error.option, "min")
      assert.strictEqual((yield* Effect.flip(pool.resize({ max: 0 }))).option, "max")
    }))
})

describe("Pool: a connection that is held for too long", () => {
  it.effect("is reported once with its borrower, in every timeout, and when it comes back", () =>
    Effect.gen(function*() {
      const logged: Array<string> = []
      const logger = Logger.make((options) => {
        logged.push(String(options.message))
      })
      yield* Effect.gen(function*() {
        const { events, pool } = yield* setUp({
          max: 1,
          leakThreshold: "2 seconds",
          acquireTimeout: "5 seconds",
          captureLocation: true
        })
        const holder = yield* hold(pool, "forgotten")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(events("LeakSuspected").length, 1)
        const waiter = yield* fork(Effect.exit(pool.use(select)))
        yield* TestClock.adjust("5 seconds")
        const reason = reasonOf(yield* Fiber.join(waiter)) as PoolError.AcquireTimeout
        assert.strictEqual(reason._tag, "AcquireTimeout")
        assert.strictEqual(reason.holders[0]!.span, "forgotten")
        assert.isTrue(reason.holders[0]!.isLeakSuspected)
        assert.match(reason.holders[0]!.location ?? "", /pool\/support\.ts/)
        assert.match(reason.message, /1 held for so long that a leak is suspected/)
        yield* holder.release
        yield* TestClock.adjust(1)
        assert.deepStrictEqual(events("LeakReturned"), [{ _tag: "LeakReturned", connection: 1, millis: 15_000 }])
        const { leaks } = yield* pool.stats
        assert.deepStrictEqual([leaks.suspected, leaks.returned], [1, 1])
      }).pipe(Effect.provide(Logger.layer([logger])))
      assert.isTrue(logged.some((line) => /held for too long/.test(line)), logged.join("\n"))
    }))

  it.effect("is taken away if that is asked for: its holder is interrupted, and the next one is served", () =>
    Effect.gen(function*() {
      const { events, fake, pool } = yield* setUp({ max: 1, reclaimAfter: "3 seconds" })
      const holder = yield* hold(pool)
      const waiter = yield* fork(pool.use((connection) => Effect.succeed(connection.id)))
      yield* TestClock.adjust("3 seconds")
      assert.isTrue(Exit.hasInterrupts(yield* Fiber.await(holder.fiber)))
      assert.strictEqual(yield* Fiber.join(waiter), "2")
      assert.deepStrictEqual(fake.connections[0]!.end, { destroyed: "closed by the pool: Reclaimed" })
      assert.strictEqual(events("LeakReclaimed").length, 1)
    }))
})
