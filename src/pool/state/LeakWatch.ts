/**
 * Leases that are held for too long.
 *
 * @since 0.2.0
 */
import type { Agenda } from "./Agenda.ts"
import type { Lease, Slot } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"

/**
 * @category models
 * @since 0.2.0
 */
export class LeakWatch<C> {
  /** After what time something must be done about a lease; `Infinity` if never. */
  readonly after: number
  /** The leases of which it was reported that they are held for too long. */
  private readonly suspected = new Set<Lease<C>>()
  private readonly options: Pick<Options, "leakThreshold" | "reclaimAfter">
  private readonly agenda: Agenda<C>

  constructor(options: Options, agenda: Agenda<C>) {
    this.options = options
    this.agenda = agenda
    this.after = Math.min(options.leakThreshold, options.reclaimAfter)
  }

  isSuspected(lease: Lease<C>): boolean {
    return this.suspected.size > 0 && this.suspected.has(lease)
  }

  /** The lease has ended. Returns whether it was suspected. */
  forget(lease: Lease<C>): boolean {
    return this.suspected.size > 0 && this.suspected.delete(lease)
  }

  /**
   * Reports what is held for too long on a connection. Returns the lease from which the connection is to be taken away.
   */
  look(slot: Slot<C>, now: number): Lease<C> | undefined {
    const { leakThreshold, reclaimAfter } = this.options
    for (let lease = slot.lease; lease !== undefined; lease = lease.next) {
      const millis = now - lease.since
      const event = { connection: slot.id, millis }
      if (millis >= leakThreshold && !this.isSuspected(lease)) {
        this.suspected.add(lease)
        this.agenda.report({ _tag: "LeakSuspected", ...event }, lease)
      }
      if (millis >= reclaimAfter) {
        this.agenda.report({ _tag: "LeakReclaimed", ...event }, lease)
        return lease
      }
    }
    return undefined
  }

  /** When something must be done about a lease of these connections. */
  dueAt(slots: Iterable<Slot<C>>): number {
    let at = Infinity
    for (const slot of slots) {
      if (!isLent(slot)) continue
      for (let lease = slot.lease; lease !== undefined; lease = lease.next) {
        at = Math.min(at, lease.since + (this.isSuspected(lease) ? this.options.reclaimAfter : this.after))
      }
    }
    return at
  }
}

/**
 * Whether a connection is lent, exclusively or shared.
 *
 * @category guards
 * @since 0.2.0
 */
export const isLent = <C>(slot: Slot<C>): boolean => slot.phase === "Leased" || slot.phase === "Shared"
