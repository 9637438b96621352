/**
 * The breaker decides as a `CircuitBreaker` that sees every call: both are driven by the same random calls on the same
 * clock, and after each event they must agree on who was admitted, who was turned away, why and until when, and on the
 * state. Breakers that forget one thing are shown to be caught.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import * as Breaker from "../../src/breaker/Breaker.ts"
import { type Seed, seed } from "../support/seed.ts"
import { healthy, sick } from "./failures.ts"

/** How one of the two treats a call. */
type Guard = <A>(self: Effect.Effect<A, SqlError>) => Effect.Effect<A, unknown>

// ---------------------------------------------------------------------------------------------------------------------
// The two, and what a database does with the breaker
// ---------------------------------------------------------------------------------------------------------------------

const now = Effect.map(Clock.monotonicTimeNanos, (nanos) => Number(nanos) / 1_000_000)

const every = (circuit: CircuitBreaker.CircuitBreaker, slowMillis: number): Guard => (self) =>
  Effect.gen(function*() {
    const startedAt = yield* now
    return yield* circuit.execute(self, {
      key: "fake",
      classify: (exit) =>
        Effect.map(now, (endedAt) => {
          const slow = endedAt - startedAt > slowMillis
          if (Exit.isSuccess(exit)) return slow ? CircuitBreaker.failure() : CircuitBreaker.success
          return Breaker.isFailure(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), slow)
            ? CircuitBreaker.failure()
            : CircuitBreaker.ignored
        })
    })
  })

/** In parts, as on the way of a statement. `Mistake` names what the naive ones leave out. */
type Mistake = "NoTouch" | "NoSuccesses" | "NoPermit" | "FailuresOnly" | "CountsEverything"

const inParts = (breaker: Breaker.Breaker, mistake?: Mistake): Guard => {
  const { now } = breaker
  return (self) =>
    Effect.suspend(() => {
      const startedAt = now()
      if (mistake !== "NoTouch") breaker.touch(startedAt)
      if (!breaker.closed) return breaker.execute(self)
      const admitted = breaker.permit
      return Effect.onExit(self, (exit) =>
        Effect.sync(() => {
          const permit = mistake === "NoPermit" ? breaker.permit : admitted
          if (Exit.isFailure(exit)) {
            const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
            breaker.failed(
              mistake === "CountsEverything" && error !== undefined ? sick.connect() : error,
              now() - startedAt,
              permit
            )
          } else if (breaker.watching && mistake !== "FailuresOnly") {
            if (mistake === "NoSuccesses" && now() - startedAt < 100) return
            breaker.succeeded(now() - startedAt, permit)
          }
        }))
    })
}

const whole = (breaker: Breaker.Breaker): Guard => (self) => breaker.execute(self)

// ---------------------------------------------------------------------------------------------------------------------
// Random calls
// ---------------------------------------------------------------------------------------------------------------------

interface Configuration {
  readonly tripPolicy: CircuitBreaker.TripPolicy
  readonly openDuration: Duration.Input | Schedule.Schedule<unknown, number>
  readonly slowCall: number | undefined
  /** How likely each way to end is, in per cent. */
  readonly sick: number
  readonly healthy: number
  readonly interrupted: number
  readonly longestStep: number
  /** How many calls are under way at once, at most. */
  readonly concurrency: number
}

const randomConfiguration = (random: Seed): Configuration => {
  const size = random.int(1, 12)
  return {
    tripPolicy: random.chance(0.4)
      ? CircuitBreaker.consecutive(random.int(1, 4))
      : CircuitBreaker.rate({ size, minimumCalls: random.int(1, size), threshold: random.pick([0, 0.2, 0.5, 0.8, 1]) }),
    openDuration: random.pick([
      100,
      1000,
      Schedule.exponential(100),
      Schedule.min([Schedule.exponential(50), Schedule.spaced(700)])
    ]),
    slowCall: random.chance(0.3) ? random.int(20, 200) : undefined,
    sick: random.int(5, 70),
    healthy: random.int(0, 20),
    interrupted: random.int(0, 15),
    longestStep: random.pick([10, 60, 400]),
    concurrency: random.pick([1, 3, 10])
  }
}

type Ending = "Success" | "Sick" | "Healthy" | "Interrupt"

type Ran =
  | { readonly _tag: "Admitted" }
  | { readonly _tag: "CircuitOpen"; readonly retryAfter: number }
  | { readonly _tag: "CircuitHalfOpen" }

interface Call {
  readonly gate: Deferred.Deferred<void, SqlError>
  readonly fibers: ReadonlyArray<Fiber.Fiber<void, unknown>>
}

const reasonOf = (error: unknown): Ran => {
  const reason = Breaker.find(error)?.reason ?? (error as CircuitBreaker.CircuitBreakerError).reason
  if (reason._tag === "CircuitOpen") return { _tag: "CircuitOpen", retryAfter: Duration.toMillis(reason.retryAfter) }
  if (reason._tag === "CircuitHalfOpen") return { _tag: "CircuitHalfOpen" }
  throw new Error(`unexpected: ${String(error)}`)
}

/** Drives both with the same calls. Returns what they first disagreed about. */
const disagreement = Effect.fnUntraced(function*(
  random: Seed,
  events: number,
  guardOf: (breaker: Breaker.Breaker) => Guard
) {
  const configuration = randomConfiguration(random)
  const { openDuration, slowCall, tripPolicy } = configuration
  const circuit = yield* Effect.provide(
    CircuitBreaker.make({ tripPolicy, openDuration }),
    CircuitBreaker.layerStoreMemory({ idleTimeToLive: Duration.infinity })
  )
  const breaker = yield* Breaker.make({ name: "fake" }, { tripPolicy, openDuration, slowCall })
  const guards = [every(circuit, slowCall ?? Infinity), guardOf(breaker)] as const

  const start = Effect.gen(function*() {
    const gate = Deferred.makeUnsafe<void, SqlError>()
    const ran: Array<Ran | undefined> = [undefined, undefined]
    const fibers: Array<Fiber.Fiber<void, unknown>> = []
    for (const [which, guard] of guards.entries()) {
      const call = Effect.suspend(() => {
        ran[which] = { _tag: "Admitted" }
        return Deferred.await(gate)
      })
      const fiber = yield* Effect.forkChild(guard(call), { startImmediately: true })
      yield* settle
      const exit = fiber.pollUnsafe()
      if (exit !== undefined && ran[which] === undefined) {
        ran[which] = reasonOf(Option.getOrUndefined(Exit.findErrorOption(exit)))
      }
      fibers.push(fiber)
    }
    return { ran, call: { gate, fibers } satisfies Call }
  })

  const end = (call: Call, ending: Ending) =>
    Effect.gen(function*() {
      if (ending === "Interrupt") {
        for (const fiber of call.fibers) yield* Fiber.interrupt(fiber)
        return
      }
      yield* Deferred.done(
        call.gate,
        ending === "Success" ? Exit.void : Exit.fail(
          ending === "Sick"
            ? random.pick([sick.connect, sick.acquireTimeout, sick.tooManyConnections, sick.lostAfterSending])()
            : random.pick([healthy.uniqueViolation, healthy.serialization, healthy.lockTimeout, healthy.leaseEnded])()
        )
      )
      yield* settle
    })

  const running: Array<Call> = []
  for (let event = 0; event < events; event++) {
    const describe = (what: string) => `event ${event}: ${what}, with ${JSON.stringify(configuration)}`
    yield* TestClock.adjust(
      random.chance(0.5) ? 0 : random.chance(0.03) ? 5000 : random.int(0, configuration.longestStep)
    )
    if (running.length === 0 || (running.length < configuration.concurrency && random.chance(0.5))) {
      const { call, ran: [expected, actual] } = yield* start
      if (JSON.stringify(expected) !== JSON.stringify(actual)) {
        return describe(`expected ${JSON.stringify(expected)}, got ${JSON.stringify(actual)}`)
      }
      if (expected?._tag === "Admitted") running.push(call)
    } else {
      const [call] = running.splice(random.int(0, running.length - 1), 1)
      const dice = random.int(0, 99)
      const { healthy, interrupted, sick } = configuration
      yield* end(
        call!,
        dice < sick
          ? "Sick"
          : dice < sick + healthy
          ? "Healthy"
          : dice < sick + healthy + interrupted
          ? "Interrupt"
          : "Success"
      )
    }
    const expected = JSON.stringify(yield* circuit.state("fake"))
    const actual = JSON.stringify(yield* breaker.state)
    if (expected !== actual) return describe(`expected ${expected}, is ${actual}`)
    if (breaker.closed !== (JSON.parse(expected)._tag === "Closed")) return describe(`closed is ${breaker.closed}`)
  }
  for (const call of running) yield* end(call, "Interrupt")
  return undefined
})

/** Lets fibers that were woken run until they wait again. */
const settle = Effect.repeat(Effect.yieldNow, { times: 4 })

/** Drives many pairs. Returns the first disagreement. */
const search = Effect.fnUntraced(function*(
  runs: number,
  random: Seed,
  guardOf: (breaker: Breaker.Breaker) => Guard
) {
  for (let run = 0; run < runs; run++) {
    const found = yield* Effect.scoped(disagreement(random.fork(), 200, guardOf))
    if (found !== undefined) return `run ${run} of seed ${random.value}, ${found}`
  }
  return undefined
})

describe("the breaker decides as a CircuitBreaker that sees every call", () => {
  it.effect("when calls read its fields", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* search(100, seed(1), inParts))
    }), 60_000)

  it.effect("when calls go through execute", () =>
    Effect.gen(function*() {
      assert.isUndefined(yield* search(100, seed(2), whole))
    }), 60_000)

  for (const mistake of ["NoTouch", "NoSuccesses", "NoPermit", "FailuresOnly", "CountsEverything"] as const) {
    it.effect(`and one with the mistake ${mistake} is caught`, () =>
      Effect.gen(function*() {
        assert.isString(yield* search(300, seed(3), (breaker) => inParts(breaker, mistake)))
      }))
  }
})
