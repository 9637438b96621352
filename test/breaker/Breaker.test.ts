import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { isSqlError, SqlError, StatementTimeoutError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Adapter } from "../../src/Adapter.ts"
import * as Breaker from "../../src/breaker/Breaker.ts"
import * as Outcome from "../../src/failure/Outcome.ts"
import type { InvalidOptions } from "../../src/options/InvalidOptions.ts"
import { healthy, sick } from "./failures.ts"
import { fail, isAdmitted, make, settle, stateOf, succeed, tagOf, touchy } from "./support.ts"

describe("what counts", () => {
  for (const [name, error] of Object.entries(sick)) {
    it.effect(`${name} does`, () =>
      Effect.gen(function*() {
        const breaker = yield* make(touchy)
        assert.isTrue(Breaker.isFailure(error()))
        const original = error()
        assert.strictEqual(yield* fail(breaker, original), original)
        assert.isFalse(breaker.closed)
      }))
  }
  for (const [name, error] of Object.entries(healthy)) {
    it.effect(`${name} does not`, () =>
      Effect.gen(function*() {
        const breaker = yield* make(touchy)
        assert.isFalse(Breaker.isFailure(error()))
        const original = error()
        assert.strictEqual(yield* fail(breaker, original), original)
        assert.isTrue(breaker.closed)
      }))
  }

  it.effect("neither interruption, nor a defect, nor a failure of another kind", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      const fiber = yield* Effect.forkChild(breaker.execute(Effect.never), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* Effect.exit(breaker.execute(Effect.die("a bug")))
      yield* Effect.exit(breaker.execute(Effect.fail("not found")))
      assert.isTrue(breaker.closed)
    }))

  it.effect("a failure inside other errors does", () =>
    Effect.gen(function*() {
      class Wrapped extends Error {}
      const breaker = yield* make(touchy)
      yield* Effect.exit(breaker.execute(Effect.fail(new Wrapped("order failed", { cause: sick.acquireTimeout() }))))
      assert.isFalse(breaker.closed)
    }))

  it.effect("a rejection by a breaker does not", () =>
    Effect.gen(function*() {
      const other = yield* make()
      yield* other.isolate
      const breaker = yield* make(touchy)
      assert.strictEqual(tagOf(yield* Effect.flip(breaker.execute(other.execute(Effect.void)))), "Isolated")
      assert.isTrue(breaker.closed)
    }))

  it.effect("1,000 constraint violations leave it closed", () =>
    Effect.gen(function*() {
      const breaker = yield* make()
      for (let i = 0; i < 1000; i++) {
        yield* fail(breaker, healthy.uniqueViolation())
        breaker.failed(healthy.uniqueViolation(), 1, breaker.permit)
      }
      assert.isTrue(breaker.closed)
      assert.strictEqual(yield* stateOf(breaker), "Closed")
      // They are not even in the window: ten failures alone are what opens it.
      for (let i = 0; i < 9; i++) yield* fail(breaker)
      assert.isTrue(breaker.closed)
      yield* fail(breaker)
      assert.isFalse(breaker.closed)
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("the circuit", () => {
  it.effect("opens by default when half of the last 20 calls have failed", () =>
    Effect.gen(function*() {
      const breaker = yield* make()
      for (let i = 0; i < 50; i++) yield* succeed(breaker)
      for (let i = 0; i < 9; i++) yield* fail(breaker)
      assert.isTrue(breaker.closed)
      yield* succeed(breaker)
      yield* fail(breaker)
      assert.isFalse(breaker.closed)
      const state = yield* breaker.state
      assert.strictEqual(state._tag, "Open")
    }))

  it.effect("stays open for 1, 2, 4, … up to 30 seconds by default, give or take a fifth", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(1) })
      for (const seconds of [1, 2, 4, 8, 16, 30, 30, 30]) {
        yield* fail(breaker)
        const open = Duration.toSeconds(Breaker.retryAfter(yield* Effect.flip(succeed(breaker)))!)
        assert.isAtLeast(open, seconds * 0.8)
        assert.isAtMost(open, seconds * 1.2)
        yield* TestClock.adjust(Duration.seconds(seconds * 1.2))
      }
    }))

  it.effect("turns callers away with an error that says all about it", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* fail(breaker)
      yield* TestClock.adjust("3 seconds")
      let ran = false
      const error = yield* Effect.flip(breaker.execute(Effect.sync(() => {
        ran = true
      })))
      assert.isFalse(ran)
      assert.isTrue(isSqlError(error))
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.strictEqual(error.reason.operation, "acquire")
      assert.isTrue(Breaker.isBreakerError(error.reason.cause))
      const reason = Breaker.find(error)!.reason
      assert.strictEqual(reason._tag, "CircuitOpen")
      assert.strictEqual(reason.key, "fake")
      assert.strictEqual(Duration.toMillis(Breaker.retryAfter(error)!), 7000)
      assert.include(error.message, "fake")
      assert.include(error.message, "7000 ms")
      assert.deepStrictEqual(Outcome.of(error), {
        outcome: "NotSent",
        scope: "Connect",
        ladder: "Overload",
        phase: "Acquire",
        about: "circuit open"
      })
      assert.isTrue(error.isRetryable)
    }))

  it.live("turns callers away within microseconds", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ ...touchy, openDuration: "1 hour" })
      yield* fail(breaker)
      const rejected = Effect.exit(breaker.execute(Effect.void))
      const times: Array<number> = []
      for (let i = 0; i < 5000; i++) {
        const startedAt = performance.now()
        yield* rejected
        times.push(performance.now() - startedAt)
      }
      // Some 5 on a free machine.
      assert.isBelow(times.sort((a, b) => a - b)[2500]! * 1000, 200)
      // What it does to be quick is undone.
      assert.isAbove(new Error("here").stack!.split("\n").length, 1)
    }))

  it.effect("lets one probe through, also when 1,000 ask at once", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      let running = 0
      const gate = Deferred.makeUnsafe<void>()
      const call = breaker.execute(Effect.suspend(() => {
        running++
        return Deferred.await(gate)
      }))
      const fibers = yield* Effect.forEach(
        Array.from({ length: 1000 }),
        () => Effect.forkChild(Effect.exit(call), { startImmediately: true })
      )
      yield* settle
      assert.strictEqual(running, 1)
      assert.strictEqual(yield* stateOf(breaker), "HalfOpen")
      yield* Deferred.succeed(gate, undefined)
      const exits = yield* Effect.forEach(fibers, Fiber.join)
      assert.strictEqual(exits.filter(Exit.isSuccess).length, 1)
      assert.strictEqual(
        exits.filter((exit) => tagOf(Option.getOrUndefined(Exit.findErrorOption(exit))) === "CircuitHalfOpen").length,
        999
      )
      assert.isTrue(breaker.closed)
      yield* Effect.forEach(Array.from({ length: 1000 }), () => succeed(breaker), { concurrency: "unbounded" })
    }))

  it.effect("opens again, for longer, when the probe fails", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ ...touchy, openDuration: Schedule.exponential("1 second") })
      yield* fail(breaker)
      for (const seconds of [1, 2, 4]) {
        yield* TestClock.adjust(Duration.seconds(seconds))
        const error = yield* fail(breaker)
        assert.isUndefined(Breaker.find(error), "the probe fails with what it failed with")
        assert.strictEqual(
          Duration.toSeconds(Breaker.retryAfter(yield* Effect.flip(succeed(breaker)))!),
          seconds * 2
        )
      }
    }))

  it.effect("lets the next call be the probe when the first is interrupted, or says nothing", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      const probe = yield* Effect.forkChild(breaker.execute(Effect.never), { startImmediately: true })
      yield* settle
      assert.isFalse(yield* isAdmitted(breaker))
      yield* Fiber.interrupt(probe)
      assert.strictEqual(yield* stateOf(breaker), "HalfOpen")
      assert.isUndefined(Breaker.find(yield* fail(breaker, healthy.uniqueViolation())))
      assert.isUndefined(Breaker.find(yield* fail(breaker, healthy.cancelled())))
      assert.strictEqual(yield* stateOf(breaker), "HalfOpen")
      assert.isTrue(yield* isAdmitted(breaker))
      assert.isTrue(breaker.closed)
    }))

  it.effect("does not mistake a foreign CircuitBreakerError of the probe for its own", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      const foreign = new CircuitBreaker.CircuitBreakerError({
        reason: new CircuitBreaker.CircuitHalfOpen({ key: "another" })
      })
      assert.strictEqual(yield* Effect.flip(breaker.execute(Effect.fail(foreign))), foreign)
    }))

  it.effect("is not moved by what was admitted before it opened", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      const gates = Array.from({ length: 3 }, () => Deferred.makeUnsafe<void, SqlError>())
      const [first, second, third] = yield* Effect.forEach(gates, (gate) =>
        Effect.forkChild(Effect.exit(breaker.execute(Deferred.await(gate))), { startImmediately: true }))
      const { permit } = breaker
      yield* fail(breaker)
      assert.isFalse(breaker.closed)

      // While it is open.
      yield* Deferred.succeed(gates[0]!, undefined)
      yield* Fiber.join(first!)
      assert.strictEqual(yield* stateOf(breaker), "Open")

      // While a probe runs.
      yield* TestClock.adjust("10 seconds")
      const gate = Deferred.makeUnsafe<void>()
      const probe = yield* Effect.forkChild(breaker.execute(Deferred.await(gate)), { startImmediately: true })
      yield* Deferred.fail(gates[1]!, sick.lostAfterSending())
      yield* Fiber.join(second!)
      assert.strictEqual(yield* stateOf(breaker), "HalfOpen")

      // When it is closed again.
      yield* Deferred.succeed(gate, undefined)
      yield* Fiber.join(probe)
      assert.isTrue(breaker.closed)
      yield* Deferred.fail(gates[2]!, sick.lostAfterSending())
      yield* Fiber.join(third!)
      breaker.failed(sick.connect(), 1, permit)
      breaker.succeeded(1, permit)
      assert.strictEqual(yield* stateOf(breaker), "Closed")
      assert.isTrue(breaker.closed)
      breaker.failed(sick.connect(), 1, breaker.permit)
      assert.isFalse(breaker.closed)
    }))

  it.effect("watches successes only as long as they can change anything", () =>
    Effect.gen(function*() {
      const rate = yield* make()
      for (let i = 0; i < 20; i++) {
        assert.isTrue(rate.watching)
        yield* succeed(rate)
      }
      assert.isFalse(rate.watching)
      yield* fail(rate)
      assert.isTrue(rate.watching)

      const consecutive = yield* make({ tripPolicy: CircuitBreaker.consecutive(3) })
      yield* succeed(consecutive)
      assert.isFalse(consecutive.watching)
      yield* fail(consecutive)
      assert.isTrue(consecutive.watching)
      yield* succeed(consecutive)
      assert.isFalse(consecutive.watching)

      const slow = yield* make({ slowCall: "1 second" })
      for (let i = 0; i < 100; i++) yield* succeed(slow)
      assert.isTrue(slow.watching)
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("slow calls", () => {
  const slowly = (breaker: Breaker.Breaker, duration: Duration.Input) =>
    Effect.gen(function*() {
      const fiber = yield* Effect.forkChild(Effect.exit(breaker.execute(Effect.sleep(duration))), {
        startImmediately: true
      })
      yield* TestClock.adjust(duration)
      return yield* Fiber.join(fiber)
    })

  it.effect("trip at the same rate, although they succeed", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ slowCall: "1 second" })
      for (let i = 0; i < 10; i++) {
        assert.isTrue(breaker.closed)
        assert.isTrue(Exit.isSuccess(yield* slowly(breaker, i % 2 === 0 ? "500 millis" : "1500 millis")))
      }
      assert.isFalse(breaker.closed)
      assert.strictEqual(tagOf(yield* Effect.flip(succeed(breaker))), "CircuitOpen")
    }))

  it.effect("do not trip when they are exactly as long as allowed, nor without the option", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ ...touchy, slowCall: "1 second" })
      yield* slowly(breaker, "1 second")
      assert.isTrue(breaker.closed)
      const without = yield* make(touchy)
      yield* slowly(without, "1 hour")
      assert.isTrue(without.closed)
    }))

  it.effect("open again when the probe is slow", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ ...touchy, slowCall: "1 second" })
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      assert.isTrue(Exit.isSuccess(yield* slowly(breaker, "2 seconds")))
      assert.strictEqual(yield* stateOf(breaker), "Open")
    }))

  it.effect("count when a statement timeout ends them, but not when a lock does", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ ...touchy, slowCall: "1 second" })
      const { permit } = breaker
      const timeout = () =>
        Outcome.attach(
          new SqlError({ reason: new StatementTimeoutError({ cause: { severity: "ERROR", code: "57014" } }) }),
          "Statement",
          () => ({ about: "cancelled, or statement timeout", scope: "Never" })
        )
      breaker.failed(timeout(), 900, permit)
      breaker.failed(healthy.lockTimeout(), 5000, permit)
      breaker.failed(healthy.deadlock(), 5000, permit)
      breaker.failed(healthy.uniqueViolation(), 5000, permit)
      assert.isTrue(breaker.closed)
      breaker.failed(timeout(), 5000, permit)
      assert.isFalse(breaker.closed)
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("by hand", () => {
  it.effect("isolate turns every call away until reset", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* breaker.isolate
      assert.isFalse(breaker.closed)
      yield* TestClock.adjust("1 hour")
      const error = yield* Effect.flip(succeed(breaker))
      assert.strictEqual(tagOf(error), "Isolated")
      assert.isUndefined(Breaker.retryAfter(error))
      assert.isTrue(Outcome.isNotSent(error))
      assert.deepStrictEqual(yield* breaker.state, { _tag: "Isolated", key: "fake" })
      yield* breaker.reset
      assert.isTrue(breaker.closed)
      yield* succeed(breaker)
    }))

  it.effect("isolate leaves calls under way alone, and what they find out is late", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      const gate = Deferred.makeUnsafe<string, SqlError>()
      const fiber = yield* Effect.forkChild(breaker.execute(Deferred.await(gate)), { startImmediately: true })
      const { permit } = breaker
      yield* breaker.isolate
      yield* Deferred.succeed(gate, "done")
      assert.strictEqual(yield* Fiber.join(fiber), "done")
      breaker.failed(sick.connect(), 1, permit)
      yield* breaker.reset
      breaker.failed(sick.connect(), 1, permit)
      assert.isTrue(breaker.closed)
    }))

  it.effect("isolate during a probe holds, whatever the probe finds out", () =>
    Effect.gen(function*() {
      for (const end of [Exit.void, Exit.fail(sick.connect())]) {
        const breaker = yield* make(touchy)
        yield* fail(breaker)
        yield* TestClock.adjust("10 seconds")
        const gate = Deferred.makeUnsafe<void, SqlError>()
        const probe = yield* Effect.forkChild(Effect.exit(breaker.execute(Deferred.await(gate))), {
          startImmediately: true
        })
        yield* breaker.isolate
        yield* Deferred.done(gate, end)
        yield* Fiber.join(probe)
        assert.isFalse(breaker.closed)
        assert.strictEqual(tagOf(yield* Effect.flip(succeed(breaker))), "Isolated")
        yield* breaker.reset
        assert.isTrue(yield* isAdmitted(breaker))
      }
    }))

  it.effect("reset closes at once and forgets what was counted", () =>
    Effect.gen(function*() {
      const breaker = yield* make({
        tripPolicy: CircuitBreaker.consecutive(3),
        openDuration: Schedule.exponential(1000)
      })
      for (let i = 0; i < 3; i++) yield* fail(breaker)
      assert.isFalse(breaker.closed)
      yield* breaker.reset
      assert.isTrue(breaker.closed)
      assert.strictEqual(yield* stateOf(breaker), "Closed")
      yield* fail(breaker)
      yield* fail(breaker)
      assert.isTrue(breaker.closed)
      yield* fail(breaker)
      // Neither are openings remembered.
      assert.strictEqual(Duration.toMillis(Breaker.retryAfter(yield* Effect.flip(succeed(breaker)))!), 1000)
    }))

  it.effect("reset during a probe closes, and a late probe changes nothing", () =>
    Effect.gen(function*() {
      const breaker = yield* make(touchy)
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      const gate = Deferred.makeUnsafe<void, SqlError>()
      const probe = yield* Effect.forkChild(Effect.exit(breaker.execute(Deferred.await(gate))), {
        startImmediately: true
      })
      yield* breaker.reset
      assert.isTrue(yield* isAdmitted(breaker))
      yield* Deferred.fail(gate, sick.connect())
      yield* Fiber.join(probe)
      assert.isTrue(breaker.closed)
      assert.strictEqual(yield* stateOf(breaker), "Closed")
    }))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("what it tells", () => {
  it.effect("transitions, also those made by hand, until its scope closes", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const breaker = yield* Scope.provide(make(touchy), scope)
      const collected = yield* Effect.forkChild(Stream.runCollect(breaker.transitions), { startImmediately: true })
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      yield* fail(breaker)
      yield* TestClock.adjust("10 seconds")
      yield* succeed(breaker)
      yield* breaker.reset
      yield* breaker.isolate
      yield* breaker.isolate
      yield* breaker.reset
      yield* Scope.close(scope, Exit.void)
      const transitions = yield* Fiber.join(collected)
      assert.deepStrictEqual(transitions.map(({ by, from, to }) => `${from} ${to} ${by}`), [
        "Closed Open Calls",
        "Open HalfOpen Calls",
        "HalfOpen Open Calls",
        "Open HalfOpen Calls",
        "HalfOpen Closed Calls",
        "Closed Isolated Manual",
        "Isolated Closed Manual"
      ])
      assert.deepStrictEqual(transitions[0]!.retryAfter, Duration.seconds(10))
      assert.strictEqual(transitions[0]!.key, "fake")
    }))

  it.effect("metrics, as long as its scope is open", () =>
    Effect.gen(function*() {
      const scope = yield* Scope.make()
      const breaker = yield* Scope.provide(make(touchy), scope)
      const read = Effect.map(Metric.snapshot, (snapshots) =>
        snapshots.filter(({ id }) =>
          id.startsWith("watertight.breaker.")
        ).map(({ attributes, id, state }) => {
          assert.deepStrictEqual(attributes, { "watertight.breaker.key": "fake" })
          return [id, "count" in state ? state.count : (state as { readonly value: number }).value] as const
        }).sort())
      const expect = (rejected: number, state: number, trips: number) =>
        Effect.map(read, (actual) =>
          assert.deepStrictEqual(actual, [
            ["watertight.breaker.rejected", rejected],
            ["watertight.breaker.state", state],
            ["watertight.breaker.trips", trips]
          ]))
      yield* expect(0, 0, 0)
      yield* fail(breaker)
      yield* Effect.repeat(Effect.exit(succeed(breaker)), { times: 4 })
      yield* expect(5, 2, 1)
      yield* TestClock.adjust("10 seconds")
      const probe = yield* Effect.forkChild(Effect.exit(breaker.execute(Effect.never)), { startImmediately: true })
      yield* expect(5, 1, 1)
      yield* Fiber.interrupt(probe)
      yield* fail(breaker)
      yield* expect(5, 2, 2)
      yield* breaker.isolate
      yield* Effect.exit(succeed(breaker))
      yield* expect(6, 3, 2)
      yield* breaker.reset
      yield* expect(6, 0, 2)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* read, [])
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map())))
})

// ---------------------------------------------------------------------------------------------------------------------

describe("options", () => {
  const refused: ReadonlyArray<readonly [Record<string, unknown>, string]> = [
    [{ tripPolicie: 1 }, "tripPolicie"],
    [{ tripPolicy: { _tag: "Consecutive", failures: 0 } }, "tripPolicy"],
    [{ tripPolicy: { _tag: "Rate", threshold: 2, size: 10, minimumCalls: 10 } }, "tripPolicy"],
    [{ openDuration: 0 }, "openDuration"],
    [{ openDuration: "for a while" }, "openDuration"],
    [{ slowCall: "-1 second" }, "slowCall"],
    [{ refreshInterval: 0 }, "refreshInterval"],
    [{ storeTimeout: "soon" }, "storeTimeout"]
  ]
  for (const [options, option] of refused) {
    it.effect(`are refused: ${JSON.stringify(options)}`, () =>
      Effect.gen(function*() {
        const error: InvalidOptions = yield* Effect.flip(make(options as Breaker.Options))
        assert.strictEqual(error.module, "Breaker")
        assert.strictEqual(error.option, option)
      }))
  }

  it.effect("reach the layer, which takes its key from the adapter", () =>
    Effect.gen(function*() {
      const breaker = yield* Breaker.Breaker
      assert.strictEqual(breaker.key, "postgresql://db/bank")
      yield* fail(breaker)
      assert.isFalse(breaker.closed)
    }).pipe(Effect.provide(
      Breaker.layer(touchy).pipe(
        Layer.provide(Layer.succeed(Adapter, { name: "postgresql://db/bank" } as Adapter))
      )
    )))
})
