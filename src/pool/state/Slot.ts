/**
 * A connection of a pool, and the callers that want, have or had one: the two point at each other.
 *
 * @since 0.1.0
 */
import type { CloseReason, Suspicion } from "./PoolEvent.ts"
import type { StatementProfile } from "./StatementProfile.ts"

/**
 * What is done with a connection at the moment, see the picture at the head of `PoolState`.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "Connecting" | "Validating" | "Idle" | "Leased" | "Shared" | "Resetting" | "Closing" | "Gone"

/**
 * One connection, from the decision to open it until it is gone.
 *
 * @category models
 * @since 0.1.0
 */
export class Slot<C> {
  readonly id: number
  /** When opening it began. */
  readonly createdAt: number
  /** When the attempt to open it, or the question to it that is under way, began. */
  since: number
  phase: Phase = "Connecting"
  /** Whether it was opened for no caller, to find out whether the server is back. */
  probe = false
  connection: C | undefined = undefined
  /** When it is too old to be lent again. */
  expiresAt = Infinity
  /** When it became idle. */
  idleSince = 0
  /** When the server last gave a sign of life. */
  aliveAt = 0
  /** The lease that has it exclusively, or the first in line of those that share it; the others follow by `next`. */
  lease: Lease<C> | undefined = undefined
  /** The last in line of the leases that share it. */
  last: Lease<C> | undefined = undefined
  /** How many statements share it. */
  load = 0
  /** How many statements on it are not known to be quick, or were abandoned and may still run on the server. */
  unproven = 0
  /** When the statement that is first in line on it became so. */
  headSince = 0
  /** Whether it takes no new statements, because a waiter wants a whole connection. */
  reserved = false
  /** Why it is closed instead of being lent again. */
  retired: CloseReason | undefined = undefined
  /** Why the server is asked before it is lent again. */
  suspicion: Suspicion | undefined = undefined
  /** The suspicion that the ping which is under way clears up. */
  asked: Suspicion | undefined = undefined
  /** The lane that has it, or had it last. */
  lane = 0

  constructor(id: number, createdAt: number) {
    this.id = id
    this.createdAt = createdAt
    this.since = createdAt
  }
}

/**
 * A caller that wants, has, or had a connection.
 *
 * **Details**
 *
 * Each field is paid for by everybody who waits. What few leases have is kept beside them: in sets, or at what they run.
 *
 * @category models
 * @since 0.1.0
 */
export class Lease<C> {
  /** Whether it wants to share a connection with others for one statement, instead of having one exclusively. */
  readonly shared: boolean
  /** The number of its lane; 0 is the lane of callers that name none. */
  readonly lane: number
  /** What is known of the statement, if it wants to share. */
  readonly profile: StatementProfile | undefined
  /** Whether the statement was known to be quick when it got its connection, so that others may follow it. */
  proven = false
  state: "New" | "Waiting" | "Held" | "Failed" | "Ended" = "New"
  slot: Slot<C> | undefined = undefined
  /** Its place among all leases that ever waited. */
  ticket = 0
  /** When it asked for a connection; once it has one, when it got it. */
  since = 0
  /** For how long this process stood still while the lease waited, in milliseconds. */
  stalledMillis = 0
  /** Its neighbours in the queue, and later in the line on the connection that it shares. */
  previous: Lease<C> | undefined = undefined
  next: Lease<C> | undefined = undefined

  constructor(shared: boolean, profile?: StatementProfile, lane = 0) {
    this.shared = shared
    this.profile = profile
    this.lane = lane
  }
}
