import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Pool from "../../../src/pool/Pool.ts"
import type { PoolEvent } from "../../../src/pool/state/PoolEvent.ts"
import { FakeAdapter, refused } from "../../../src/testing/FakeAdapter.ts"
import { seed } from "../../support/seed.ts"
import { fork, setUp } from "../support.ts"

/** Uses a connection for a while. */
const use = (pool: Pool.Pool, millis: number) => fork(Effect.exit(pool.use(() => Effect.sleep(millis))))

/** What a pool tells from now on. */
const listen = Effect.fnUntraced(function*(pool: Pool.Pool) {
  const events: Array<PoolEvent> = []
  const fiber = yield* fork(Stream.runForEach(pool.events, (event) => Effect.sync(() => events.push(event))))
  yield* TestClock.adjust(0)
  return { events, fiber }
})

const tags = (events: ReadonlyArray<PoolEvent>) =>
  events.map((event) => "reason" in event ? `${event._tag} ${event.reason}` : event._tag)

/** The messages that were logged, with their levels. */
const logged = <A, E, R>(effect: (messages: Array<string>) => Effect.Effect<A, E, R>) => {
  const messages: Array<string> = []
  return effect(messages).pipe(
    Effect.provide(Logger.layer([
      Logger.make(({ logLevel, message }) => {
        messages.push(`${logLevel} ${Array.isArray(message) ? message[0] : message}`)
      })
    ])),
    Effect.provideService(References.MinimumLogLevel, "Debug")
  )
}

describe("Statistics", () => {
  it.effect("tell how long callers waited, used and opened connections, always and recently", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      fake.onConnect = () => Effect.sleep(40)
      yield* use(pool, 100)
      yield* use(pool, 20)
      yield* TestClock.adjust(200)
      const { create, query, use: held, wait } = yield* pool.stats
      const near = (actual: number, expected: number) =>
        assert.isBelow(Math.abs(actual - expected), 0.06 * expected + 0.001)
      assert.strictEqual(create.life.count, 1)
      assert.strictEqual(create.life.max, 40)
      assert.strictEqual(wait.life.count, 2)
      assert.strictEqual(wait.life.max, 140)
      near(wait.life.p50, 40)
      near(wait.life.p95, 140)
      assert.strictEqual(wait.life.average, 90)
      assert.strictEqual(held.life.sum, 120)
      near(held.life.p99, 100)
      assert.deepStrictEqual(held.recent, held.life)
      assert.strictEqual(query.life.count, 0)
      yield* TestClock.adjust("10 minutes")
      yield* use(pool, 5)
      yield* TestClock.adjust("1 second")
      const later = yield* pool.stats
      assert.strictEqual(later.use.life.count, 3)
      assert.strictEqual(later.use.life.max, 100)
      assert.strictEqual(later.use.recent.count, 1)
      assert.strictEqual(later.use.recent.max, 5)
      assert.strictEqual(later.recent.checkouts, 1)
    }))

  it.effect("time statements without the wait for a connection", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, pipelineDepth: 1 })
      const statement = pool.share(undefined, (connection) => connection.execute("sleep 30", [], undefined))
      yield* fork(statement)
      yield* fork(statement)
      yield* TestClock.adjust(100)
      yield* fork(pool.use((connection) => connection.execute("sleep 30", [], undefined)))
      yield* TestClock.adjust(100)
      const { query, wait } = yield* pool.stats
      assert.strictEqual(query.life.count, 3)
      assert.strictEqual(query.life.max, 30)
      assert.strictEqual(wait.life.max, 30)
    }))

  it.effect("add up at each event, whatever happens", () =>
    Effect.gen(function*() {
      const random = seed(4711)
      const { fake, pool } = yield* setUp({
        max: 4,
        acquireTimeout: 50,
        maxWaiting: 6,
        idleTimeout: 200,
        lifetime: 400,
        validateAfter: 20
      })
      fake.onConnect = () =>
        random.next() < 0.2
          ? Effect.andThen(Effect.sleep(5), Effect.fail(refused))
          : Effect.sleep(10)
      fake.onPing = () => random.next() < 0.1 ? Effect.fail(refused) : Effect.void
      const { events } = yield* listen(pool)
      let asked = 0
      let interrupted = 0
      const fibers: Array<Fiber.Fiber<unknown, unknown>> = []
      for (let i = 0; i < 400; i++) {
        const dice = random.next()
        if (dice < 0.6) {
          asked++
          fibers.push(yield* use(pool, Math.floor(random.next() * 60)))
        } else if (dice < 0.7) {
          const fiber = fibers[Math.floor(random.next() * fibers.length)]
          if (fiber !== undefined) yield* Fiber.interrupt(fiber)
        } else if (dice < 0.75) {
          fake.open[0]?.lose()
        }
        yield* TestClock.adjust(Math.floor(random.next() * 25))
        const stats = yield* pool.stats
        const count = (tag: PoolEvent["_tag"]) => events.filter(({ _tag }) => _tag === tag).length
        const closed = Object.values(stats.closed).reduce((a, b) => a + b, 0)
        const failed = Object.values(stats.failed).reduce((a, b) => a + b, 0)
        const message = `seed ${random.value}`
        assert.strictEqual(count("Created"), stats.created, message)
        assert.strictEqual(count("Closed"), closed, message)
        assert.strictEqual(count("ConnectFailed"), stats.connectFailures, message)
        assert.strictEqual(count("AcquireFailed"), failed, message)
        assert.isAtMost(stats.idle + stats.used + stats.connecting, stats.total, message)
        assert.isAtMost(stats.total, 4, message)
        // What was opened is open or was closed; whoever got a connection has it, or gave it back, or has lost it.
        assert.strictEqual(stats.created - closed, fake.open.length, message)
        assert.isAtLeast(stats.checkouts - stats.checkins, stats.used, message)
        assert.isAtMost(stats.checkouts - stats.checkins - stats.used, stats.closed.Lost, message)
        interrupted = asked - stats.checkouts - failed - stats.waiting
        assert.isAtLeast(interrupted, 0, message)
      }
      yield* TestClock.adjust("1 minute")
      const stats = yield* pool.stats
      assert.strictEqual(stats.checkouts, stats.checkins)
      assert.strictEqual(stats.waiting, 0)
      assert.strictEqual(stats.used, 0)
    }))

  it.effect("tell since when nobody was served, but not that somebody waits whose turn will come", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1, acquireTimeout: "10 seconds" })
      // A queue that is never empty, and moves.
      for (let i = 0; i < 20; i++) yield* use(pool, 1000)
      yield* TestClock.adjust(5_500)
      assert.isAtMost((yield* pool.stats).exhaustedMillis, 1000)
      yield* TestClock.adjust("60 seconds")
      assert.strictEqual((yield* pool.stats).exhaustedMillis, 0)
      // Nobody gives anything back, and callers come one after the other.
      yield* use(pool, 100_000)
      yield* TestClock.adjust(100)
      for (let i = 0; i < 3; i++) {
        yield* use(pool, 0)
        yield* TestClock.adjust("10 seconds")
      }
      yield* use(pool, 0)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* pool.stats).exhaustedMillis, 31_000)
    }))
})

describe("Events", () => {
  it.effect("tell in order what became of the connections, and why", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1, acquireTimeout: 100, idleTimeout: "1 minute" })
      const { events } = yield* listen(pool)
      fake.onConnect = () => Effect.fail(refused)
      yield* use(pool, 10)
      yield* TestClock.adjust("1 second")
      // How often it was tried is left to chance.
      assert.deepStrictEqual(Array.from(new Set(tags(events))), [
        "ConnectFailed Unreachable",
        "AcquireFailed AcquireTimeout"
      ])
      events.length = 0
      fake.onConnect = () => Effect.sleep(5)
      yield* TestClock.adjust("1 minute")
      yield* use(pool, 10)
      yield* TestClock.adjust("1 second")
      fake.open[0]!.lose()
      yield* use(pool, 10)
      yield* TestClock.adjust("70 seconds")
      assert.deepStrictEqual(tags(events), ["Created", "Closed Lost", "Created", "Closed IdleTimeout"])
      assert.strictEqual(events[0]!._tag === "Created" ? events[0].millis : NaN, 5)
    }))

  it.effect("tell of commands, and end when the pool is gone", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const { pool } = yield* Scope.provide(setUp({ max: 2 }), scope)
      const { events, fiber } = yield* listen(pool)
      yield* use(pool, 100_000)
      yield* pool.suspend()
      yield* pool.resume
      yield* pool.resize({ max: 3 })
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.deepStrictEqual(tags(events), [
        "Created",
        "Suspended",
        "Resumed",
        "Resized",
        "ShutdownStarted",
        "CutOff",
        "Closed Shutdown",
        "Drained"
      ])
      assert.deepStrictEqual(yield* Stream.runCollect(pool.events), [])
    }))

  it.effect("reach everybody who listens, from then on", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      const first = yield* listen(pool)
      yield* use(pool, 1)
      yield* TestClock.adjust(1)
      const second = yield* listen(pool)
      yield* pool.suspend()
      yield* TestClock.adjust(1)
      assert.deepStrictEqual(tags(first.events), ["Created", "Suspended"])
      assert.deepStrictEqual(tags(second.events), ["Suspended"])
    }))
})

describe("Logs", () => {
  it.effect("tell once that the database cannot be reached, and once that it can again", () =>
    logged((messages) =>
      Effect.gen(function*() {
        let down = true
        const { fake, pool } = yield* setUp({ startup: "verify", max: 5 }, failing(() => down))
        for (let i = 0; i < 50; i++) yield* use(pool, 1)
        yield* TestClock.adjust("1 minute")
        assert.isAbove(fake.attempts.length, 5)
        down = false
        yield* use(pool, 1)
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(messages.length, 2, messages.join("\n"))
        assert.strictEqual(
          messages[0],
          "Warn fake://db cannot be reached, and is tried again while callers wait for up to `acquireTimeout`: refused"
        )
        assert.match(messages[1]!, /^Info fake:\/\/db can be reached again, after \d+ s$/)
      })
    ))

  it.effect("say nothing about checkouts, and nothing about callers who got none", () =>
    logged((messages) =>
      Effect.gen(function*() {
        const { pool } = yield* setUp({ max: 1, acquireTimeout: 10, maxWaiting: 2 })
        for (let i = 0; i < 50; i++) yield* use(pool, 20)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(messages, [])
        assert.isAbove((yield* pool.stats).failed.QueueFull, 0)
      })
    ))

  it.effect("tell of a connection that is held for too long, and by whom", () =>
    logged((messages) =>
      Effect.gen(function*() {
        const { pool } = yield* setUp({ leakThreshold: "1 second" })
        const holder = yield* use(pool, 5_000)
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual((yield* pool.stats).leaks.current, 1)
        yield* TestClock.adjust("4 seconds")
        yield* Fiber.join(holder)
        assert.deepStrictEqual((yield* pool.stats).leaks, { suspected: 1, returned: 1, reclaimed: 0, current: 0 })
        assert.deepStrictEqual(messages, [
          "Warn The pool of fake://db has lent a connection for 1.0 s: is it held for too long?",
          "Info The pool of fake://db got a connection back that was held for 5.0 s"
        ])
      })
    ))

  it.effect("tell who was cut off, at the end of the pool and when it is drained", () =>
    logged((messages) =>
      Effect.gen(function*() {
        const scope = yield* Scope.make()
        const { pool } = yield* Scope.provide(setUp(), scope)
        yield* use(pool, 100_000)
        yield* pool.drain({ timeout: 0 })
        yield* pool.resume
        yield* use(pool, 100_000)
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual(messages.filter((message) => message.startsWith("Warn")), [
          "Warn The pool of fake://db has cut off 1 of its borrowers, who had not finished in time",
          "Warn The pool of fake://db has cut off 1 of its borrowers, who had not finished in time"
        ])
      })
    ))
})

const failing = (down: () => boolean): FakeAdapter => {
  const fake = new FakeAdapter()
  fake.onConnect = () => Effect.suspend(() => down() ? Effect.fail(refused) : Effect.void)
  return fake
}
