import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as TestClock from "effect/testing/TestClock"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"
import { fork, listen, sleep } from "./support.ts"

const setUp = Effect.fnUntraced(function*(options: Pool.Options) {
  const fake = new FakeAdapter()
  fake.onConnect = () => Effect.sleep("500 millis")
  const pool = yield* Pool.make(fake, {
    startup: "lazy",
    shutdownTimeout: 0,
    max: 20,
    idleTimeout: "1 day",
    lifetime: "1 day",
    ...options
  })
  const events = yield* listen(pool)
  return { fake, pool, scaled: () => events.splice(0).filter(({ _tag }) => _tag.startsWith("Scaled")) }
})

/** Uses a connection half of the time. */
const worker = (pool: Pool.Pool) => fork(Effect.repeat(pool.use(sleep(50)), Schedule.spaced("50 millis")))

describe("A pool that scales", () => {
  /** How many waited for a connection while a worker came every two seconds, each of which opening one takes a half. */
  const ramp = Effect.fnUntraced(function*(scaling: Pool.Options["scaling"]) {
    const { pool, scaled } = yield* setUp({ scaling })
    for (let i = 0; i < 12; i++) {
      yield* worker(pool)
      // Not in step with the others.
      yield* TestClock.adjust("1970 millis")
    }
    return { waited: (yield* pool.stats).waited, events: scaled() }
  })

  it.effect("has opened its connections before anybody has to wait for them", () =>
    Effect.gen(function*() {
      const { events, waited } = yield* ramp(undefined)
      assert.isAbove(events.length, 3)
      for (const event of events) {
        assert.strictEqual(event._tag, "ScaledUp")
        if (event._tag === "ScaledUp") assert.isAbove(event.to, event.from)
      }
      // The first, for whom nothing could be known, and hardly one more.
      const naive = yield* ramp(false)
      assert.isAbove(naive.waited, 20)
      assert.isAtMost(waited, naive.waited / 5)
    }))

  /** How many connections are left after a burst in calm times, and after a lull. */
  const burst = Effect.fnUntraced(function*(options: Pool.Options) {
    const { fake, pool, scaled } = yield* setUp(options)
    const workers = [yield* worker(pool), yield* worker(pool), yield* worker(pool)]
    yield* TestClock.adjust("35 seconds")
    const calm = fake.open.length
    const all = yield* Effect.forEach(Array.from({ length: 20 }), () => fork(pool.use(sleep(2_000))))
    yield* TestClock.adjust("5 seconds")
    for (const fiber of all) yield* Fiber.join(fiber)
    assert.strictEqual(fake.peak, 20)
    scaled()
    yield* TestClock.adjust("8 seconds")
    const after = fake.open.length
    const events = scaled()
    for (const fiber of workers) yield* Fiber.interrupt(fiber)
    yield* fork(Effect.repeat(pool.use(sleep(1)), Schedule.spaced("500 millis")))
    yield* TestClock.adjust("10 seconds")
    return { calm, after, events, lull: fake.open.length }
  })

  it.effect("closes after a burst what the median of recent need does not justify, and keeps that through a lull", () =>
    Effect.gen(function*() {
      const window = { window: "1 minute" } as const
      const { after, calm, events, lull } = yield* burst({ scaling: window })
      assert.isAbove(calm, 2)
      assert.strictEqual(after, calm)
      let size = 20
      for (const event of events) {
        assert.deepInclude(event, { _tag: "ScaledDown", from: size, reason: "Unneeded" })
        if (event._tag === "ScaledDown") size = event.to
      }
      assert.strictEqual(size, calm)
      assert.strictEqual(lull, calm)
      // A pool that does not scale keeps all, and one that goes by the last moment loses what is needed soon again.
      assert.strictEqual((yield* burst({ scaling: false })).after, 20)
      assert.isBelow((yield* burst({ scaling: { window: "1 second" } })).lull, calm)
    }))

  it.effect("opens nothing ahead for those who come seldom, however long they stay", () =>
    Effect.gen(function*() {
      const { fake, pool, scaled } = yield* setUp({})
      for (let i = 0; i < 3; i++) yield* fork(pool.use(sleep(60_000)))
      yield* TestClock.adjust("50 seconds")
      assert.strictEqual(fake.open.length, 3)
      assert.deepStrictEqual(scaled(), [])
    }))
})
