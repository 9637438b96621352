/**
 * Repeating what failed, where that can help and cannot do the work twice.
 *
 * **Details**
 *
 * How long to wait depends on why it failed, so a policy has three ladders, each an Effect `Schedule`:
 *
 * | ladder     | for                                                    | default                                    |
 * | ---------- | ------------------------------------------------------ | ------------------------------------------ |
 * | `instant`  | a connection that was lost before anything was sent, a statement that the server has forgotten | at once, 3 times |
 * | `conflict` | serialization failures and deadlocks                   | full jitter below 5 ms × 2ⁿ, at most 500 ms, 10 times |
 * | `overload` | a server that shuts down, starts up or has no room     | full jitter below 100 ms × 2ⁿ, at most 4 s, 3 times |
 *
 * Full jitter means a random time between nothing and the ceiling: callers that failed together do not come back
 * together. All of a database share one budget, a bucket of tokens: a success earns a tenth of a token, a repetition
 * costs one, and without a token the failure is final. So an outage cannot be multiplied by repetition. A conflict is
 * no outage: somebody else got on. To repeat after one costs as little as a success earns.
 *
 * What failed with `Outcome` `Unknown` is repeated only inside `idempotent`. A caller that waited in vain for a
 * connection, or was turned away by an open circuit, is not sent to wait again.
 *
 * **Gotchas**
 *
 * A transaction is repeated as a whole, with the logic that chose its statements. Whatever else its body does, such as
 * sending a mail, is repeated too: put that into `sql.afterCommit`.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import type { SqlError } from "effect/sql/SqlError"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Checks from "../options/Options.ts"
import { guardOf, monotonicOf } from "../timing/timeout.ts"
import * as Evidence from "./Evidence.ts"
import * as Outcome from "./Outcome.ts"
import { field } from "./record.ts"

/**
 * When to repeat, by why it failed. A ladder that ends makes the failure final.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  readonly instant: Schedule.Schedule<unknown, Outcome.Verdict>
  readonly conflict: Schedule.Schedule<unknown, Outcome.Verdict>
  /** For a wait for a lock that has had its time, and for NOWAIT. Default: no repetition. */
  readonly lock?: Schedule.Schedule<unknown, Outcome.Verdict> | undefined
  readonly overload: Schedule.Schedule<unknown, Outcome.Verdict>
  /** The time for all attempts together. A pause that would pass it is not begun. Default: no limit. */
  readonly deadline?: Duration.Input | undefined
}

/**
 * The time for all attempts together, in milliseconds.
 *
 * @category getters
 * @since 0.2.0
 */
export const deadlineMillis = (policy: Policy): number =>
  policy.deadline === undefined ? Infinity : Duration.toMillis(Duration.fromInputUnsafe(policy.deadline))

/**
 * A ladder with full jitter: before the n-th repetition, a random time below `base` × 2ⁿ⁻¹ and below `cap`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fullJitter = (options: {
  readonly base: Duration.Input
  readonly cap: Duration.Input
  readonly times: number
}): Schedule.Schedule<unknown> => {
  const cap = Duration.toMillis(Duration.fromInputUnsafe(options.cap))
  return Schedule.exponential(options.base).pipe(
    Schedule.modifyDelay(({ duration }) =>
      Effect.map(Random.next, (random) => Duration.millis(Math.min(cap, Duration.toMillis(duration)) * random))
    ),
    Schedule.upTo({ times: options.times })
  )
}

/**
 * The policy of statements and transactions that name no other.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaults: Policy = {
  instant: Schedule.recurs(3),
  conflict: fullJitter({ base: "5 millis", cap: "500 millis", times: 10 }),
  overload: fullJitter({ base: "100 millis", cap: "4 seconds", times: 3 })
}

/**
 * Repeats nothing.
 *
 * @category presets
 * @since 0.1.0
 */
export const never: Policy = { instant: Schedule.recurs(0), conflict: Schedule.recurs(0), overload: Schedule.recurs(0) }

/**
 * Whether the work may be repeated although nobody knows if it was done.
 *
 * @category references
 * @since 0.1.0
 */
export const Idempotent = Context.Reference<boolean>("watertight/Retry/Idempotent", { defaultValue: () => false })

/**
 * Says that doing this work twice is as good as doing it once, so that it may be repeated when its outcome is unknown.
 *
 * **Example** (A statement that may be repeated)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Retry } from "watertight"
 *
 * const seen = (id: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`insert into seen (id) values (${id}) on conflict do nothing`
 *   }).pipe(Retry.idempotent)
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const idempotent = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Idempotent, true)

// ---------------------------------------------------------------------------------------------------------------------
// Budget
// ---------------------------------------------------------------------------------------------------------------------

/**
 * How much repetition a database may be asked to bear.
 *
 * @category options
 * @since 0.1.0
 */
export interface BudgetOptions {
  /** How many repetitions may come in a row without a success. Default: 100. */
  readonly capacity?: number | undefined
  /** What part of a repetition a success earns. Default: 0.1, so in the long run one call in ten may be repeated. */
  readonly earn?: number | undefined
  /**
   * What a repetition after a conflict costs, in repetitions after something worse. Default: 0.1, so in the long run
   * there may be as many of them as there are successes.
   */
  readonly conflictCost?: number | undefined
}

/**
 * The bucket of tokens that all statements and transactions of a database share.
 *
 * @category models
 * @since 0.1.0
 */
export interface Budget {
  /** How many repetitions it has left. */
  readonly tokens: () => number
  /** Whether there is enough for one more repetition, which is then spent. */
  readonly spend: (ladder?: Outcome.Ladder) => boolean
}

/**
 * Makes a budget. `successes` tells how many calls have succeeded so far. It is asked only when something failed, so
 * that a success costs nothing but being counted. What fails, is interrupted or waits earns nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeBudget = Effect.fnUntraced(function*(
  options: BudgetOptions,
  successes: () => number
): Effect.fn.Return<Budget, InvalidOptions> {
  const { capacity = 100, conflictCost, earn } = yield* budgetChecks.resolve(options)
  let tokens = capacity
  let rewarded = successes()
  const refill = (): number => {
    const succeeded = successes()
    tokens = Math.min(capacity, tokens + (succeeded - rewarded) * earn)
    rewarded = succeeded
    return tokens
  }
  return {
    tokens: refill,
    spend(ladder) {
      const cost = ladder === "Conflict" ? conflictCost : 1
      if (refill() < cost) return false
      tokens -= cost
      return true
    }
  }
})

const budgetChecks = Checks.make<BudgetOptions>()("Retry", {
  // `Infinity` is as good as no budget.
  capacity: Checks.custom<number>("a number, 0 or more", (value) => typeof value === "number" && value >= 0),
  earn: Checks.number({ default: 0.1, min: 0 }),
  conflictCost: Checks.number({ default: 0.1, min: 0 })
})

// ---------------------------------------------------------------------------------------------------------------------
// Attempts
// ---------------------------------------------------------------------------------------------------------------------

/**
 * One attempt that failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  readonly error: SqlError
  readonly verdict: Outcome.Verdict
  /** How long was waited before the next attempt, in milliseconds; `undefined` for the last one. */
  readonly pauseMillis: number | undefined
}

const history = field<ReadonlyArray<Attempt>>("attempts")

/** Whether a failure was given up. What is around it does not begin anew: repetitions would multiply. */
const isFinal = field<boolean>("isFinal")

/**
 * All attempts that were made before this failure became final, the last one included. Empty if nothing was repeated.
 *
 * @category getters
 * @since 0.1.0
 */
export const attempts = (error: unknown): ReadonlyArray<Attempt> => {
  const found = Outcome.find(error)
  return (found !== undefined && history.get(found)) || []
}

/**
 * How often something was repeated, by database and ladder.
 *
 * @category metrics
 * @since 0.1.0
 */
export const repetitions = Metric.counter("watertight.retries", {
  description: "How often a statement or a transaction was repeated",
  incremental: true
})

type Counter = typeof repetitions

const counters = new Map<string, Counter>()

/** The counter of a database and a ladder. To give a metric its attributes takes longer than to count. */
const repetitionsOf = (database: string, ladder: Outcome.Ladder): Counter => {
  const key = `${ladder} ${database}`
  let counter = counters.get(key)
  if (counter === undefined) {
    // Of databases that come and go there may be many.
    if (counters.size >= maxCounters) counters.clear()
    counters.set(
      key,
      counter = Metric.withAttributes(repetitions, {
        "watertight.database": database,
        "watertight.retry.ladder": ladder.toLowerCase()
      })
    )
  }
  return counter
}

const maxCounters = 1000

/**
 * What repeating needs to know.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /** The database. */
  readonly name: string
  readonly policy: Policy
  readonly budget: Budget
  /** When the first attempt began, in milliseconds of the monotonic clock. Default: when it failed. */
  readonly startedAt?: number | undefined
  /** Told of each repetition before its pause. */
  readonly onRepeat?: ((attempt: Attempt) => void) | undefined
}

/**
 * Takes up a failed attempt: repeats it as the policy and the budget allow, and fails with the last failure.
 *
 * **Details**
 *
 * Nothing of this is on the way of a success.
 *
 * @category combinators
 * @since 0.1.0
 */
export const recover = Effect.fnUntraced(function*<A, E, R>(
  failed: Cause.Cause<E>,
  again: Effect.Effect<A, E, R>,
  options: Options
): Effect.fn.Return<A, E, R> {
  const mayRepeatUnknown = yield* Idempotent
  const { budget, policy } = options
  const clock = yield* Clock.Clock
  const now = monotonicOf(clock)
  const failedAt = now()
  const startedAt = options.startedAt ?? failedAt
  // The time during which this process stood still does not count.
  const timeLeft = (): number =>
    startedAt + deadlineMillis(policy) + (guardOf(clock)?.stalledBetween(startedAt, now()) ?? 0) - now()
  const ladders: { [ladder in Outcome.Ladder]?: Step } = {}
  const attempts: Array<Attempt> = []
  let cause = failed
  while (true) {
    const failure = Cause.hasInterrupts(cause) || Cause.hasDies(cause)
      ? undefined
      : Outcome.find(Option.getOrUndefined(Cause.findErrorOption(cause)))
    // A transaction that is still open is repeated by the effect that runs it.
    if (failure === undefined || isFinal.get(failure) === true) return yield* Effect.failCause(cause)
    const verdict = Outcome.of(failure)!
    if (verdict.phase === "InTransaction") return yield* Effect.failCause(cause)
    const free = policy !== never && isFree(failure, verdict, failedAt)
    const pause = free
      ? 0
      : isWorthIt(failure, verdict, mayRepeatUnknown)
      ? yield* step(ladders, verdict, policy, now())
      : undefined
    if (
      pause === undefined || pause >= timeLeft() ||
      (!free && !isForgotten(failure, verdict) && !budget.spend(verdict.ladder))
    ) {
      isFinal.set(failure, true)
      if (attempts.length > 0) history.set(failure, [...attempts, { error: failure, verdict, pauseMillis: undefined }])
      return yield* Effect.failCause(cause)
    }
    const attempt: Attempt = { error: failure, verdict, pauseMillis: pause }
    attempts.push(attempt)
    options.onRepeat?.(attempt)
    yield* Metric.update(repetitionsOf(options.name, verdict.ladder), 1)
    yield* Effect.sleep(pause)
    const exit = yield* Effect.exit(again)
    if (Exit.isSuccess(exit)) return exit.value
    cause = exit.cause
  }
})

/**
 * Whether a statement met a session that had ended before the server began with it, and that was open before the call
 * first failed. The database has seen nothing of it, so this costs neither a token nor a step of a ladder. After a
 * restart a call may meet as many such sessions as the pool had, and never more.
 */
const isFree = (error: SqlError, verdict: Outcome.Verdict, failedAt: number): boolean => {
  const { sent, session } = Evidence.of(error)
  return !sent && session !== undefined && session.openedAt <= failedAt && Outcome.isSafe(verdict)
}

/**
 * Whether the server has answered at once, without running it, that a statement has to be prepared anew, and goes on. To
 * repeat that takes a step of the ladder, but no token: the budget is for what makes an outage worse.
 */
const isForgotten = (error: SqlError, verdict: Outcome.Verdict): boolean => {
  const { answer, endedBy, ready } = Evidence.of(error)
  return verdict.ladder === "Instant" && verdict.outcome === "NotApplied" && answer === "Error" && ready &&
    endedBy === undefined && (verdict.scope === "Transaction" || verdict.scope === "Statement")
}

/** What waited in vain is not sent to wait again, and what our own limit has cut off is not started again. */
const isWorthIt = (error: SqlError, verdict: Outcome.Verdict, mayRepeatUnknown: boolean): boolean => {
  if (verdict.phase === "Acquire") return false
  if (verdict.outcome !== "Unknown") return Outcome.isSafe(verdict)
  const { endedBy } = Evidence.of(error)
  return mayRepeatUnknown && (endedBy === undefined || Evidence.consequences[endedBy].mayRepeat)
}

type Step = (now: number, verdict: Outcome.Verdict) => Effect.Effect<[unknown, Duration.Duration], unknown>

/** How long the ladder of this failure says to wait, in milliseconds; `undefined` at its end. */
const step = Effect.fnUntraced(function*(
  ladders: { [ladder in Outcome.Ladder]?: Step },
  verdict: Outcome.Verdict,
  policy: Policy,
  now: number
) {
  const { ladder } = verdict
  const next: Step = ladders[ladder] ??= yield* Schedule.toStep(scheduleOf(policy, ladder)) as Effect.Effect<Step>
  const exit = yield* Effect.exit(next(now, verdict))
  return Exit.isSuccess(exit) ? Duration.toMillis(exit.value[1]) : undefined
})

const none = Schedule.recurs(0)

const scheduleOf = (policy: Policy, ladder: Outcome.Ladder): Schedule.Schedule<unknown, Outcome.Verdict> => {
  switch (ladder) {
    case "Instant":
      return policy.instant
    case "Conflict":
      return policy.conflict
    case "Lock":
      return policy.lock ?? none
    case "Overload":
      return policy.overload
  }
}
