/**
 * Those who have connections while they wait for another one, and whether any of them would ever get it.
 *
 * **Details**
 *
 * It is the reduction of a graph of resources: whoever can be served is assumed to finish and to give back what it has,
 * which may serve the next one. Those who are left when nobody can be served any more wait for each other. It is the last
 * one to wait who closes the circle, so it is enough to look then.
 *
 * @since 0.1.0
 */
import type { ConnectionQuota } from "./state/ConnectionQuota.ts"
import type { PoolState } from "./state/PoolState.ts"
import type { Lease, Slot } from "./state/Slot.ts"

/**
 * A pool in which somebody may wait.
 *
 * @category models
 * @since 0.1.0
 */
export interface Place<C> {
  readonly state: Pick<PoolState<C>, "slots" | "limit" | "laneHasRoom">
  /** What limits this pool together with others. */
  readonly budget: Pick<ConnectionQuota, "total" | "used"> | undefined
  /** Whether a connection cannot be opened yet, because there is no room in the budget. */
  readonly lacksRoom: (slot: Slot<C>) => boolean
}

interface Waiter<C> {
  readonly place: Place<C>
  /** What it has meanwhile. */
  readonly holds: ReadonlySet<Lease<C>>
}

/**
 * @category models
 * @since 0.1.0
 */
export class DeadlockDetector<C> {
  /** All pools in which those who wait here may have connections. */
  readonly places = new Set<Place<C>>()
  private readonly waiters = new Map<Lease<C>, Waiter<C>>()

  /** Somebody who has connections begins to wait for one of this place. */
  add(lease: Lease<C>, place: Place<C>, holds: ReadonlySet<Lease<C>>): void {
    this.waiters.set(lease, { place, holds })
  }

  /** Somebody does not wait any more, if it did. */
  remove(lease: Lease<C>): void {
    if (this.waiters.size > 0) this.waiters.delete(lease)
  }

  /** Whether anybody waits who has connections. */
  get isEmpty(): boolean {
    return this.waiters.size === 0
  }

  /** Somebody who waits for a connection of this place and would never get it: the last one to wait. */
  stuck(place: Place<C>): Lease<C> | undefined {
    if (this.waiters.size === 0) return undefined
    const left = new Map(this.waiters)
    for (const lease of left.keys()) if (lease.state !== "Waiting") left.delete(lease)
    for (let before = Infinity; left.size < before;) {
      before = left.size
      const blocked = new Set<Lease<C>>()
      for (const { holds } of left.values()) for (const lease of holds) blocked.add(lease)
      for (const [lease, waiter] of left) if (this.canServe(lease, waiter.place, blocked)) left.delete(lease)
    }
    return Array.from(left.keys()).findLast((lease) => left.get(lease)!.place === place)
  }

  /** Whether a connection comes back, or can be opened, if those who are blocked give back none. */
  private canServe(lease: Lease<C>, place: Place<C>, blocked: ReadonlySet<Lease<C>>): boolean {
    const { budget, state } = place
    if (!state.laneHasRoom(lease, (held) => blocked.has(held))) return false
    if (comesBack(place, blocked)) return true
    let size = 0
    for (const slot of state.slots) if (!place.lacksRoom(slot)) size++
    if (size >= state.limit) return false
    if (budget === undefined || budget.used < budget.total) return true
    for (const other of this.places) if (other.budget === budget && comesBack(other, blocked)) return true
    return false
  }
}

/** Whether a connection is there, or will be, that none of those who are blocked has. */
const comesBack = <C>({ lacksRoom, state }: Place<C>, blocked: ReadonlySet<Lease<C>>): boolean => {
  for (const slot of state.slots) {
    if (!lacksRoom(slot) && (slot.phase !== "Leased" || !blocked.has(slot.lease!))) return true
  }
  return false
}
