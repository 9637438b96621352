/**
 * How many connections are kept without a waiter: `min`, or as many as lately were needed, see `Scaling`.
 *
 * @since 0.2.0
 */
import type { Agenda } from "./Agenda.ts"
import * as Scaling from "./Scaling.ts"
import type { Lease } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"

/**
 * What `look` has to go by.
 *
 * @category models
 * @since 0.2.0
 */
export interface Supply {
  /** The most connections that there may be. */
  readonly limit: number
  readonly open: number
  readonly opening: number
  /** How many there may be ahead of demand. */
  readonly most: number
  /** How long a statement that shares is first in line. */
  readonly serviceTime: number
}

/**
 * What `look` found: how many connections are enough, and since when one of those beyond must have been idle.
 *
 * @category models
 * @since 0.2.0
 */
export interface Excess {
  readonly enough: number
  readonly idleSince: number
}

/**
 * @category models
 * @since 0.2.0
 */
export class Demand<C> {
  /** The option `min`. */
  min: number
  /** How many connections are kept without a waiter. */
  floor: number
  /** When demand is looked at next; never while the pool is not used. */
  lookAt = Infinity
  readonly scaling: Scaling.Scaling | undefined
  private readonly shareWait: number
  private readonly agenda: Agenda<C>

  constructor(options: Options, agenda: Agenda<C>) {
    this.min = this.floor = options.min
    this.shareWait = options.shareWait
    this.agenda = agenda
    this.scaling = options.scaling === undefined ? undefined : new Scaling.Scaling(options.scaling)
  }

  /** A lease begins. One that is not proven quick lets no other follow, so it counts as exclusive. */
  began(lease: Lease<C>, now: number): void {
    const scaling = this.scaling!
    if (this.lookAt === Infinity) {
      scaling.begin(now)
      this.lookAt = now + scaling.options.interval
      this.agenda.wake(this.lookAt)
    }
    scaling.meter.began(lease.proven, now)
  }

  ended(lease: Lease<C>, now: number): void {
    this.scaling!.meter.ended(lease.proven, now)
  }

  /** `min` has changed. What is wanted beyond it is found out anew. */
  restart(min: number): void {
    this.min = this.floor = min
  }

  /** Looks at what was needed since the last look. `undefined` if nothing was, or if there is nothing to close. */
  look(now: number, { limit, most, open, opening, serviceTime }: Supply): Excess | undefined {
    const scaling = this.scaling!
    const verdict = scaling.look(
      now,
      limit,
      (sharing) => Scaling.requiredToShare(sharing, serviceTime, this.shareWait)
    )
    if (verdict === undefined) {
      this.lookAt = Infinity
      this.floor = this.min
      return undefined
    }
    this.lookAt = now + scaling.options.interval
    const size = open + opening
    const ahead = Math.min(verdict.connections, most)
    if (ahead > Math.max(size, this.floor)) {
      this.agenda.report({ _tag: "ScaledUp", from: size, to: ahead, reason: verdict.reason })
    }
    this.floor = Math.max(this.min, ahead)
    // One connection stays for the next caller.
    return { enough: Math.max(this.floor, verdict.enough, 1), idleSince: verdict.idleSince }
  }
}
