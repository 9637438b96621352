/**
 * The connections that statements share: who may join which, how quickly statements on them are answered, and which are
 * being emptied for a waiter that wants a whole connection.
 *
 * **Details**
 *
 * A statement joins the least loaded connection of its lane. It never joins one that is reserved, too old, retired or
 * suspected, that carries a statement which is not known to be quick, or whose first statement is already slow.
 *
 * @since 0.2.0
 */
import { RoundTrip } from "./RoundTrip.ts"
import type { Lease, Slot } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"

/** Answers closer than this, in milliseconds, arrived in one batch. */
const batchWindow = 0.1

/**
 * @category models
 * @since 0.2.0
 */
export class Sharing<C> {
  readonly slots: Array<Slot<C>> = []
  /** How long the way to the server and back takes. */
  readonly roundTrip = new RoundTrip()
  /** How many connections are reserved. */
  reserved = 0
  /** How long a statement on a shared connection is first in line, on average. */
  private meanServiceTime: number
  /** The part of those statements that were not answered in one batch with the one before. */
  private unbatchedRatio = 1
  private readonly pipelineDepth: number
  private readonly slowStatement: number
  private readonly shareWait: number

  constructor({ pipelineDepth, shareWait, slowStatement }: Options) {
    this.pipelineDepth = pipelineDepth
    this.slowStatement = slowStatement
    this.shareWait = shareWait
    // Until something was measured, one statement ahead is one too many.
    this.meanServiceTime = shareWait
  }

  /**
   * From when on a statement counts as slow. The way to the server and back does not count, or none would ever be quick
   * on a long one.
   */
  get slowLimit(): number {
    return this.roundTrip.fastest + this.slowStatement
  }

  /**
   * How long a statement is first in line, as far as that is the server's time: answers that arrive in one batch were
   * delayed by this process, so they say nothing about the server.
   */
  get serviceTime(): number {
    return this.unbatchedRatio > 0.5 ? this.meanServiceTime : 0
  }

  /** The connection is shared from now on. */
  add(slot: Slot<C>, now: number): void {
    slot.phase = "Shared"
    slot.headSince = now
    this.slots.push(slot)
  }

  /** No statement shares the connection any more. */
  remove(slot: Slot<C>): void {
    const last = this.slots.pop()!
    if (last !== slot) this.slots[this.slots.indexOf(slot)] = last
    if (!slot.reserved) return
    slot.reserved = false
    this.reserved--
  }

  /** The lease becomes the last in line. */
  join(slot: Slot<C>, lease: Lease<C>): void {
    slot.load++
    lease.proven = lease.profile !== undefined && lease.profile.quick
    if (!lease.proven) slot.unproven++
    lease.previous = slot.last
    if (slot.last === undefined) slot.lease = lease
    else slot.last.next = lease
    slot.last = lease
  }

  /** The lease leaves the line. `answered` if the server is done with its statement. */
  leave(slot: Slot<C>, lease: Lease<C>, now: number, answered: boolean): void {
    slot.load--
    if (answered) {
      if (!lease.proven) slot.unproven--
    } else if (lease.proven) slot.unproven++
    if (slot.lease === lease) this.observe(slot, lease, now, answered)
    if (lease.previous === undefined) slot.lease = lease.next
    else lease.previous.next = lease.next
    if (lease.next === undefined) slot.last = lease.previous
    else lease.next.previous = lease.previous
    lease.previous = undefined
    lease.next = undefined
  }

  /** The first in line leaves. Answers come in order, so it was first since the one before it was answered. */
  private observe(slot: Slot<C>, lease: Lease<C>, now: number, answered: boolean): void {
    const millis = now - slot.headSince
    const limit = this.slowLimit
    if (answered || millis >= limit) lease.profile?.observe(millis, limit, now)
    if (!answered) return
    // A statement that followed another one was under way already while that one was answered.
    if (lease.since >= slot.headSince) this.roundTrip.observe(millis, now)
    slot.headSince = now
    this.meanServiceTime += (millis - this.meanServiceTime) / 16
    this.unbatchedRatio += ((millis > batchWindow ? 1 : 0) - this.unbatchedRatio) / 32
  }

  /** The connection that a statement of this lane may join. */
  leastLoaded(now: number, lane: number): Slot<C> | undefined {
    const limit = this.slowLimit
    let best: Slot<C> | undefined
    let load = this.pipelineDepth
    for (let i = 0; i < this.slots.length; i++) {
      const slot = this.slots[i]!
      if (
        slot.load < load && slot.unproven === 0 && !slot.reserved && now - slot.headSince < limit &&
        slot.expiresAt > now && slot.retired === undefined && slot.suspicion === undefined &&
        slot.lane === lane
      ) {
        best = slot
        load = slot.load
      }
    }
    return best
  }

  /**
   * Whether a statement that joins has to wait so long that another connection would be worth it. Few connections with
   * many quick statements on each are faster than many with few: each write and each answer then carries more of them.
   */
  get isCrowded(): boolean {
    let ahead = Infinity
    for (const slot of this.slots) ahead = Math.min(ahead, slot.load - 1)
    return ahead > 0 && this.unbatchedRatio > 0.5 && ahead * this.meanServiceTime >= this.shareWait
  }

  /** Keeps so many connections from new statements, those that are emptied soonest. */
  reserve(wanted: number): void {
    while (this.reserved < wanted && this.reserved < this.slots.length) {
      let best: Slot<C> | undefined
      for (const slot of this.slots) {
        if (!slot.reserved && (best === undefined || slot.load < best.load)) best = slot
      }
      best!.reserved = true
      this.reserved++
    }
  }

  /** One reserved connection less: the one that would take longest to empty takes statements again. */
  release(): void {
    let best: Slot<C> | undefined
    for (const slot of this.slots) {
      if (slot.reserved && (best === undefined || slot.load > best.load)) best = slot
    }
    best!.reserved = false
    this.reserved--
  }
}
