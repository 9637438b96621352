/**
 * The options of a pool, as `PoolState` takes them.
 *
 * @since 0.2.0
 */
import type * as Lanes from "./Lanes.ts"
import type * as Scaling from "./Scaling.ts"

/**
 * The options of a pool, as numbers. Durations are milliseconds; `Infinity` switches a limit off.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly min: number
  readonly max: number
  readonly maxConnecting: number
  readonly maxWaiting: number
  readonly acquireTimeout: number
  readonly idleTimeout: number
  readonly lifetime: number
  /** The part of `lifetime` by which a connection may end early, from 0 to 1. */
  readonly lifetimeJitter: number
  readonly validateAfter: number
  readonly keepAlive: number
  readonly backoffBase: number
  readonly backoffCap: number
  /** How many statements may share one connection; 1 switches sharing off. */
  readonly pipelineDepth: number
  /** How much longer than the fastest answer a statement may take and still count as quick. */
  readonly slowStatement: number
  /** How long a statement may have to wait for those it shares a connection with, until one more is opened. */
  readonly shareWait: number
  /** How long an attempt to connect, or a ping, may take until it no longer counts as supply. */
  readonly slowConnect: number
  /** How long a ping, a reset or a goodbye may take until the connection is destroyed. */
  readonly controlTimeout: number
  /** How long after the server refused one more connection the pool tries one more. */
  readonly overloadRecovery: number
  /** How long a lease may be held until it is reported. */
  readonly leakThreshold: number
  /** How long a lease may be held until its connection is taken away. */
  readonly reclaimAfter: number
  /** The lanes beside lane 0, which is that of callers that name none. */
  readonly lanes: ReadonlyArray<Lanes.LaneOptions>
  /** Whether less is run at a time when the server gets slower under it. */
  readonly adaptive: boolean
  /** When the pool grows ahead of demand and shrinks after it; `undefined` if it never does. */
  readonly scaling: Scaling.Options | undefined
}
