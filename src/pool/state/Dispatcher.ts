/**
 * Brings waiters and connections together: lends what is there, and opens or pings what is missing.
 *
 * @since 0.2.0
 */
import type { Agenda } from "./Agenda.ts"
import { type Connections, hanging } from "./Connections.ts"
import type { Demand } from "./Demand.ts"
import * as Lanes from "./Lanes.ts"
import type { LeakWatch } from "./LeakWatch.ts"
import type { Limiter } from "./Limiter.ts"
import type { Opening } from "./Opening.ts"
import type { FailReason } from "./PoolEvent.ts"
import type { ServerLimit } from "./ServerLimit.ts"
import type { Sharing } from "./Sharing.ts"
import type { Lease, Slot } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"
import type { WaitingLane, WaitQueue } from "./WaitQueue.ts"

/** For how many waiting statements one more connection is opened. */
const statementsPerConnection = 16

/**
 * The parts of a `PoolState` that the dispatcher works with.
 *
 * @category models
 * @since 0.2.0
 */
export interface Parts<C> {
  readonly agenda: Agenda<C>
  readonly connections: Connections<C>
  readonly demand: Demand<C>
  readonly leaks: LeakWatch<C>
  readonly limiter: Limiter | undefined
  readonly opening: Opening
  readonly queue: WaitQueue<C>
  readonly server: ServerLimit
  readonly sharing: Sharing<C>
}

/**
 * @category models
 * @since 0.2.0
 */
export class Dispatcher<C> {
  /** No lease begins any more. */
  closing = false
  /** What becomes of callers while no connection is lent. */
  suspended: "hold" | "reject" | undefined = undefined
  /** How many of the connections that come back are to be closed, because another pool of the quota needs them. */
  closeForOthers = 0
  /** How many leases are held, counted only with an adaptive limit. */
  running = 0

  private readonly agenda: Agenda<C>
  private readonly connections: Connections<C>
  private readonly demand: Demand<C>
  private readonly leaks: LeakWatch<C>
  private readonly limiter: Limiter | undefined
  private readonly opening: Opening
  private readonly queue: WaitQueue<C>
  private readonly server: ServerLimit
  private readonly sharing: Sharing<C>
  private readonly maxConnecting: number
  private readonly shareWait: number
  private readonly slowConnect: number
  private readonly idleTimeout: number
  private readonly keepAlive: number

  constructor(parts: Parts<C>, options: Options) {
    this.agenda = parts.agenda
    this.connections = parts.connections
    this.demand = parts.demand
    this.leaks = parts.leaks
    this.limiter = parts.limiter
    this.opening = parts.opening
    this.queue = parts.queue
    this.server = parts.server
    this.sharing = parts.sharing
    this.maxConnecting = options.maxConnecting
    this.shareWait = options.shareWait
    this.slowConnect = options.slowConnect
    this.idleTimeout = options.idleTimeout
    this.keepAlive = options.keepAlive
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  /** The connection that there is for the lease now. */
  pick(lease: Lease<C>, now: number): Slot<C> | undefined {
    const { limiter, queue } = this
    if (limiter !== undefined && this.running >= limiter.limit && !queue.nested.has(lease)) return undefined
    const lane = this.queue.lanes[lease.lane]!
    return (this.hasRoom(lane) ? this.connections.fresh(now) : undefined) ??
      (lease.shared ? this.sharing.leastLoaded(now, lease.lane) : undefined)
  }

  lend(slot: Slot<C>, lease: Lease<C>, now: number): void {
    lease.slot = slot
    lease.since = now
    lease.state = "Held"
    if (this.leaks.after !== Infinity) this.agenda.wake(now + this.leaks.after)
    if (this.limiter !== undefined) this.running++
    if (slot.phase === "Idle") {
      this.connections.take(slot, lease.lane)
      if (!lease.shared) {
        slot.phase = "Leased"
        slot.lease = lease
        if (this.demand.scaling !== undefined) this.demand.began(lease, now)
        return
      }
      this.sharing.add(slot, now)
    }
    this.sharing.join(slot, lease)
    if (this.demand.scaling !== undefined) this.demand.began(lease, now)
  }

  /** A connection has no borrower: it is for the first waiter, or idle, or at its end. */
  recycle(slot: Slot<C>, now: number, idleSince: number = now): void {
    if (this.closing) return this.connections.close(slot, "Shutdown", now)
    if (slot.retired !== undefined || slot.expiresAt <= now || this.connections.open > this.server.max) {
      this.connections.close(slot, slot.retired ?? (slot.expiresAt <= now ? "Lifetime" : "Resized"), now)
      this.connections.retireExcess(this.server.max)
      return this.dispatch(now)
    }
    if (this.closeForOthers > 0) {
      this.closeForOthers--
      this.connections.close(slot, "Budget", now)
      return this.dispatch(now)
    }
    this.connections.putIdle(slot, idleSince)
    if (this.queue.size > 0) this.dispatch(now)
    else if (this.connections.suspecting) this.connections.probe(now, this.maxConnecting)
    if (slot.phase === "Idle") this.agenda.wake(this.idleDueAt(slot))
  }

  /** Serves the queues, opens what is missing, and names the time of the next deadline. */
  dispatch(now: number): void {
    if (this.closing) return
    let lease = this.queue.first()
    if (this.suspended !== undefined) {
      if (lease !== undefined) this.agenda.wake(this.queue.deadlineOf(lease))
      return
    }
    do {
      while (lease !== undefined && this.serve(lease, now)) lease = this.queue.first()
      lease = this.queue.first()
    } while (this.reserve() && lease !== undefined)
    this.openForDemand(now)
    if (this.connections.suspecting) this.connections.probe(now, this.maxConnecting)
    lease = this.queue.first()
    if (lease !== undefined) this.agenda.wake(this.queue.deadlineOf(lease))
  }

  /** A lease that waits gets nothing, for this reason. */
  refuse(lease: Lease<C>, reason: FailReason): void {
    this.dequeue(lease)
    this.agenda.fail(lease, reason)
  }

  /** The lease leaves the queue. */
  dequeue(lease: Lease<C>): void {
    this.queue.remove(lease)
    if (!lease.shared && this.sharing.reserved > this.queue.exclusiveWaiters) this.sharing.release()
  }

  /** Lends a connection to the lease that has waited longest of those for which there is one, if there is any. */
  private serve(first: Lease<C>, now: number): boolean {
    let lease: Lease<C> | undefined = first
    let slot = this.pick(lease, now)
    if (slot === undefined && this.queue.lanes.length > 1) {
      // No lane stands in another one's way.
      let ticket = lease.ticket
      while (slot === undefined && (lease = this.queue.first(ticket)) !== undefined) {
        ticket = lease.ticket
        slot = this.pick(lease, now)
      }
    } else if (slot === undefined && !lease.shared && this.queue.main.sharing.head !== undefined) {
      // Nothing is free, but there may be room on a connection that is shared.
      lease = this.queue.main.sharing.head
      slot = this.pick(lease, now)
    }
    if (slot === undefined && this.queue.nested.size > 0) {
      // The adaptive limit stands in the way of no nested lease.
      for (lease of this.queue.nested) if ((slot = this.pick(lease, now)) !== undefined) break
    }
    if (slot === undefined) return false
    const waitedMillis = now - lease!.since - lease!.stalledMillis
    this.dequeue(lease!)
    this.lend(slot, lease!, now)
    this.agenda.actions.push({ _tag: "Lease", lease: lease!, waitedMillis })
    return true
  }

  /** Whether the lane may take one more connection. */
  private hasRoom(lane: WaitingLane<C>): boolean {
    const { lanes } = this.queue
    return lanes.length === 1 || Lanes.room(lanes, lane, this.server.limit) > 0
  }

  /**
   * Keeps as many shared connections from new statements as there are waiters for a whole one. Returns whether there is
   * one less.
   */
  private reserve(): boolean {
    const before = this.sharing.reserved
    const { exclusiveWaiters, lanes } = this.queue
    let wanted = exclusiveWaiters
    if (lanes.length > 1) {
      // Not for waiters that could not have them.
      wanted = 0
      for (const lane of lanes) wanted += Math.min(lane.whole.size, Lanes.claim(lanes, lane, this.server.limit))
      for (let surplus = before - wanted; surplus > 0; surplus--) this.sharing.release()
    }
    this.sharing.reserve(wanted)
    return this.sharing.reserved < before
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Supply
  // -------------------------------------------------------------------------------------------------------------------

  /** Whether a connection that is being opened is still needed. */
  wantsMore(now: number): boolean {
    return this.queue.size > 0 || this.connections.open < this.demand.floor || this.isProbing || this.isCrowded(now)
  }

  /** When something must be done about an idle connection. */
  idleDueAt(slot: Slot<C>): number {
    return Math.min(
      slot.expiresAt,
      slot.aliveAt + this.keepAlive,
      this.connections.open > this.demand.floor ? slot.idleSince + this.idleTimeout : Infinity
    )
  }

  /** Pings and opens connections as far as there is demand that no connection under way will meet. */
  openForDemand(now: number): void {
    const { agenda, connections, slowConnect } = this
    const { idle, pinging } = connections
    // Statements that share tell that one more connection would be used, not how many.
    const crowded = this.isCrowded(now)
    const probing = this.isProbing
    if (!crowded && !probing && this.queue.size === 0 && connections.open >= this.demand.floor) return
    const { exclusive, shared } = this.waitersWithRoom()
    const demand = Math.max(exclusive + shared, crowded ? 1 : 0)
    const slowPings = hanging(pinging, now, slowConnect)
    // Idle connections while there is demand are ones that must be pinged first.
    while (idle.length > 0 && pinging.length - slowPings < demand) connections.validate(idle.pop()!, now)
    const room = this.server.limit - connections.slots.size
    if (demand > 0 && slowPings < pinging.length && room + idle.length > 0) {
      agenda.wake(pinging[slowPings]!.since + slowConnect)
    }
    if (room <= 0) return
    const pressing = Math.max(exclusive + this.connectionsForStatements(shared, now), crowded ? 1 : 0)
    // A ping that hangs tells that the others may hang as well.
    const wanted = Math.max(
      slowPings > 0 ? pressing : pressing - pinging.length,
      this.demand.floor - connections.open
    )
    if (wanted > 0) return this.open(wanted, room, now)
    if (!probing || connections.opening.length > 0) return
    if (this.opening.probeAt > now) return agenda.wake(this.opening.probeAt)
    const slot = connections.begin(now)
    slot.probe = true
    agenda.actions.push({ _tag: "Connect", slot })
  }

  /** Opens as many of the wanted connections as may be opened now. */
  private open(wanted: number, room: number, now: number): void {
    const { agenda, connections, maxConnecting, slowConnect } = this
    const { opening } = connections
    const slow = hanging(opening, now, slowConnect)
    const underWay = opening.length - slow
    let missing = Math.min(wanted - underWay, this.opening.window - underWay, maxConnecting - opening.length, room)
    if (missing > 0 && this.opening.retryAt > now) return agenda.wake(this.opening.retryAt)
    let left = room
    for (; missing > 0; missing--, left--) agenda.actions.push({ _tag: "Connect", slot: connections.begin(now) })
    if (slow < opening.length && opening.length < maxConnecting && left > 0) {
      agenda.wake(opening[slow]!.since + slowConnect)
    }
  }

  /** How many wait that may have a connection by their lane and by the adaptive limit. */
  private waitersWithRoom(): { readonly exclusive: number; readonly shared: number } {
    const { lanes } = this.queue
    let exclusive = this.queue.exclusiveWaiters
    let shared = this.queue.sharedWaiters
    if (lanes.length > 1) {
      exclusive = 0
      shared = 0
      for (const lane of lanes) {
        const space = Math.max(0, Lanes.room(lanes, lane, this.server.limit))
        exclusive += Math.min(lane.whole.size, space)
        shared += Math.min(lane.sharing.size, Math.max(0, space - lane.whole.size))
      }
    }
    if (this.limiter !== undefined) {
      const free = Math.max(0, this.limiter.limit - this.running)
      exclusive = Math.min(exclusive, free + this.queue.nested.size)
      shared = Math.min(shared, Math.max(0, free - exclusive))
    }
    return { exclusive, shared }
  }

  /** How many connections statements need that wait. Not one for each of them: they can share. */
  private connectionsForStatements(waiting: number, now: number): number {
    const first = waiting === 0 ? undefined : this.queue.firstShared()
    if (first !== undefined && this.sharing.slots.length > 0 && first.since + this.shareWait > now) {
      // Statements that wait beside connections which they could share are served within moments, as a rule.
      this.agenda.wake(first.since + this.shareWait)
      return 0
    }
    return Math.ceil(waiting / statementsPerConnection)
  }

  /** Whether there is no connection because the server could not be reached, so that the pool asks by itself. */
  private get isProbing(): boolean {
    return this.connections.open === 0 && this.opening.outageSince !== undefined
  }

  private isCrowded(now: number): boolean {
    return this.sharing.slots.length > 0 && this.sharing.isCrowded && this.connections.fresh(now) === undefined
  }
}
