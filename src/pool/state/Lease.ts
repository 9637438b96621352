/**
 * A caller that wants, has, or had a connection.
 *
 * @since 0.1.0
 */
import type { Slot } from "./Slot.ts"
import type { StatementProfile } from "./StatementProfile.ts"

/**
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
  /** When it asked for a connection. */
  askedAt = 0
  /** When it got its connection. */
  heldAt = 0
  deadline = Infinity
  /** For how long this process stood still while the lease waited, in milliseconds. */
  stalledMillis = 0
  /** Whether it was reported that it is held for too long. */
  leaked = false
  /** Whether its owner held other connections when it began to wait. */
  nested = false
  /** Its neighbours in the queue, and later in the line on the connection that it shares. */
  previous: Lease<C> | undefined = undefined
  next: Lease<C> | undefined = undefined

  constructor(shared: boolean, profile?: StatementProfile, lane = 0) {
    this.shared = shared
    this.profile = profile
    this.lane = lane
  }
}
