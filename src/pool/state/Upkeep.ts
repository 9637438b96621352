/**
 * What a pool does because time has passed: waiters give up, idle connections end or are asked for a sign of life,
 * questions without an answer are given up, limits rise again, leaks are looked for.
 *
 * @since 0.2.0
 */
import type { Agenda } from "./Agenda.ts"
import type { Connections } from "./Connections.ts"
import type { Demand } from "./Demand.ts"
import type { Dispatcher, Parts } from "./Dispatcher.ts"
import { isLent, type LeakWatch } from "./LeakWatch.ts"
import type { Limiter } from "./Limiter.ts"
import type { ServerLimit } from "./ServerLimit.ts"
import type { Sharing } from "./Sharing.ts"
import type { Lease, Slot } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"
import type { WaitQueue } from "./WaitQueue.ts"

/**
 * @category models
 * @since 0.2.0
 */
export class Upkeep<C> {
  private readonly agenda: Agenda<C>
  private readonly connections: Connections<C>
  private readonly demand: Demand<C>
  private readonly dispatcher: Dispatcher<C>
  private readonly leaks: LeakWatch<C>
  private readonly limiter: Limiter | undefined
  private readonly queue: WaitQueue<C>
  private readonly server: ServerLimit
  private readonly sharing: Sharing<C>
  private readonly idleTimeout: number
  private readonly keepAlive: number

  constructor(parts: Parts<C>, dispatcher: Dispatcher<C>, { idleTimeout, keepAlive }: Options) {
    this.agenda = parts.agenda
    this.connections = parts.connections
    this.demand = parts.demand
    this.dispatcher = dispatcher
    this.leaks = parts.leaks
    this.limiter = parts.limiter
    this.queue = parts.queue
    this.server = parts.server
    this.sharing = parts.sharing
    this.idleTimeout = idleTimeout
    this.keepAlive = keepAlive
  }

  /** The time that was named last has come. */
  tick(now: number, roomInQuota: number): void {
    const { agenda, dispatcher } = this
    agenda.woken()
    this.giveUpQuestions(now)
    if (dispatcher.closing) return agenda.wake(this.connections.unansweredAt)
    this.expireWaiters(now)
    if (this.demand.lookAt <= now) this.scale(now, roomInQuota)
    this.lookAtIdle(now)
    if (this.server.raiseAt <= now) this.raiseLimit(now)
    if (this.leaks.after !== Infinity) this.lookForLeaks(now)
    dispatcher.dispatch(now)
    this.rearm()
  }

  private expireWaiters(now: number): void {
    const { dispatcher } = this
    const reason = dispatcher.suspended === undefined ? "AcquireTimeout" : "Suspended"
    let first: Lease<C> | undefined
    while ((first = this.queue.first()) !== undefined && this.queue.deadlineOf(first) <= now) {
      dispatcher.refuse(first, reason)
    }
  }

  /** A connection that does not answer within `controlTimeout` is destroyed, whatever its adapter promises. */
  private giveUpQuestions(now: number): void {
    const { connections } = this
    let slot: Slot<C> | undefined
    while ((slot = connections.unanswered(now)) !== undefined) {
      if (slot.phase === "Closing") {
        connections.closing.shift()
        this.agenda.actions.push({ _tag: "Close", slot, reason: "Unanswered", abrupt: true })
      } else {
        const isPing = slot.phase === "Validating"
        const since = slot.since
        connections.cut(slot, "Unanswered", now)
        if (isPing && !this.dispatcher.closing) connections.suspect("NetworkFault", since)
      }
    }
  }

  /** Ends or pings idle connections whose time has come, from the bottom: those that were not needed for longest. */
  private lookAtIdle(now: number): void {
    const { connections, idleTimeout, keepAlive } = this
    for (const slot of connections.idle.slice()) {
      if (slot.expiresAt <= now) {
        connections.closeIdle(slot, "Lifetime", now)
      } else if (slot.idleSince + idleTimeout <= now && connections.open > this.demand.floor) {
        connections.closeIdle(slot, "IdleTimeout", now)
      } else if (slot.aliveAt + keepAlive <= now) {
        connections.idle.splice(connections.idle.indexOf(slot), 1)
        connections.validate(slot, now)
      }
    }
  }

  /** Opens connections ahead of demand, and closes those that were not needed lately. */
  private scale(now: number, roomInQuota: number): void {
    const { connections, dispatcher, server } = this
    const { idle, open } = connections
    const opening = connections.opening.length
    // A server that has refused one more is asked again only for a caller that waits.
    const mayGrow = dispatcher.suspended === undefined && server.ceiling === Infinity
    const excess = this.demand.look(now, {
      limit: Math.min(server.limit, this.limiter?.limit ?? Infinity),
      open,
      opening,
      most: mayGrow ? open + opening + roomInQuota : open,
      serviceTime: this.sharing.serviceTime
    })
    if (excess === undefined) return
    let count = 0
    while (open - count > excess.enough && idle[count] !== undefined && idle[count]!.idleSince <= excess.idleSince) {
      count++
    }
    if (count === 0) return
    this.agenda.report({ _tag: "ScaledDown", from: open, to: open - count, reason: "Unneeded" })
    for (const slot of idle.splice(0, count)) connections.close(slot, "Unneeded", now)
  }

  private lookForLeaks(now: number): void {
    for (const slot of Array.from(this.connections.slots)) {
      if (!isLent(slot)) continue
      const lease = this.leaks.look(slot, now)
      if (lease === undefined) continue
      this.connections.cut(slot, "Reclaimed", now)
      this.agenda.actions.push({ _tag: "Reclaim", lease })
    }
  }

  /** Names the time when something must be done about any idle connection, lease or limit. */
  rearm(): void {
    let at = Infinity
    for (const slot of this.connections.idle) at = Math.min(at, this.dispatcher.idleDueAt(slot))
    if (this.leaks.after !== Infinity) at = Math.min(at, this.leaks.dueAt(this.connections.slots))
    this.agenda.wake(Math.min(at, this.server.raiseAt, this.demand.lookAt, this.connections.unansweredAt))
  }

  /** The server has refused one more connection than there are. */
  lowerLimit(now: number): void {
    const from = this.server.limit
    this.server.lower(this.connections.slots.size, now)
    this.agenda.wake(this.server.raiseAt)
    if (this.server.limit < from) this.agenda.report({ _tag: "OverloadLowered", from, to: this.server.limit })
  }

  private raiseLimit(now: number): void {
    const from = this.server.limit
    this.server.raise(now)
    if (this.server.limit > from) this.agenda.report({ _tag: "OverloadRaised", from, to: this.server.limit })
  }
}
