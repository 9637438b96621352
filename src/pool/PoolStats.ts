/**
 * What a pool tells about itself when it is asked.
 *
 * @since 0.2.0
 */
import type * as Health from "./Health.ts"
import type * as PoolError from "./PoolError.ts"
import type { CloseReason, FailReason } from "./state/PoolEvent.ts"
import type { Counts } from "./state/PoolState.ts"
import type { Durations } from "./telemetry/Timing.ts"

/**
 * How a pool is doing, at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats extends Counts {
  /** The name of the pool in metrics: the address of the database and its name. */
  readonly pool: string
  readonly min: number
  readonly max: number
  /** The most connections just now: less than `max` while the server has no room for more. */
  readonly effectiveMax: number
  /** How often a connection was lent, or shared by a statement, since the pool was made. */
  readonly checkouts: number
  /** How often one was given back. */
  readonly checkins: number
  /** How many of them had to wait. */
  readonly waited: number
  /** How many callers got no connection, by reason. */
  readonly failed: Readonly<Record<FailReason, number>>
  /** How many connections were opened. */
  readonly created: number
  /** How many attempts to open one failed. */
  readonly connectFailures: number
  /** How many connections were closed, by reason. */
  readonly closed: Readonly<Record<CloseReason, number>>
  /** How many connections did not answer a ping. */
  readonly validationFailures: number
  /** How often a connection had to be cleaned up before the next borrower could have it. */
  readonly resets: number
  /** How often somebody was suspected to hold a connection for too long, what came of it, and how many there are now. */
  readonly leaks: {
    readonly suspected: number
    readonly returned: number
    readonly reclaimed: number
    readonly current: number
  }
  /** How long callers waited for a connection, in milliseconds. Those who did not have to wait count as well. */
  readonly wait: Durations
  /** How long they had it. */
  readonly use: Durations
  /** How long opening a connection took. */
  readonly create: Durations
  /** How long statements took on the server and on the way there, without waiting for a connection. */
  readonly query: Durations
  /** What happened within the window that is "recent" here. */
  readonly recent: {
    readonly windowMillis: number
    readonly checkouts: number
    /** How many callers got no connection. */
    readonly failed: number
    readonly created: number
    readonly connectFailures: number
  }
  readonly acquireTimeoutMillis: number
  /** How many connections are being asked for a sign of life, or cleaned up after a borrower. */
  readonly validating: number
  /** For how long a connection has not answered such a question, in milliseconds; 0 if all have. */
  readonly unansweredMillis: number
  /** For how long somebody has waited while nobody got a connection, in milliseconds; 0 if nobody waits. */
  readonly exhaustedMillis: number
  /** For how long every attempt to connect has failed, in milliseconds; 0 if the last one did not. */
  readonly outageMillis: number
  /** The state of the circuit breaker in front of the pool, the worst if there are several; `undefined` without one. */
  readonly breaker: Health.Signals["breaker"]
}

/**
 * What became of the borrowers when a pool was shut down.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShutdownReport {
  readonly database: string
  /** Who had not given its connection back in time, and was cut off. */
  readonly cut: ReadonlyArray<PoolError.Holder>
}

/**
 * What became of the borrowers when a pool was drained.
 *
 * @category models
 * @since 0.1.0
 */
export interface DrainReport extends ShutdownReport {}
