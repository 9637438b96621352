/** The breaker counts events, not the statements that met them, and probes without the calls of users. */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import * as Breaker from "../../src/breaker/Breaker.ts"
import type * as Evidence from "../../src/failure/Evidence.ts"
import { lostError } from "../../src/failure/lostError.ts"
import * as Outcome from "../../src/failure/Outcome.ts"
import { sick } from "./failures.ts"
import { make, tagOf, touchy } from "./support.ts"

/** The statement of a session that was open from `openedAt` to `endedAt`. */
const lost = (openedAt: number, endedAt: number, endedBy: Evidence.EndedBy = "Network"): SqlError =>
  Outcome.attach(
    lostError({
      database: "fake",
      operation: "execute",
      what: "lost",
      sent: true,
      endedBy,
      session: { openedAt, endedAt }
    }),
    "Statement",
    () => undefined
  )

describe("losses", () => {
  it.effect("sessions that were open together are lost: counts once, however many statements met it", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(2) })
      for (let session = 0; session < 100; session++) {
        breaker.failed(lost(session, 1000 + session), 1, breaker.permit)
        breaker.failed(lost(session, 1000 + session), 1, breaker.permit)
      }
      assert.isTrue(breaker.closed)
    }))

  it.effect("a session that was opened after the event is lost: counts again", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(2) })
      breaker.failed(lost(0, 1000), 1, breaker.permit)
      assert.isTrue(breaker.closed)
      breaker.failed(lost(1001, 1002), 1, breaker.permit)
      assert.isFalse(breaker.closed)
    }))

  it.effect("a session of the same age is lost long after the event: counts again", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(2) })
      breaker.failed(lost(0, 1000), 1, breaker.permit)
      breaker.failed(lost(0, 30_000), 1, breaker.permit)
      assert.isFalse(breaker.closed)
    }))

  for (const endedBy of ["Administrator", "Idle", "Client", "Limit", "Statement", "Reader"] as const) {
    it.effect(`ended by ${endedBy}: counts never`, () =>
      Effect.gen(function*() {
        const breaker = yield* make(touchy)
        for (let n = 0; n < 50; n++) breaker.failed(lost(n * 10, n * 10 + 5, endedBy), 1, breaker.permit)
        assert.isTrue(breaker.closed)
      }))
  }
})

describe("a probe of the breaker's own", () => {
  it.effect("the first call takes for ever: the circuit is closed for the others", () =>
    Effect.gen(function*() {
      let probes = 0
      const probe = Effect.sync(() => {
        probes++
      })
      const breaker = yield* make(touchy, { probe })
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* TestClock.adjust("10 seconds")
      const slow = yield* Effect.forkChild(breaker.execute(Effect.never), { startImmediately: true })
      yield* Effect.repeat(Effect.yieldNow, { until: () => breaker.closed })
      yield* breaker.execute(Effect.void)
      assert.strictEqual(probes, 1)
      yield* Fiber.interrupt(slow)
      assert.isTrue(breaker.closed)
    }))

  it.effect("while it runs: other calls are turned away, and the call that started it waits", () =>
    Effect.gen(function*() {
      const answered = Deferred.makeUnsafe<void>()
      let ran = false
      const breaker = yield* make(touchy, { probe: Deferred.await(answered) })
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* TestClock.adjust("10 seconds")
      const first = yield* Effect.forkChild(
        breaker.execute(Effect.sync(() => {
          ran = true
        })),
        { startImmediately: true }
      )
      yield* Effect.yieldNow
      assert.strictEqual(tagOf(yield* Effect.flip(breaker.execute(Effect.void))), "CircuitHalfOpen")
      assert.isFalse(ran)
      yield* Deferred.succeed(answered, undefined)
      yield* Fiber.join(first)
      assert.isTrue(ran)
      assert.isTrue(breaker.closed)
    }))

  it.effect("it fails: the call fails with that and is not run, and the circuit opens again", () =>
    Effect.gen(function*() {
      let ran = false
      const error = sick.connect()
      const breaker = yield* make(touchy, { probe: Effect.fail(error) })
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* TestClock.adjust("10 seconds")
      const call = breaker.execute(Effect.sync(() => {
        ran = true
      }))
      assert.strictEqual(yield* Effect.flip(call), error)
      assert.isFalse(ran)
      assert.strictEqual(tagOf(yield* Effect.flip(call)), "CircuitOpen")
    }))

  it.effect("its caller is interrupted: the next call probes", () =>
    Effect.gen(function*() {
      let probes = 0
      const probe = Effect.suspend(() => ++probes === 1 ? Effect.never : Effect.void)
      const breaker = yield* make(touchy, { probe })
      breaker.failed(sick.connect(), 1, breaker.permit)
      yield* TestClock.adjust("10 seconds")
      const first = yield* Effect.forkChild(breaker.execute(Effect.void), { startImmediately: true })
      yield* Effect.yieldNow
      yield* Fiber.interrupt(first)
      yield* breaker.execute(Effect.void)
      assert.strictEqual(probes, 2)
      assert.isTrue(breaker.closed)
    }))
})

describe("a clock that is set", () => {
  /** The live clock with another time of day. */
  const shifted = (millis: () => number): Clock.Clock => {
    const live = Clock.Clock.defaultValue()
    return {
      ...live,
      currentTimeMillisUnsafe: () => live.currentTimeMillisUnsafe() + millis(),
      currentTimeMillis: Effect.sync(() => live.currentTimeMillisUnsafe() + millis()),
      currentTimeNanosUnsafe: () => live.currentTimeNanosUnsafe() + BigInt(millis()) * 1_000_000n,
      monotonicTimeNanosUnsafe: () => live.monotonicTimeNanosUnsafe(),
      sleep: (duration) => live.sleep(duration)
    }
  }

  for (const hours of [-1, 1]) {
    it.live(`by ${hours} h while the circuit is open: it is open as long as it says`, () => {
      let shift = 0
      return Effect.gen(function*() {
        const breaker = yield* make({ ...touchy, openDuration: "200 millis" })
        breaker.failed(sick.connect(), 1, breaker.permit)
        shift = hours * 3_600_000
        const left = Breaker.retryAfter(yield* Effect.flip(breaker.execute(Effect.void)))!
        assert.isAtMost(Duration.toMillis(left), 200)
        assert.isAbove(Duration.toMillis(left), 0)
        yield* Effect.sleep(Duration.sum(left, Duration.millis(5)))
        yield* breaker.execute(Effect.void)
        assert.isTrue(breaker.closed)
      }).pipe(Effect.provideService(Clock.Clock, shifted(() => shift)))
    })
  }
})
