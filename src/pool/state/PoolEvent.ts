/**
 * What a pool tells about itself: every change that a person would want to see in a log, with its reason.
 *
 * **Details**
 *
 * `PoolState` reports these where it takes the decision. A checkout is no event: there are too many of them, and the
 * counters tell about them.
 *
 * @since 0.1.0
 */

/**
 * Why the connections beside one that failed are asked for a sign of life before they are lent again.
 *
 * `NetworkFault`: one was cut or did not answer. `RoleChange`: one found that its server accepts no writes any more.
 *
 * @category models
 * @since 0.1.0
 */
export type Suspicion = "NetworkFault" | "RoleChange"

/**
 * Why an attempt to connect failed: the server could not be reached, it has no room for one more, it refuses until a
 * person changes something, or the pool ended the attempt because it was drained, cleared or shut down.
 *
 * @category models
 * @since 0.1.0
 */
export type ConnectFailure = "Unreachable" | "Full" | "Permanent" | "Interrupted"

/**
 * What became of the pool's size, and why.
 *
 * `Utilization`: the connections are in use for more than the desired part of the time. `Wait`: Little's law predicts
 * that callers will wait for longer than desired. `Unneeded`: the median of what was needed lately is lower.
 *
 * @category models
 * @since 0.1.0
 */
export type ScaleReason = "Utilization" | "Wait" | "Unneeded"

/**
 * Why a connection was closed.
 *
 * @category models
 * @since 0.1.0
 */
export type CloseReason =
  | "Lifetime"
  | "IdleTimeout"
  | "PingFailed"
  /** It did not answer a question of the pool within `controlTimeout`. */
  | "Unanswered"
  | "ResetFailed"
  | "Lost"
  | "Cleared"
  | "Retired"
  | "Resized"
  | "Reclaimed"
  /** Fewer were enough lately. */
  | "Unneeded"
  /** Another pool of the same budget needed it more. */
  | "Budget"
  | "Shutdown"

/**
 * Why a caller did not get a connection. `Suspended` also if its time was over while the pool was suspended.
 *
 * @category models
 * @since 0.1.0
 */
export type FailReason =
  | "AcquireTimeout"
  | "QueueFull"
  | "PoolClosed"
  | "ConnectFailed"
  | "Suspended"
  /** It would have waited for ever: it holds what it waits for. */
  | "NestedAcquire"

/**
 * Something that happened to a pool. `connection` is the number of the connection within the pool, `millis` a duration.
 *
 * @category models
 * @since 0.1.0
 */
export type PoolEvent =
  /** A connection was opened, which took so long. */
  | { readonly _tag: "Created"; readonly connection: number; readonly millis: number }
  /** A connection could not be opened. */
  | {
    readonly _tag: "ConnectFailed"
    readonly connection: number
    readonly millis: number
    readonly reason: ConnectFailure
  }
  /** A connection is of no use any more, after so long. */
  | { readonly _tag: "Closed"; readonly connection: number; readonly millis: number; readonly reason: CloseReason }
  /** So many connections are asked for a sign of life before they are lent again. */
  | { readonly _tag: "Suspected"; readonly count: number; readonly reason: Suspicion }
  /** All connections of before are to be replaced: so many of them. */
  | { readonly _tag: "Cleared"; readonly count: number; readonly mode: "graceful" | "immediate" }
  /** Nobody gets a connection: those who want one wait, or fail. */
  | { readonly _tag: "Suspended"; readonly mode: "hold" | "reject" }
  | { readonly _tag: "Resumed" }
  /** The limits were changed at run time. */
  | { readonly _tag: "Resized"; readonly min: number; readonly max: number }
  /** The pool opens connections before anybody has to wait for them. */
  | { readonly _tag: "ScaledUp"; readonly from: number; readonly to: number; readonly reason: ScaleReason }
  /** The pool closes connections that were not needed lately. */
  | { readonly _tag: "ScaledDown"; readonly from: number; readonly to: number; readonly reason: ScaleReason }
  /** The server has no room for more connections, so the pool gets by with those that it has. */
  | { readonly _tag: "OverloadLowered"; readonly from: number; readonly to: number }
  /** The server has not refused for a while, so the pool may try one more. */
  | { readonly _tag: "OverloadRaised"; readonly from: number; readonly to: number }
  /** The adaptive limit on what runs at a time has changed. */
  | { readonly _tag: "LimitChanged"; readonly from: number; readonly to: number }
  /** Somebody who wanted a connection got none. */
  | { readonly _tag: "AcquireFailed"; readonly millis: number; readonly reason: FailReason }
  /** Somebody has had a connection for longer than `leakThreshold`. */
  | { readonly _tag: "LeakSuspected"; readonly connection: number; readonly millis: number }
  /** Somebody who was suspected to have leaked a connection has given it back after all. */
  | { readonly _tag: "LeakReturned"; readonly connection: number; readonly millis: number }
  /** The connection was taken away from somebody who has had it for longer than `reclaimAfter`. */
  | { readonly _tag: "LeakReclaimed"; readonly connection: number; readonly millis: number }
  /** This process stood still. The time counts for no limit. */
  | { readonly _tag: "ProcessStalled"; readonly millis: number }
  /** Nobody gets a connection any more; so many are lent. */
  | { readonly _tag: "ShutdownStarted"; readonly used: number; readonly waiting: number }
  /** Borrowers who had not finished when the pool was shut down or drained were cut off. */
  | { readonly _tag: "CutOff"; readonly count: number }
  /** The last connection is gone of a pool that was shut down or drained. */
  | { readonly _tag: "Drained" }
