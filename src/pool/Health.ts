/**
 * Whether a pool does its work, as one answer with its reasons: for a readiness probe, a page of status, an alert.
 *
 * **Details**
 *
 * The answer is computed from what the pool has counted in the last minute, when it is asked for. These are the
 * reasons and the default thresholds:
 *
 * | reason             | when                                                                    | level    |
 * | ------------------ | ----------------------------------------------------------------------- | -------- |
 * | `FailedCheckouts`  | more than 1 % of the callers got no connection                          | Degraded |
 * | `SlowCheckouts`    | the 95th percentile of the wait for a connection is above 50 ms         | Degraded |
 * | `SlowQueries`      | the 95th percentile of the time that statements take is above 50 ms     | Degraded |
 * | `ConnectionErrors` | more than 5 % of the attempts to connect failed                         | Degraded |
 * | `Unanswered`       | a connection has not answered a ping or a reset of the pool for 1 s     | Degraded |
 * | `SuspectedLeaks`   | a connection is held for longer than the leak threshold                 | Degraded |
 * | `Exhausted`        | callers wait, and nobody got a connection for the acquire timeout       | Critical |
 * | `Unreachable`      | there is no connection, and attempts to open one have failed since then | Critical |
 * | `BreakerOpen`      | the circuit breaker of the database is open                             | Critical |
 *
 * How long statements take counts from four callers in the last minute on. Each reason lapses by itself: while there is no
 * connection, the pool goes on asking with back-off and jitter whether the database is back, also without callers.
 *
 * A pool in which callers wait is not sick as long as they are served: a small pool that is always busy is the fastest
 * one.
 *
 * **Example** (A readiness probe)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Health, Pool } from "watertight"
 *
 * const ready = Effect.gen(function*() {
 *   const pool = yield* Pool.Pool
 *   const health = yield* pool.health
 *   return { status: Health.isCritical(health) ? 503 : 200, body: Health.describe(health) }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"

/**
 * More than this is not healthy.
 *
 * @category options
 * @since 0.1.0
 */
export interface Thresholds {
  /** The part of the callers that got no connection. Default: 0.01. */
  readonly failedCheckouts?: number | undefined
  /** The 95th percentile of the wait for a connection. Default: 50 milliseconds. */
  readonly checkoutLatency?: Duration.Input | undefined
  /** The 95th percentile of the time that statements take, without that wait. Default: 50 milliseconds. */
  readonly queryLatency?: Duration.Input | undefined
  /** The part of the attempts to connect that failed. Default: 0.05. */
  readonly connectionErrors?: number | undefined
  /** How long a connection may take to answer a question of the pool. Default: 1 second. */
  readonly unanswered?: Duration.Input | undefined
  /** How many connections may be held for longer than the leak threshold. Default: 0. */
  readonly suspectedLeaks?: number | undefined
  /** For how long nobody may get a connection while callers wait. Default: the acquire timeout of the pool. */
  readonly exhausted?: Duration.Input | undefined
}

/**
 * What the decision rests on. The statistics of a pool have all of it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signals {
  /** The name of the pool. */
  readonly pool: string
  /** All connections, also those being opened. */
  readonly total: number
  readonly connecting: number
  /** Those that are asked for a sign of life, or cleaned up after a borrower. */
  readonly validating?: number | undefined
  /** For how long a connection has not answered such a question; 0 if all have. */
  readonly unansweredMillis?: number | undefined
  readonly acquireTimeoutMillis: number
  /** For how long somebody has waited while nobody got a connection; 0 if nobody waits. */
  readonly exhaustedMillis: number
  /** For how long every attempt to connect has failed; 0 if the last one did not. */
  readonly outageMillis: number
  /** How many suspected leaks there are now. */
  readonly leaks: { readonly current: number }
  readonly wait: { readonly recent: { readonly count: number; readonly p95: number } }
  readonly query: { readonly recent: { readonly count: number; readonly p95: number } }
  readonly recent: {
    readonly checkouts: number
    readonly failed: number
    readonly created: number
    readonly connectFailures: number
  }
  /** The state of the circuit breaker, if there is one. */
  readonly breaker?: "Closed" | "HalfOpen" | "Open" | "Isolated" | undefined
}

/**
 * Why a pool is not healthy. `value` is what was measured and `threshold` what it should not exceed: a part of one, or
 * milliseconds, or a number.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reason {
  readonly _tag:
    | "FailedCheckouts"
    | "SlowCheckouts"
    | "SlowQueries"
    | "ConnectionErrors"
    | "SuspectedLeaks"
    | "Unanswered"
    | "Exhausted"
    | "Unreachable"
    | "BreakerOpen"
    | "NoPrimary"
    | "NoReplica"
  readonly pool: string
  readonly value: number
  readonly threshold: number
  /** For people. */
  readonly message: string
}

/**
 * Whether a pool does its work. `reasons` has the worst first.
 *
 * @category models
 * @since 0.1.0
 */
export type Health = Data.TaggedEnum<{
  readonly Healthy: { readonly reasons: readonly [] }
  /** It works, but worse than it should: tell a person. */
  readonly Degraded: { readonly reasons: ReadonlyArray<Reason> }
  /** It does not work: send nobody here. */
  readonly Critical: { readonly reasons: ReadonlyArray<Reason> }
}>

const { Critical, Degraded, Healthy } = Data.taggedEnum<Health>()

const healthy = Healthy({ reasons: [] })

/**
 * Decides. A pure function.
 *
 * @category constructors
 * @since 0.1.0
 */
export const decide = (signals: Signals, thresholds: Thresholds = {}): Health => {
  const critical: Array<Reason> = []
  const degraded: Array<Reason> = []
  const { leaks, outageMillis, pool, query, recent, wait } = signals
  const check = (
    into: Array<Reason>,
    tag: Reason["_tag"],
    value: number,
    threshold: number,
    message: () => string
  ): void => {
    if (value > threshold) into.push({ _tag: tag, pool, value, threshold, message: `${pool}: ${message()}` })
  }

  const { breaker } = signals
  check(critical, "BreakerOpen", breaker === "Open" || breaker === "Isolated" ? 1 : 0, 0, () =>
    breaker === "Open"
      ? "the circuit breaker is open"
      : "the circuit breaker is held open by hand")
  check(
    critical,
    "Unreachable",
    signals.total - signals.connecting - (signals.validating ?? 0) <= 0 ? outageMillis : 0,
    0,
    () => `there is no connection, and every attempt to open one has failed for ${millis(outageMillis)}`
  )
  check(
    critical,
    "Exhausted",
    signals.exhaustedMillis,
    durationOf(thresholds.exhausted, signals.acquireTimeoutMillis),
    () => `callers wait, and nobody has got a connection for ${millis(signals.exhaustedMillis)}`
  )

  const asked = recent.checkouts + recent.failed
  check(
    degraded,
    "FailedCheckouts",
    asked === 0 ? 0 : recent.failed / asked,
    thresholds.failedCheckouts ?? 0.01,
    () => `${recent.failed} of ${asked} callers got no connection`
  )
  check(
    degraded,
    "SlowCheckouts",
    wait.recent.p95,
    durationOf(thresholds.checkoutLatency, 50),
    () => `one caller in twenty waited for a connection for ${millis(wait.recent.p95)} or longer`
  )
  check(
    degraded,
    "SlowQueries",
    asked >= fewCallers ? query.recent.p95 : 0,
    durationOf(thresholds.queryLatency, 50),
    () => `one statement in twenty took ${millis(query.recent.p95)} or longer`
  )
  const attempts = recent.created + recent.connectFailures
  check(
    degraded,
    "ConnectionErrors",
    attempts === 0 ? 0 : recent.connectFailures / attempts,
    thresholds.connectionErrors ?? 0.05,
    () => `${recent.connectFailures} of ${attempts} attempts to connect failed`
  )
  const unanswered = signals.unansweredMillis ?? 0
  check(
    degraded,
    "Unanswered",
    unanswered,
    durationOf(thresholds.unanswered, 1000),
    () => `${signals.validating ?? 0} connections are being asked or cleaned up, one of them for ${millis(unanswered)}`
  )
  check(
    degraded,
    "SuspectedLeaks",
    leaks.current,
    thresholds.suspectedLeaks ?? 0,
    () => `${leaks.current} connections have been held for too long`
  )
  return of([...critical, ...degraded], critical.length)
}

/**
 * Health with these reasons, which are as bad as they are said to be.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (reasons: {
  readonly critical?: ReadonlyArray<Reason> | undefined
  readonly degraded?: ReadonlyArray<Reason> | undefined
}): Health => {
  const { critical = [], degraded = [] } = reasons
  return of([...critical, ...degraded], critical.length)
}

const of = (reasons: ReadonlyArray<Reason>, critical: number): Health =>
  reasons.length === 0 ? healthy : critical > 0 ? Critical({ reasons }) : Degraded({ reasons })

/** With fewer callers than this in a minute, how long statements take tells about those statements, not about the database. */
const fewCallers = 4

const durationOf = (input: Duration.Input | undefined, fallback: number): number =>
  input === undefined ? fallback : Duration.toMillis(Duration.fromInputUnsafe(input))

const millis = (value: number): string =>
  value >= 10_000 ? `${Math.round(value / 1000)} s` : value >= 10 ? `${Math.round(value)} ms` : `${value.toFixed(1)} ms`

/**
 * One answer for several pools: as bad as that of the worst, with the reasons of all.
 *
 * @category combinators
 * @since 0.1.0
 */
export const combine = (all: Iterable<Health>): Health => {
  const critical: Array<Reason> = []
  const degraded: Array<Reason> = []
  for (const health of all) {
    if (health._tag === "Critical") critical.push(...health.reasons)
    else degraded.push(...health.reasons)
  }
  return of([...critical, ...degraded], critical.length)
}

/**
 * The health of a pool, by thresholds of one's own.
 *
 * **Details**
 *
 * The pool knows the circuit breaker of its `Database`. `breaker` tells the state of another one instead, for example
 * `Effect.map(breaker.state, (state) => state._tag)`.
 *
 * @category getters
 * @since 0.1.0
 */
export const check = (
  pool: { readonly stats: Effect.Effect<Signals> },
  options: Thresholds & { readonly breaker?: Effect.Effect<Signals["breaker"]> | undefined } = {}
): Effect.Effect<Health> =>
  Effect.flatMap(pool.stats, (stats) =>
    Effect.map(
      options.breaker ?? Effect.succeed(stats.breaker),
      (breaker) => decide({ ...stats, breaker }, options)
    ))

/**
 * The health now, and again whenever the level or the kinds of its reasons have changed.
 *
 * @category getters
 * @since 0.1.0
 */
export const changes = (
  health: Effect.Effect<Health>,
  options: {
    /** How often it is looked at. Default: 1 second. */
    readonly every?: Duration.Input | undefined
  } = {}
): Stream.Stream<Health> =>
  Stream.fromEffectSchedule(health, Schedule.spaced(options.every ?? "1 second")).pipe(
    Stream.changesWith((a, b) => kindOf(a) === kindOf(b))
  )

const kindOf = (health: Health): string =>
  [health._tag, ...health.reasons.map((reason) => `${reason._tag} ${reason.pool}`)].join("\n")

/**
 * Whether the pool does its work as it should.
 *
 * @category guards
 * @since 0.1.0
 */
export const isHealthy = (health: Health): boolean => health._tag === "Healthy"

/**
 * Whether the pool does not work at all.
 *
 * @category guards
 * @since 0.1.0
 */
export const isCritical = (health: Health): boolean => health._tag === "Critical"

/**
 * The health in words.
 *
 * @category getters
 * @since 0.1.0
 */
export const describe = (health: Health): string =>
  [health._tag, ...health.reasons.map((reason) => reason.message)].join("\n")
