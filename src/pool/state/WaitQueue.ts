/**
 * The leases that wait for a connection: for each lane one queue of those that want a whole connection and one of those
 * that want to share one.
 *
 * **Details**
 *
 * A ticket tells the order among all queues. All leases wait equally long, so the order of tickets is the order of
 * deadlines. Leaving the queue costs the same wherever a lease stands in it.
 *
 * @since 0.2.0
 */
import * as Lanes from "./Lanes.ts"
import type { Lease } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"

/** A linked list. */
class Queue<C> {
  head: Lease<C> | undefined = undefined
  size = 0
  private tail: Lease<C> | undefined = undefined

  push(lease: Lease<C>): void {
    lease.previous = this.tail
    if (this.tail === undefined) this.head = lease
    else this.tail.next = lease
    this.tail = lease
    this.size++
  }

  remove(lease: Lease<C>): void {
    if (lease.previous === undefined) this.head = lease.next
    else lease.previous.next = lease.next
    if (lease.next === undefined) this.tail = lease.previous
    else lease.next.previous = lease.previous
    lease.previous = undefined
    lease.next = undefined
    this.size--
  }
}

/**
 * A lane, and the leases that wait in it.
 *
 * @category models
 * @since 0.2.0
 */
export class WaitingLane<C> extends Lanes.Lane {
  readonly whole = new Queue<C>()
  readonly sharing = new Queue<C>()
}

/**
 * @category models
 * @since 0.2.0
 */
export class WaitQueue<C> {
  /** Lane 0 is that of callers that name none, and the only one as a rule. */
  readonly lanes: ReadonlyArray<WaitingLane<C>>
  readonly main: WaitingLane<C>
  /** How many wait for a whole connection, in all lanes. */
  exclusiveWaiters = 0
  /** How many wait to share one, in all lanes. */
  sharedWaiters = 0
  /** The leases whose owners hold connections, so that the adaptive limit is not for them. */
  readonly nested = new Set<Lease<C>>()
  private readonly acquireTimeout: number
  private nextTicket = 1

  constructor({ acquireTimeout, lanes }: Pick<Options, "acquireTimeout" | "lanes">) {
    this.acquireTimeout = acquireTimeout
    this.lanes = [{ guaranteed: 0, max: 1 }, ...lanes].map((lane) => new WaitingLane<C>(lane))
    this.main = this.lanes[0]!
  }

  get size(): number {
    return this.exclusiveWaiters + this.sharedWaiters
  }

  /** Those that have waited longest, at most as many as are asked for. */
  longest(limit: number): ReadonlyArray<Lease<C>> {
    const found: Array<Lease<C>> = []
    for (const { sharing, whole } of this.lanes) {
      for (const queue of [whole, sharing]) {
        let lease = queue.head
        for (let count = 0; lease !== undefined && count < limit; count++, lease = lease.next) found.push(lease)
      }
    }
    return found.sort((left, right) => left.ticket - right.ticket).slice(0, limit)
  }

  push(lease: Lease<C>): void {
    const lane = this.lanes[lease.lane]!
    lease.state = "Waiting"
    lease.ticket = this.nextTicket++
    if (lease.shared) {
      this.sharedWaiters++
      lane.sharing.push(lease)
    } else {
      this.exclusiveWaiters++
      lane.whole.push(lease)
    }
  }

  remove(lease: Lease<C>): void {
    const lane = this.lanes[lease.lane]!
    if (this.nested.size > 0) this.nested.delete(lease)
    if (lease.shared) {
      this.sharedWaiters--
      lane.sharing.remove(lease)
    } else {
      this.exclusiveWaiters--
      lane.whole.remove(lease)
    }
  }

  /** Until when a lease waits. */
  deadlineOf(lease: Lease<C>): number {
    return lease.since + lease.stalledMillis + this.acquireTimeout
  }

  /** This process stood still, from `from` on: all who waited meanwhile may wait that much longer. */
  stalled(from: number, to: number): void {
    for (const { sharing, whole } of this.lanes) {
      for (const { head } of [sharing, whole]) {
        for (let lease = head; lease !== undefined; lease = lease.next) {
          lease.stalledMillis += Math.max(0, to - Math.max(from, lease.since))
        }
      }
    }
  }

  /** The lease that has waited longest, or longest after a ticket. */
  first(after = 0): Lease<C> | undefined {
    let first: Lease<C> | undefined
    for (let i = 0; i < this.lanes.length; i++) {
      const { sharing, whole } = this.lanes[i]!
      if (
        whole.head !== undefined && whole.head.ticket > after &&
        !(first !== undefined && first.ticket < whole.head.ticket)
      ) {
        first = whole.head
      }
      if (
        sharing.head !== undefined && sharing.head.ticket > after &&
        !(first !== undefined && first.ticket < sharing.head.ticket)
      ) first = sharing.head
    }
    return first
  }

  /** The lease that has waited longest of those that want to share. */
  firstShared(): Lease<C> | undefined {
    let first: Lease<C> | undefined
    for (const { sharing } of this.lanes) {
      if (sharing.head !== undefined && (first === undefined || sharing.head.ticket < first.ticket)) {
        first = sharing.head
      }
    }
    return first
  }
}
