/** Ladders, budget and history, on a clock that the test turns. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Option, Schedule } from "effect"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { InvalidOptions, Outcome, Retry } from "watertight"
import * as Evidence from "../../src/failure/Evidence.ts"

const verdict = (change: Partial<Outcome.Verdict> = {}): Outcome.Verdict => ({
  outcome: "NotApplied",
  scope: "Transaction",
  ladder: "Conflict",
  phase: "Ended",
  about: undefined,
  ...change
})

const failing = (change: Partial<Outcome.Verdict> = {}) =>
  Outcome.mark(
    new SqlError({ reason: new UnknownError({ cause: undefined, message: "failed", operation: "execute" }) }),
    verdict(change)
  )

/** Does what `outcomes` say, one attempt after the other, and then succeeds. Knows when each attempt was made. */
const attempts = Effect.fnUntraced(function*(
  outcomes: (attempt: number) => Effect.Effect<string, unknown>,
  options: Partial<Retry.Options> & { readonly calls?: () => number; readonly capacity?: number } = {}
) {
  const times: Array<number> = []
  const start = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
  const once = Effect.suspend(() =>
    Effect.flatMap(
      Effect.clockWith((clock) => clock.currentTimeMillis),
      (now) => outcomes(times.push(now - start))
    )
  )
  const budget = yield* Retry.makeBudget({ capacity: options.capacity ?? 1000 }, options.calls ?? (() => 0))
  const effect = Effect.catchCause(
    once,
    (cause) => Retry.recover(cause, once, { name: "db", policy: Retry.defaults, budget, ...options })
  )
  return { effect, times, budget }
})

/** Runs an effect to its end, however long that takes. */
const finish = Effect.fnUntraced(function*<A, E>(effect: Effect.Effect<A, E>) {
  const fiber = yield* Effect.forkChild(effect)
  yield* TestClock.adjust("1 hour")
  return yield* Fiber.await(fiber)
})

const errorOf = <A, E>(exit: Exit.Exit<A, E>): E =>
  Option.getOrThrow(Cause.findErrorOption((exit as Exit.Failure<A, E>).cause))

describe("ladders", () => {
  for (
    const [ladder, repetitions, ceilings] of [
      ["Instant", 3, [0, 0, 0]],
      ["Conflict", 10, [5, 10, 20, 40, 80, 160, 320, 500, 500, 500]],
      ["Overload", 3, [100, 200, 400]]
    ] as const
  ) {
    it.effect(`${ladder}: ${repetitions} repetitions, below ${ceilings.join(", ")} ms`, () =>
      Effect.gen(function*() {
        const highest = ceilings.map(() => 0)
        for (let round = 0; round < 40; round++) {
          const { effect, times } = yield* attempts(() => Effect.fail(failing({ ladder })))
          const exit = yield* finish(effect)
          assert.isTrue(Exit.isFailure(exit))
          assert.strictEqual(times.length, repetitions + 1)
          for (let n = 0; n < repetitions; n++) {
            const pause = times[n + 1]! - times[n]!
            assert.isAtMost(pause, ceilings[n]!)
            highest[n] = Math.max(highest[n]!, pause)
          }
        }
        // Full jitter uses its room: of 40 random times one is above half of the ceiling.
        for (let n = 0; n < repetitions; n++) assert.isAtLeast(highest[n]!, ceilings[n]! / 2)
      }))
  }

  it.effect("each class of failure has a ladder of its own", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts((n) =>
        Effect.fail(failing({ ladder: n % 2 === 0 ? "Instant" : "Overload" }))
      )
      yield* finish(effect)
      assert.strictEqual(times.length, 1 + 3 + 3)
    }))

  it.effect("a success ends it", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts((n) => n < 3 ? Effect.fail(failing()) : Effect.succeed("done"))
      assert.deepStrictEqual(yield* finish(effect), Exit.succeed("done"))
      assert.strictEqual(times.length, 3)
    }))

  it.effect("never is never", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() => Effect.fail(failing()), { policy: Retry.never })
      yield* finish(effect)
      assert.strictEqual(times.length, 1)
    }))

  it.effect("a pause that would pass the deadline is not begun", () =>
    Effect.gen(function*() {
      const everySecond = { ...Retry.defaults, conflict: Schedule.spaced("1 second") }
      const { effect, times } = yield* attempts(() => Effect.fail(failing()), {
        policy: { ...everySecond, deadline: "3500 millis" }
      })
      const started = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const fiber = yield* Effect.forkChild(effect)
      yield* TestClock.adjust("3 seconds")
      assert.isDefined(fiber.pollUnsafe())
      assert.strictEqual(times.length, 4)
      assert.strictEqual((yield* Effect.clockWith((clock) => clock.currentTimeMillis)) - started, 3000)
    }))
})

describe("what is repeated", () => {
  const once = (name: string, failure: Effect.Effect<string, unknown>) =>
    it.effect(`${name} is not`, () =>
      Effect.gen(function*() {
        const { effect, times } = yield* attempts(() => failure)
        yield* finish(effect)
        assert.strictEqual(times.length, 1)
      }))

  once(
    "what nobody knows the outcome of",
    Effect.fail(failing({ outcome: "Unknown", scope: "Never", phase: "Commit" }))
  )
  once("what failed for good", Effect.fail(failing({ scope: "Never" })))
  once("what was applied", Effect.fail(failing({ outcome: "Applied" })))
  once("a caller that got no connection in time", Effect.fail(failing({ outcome: "NotSent", phase: "Acquire" })))
  once(
    "a statement in a transaction that is still open",
    Effect.fail(failing({ phase: "InTransaction", scope: "Statement" }))
  )
  once("a failure of something else", Effect.fail("not found"))
  once("a defect", Effect.die(failing()))
  once("an interruption", Effect.interrupt)

  it.effect("what nobody knows the outcome of is, inside `idempotent`", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() =>
        Effect.fail(failing({ outcome: "Unknown", scope: "Never", ladder: "Overload", phase: "Commit" }))
      )
      yield* finish(Retry.idempotent(effect))
      assert.strictEqual(times.length, 4)
    }))

  it.effect("what failed for good is not, inside `idempotent` either", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() => Effect.fail(failing({ scope: "Never" })))
      yield* finish(Retry.idempotent(effect))
      assert.strictEqual(times.length, 1)
    }))

  it.effect("a failure that was wrapped is", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() => Effect.fail(new Error("domain", { cause: failing() })))
      yield* finish(effect)
      assert.strictEqual(times.length, 11)
    }))

  it.effect("what was given up is not taken up again by what is around it", () =>
    Effect.gen(function*() {
      const inner = yield* attempts(() => Effect.fail(failing()))
      const outer = yield* attempts(() => inner.effect)
      yield* finish(outer.effect)
      assert.strictEqual(outer.times.length, 1)
      assert.strictEqual(inner.times.length, 11)
    }))

  it.effect("of several failures at the same time the first one counts, and interrupted others do not", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() =>
        Effect.as(
          Effect.all([Effect.never, Effect.andThen(Effect.sleep(1), Effect.fail(failing()))], {
            concurrency: "unbounded"
          }),
          "done"
        )
      )
      yield* finish(effect)
      assert.strictEqual(times.length, 11)
    }))
})

describe("history", () => {
  it.effect("the last failure knows all attempts, and how long was waited", () =>
    Effect.gen(function*() {
      const failures = [failing(), failing({ ladder: "Overload" }), failing({ scope: "Never" })]
      const { effect } = yield* attempts((n) => Effect.fail(failures[n - 1]))
      const error = errorOf(yield* finish(effect))
      const history = Retry.attempts(error)
      assert.deepStrictEqual(history.map((attempt) => attempt.error), failures)
      assert.deepStrictEqual(history.map((attempt) => attempt.pauseMillis === undefined), [false, false, true])
    }))

  it.effect("a failure that was not repeated has none", () =>
    Effect.gen(function*() {
      const { effect } = yield* attempts(() => Effect.fail(failing({ scope: "Never" })))
      assert.deepStrictEqual(Retry.attempts(errorOf(yield* finish(effect))), [])
    }))

  it.effect("each repetition is told before its pause", () =>
    Effect.gen(function*() {
      const told: Array<Retry.Attempt> = []
      const { effect } = yield* attempts((n) => n < 3 ? Effect.fail(failing()) : Effect.succeed("done"), {
        onRepeat: (attempt) => void told.push(attempt)
      })
      yield* finish(effect)
      assert.strictEqual(told.length, 2)
    }))
})

describe("budget", () => {
  it.effect("without a token a failure is final", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() => Effect.fail(failing({ ladder: "Overload" })), { capacity: 2 })
      const error = errorOf(yield* finish(effect))
      assert.strictEqual(times.length, 3)
      assert.strictEqual(Retry.attempts(error).length, 3)
    }))

  it.effect("a conflict costs a tenth", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(() => Effect.fail(failing()), { capacity: 0.55 })
      yield* finish(effect)
      assert.strictEqual(times.length, 6)
    }))

  it.effect("a success earns a fraction, up to the capacity", () =>
    Effect.gen(function*() {
      let calls = 0
      const budget = yield* Retry.makeBudget({ capacity: 2, earn: 0.25 }, () => calls)
      assert.isTrue(budget.spend() && budget.spend())
      assert.isFalse(budget.spend())
      calls += 3
      assert.isFalse(budget.spend())
      calls += 1
      assert.isTrue(budget.spend())
      calls += 1000
      assert.strictEqual(budget.tokens(), 2)
    }))

  it.effect("an outage costs the capacity once, however many callers there are", () =>
    Effect.gen(function*() {
      let made = 0
      const budget = yield* Retry.makeBudget({ capacity: 50 }, () => 0)
      const once = Effect.suspend(() => {
        made++
        return Effect.fail(failing({ ladder: "Overload" }))
      })
      const caller = Effect.exit(Effect.catchCause(
        once,
        (cause) => Retry.recover(cause, once, { name: "db", policy: Retry.defaults, budget })
      ))
      const fiber = yield* Effect.forkChild(
        Effect.all(Array<typeof caller>(200).fill(caller), { concurrency: "unbounded" })
      )
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(fiber)
      // Calls under way look like successes: at most all of them, once.
      assert.isAtMost(made, 200 + 50 + 200 * 0.1)
      assert.isAtLeast(made, 200 + 50)
    }))

  it.effect("says what is wrong with an option", () =>
    Effect.gen(function*() {
      for (
        const options of [
          { capacity: -1 },
          { earn: -1 },
          { conflictCost: -1 },
          { capacity: Number.NaN },
          { capasity: 3 } as Retry.BudgetOptions
        ]
      ) {
        const error = yield* Effect.flip(Retry.makeBudget(options, () => 0))
        assert.instanceOf(error, InvalidOptions)
      }
    }))
})

describe("what costs nothing", () => {
  /** Fails as the evidence says, so many times, without a token in the budget. */
  const repeatsOf = (known: Partial<Evidence.Evidence>, change: Partial<Outcome.Verdict>, times = 1) =>
    Effect.gen(function*() {
      const run = yield* attempts(
        (attempt) =>
          attempt > times
            ? Effect.succeed("done")
            : Effect.fail(Evidence.attach(failing(change), Evidence.make(known))),
        { capacity: 0 }
      )
      const exit = yield* finish(run.effect)
      return { repetitions: run.times.length - 1, exit }
    })

  const forgotten = { sent: true, answer: "Error" } as const
  const plan = { ladder: "Instant", outcome: "NotApplied" } as const
  const cases: ReadonlyArray<
    readonly [name: string, known: Partial<Evidence.Evidence>, change: Partial<Outcome.Verdict>, isFree: boolean]
  > = [
    ["a statement that the server has forgotten", forgotten, { ...plan, scope: "Statement" }, true],
    ["a plan that no longer fits, in a transaction", forgotten, { ...plan, scope: "Transaction" }, true],
    ["a conflict", forgotten, { ...plan, ladder: "Conflict" }, false],
    ["an overload", forgotten, { ...plan, ladder: "Overload" }, false],
    ["an answer that is not an error", { ...forgotten, answer: "Undone" }, plan, false],
    ["no answer", { ...forgotten, answer: "None" }, plan, false],
    ["a session that does not go on", { ...forgotten, ready: false }, plan, false],
    ["a session that somebody has ended", { ...forgotten, endedBy: "Server" }, plan, false],
    ["a transaction that needs another connection", forgotten, { ...plan, scope: "TransactionOnNewConnection" }, false],
    ["what was not sent at all", forgotten, { ...plan, outcome: "NotSent", scope: "Statement" }, false]
  ]
  for (const [name, known, change, isFree] of cases) {
    it.effect(`${name}: ${isFree ? "nothing" : "a token"}`, () =>
      Effect.map(repeatsOf(known, change), ({ exit, repetitions }) => {
        assert.strictEqual(repetitions, isFree ? 1 : 0)
        assert.strictEqual(Exit.isSuccess(exit), isFree)
      }))
  }

  const met = { outcome: "NotSent", scope: "Statement", ladder: "Instant", phase: "Statement" } as const
  const session = (openedAt: number) => ({
    endedBy: "Server" as const,
    ready: false,
    sent: false,
    session: { openedAt, endedAt: openedAt }
  })

  it.effect("sessions that had ended before the call: as many as there were, without a step of the ladder", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("10 seconds")
      const { exit, repetitions } = yield* repeatsOf(session(10_000), met, 30)
      assert.deepStrictEqual(exit, Exit.succeed("done"))
      assert.strictEqual(repetitions, 30)
    }))

  it.effect("not those that were opened after it had failed, were begun with, or must not be met again", () =>
    Effect.gen(function*() {
      yield* TestClock.adjust("10 seconds")
      for (
        const [known, change] of [
          [session(10_001), met],
          [{ ...session(5_000), sent: true }, met],
          [{ ...session(5_000), session: undefined }, met],
          [session(5_000), { ...met, scope: "Never" as const }]
        ] as const
      ) {
        assert.strictEqual((yield* repeatsOf(known, change)).repetitions, 0)
      }
    }))

  it.effect("and not where nothing is to be repeated", () =>
    Effect.gen(function*() {
      const { effect, times } = yield* attempts(
        () => Effect.fail(Evidence.attach(failing(met), Evidence.make(session(0)))),
        { policy: Retry.never }
      )
      yield* finish(effect)
      assert.strictEqual(times.length, 1)
    }))
})

it.effect("a success is rewarded once, however often the budget is looked at", () =>
  Effect.gen(function*() {
    let calls = 0
    const budget = yield* Retry.makeBudget({ capacity: 10 }, () => calls)
    while (budget.spend());
    calls = 10
    for (let look = 0; look < 5; look++) assert.closeTo(budget.tokens(), 1, 1e-9)
    assert.isTrue(budget.spend())
    assert.isFalse(budget.spend())
  }))
