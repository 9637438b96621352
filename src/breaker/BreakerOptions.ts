/**
 * The options of a breaker, with their defaults.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Result from "effect/Result"
import * as Schedule from "effect/Schedule"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Checks from "../options/Options.ts"

/**
 * The options of a breaker. Each has a default that a production team can accept unread.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * When the circuit opens: a `CircuitBreaker.rate` or a `CircuitBreaker.consecutive`. Default: when half of the last
   * 20 calls have failed, and at least 10 calls were made. A rate also notices a database that answers every other
   * call, which a count of consecutive failures never does, and ten calls are enough to tell an outage from bad luck.
   */
  readonly tripPolicy?: CircuitBreaker.TripPolicy | undefined
  /**
   * How long it stays open: a duration, or a schedule whose n-th delay is for the n-th opening in a row. Default: one
   * second, then twice as long each time up to 30 seconds, give or take a fifth. So a restart of the database is
   * noticed within a second or two, and one that is down for long is not pestered.
   */
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  /**
   * How long a call may take, from asking for a connection to the answer, before it counts as a failure although it
   * succeeds. Default: no limit, because a report may take a minute and be healthy. Set it where all statements are
   * meant to be quick.
   */
  readonly slowCall?: Duration.Input | undefined
  /**
   * With a store from the context: how often the circuit is looked up in it, at most, while there is traffic. Default:
   * 1 second, within which no client of a dead database has given up.
   */
  readonly refreshInterval?: Duration.Input | undefined
  /**
   * With a store from the context: how long it may take to answer before it counts as broken. Default: 1 second. Only
   * a call that asks to be the probe ever waits for it.
   */
  readonly storeTimeout?: Duration.Input | undefined
}

/**
 * When the circuit opens, unless the options say otherwise.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaultTripPolicy: CircuitBreaker.TripPolicy = CircuitBreaker.rate({
  threshold: 0.5,
  size: 20,
  minimumCalls: 10
})

/**
 * How long it stays open, unless the options say otherwise.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaultOpenDuration: Schedule.Schedule<unknown, number> = Schedule.min([
  Schedule.exponential("1 second"),
  Schedule.spaced("30 seconds")
]).pipe(Schedule.jittered)

/** Options that have been checked. */
export interface Resolved {
  readonly tripPolicy: CircuitBreaker.TripPolicy
  readonly openDuration: Duration.Duration | Schedule.Schedule<unknown, number>
  /** The longest that the circuit is open by these options, which a shared store cannot exceed. */
  readonly longestOpenMillis: number
  readonly slowMillis: number
  readonly refreshMillis: number
  readonly storeTimeout: Duration.Duration
}

const openDuration = Checks.duration({ default: "1 second", positive: true })

const checks = Checks.make<Options>()("Breaker", {
  tripPolicy: Checks.custom<CircuitBreaker.TripPolicy>(
    "a `CircuitBreaker.rate` or a `CircuitBreaker.consecutive`",
    isPolicy
  ),
  openDuration: Checks.custom<Duration.Input | Schedule.Schedule<unknown, number>>(
    "a duration longer than zero, or a schedule",
    (value) => Schedule.isSchedule(value) || Result.isSuccess(openDuration.parse(value))
  ),
  slowCall: Checks.duration({ positive: true }),
  refreshInterval: Checks.duration({ default: "1 second", positive: true }),
  storeTimeout: Checks.duration({ default: "1 second", positive: true })
})

function isPolicy(policy: CircuitBreaker.TripPolicy): boolean {
  const isCount = (n: unknown): n is number => Number.isSafeInteger(n) && n as number >= 1
  switch (policy?._tag) {
    case "Consecutive":
      return isCount(policy.failures)
    case "Rate":
      return policy.threshold >= 0 && policy.threshold <= 1 && isCount(policy.size) && isCount(policy.minimumCalls) &&
        policy.minimumCalls <= policy.size
    default:
      return false
  }
}

/** Checks the options and fills in the defaults. */
export const resolve = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Resolved, InvalidOptions> {
  const checked = yield* checks.resolve(options)
  const { openDuration = defaultOpenDuration } = checked
  const open = Schedule.isSchedule(openDuration)
    ? openDuration as Schedule.Schedule<unknown, number>
    : Duration.fromInputUnsafe(openDuration as Duration.Input)
  return {
    tripPolicy: checked.tripPolicy ?? defaultTripPolicy,
    openDuration: open,
    longestOpenMillis: yield* longest(open),
    slowMillis: checked.slowCall ?? Infinity,
    refreshMillis: checked.refreshInterval,
    storeTimeout: Duration.millis(checked.storeTimeout)
  }
})

/** How many openings in a row are looked at. The delays of a schedule have reached their maximum by then. */
const openings = 32

/** The longest of the open times, with room for the jitter of another process. */
const longest = Effect.fnUntraced(function*(open: Resolved["openDuration"]) {
  if (Duration.isDuration(open)) return Duration.toMillis(open)
  const step = yield* Schedule.toStep(open)
  let longest = 0
  for (let opening = 1, now = 0; opening <= openings; opening++) {
    const exit = yield* Effect.exit(step(now, opening))
    if (Exit.isFailure(exit)) break
    const delay = Duration.toMillis(exit.value[1])
    now += delay
    longest = Math.max(longest, delay)
  }
  return longest * 1.5
})
