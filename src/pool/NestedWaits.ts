/**
 * Callers that have connections of a pool, or of its group, and wait for another one.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import type { Connection } from "../Adapter.ts"
import type { DeadlockDetector, Place } from "./DeadlockDetector.ts"
import { LeasedConnection } from "./LeasedConnection.ts"
import type { LeaseRequest } from "./LeaseRequest.ts"
import type { PoolHost } from "./PoolHost.ts"
import type { ConnectionQuota } from "./state/ConnectionQuota.ts"
import type { Lease } from "./state/Slot.ts"

/**
 * The connections that an effect which runs here has already. Code that lets others run while it has a connection
 * provides them, and the pool can tell waiting for another one from a deadlock.
 *
 * @category references
 * @since 0.1.0
 */
export const Holds = Context.Reference<ReadonlyArray<Connection>>("watertight/Pool/Holds", { defaultValue: () => [] })

/**
 * @category models
 * @since 0.2.0
 */
export class NestedWaits {
  private readonly runtime: PoolHost
  private readonly detector: DeadlockDetector<Connection>
  private readonly place: Place<Connection>

  constructor(
    runtime: PoolHost,
    detector: DeadlockDetector<Connection>,
    quota: ConnectionQuota | undefined
  ) {
    this.runtime = runtime
    this.detector = detector
    this.place = {
      state: runtime.state,
      budget: quota,
      lacksRoom: (slot) => runtime.account?.asked.has(slot) === true
    }
    detector.places.add(this.place)
  }

  /** A request begins to wait. If its owner holds connections, whether it would wait for ever is looked at. */
  waits(request: LeaseRequest): void {
    const held = this.heldBy(request)
    if (held === undefined) return
    this.detector.add(request, this.place, held)
    this.runtime.state.exempt(request, this.runtime.now())
    this.runtime.perform()
    this.refuse()
  }

  ended(request: LeaseRequest): void {
    this.detector.remove(request)
  }

  /** Fails requests that would wait for ever. */
  refuse(): void {
    if (this.detector.isEmpty) return
    let request: LeaseRequest | undefined
    while ((request = this.detector.stuck(this.place) as LeaseRequest | undefined) !== undefined) {
      this.runtime.refuse(request, "NestedAcquire")
    }
  }

  leave(): void {
    this.detector.places.delete(this.place)
  }

  private heldBy(request: LeaseRequest): ReadonlySet<Lease<Connection>> | undefined {
    let held: Set<Lease<Connection>> | undefined
    for (const connection of request.fiber.getRef(Holds)) {
      if (connection instanceof LeasedConnection) (held ??= new Set()).add(connection.lease)
    }
    // What it has of other pools matters where it waits for them to give one back.
    const waitsForOthers = (this.runtime.account?.asked.size ?? 0) > 0
    for (const { state } of waitsForOthers ? this.detector.places : [this.place]) {
      for (const { lease } of state.slots) {
        if ((lease as LeaseRequest | undefined)?.fiber === request.fiber) (held ??= new Set()).add(lease!)
      }
    }
    return held
  }
}
