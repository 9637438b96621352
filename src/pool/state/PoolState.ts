/**
 * All the decisions of a connection pool, and nothing else.
 *
 * **Details**
 *
 * Events go in as method calls, with the time as an argument. What is to be done comes out as `Action`s, which the caller
 * takes from `actions` and performs. There is no I/O, no timer, no clock and no randomness here, so every behaviour can
 * be stepped by hand. The state is mutable because it stands on the hot path of every statement.
 *
 * A connection is a `Slot`. It goes through these phases:
 *
 * ```
 *                    ┌────────────── Validating ◄─┐
 *                    ▼                            │
 *   Connecting ──► Idle ──► Leased | Shared ──────┤
 *                    ▲                            │
 *                    └────────────── Resetting ◄──┘        every phase ──► Closing ──► gone
 * ```
 *
 * A caller that wants a connection is a `Lease`. It is created before anything is asked for and stays the same object
 * while it waits, holds and ends. So its owner can `end` it at any moment, in whatever state it is: it leaves the queue,
 * or gives its connection back, exactly once.
 *
 * **Rules**, each with the file that keeps it
 *
 * 1. Never more than `max` slots, counting those being opened and closed (`ServerLimit`).
 * 2. First come, first served: while a lease waits, no newcomer takes a connection (`WaitQueue`).
 * 3. A waiter takes the first connection that becomes free, also while another one is still being opened for it. When
 *    the demand is gone, no further connection is opened (`Dispatcher`).
 * 4. At most `maxConnecting` connections are opened at a time. After a failure a single prober tries again with full
 *    jitter; the first success lets 1, 2, 4, … through again (`Opening`). An attempt or a ping that hangs no longer
 *    counts as supply after `slowConnect`.
 * 5. A connection that was idle for longer than `validateAfter` is pinged before it is lent (`Connections`).
 * 6. Statements share a connection only when none is free (`Sharing`). They may pass leases that wait for a whole
 *    connection, because they take nothing away from them, but not each other.
 * 7. When a connection dies of the network, those beside it are suspected: each is pinged before it is lent again, and
 *    idle ones in the background, a few at a time (`Connections`). A server that refuses one more connection lowers the
 *    limit for a while, and no caller fails for it (`ServerLimit`).
 * 8. While the pool is used, it opens connections ahead of demand and closes those that were not needed lately
 *    (`Demand`, `Upkeep`). A pool that is not used has no timer for this, and `idleTimeout` ends its connections.
 * 9. A lease that is held for too long is reported, or its connection is taken away (`LeakWatch`).
 *
 * @since 0.1.0
 */
import { type Action, Agenda } from "./Agenda.ts"
import { Connections } from "./Connections.ts"
import { Demand } from "./Demand.ts"
import { Dispatcher } from "./Dispatcher.ts"
import * as Lanes from "./Lanes.ts"
import { LeakWatch } from "./LeakWatch.ts"
import { Limiter } from "./Limiter.ts"
import { Opening } from "./Opening.ts"
import type { ConnectFailure, FailReason } from "./PoolEvent.ts"
import { ServerLimit } from "./ServerLimit.ts"
import { Sharing } from "./Sharing.ts"
import type { Lease, Slot } from "./Slot.ts"
import type { Options } from "./StateOptions.ts"
import { Upkeep } from "./Upkeep.ts"
import { WaitQueue } from "./WaitQueue.ts"

/**
 * How many connections and waiters there are.
 *
 * @category models
 * @since 0.1.0
 */
export interface Counts {
  /** All slots: connecting, validating, idle, used, resetting and closing. */
  readonly total: number
  readonly idle: number
  /** Lent exclusively, or shared by at least one statement. */
  readonly used: number
  readonly connecting: number
  readonly waiting: number
}

/**
 * @category models
 * @since 0.1.0
 */
export class PoolState<C> {
  /** `resize` replaces them. */
  options: Options
  /** How many more connections there is room for in the quota. Only those that are opened ahead of demand go by it. */
  roomInQuota = Infinity

  private readonly agenda: Agenda<C> = new Agenda<C>()
  private readonly connections: Connections<C>
  private readonly demand: Demand<C>
  private readonly dispatcher: Dispatcher<C>
  private readonly leaks: LeakWatch<C>
  private readonly limiter: Limiter | undefined
  private readonly opening: Opening
  private readonly queue: WaitQueue<C>
  private readonly server: ServerLimit
  private readonly sharing: Sharing<C>
  private readonly upkeep: Upkeep<C>
  private readonly random: () => number
  private draining = false

  constructor(options: Options, random: () => number) {
    const { agenda } = this
    const queue = new WaitQueue<C>(options)
    const sharing = new Sharing<C>(options)
    const connections = new Connections<C>(agenda, sharing, queue.lanes, options)
    const demand = new Demand<C>(options, agenda)
    const leaks = new LeakWatch<C>(options, agenda)
    const limiter = options.adaptive ? new Limiter(options.max * options.pipelineDepth) : undefined
    const opening = new Opening(options, random)
    const server = new ServerLimit(options)
    const parts = { agenda, connections, demand, leaks, limiter, opening, queue, server, sharing }
    this.options = options
    this.random = random
    this.queue = queue
    this.sharing = sharing
    this.connections = connections
    this.demand = demand
    this.leaks = leaks
    this.limiter = limiter
    this.opening = opening
    this.server = server
    this.dispatcher = new Dispatcher<C>(parts, options)
    this.upkeep = new Upkeep<C>(parts, this.dispatcher, options)
  }

  /** What is to be done, in this order. The caller of an event takes them out. */
  get actions(): Array<Action<C>> {
    return this.agenda.actions
  }

  get slots(): ReadonlySet<Slot<C>> {
    return this.connections.slots
  }

  get counts(): Counts {
    return {
      total: this.connections.slots.size,
      idle: this.connections.idle.length,
      used: this.connections.used,
      connecting: this.connections.opening.length,
      waiting: this.queue.size
    }
  }

  get waiting(): number {
    return this.queue.size
  }

  /** Those that have waited longest, at most as many as are asked for. */
  waiters(limit: number): ReadonlyArray<Lease<C>> {
    return this.queue.longest(limit)
  }

  /** How many connections are being asked for a sign of life, or reset after a borrower. */
  get validating(): number {
    return this.connections.pinging.length + this.connections.resetting.length
  }

  /** For how long a connection has not answered a question of the pool. */
  unansweredMillis(now: number): number {
    return Math.max(0, now - this.connections.oldestQuestion)
  }

  /** No lease begins any more. */
  get closing(): boolean {
    return this.dispatcher.closing
  }

  /** The most connections just now. */
  get limit(): number {
    return this.server.limit
  }

  /** How many of the connections that come back are to be closed, because another pool of the quota needs them. */
  get closeForOthers(): number {
    return this.dispatcher.closeForOthers
  }
  set closeForOthers(count: number) {
    this.dispatcher.closeForOthers = count
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Leases
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * A caller wants a connection. Returns `true` if it has one now; otherwise the lease waits, or has failed, and an
   * action will tell. A lease that has ended before it asked gets nothing.
   */
  acquire(lease: Lease<C>, now: number): boolean {
    if (lease.state !== "New") return false
    const { agenda, connections, dispatcher } = this
    lease.since = now
    if (dispatcher.closing) {
      agenda.fail(lease, "PoolClosed")
      return false
    }
    if (dispatcher.suspended === "reject") {
      agenda.fail(lease, "Suspended")
      return false
    }
    // Statements may pass leases that wait for a whole connection, on one that is not reserved for these.
    const lane = this.queue.lanes[lease.lane]!
    if (lane.sharing.size === 0 && dispatcher.suspended === undefined && (lease.shared || lane.whole.size === 0)) {
      const slot = dispatcher.pick(lease, now)
      if (slot !== undefined) {
        dispatcher.lend(slot, lease, now)
        if (slot.load > 1 || connections.open < this.demand.floor) dispatcher.openForDemand(now)
        return true
      }
    }
    // A lease that waits for a connection which the pool may still open is not too many.
    if (this.queue.size >= this.options.maxWaiting + Math.max(0, this.limit - connections.used)) {
      agenda.fail(lease, "QueueFull")
      return false
    }
    this.queue.push(lease)
    dispatcher.dispatch(now)
    return false
  }

  /**
   * The owner of a lease that waits has waited elsewhere since an earlier time. All of its time is one. Such owners come
   * in the order of those times, and nobody comes between, so the order of the queue stays that of the deadlines.
   */
  waitsSince(lease: Lease<C>, since: number): void {
    if (lease.state !== "Waiting" || since >= lease.since) return
    lease.since = since
    this.agenda.wake(this.queue.deadlineOf(lease))
  }

  /**
   * The owner of a lease that waits holds connections already. The adaptive limit is not for it: it has to finish before
   * anything else can.
   */
  exempt(lease: Lease<C>, now: number): void {
    if (lease.state !== "Waiting" || this.limiter === undefined || this.queue.nested.has(lease)) return
    this.queue.nested.add(lease)
    this.dispatcher.dispatch(now)
  }

  /**
   * Whether a lease that waits could have a connection by its lane if only the given leases were held.
   */
  laneHasRoom(lease: Lease<C>, held: (lease: Lease<C>) => boolean): boolean {
    const { lanes } = this.queue
    if (lanes.length === 1) return true
    const then = lanes.map((lane) => new Lanes.Lane(lane.options))
    for (const slot of this.slots) {
      if (slot.phase === "Leased" && held(slot.lease!)) then[slot.lane]!.used++
    }
    return Lanes.room(then, then[lease.lane]!, this.limit) > 0
  }

  /** Whether it was reported that the lease is held for too long. */
  isLeakSuspected(lease: Lease<C>): boolean {
    return this.leaks.isSuspected(lease)
  }

  /**
   * The owner of a lease is done with it: the lease leaves the queue or gives its connection back. Harmless if that has
   * already happened.
   *
   * `ready` tells whether the next borrower can use the connection as it is. `answered` tells whether the server is
   * done with the statement of a lease that shared: an interrupted one may still run, and the others wait behind it.
   */
  end(lease: Lease<C>, now: number, ready: boolean, answered = true): void {
    const { connections, dispatcher } = this
    const state = lease.state
    lease.state = "Ended"
    if (state === "Waiting") {
      dispatcher.dequeue(lease)
      return dispatcher.dispatch(now)
    }
    if (state !== "Held") return
    const slot = lease.slot!
    if (this.limiter !== undefined) this.observeLimit(lease, now)
    if (this.demand.scaling !== undefined) this.demand.ended(lease, now)
    if (this.leaks.forget(lease)) {
      this.agenda.report({ _tag: "LeakReturned", connection: slot.id, millis: now - lease.since }, lease)
    }
    if (slot.phase === "Leased") {
      slot.lease = undefined
    } else if (slot.phase === "Shared") {
      this.sharing.leave(slot, lease, now, answered)
      if (slot.load > 0) {
        if (this.queue.size > 0) dispatcher.dispatch(now)
        return
      }
      slot.unproven = 0
      this.sharing.remove(slot)
    } else {
      // The connection is gone already: there is nothing to give back.
      if (this.limiter !== undefined) dispatcher.dispatch(now)
      return
    }
    connections.giveBack(slot)
    if (ready || dispatcher.closing) {
      slot.aliveAt = now
      dispatcher.recycle(slot, now)
    } else {
      connections.reset(slot, now)
      // How long the reset takes is not known, so the waiters need something else.
      if (this.queue.size > 0) dispatcher.dispatch(now)
    }
  }

  /** Something that was run has ended: the adaptive limit learns how long it took. */
  private observeLimit(lease: Lease<C>, now: number): void {
    const limiter = this.limiter!
    const from = limiter.limit
    if (limiter.observe(now - lease.since, this.dispatcher.running--, now)) {
      this.agenda.report({ _tag: "LimitChanged", from, to: limiter.limit })
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What became of actions
  // -------------------------------------------------------------------------------------------------------------------

  /** A connection was opened. */
  connected(slot: Slot<C>, connection: C, now: number): void {
    if (slot.phase !== "Connecting") return
    const { connections, dispatcher } = this
    connections.opened(slot, connection, now)
    this.opening.succeeded()
    this.agenda.report({ _tag: "Created", connection: slot.id, millis: now - slot.createdAt })
    // Connecting takes several round trips, so the first answer replaces this.
    this.sharing.roundTrip.observe(now - slot.createdAt, now)
    slot.expiresAt = now + this.options.lifetime * (1 - this.options.lifetimeJitter * this.random())
    dispatcher.recycle(slot, now)
    if (dispatcher.closing) return
    // The next one may be opened now, also if no lease waits.
    if (dispatcher.suspended === undefined) dispatcher.openForDemand(now)
    // Connections that were kept without demand so far may now be one too many.
    if (connections.open === this.demand.floor + 1) this.upkeep.rearm()
  }

  /** A connection could not be opened. */
  connectFailed(slot: Slot<C>, now: number, reason: ConnectFailure): void {
    if (slot.phase !== "Connecting") return
    const { connections, dispatcher } = this
    this.remove(slot)
    this.agenda.report({ _tag: "ConnectFailed", connection: slot.id, millis: now - slot.createdAt, reason })
    if (dispatcher.closing) return this.drained()
    // The pool itself has ended the attempt, so nothing is known about the server.
    if (reason === "Interrupted") return dispatcher.dispatch(now)
    if (reason === "Full") {
      this.upkeep.lowerLimit(now)
      // The server is there, and the connections that it has accepted serve all callers.
      if (connections.open > 0) return dispatcher.dispatch(now)
    }
    this.opening.failed(slot.createdAt, now, reason === "Permanent", slot.probe)
    // An attempt that began before the pool was cleared was refused with what counted then, an old password for example.
    if (reason === "Permanent" && connections.open === 0 && slot.retired === undefined) {
      this.refuseAll("ConnectFailed")
    }
    dispatcher.dispatch(now)
  }

  /** The server answered a ping, or did not. */
  validated(slot: Slot<C>, now: number, alive: boolean): void {
    if (slot.phase !== "Validating") return
    const { connections, dispatcher } = this
    connections.detach(slot)
    if (alive) {
      slot.aliveAt = now
      // An answer says nothing of a role that came into doubt while it was on its way.
      if (slot.suspicion === slot.asked || slot.suspicion === "NetworkFault") slot.suspicion = undefined
      // A ping proves that the connection lives, not that it is needed: without a waiter it stays idle since it was.
      dispatcher.recycle(slot, now, this.queue.size === 0 ? slot.idleSince : now)
    } else {
      connections.close(slot, slot.asked === "RoleChange" ? "Retired" : "PingFailed", now)
      if (slot.asked !== "RoleChange") connections.suspect("NetworkFault", slot.since)
      dispatcher.dispatch(now)
    }
  }

  /** A connection was cleaned up after a borrower, or could not be. */
  wasReset(slot: Slot<C>, now: number, ok: boolean): void {
    if (slot.phase !== "Resetting") return
    this.connections.detach(slot)
    if (ok) {
      slot.aliveAt = now
      this.dispatcher.recycle(slot, now)
    } else {
      this.connections.close(slot, "ResetFailed", now)
      this.dispatcher.dispatch(now)
    }
  }

  /**
   * A connection ended by itself, in whatever phase it was. Its borrowers still hold their leases and end them. `fault`
   * if it was the network, so that those beside it may be dead too.
   */
  lost(slot: Slot<C>, now: number, fault: boolean): void {
    if (slot.phase === "Closing" || slot.phase === "Connecting" || slot.phase === "Gone") return
    // A connection that has answered since this one was asked is alive.
    const since = slot.phase === "Validating" ? slot.since : now
    this.connections.ended(slot, now, "Lost")
    if (this.draining) this.drained()
    if (this.closing) return this.drained()
    if (fault) this.connections.suspect("NetworkFault", since)
    this.connections.retireExcess(this.server.max)
    this.dispatcher.dispatch(now)
  }

  /** A connection that was to be closed is gone. */
  closed(slot: Slot<C>, now: number): void {
    if (slot.phase === "Gone") return
    if (slot.phase === "Closing") this.connections.remove(slot)
    else this.connections.ended(slot, now, "Shutdown")
    if (this.draining) this.drained()
    if (this.closing) this.drained()
    else this.dispatcher.dispatch(now)
  }

  /** The server of a connection has changed its role: it accepts no writes any more, and perhaps no other does. */
  retire(slot: Slot<C>, now: number): void {
    if (this.closing || slot.retired === "Retired") return
    if (slot.phase === "Connecting" || slot.phase === "Closing" || slot.phase === "Gone") return
    if (slot.phase === "Idle") this.connections.closeIdle(slot, "Retired", now)
    else slot.retired = "Retired"
    this.connections.suspect("RoleChange", Infinity)
    this.dispatcher.dispatch(now)
  }

  /**
   * This process stood still from `from` to `to`. Nobody was slow meanwhile: whoever waits may wait that much longer, and
   * what was under way counts as if it had begun later. Call it before the `tick` that was due.
   */
  stalled(from: number, to: number): void {
    this.queue.stalled(from, to)
    this.connections.stalled(from, to)
    this.opening.stalled(from, to)
    this.agenda.report({ _tag: "ProcessStalled", millis: to - from })
  }

  private remove(slot: Slot<C>): void {
    this.connections.remove(slot)
    if (this.draining) this.drained()
  }

  /** The time that the last `Wake` named has come. */
  tick(now: number): void {
    this.upkeep.tick(now, this.roomInQuota)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Commands of a person, and of other pools
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Replaces all connections. Idle ones are closed now; lent ones when they come back, or now too if the mode says so.
   * What is being opened was asked for with what counted before: it is closed when it is there, or ended now.
   */
  clear(mode: "graceful" | "immediate", now: number): void {
    if (this.closing) return
    const { connections } = this
    this.agenda.report({ _tag: "Cleared", count: this.slots.size - connections.count("Closing"), mode })
    for (const slot of Array.from(this.slots)) {
      if (slot.phase === "Closing") continue
      if (slot.phase === "Idle") connections.closeIdle(slot, "Cleared", now)
      else if (slot.phase === "Connecting") {
        slot.retired = "Cleared"
        if (mode === "immediate") this.agenda.actions.push({ _tag: "Abandon", slot })
      } else if (mode === "graceful") slot.retired = "Cleared"
      else connections.cut(slot, "Cleared", now)
    }
    // What was refused before says nothing of what comes now.
    this.opening.forget()
    this.dispatcher.dispatch(now)
  }

  /** No lease begins until `resume`. Those that wait go on waiting, or fail. */
  suspend(mode: "hold" | "reject"): void {
    if (this.closing || this.dispatcher.suspended === mode) return
    this.dispatcher.suspended = mode
    this.agenda.report({ _tag: "Suspended", mode })
    if (mode === "reject") this.refuseAll("Suspended")
  }

  resume(now: number): void {
    if (this.closing || this.dispatcher.suspended === undefined) return
    this.dispatcher.suspended = undefined
    this.draining = false
    this.agenda.report({ _tag: "Resumed" })
    this.dispatcher.dispatch(now)
  }

  /** Suspends, and says `Drained` when the last connection is gone. */
  drain(mode: "hold" | "reject", now: number): void {
    if (this.closing) return
    this.suspend(mode)
    this.draining = true
    this.clear("graceful", now)
    this.drained()
  }

  /** Changes how many connections there may be. Those that are too many are closed as they become free. */
  resize(min: number, max: number, now: number): void {
    if (this.closing) return
    const { connections } = this
    this.options = { ...this.options, min, max }
    this.server.resize(max)
    this.limiter?.resize(max * this.options.pipelineDepth)
    this.demand.restart(min)
    this.agenda.report({ _tag: "Resized", min, max })
    while (connections.idle.length > 0 && connections.open > max) {
      connections.close(connections.idle.shift()!, "Resized", now)
    }
    connections.retireExcess(max)
    this.dispatcher.dispatch(now)
    this.upkeep.rearm()
  }

  /** No more leases: those that wait fail, idle connections are closed, lent ones when they come back. */
  shutdown(now: number): void {
    if (this.closing) return
    const { connections } = this
    this.agenda.report({ _tag: "ShutdownStarted", used: connections.used, waiting: this.queue.size })
    this.dispatcher.closing = true
    this.draining = false
    this.refuseAll("PoolClosed")
    for (const slot of connections.idle.splice(0)) connections.close(slot, "Shutdown", now)
    this.drained()
  }

  /** Closes the connection that has been idle for longest, for another pool. Returns whether there was one. */
  giveUpIdle(now: number): boolean {
    if (this.closing) return false
    const slot = this.connections.idle.shift()
    if (slot === undefined) return false
    this.connections.close(slot, "Budget", now)
    return true
  }

  /** Whether a connection that is being opened is still needed. */
  wantsMore(now: number): boolean {
    return this.dispatcher.wantsMore(now)
  }

  /** Opens the connections that `min` asks for. Every later event does so too. */
  start(now: number): void {
    this.dispatcher.dispatch(now)
  }

  /** The caller opens a connection, and will call `connected` or `connectFailed` for this slot. */
  begin(now: number): Slot<C> {
    return this.connections.begin(now)
  }

  private refuseAll(reason: FailReason): void {
    let lease: Lease<C> | undefined
    while ((lease = this.queue.first()) !== undefined) this.dispatcher.refuse(lease, reason)
  }

  private drained(): void {
    if (this.slots.size > 0) return
    this.draining = false
    this.agenda.actions.push({ _tag: "Drained" })
  }
}
