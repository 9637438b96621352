/**
 * The connections of a pool by phase, and how each of them changes its phase.
 *
 * @since 0.2.0
 */
import type { Agenda } from "./Agenda.ts"
import type { Lane } from "./Lanes.ts"
import { isLent } from "./LeakWatch.ts"
import type { CloseReason, Suspicion } from "./PoolEvent.ts"
import type { Sharing } from "./Sharing.ts"
import { type Phase, Slot } from "./Slot.ts"

/**
 * @category models
 * @since 0.2.0
 */
export class Connections<C> {
  readonly slots = new Set<Slot<C>>()
  /** Last in, first out: what is not needed gets old at the bottom. */
  readonly idle: Array<Slot<C>> = []
  /** Those being opened and those being pinged, in the order in which that began. */
  readonly opening: Array<Slot<C>> = []
  readonly pinging: Array<Slot<C>> = []
  /** Those being reset and those being closed, in the order in which that began. */
  readonly resetting: Array<Slot<C>> = []
  readonly closing: Array<Slot<C>> = []
  /** How many are open and stay so: neither being opened nor being closed. */
  open = 0
  /** How many are lent. */
  used = 0
  /** Whether any connection may be under suspicion. */
  suspecting = false
  private nextId = 1
  private readonly agenda: Agenda<C>
  private readonly sharing: Sharing<C>
  private readonly lanes: ReadonlyArray<Lane>
  private readonly validateAfter: number
  private readonly controlTimeout: number

  constructor(
    agenda: Agenda<C>,
    sharing: Sharing<C>,
    lanes: ReadonlyArray<Lane>,
    options: { readonly controlTimeout: number; readonly validateAfter: number }
  ) {
    this.agenda = agenda
    this.sharing = sharing
    this.lanes = lanes
    this.validateAfter = options.validateAfter
    this.controlTimeout = options.controlTimeout
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Opening
  // -------------------------------------------------------------------------------------------------------------------

  /** A connection is being opened. */
  begin(now: number): Slot<C> {
    const slot = new Slot<C>(this.nextId++, now)
    this.slots.add(slot)
    this.opening.push(slot)
    return slot
  }

  /** A connection was opened. It stands in no list yet. */
  opened(slot: Slot<C>, connection: C, now: number): void {
    removeFrom(this.opening, slot)
    this.open++
    slot.connection = connection
    slot.aliveAt = now
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  /** The idle connection that was used last, of those that may be lent without a ping. Those too old are closed. */
  fresh(now: number): Slot<C> | undefined {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const slot = this.idle[i]!
      if (slot.expiresAt <= now) {
        this.idle.splice(i, 1)
        this.close(slot, "Lifetime", now)
      } else if (slot.aliveAt + this.validateAfter >= now && slot.suspicion === undefined) {
        return slot
      }
    }
    return undefined
  }

  /** An idle connection is lent to a lane. */
  take(slot: Slot<C>, lane: number): void {
    removeFrom(this.idle, slot)
    this.used++
    slot.lane = lane
    this.lanes[lane]!.used++
  }

  /** A lent connection has come back. It stands in no list. */
  giveBack(slot: Slot<C>): void {
    this.used--
    this.lanes[slot.lane]!.used--
  }

  putIdle(slot: Slot<C>, idleSince: number): void {
    slot.phase = "Idle"
    slot.idleSince = idleSince
    let index = this.idle.length
    while (index > 0 && this.idle[index - 1]!.idleSince > idleSince) index--
    if (index === this.idle.length) this.idle.push(slot)
    else this.idle.splice(index, 0, slot)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Questions
  // -------------------------------------------------------------------------------------------------------------------

  /** Asks a connection that stands in no list for a sign of life. */
  validate(slot: Slot<C>, now: number): void {
    slot.phase = "Validating"
    slot.since = now
    slot.asked = slot.suspicion
    this.pinging.push(slot)
    this.agenda.actions.push({ _tag: "Ping", slot })
    this.agenda.wake(now + this.controlTimeout)
  }

  /** Cleans up a connection that stands in no list. */
  reset(slot: Slot<C>, now: number): void {
    slot.phase = "Resetting"
    slot.since = now
    this.resetting.push(slot)
    this.agenda.actions.push({ _tag: "Reset", slot })
    this.agenda.wake(now + this.controlTimeout)
  }

  /** The connection that has been asked something for too long, whatever its adapter promises. */
  unanswered(now: number): Slot<C> | undefined {
    const limit = now - this.controlTimeout
    for (const [slot] of [this.pinging, this.resetting, this.closing]) {
      if (slot !== undefined && slot.since <= limit) return slot
    }
    return undefined
  }

  /** When the next question has been unanswered for too long. */
  get unansweredAt(): number {
    return this.oldestQuestion + this.controlTimeout
  }

  /** When the oldest question began that is not answered yet; `Infinity` without one. */
  get oldestQuestion(): number {
    return Math.min(
      this.pinging[0]?.since ?? Infinity,
      this.resetting[0]?.since ?? Infinity,
      this.closing[0]?.since ?? Infinity
    )
  }

  /** This process stood still, from `from` on: nothing that was under way has taken that long. */
  stalled(from: number, to: number): void {
    const shift = (time: number): number => time + Math.max(0, to - Math.max(from, time))
    for (const slot of this.slots) {
      slot.since = shift(slot.since)
      slot.headSince = shift(slot.headSince)
      for (let lease = slot.lease; lease !== undefined; lease = lease.next) lease.since = shift(lease.since)
    }
  }

  /**
   * Suspects all connections that have not given a sign of life since `since`, also those that are lent. Each is asked
   * before it is lent again.
   */
  suspect(reason: Suspicion, since: number): void {
    let count = 0
    for (const slot of this.slots) {
      if (slot.suspicion === reason || slot.suspicion === "RoleChange") continue
      // A connection that is too many may not be so any more before it comes back.
      if (slot.retired !== undefined && slot.retired !== "Resized") continue
      if (slot.phase === "Connecting" || slot.phase === "Closing") continue
      // The answer that is waited for will tell.
      if (slot.phase === "Validating" && reason === "NetworkFault") continue
      if (slot.phase === "Idle" && slot.aliveAt >= since) continue
      slot.suspicion = reason
      count++
    }
    if (count === 0) return
    this.suspecting = true
    this.agenda.report({ _tag: "Suspected", count, reason })
  }

  /** Asks suspected connections that no caller wants just now, as long as fewer than `most` are being asked. */
  probe(now: number, most: number): void {
    for (let i = this.idle.length - 1; i >= 0 && this.pinging.length < most; i--) {
      const slot = this.idle[i]!
      if (slot.suspicion === undefined) continue
      this.idle.splice(i, 1)
      this.validate(slot, now)
    }
    this.suspecting = false
    for (const slot of this.slots) if (slot.suspicion !== undefined) this.suspecting = true
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end of a connection
  // -------------------------------------------------------------------------------------------------------------------

  /** Closes a connection that is not lent and stands in no list. */
  close(slot: Slot<C>, reason: CloseReason, now: number, abrupt = false): void {
    slot.phase = "Closing"
    slot.since = now
    this.closing.push(slot)
    this.open--
    this.agenda.report({ _tag: "Closed", connection: slot.id, millis: now - slot.createdAt, reason })
    this.agenda.actions.push({ _tag: "Close", slot, reason, abrupt })
    this.agenda.wake(now + this.controlTimeout)
  }

  closeIdle(slot: Slot<C>, reason: CloseReason, now: number): void {
    removeFrom(this.idle, slot)
    this.close(slot, reason, now)
  }

  /** Closes a connection in whatever phase it is. Its borrowers still hold their leases and end them. */
  cut(slot: Slot<C>, reason: CloseReason, now: number): void {
    this.detach(slot)
    this.close(slot, reason, now, true)
  }

  /** A connection is gone that was not to be closed. */
  ended(slot: Slot<C>, now: number, reason: CloseReason): void {
    if (slot.phase !== "Connecting") {
      this.agenda.report({ _tag: "Closed", connection: slot.id, millis: now - slot.createdAt, reason })
    }
    this.remove(slot)
  }

  /** Takes a slot out of every list, and forgets it. */
  remove(slot: Slot<C>): void {
    if (slot.phase === "Connecting") removeFrom(this.opening, slot)
    else if (slot.phase === "Closing") removeFrom(this.closing, slot)
    else {
      this.open--
      this.detach(slot)
    }
    slot.phase = "Gone"
    slot.lease = undefined
    slot.last = undefined
    this.slots.delete(slot)
  }

  /** Takes a slot out of the list of its phase. */
  detach(slot: Slot<C>): void {
    if (slot.phase === "Idle") removeFrom(this.idle, slot)
    else if (slot.phase === "Validating") removeFrom(this.pinging, slot)
    else if (slot.phase === "Resetting") removeFrom(this.resetting, slot)
    else if (slot.phase === "Shared") this.sharing.remove(slot)
    if (isLent(slot)) this.giveBack(slot)
  }

  /**
   * Marks as many shared connections to be closed as there are more than `max`, and no more than that: without a mark,
   * statements would follow each other on them for ever. What is lent exclusively is closed when it comes back, and then
   * one mark less is needed.
   */
  retireExcess(max: number): void {
    let excess = Math.max(0, this.open - max)
    for (const slot of this.slots) {
      if (slot.retired !== "Resized" || slot.phase === "Closing") continue
      if (excess > 0) excess--
      else slot.retired = undefined
    }
    for (const slot of this.sharing.slots) {
      if (excess <= 0) return
      if (slot.retired !== undefined) continue
      slot.retired = "Resized"
      excess--
    }
  }

  /** How many are in a phase. */
  count(phase: Phase): number {
    let count = 0
    for (const slot of this.slots) if (slot.phase === phase) count++
    return count
  }
}

/**
 * How many of those being opened or pinged have been so for longer than `limit`.
 *
 * @category getters
 * @since 0.2.0
 */
export const hanging = <C>(list: ReadonlyArray<Slot<C>>, now: number, limit: number): number => {
  let count = 0
  while (count < list.length && list[count]!.since + limit <= now) count++
  return count
}

const removeFrom = <A>(list: Array<A>, item: A): void => {
  if (list[list.length - 1] === item) {
    list.pop()
    return
  }
  const index = list.indexOf(item)
  if (index >= 0) list.splice(index, 1)
}
