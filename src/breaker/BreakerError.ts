/**
 * What a call fails with that the breaker has turned away.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Predicate from "effect/Predicate"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Evidence from "../failure/Evidence.ts"
import { frameless } from "../failure/frameless.ts"
import * as Outcome from "../failure/Outcome.ts"

/**
 * The circuit is open: the database has failed too often.
 *
 * @category models
 * @since 0.1.0
 */
export class CircuitOpen extends Data.TaggedClass("CircuitOpen")<{
  /** The database. */
  readonly key: string
  /** How long nothing will be sent. The first call after that is the probe. */
  readonly retryAfter: Duration.Duration
}> {
  get message(): string {
    return `The circuit of ${this.key} is open, because too many calls have failed or were too slow. ` +
      `Nothing is sent for another ${Math.ceil(Duration.toMillis(this.retryAfter))} ms`
  }
}

/**
 * The circuit is half-open: one call is finding out whether the database is back.
 *
 * @category models
 * @since 0.1.0
 */
export class CircuitHalfOpen extends Data.TaggedClass("CircuitHalfOpen")<{ readonly key: string }> {
  get message(): string {
    return `The circuit of ${this.key} is half-open: one call is finding out whether the database is back`
  }
}

/**
 * The database was isolated by hand.
 *
 * @category models
 * @since 0.1.0
 */
export class Isolated extends Data.TaggedClass("Isolated")<{ readonly key: string }> {
  get message(): string {
    return `${this.key} is isolated by hand: nothing is sent until the breaker is reset`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type BreakerErrorReason = CircuitOpen | CircuitHalfOpen | Isolated

const ErrorTypeId = "~watertight/Breaker/BreakerError"

/**
 * The breaker has turned a call away, so nothing was sent to the database. It is the `cause` of the `SqlError` that
 * the call fails with.
 *
 * @category errors
 * @since 0.1.0
 */
export class BreakerError extends Data.TaggedError("BreakerError")<{ readonly reason: BreakerErrorReason }> {
  readonly [ErrorTypeId] = ErrorTypeId

  override get message(): string {
    return this.reason.message
  }
}

/**
 * Whether a value is a `BreakerError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isBreakerError = (u: unknown): u is BreakerError => Predicate.hasProperty(u, ErrorTypeId)

/**
 * The `BreakerError` along the causes of a failure, if a breaker has turned the call away.
 *
 * @category getters
 * @since 0.1.0
 */
export const find = (error: unknown): BreakerError | undefined => {
  if (isBreakerError(error)) return error
  const cause = Outcome.find(error)?.reason.cause
  return isBreakerError(cause) ? cause : undefined
}

/**
 * How long a call that was turned away should wait, if the breaker knows.
 *
 * @category getters
 * @since 0.1.0
 */
export const retryAfter = (error: unknown): Duration.Duration | undefined => {
  const reason = find(error)?.reason
  return reason?._tag === "CircuitOpen" ? reason.retryAfter : undefined
}

const verdict: Outcome.Verdict = {
  outcome: "NotSent",
  scope: "Connect",
  ladder: "Overload",
  phase: "Acquire",
  about: "circuit open"
}

const nothingSent = Evidence.make({})

/** The `SqlError` of a call that is turned away. */
export const toSqlError = (reason: BreakerErrorReason): SqlError => {
  const error = frameless(() => {
    const cause = new BreakerError({ reason })
    return new SqlError({ reason: new ConnectionError({ cause, message: cause.message, operation: "acquire" }) })
  })
  return Outcome.mark(Evidence.attach(error, nothingSent), verdict)
}
