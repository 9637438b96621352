/**
 * All the decisions of a connection pool, and nothing else.
 *
 * **Details**
 *
 * Events go in as method calls, with the time as an argument; what is to be done comes out as `Action`s, which the
 * caller takes from `actions` and performs. There is no I/O, no timer, no clock and no randomness here, so every
 * behaviour can be stepped by hand. The state is mutable because it stands on the hot path of every statement.
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
 * Somebody who wants a connection is a `Lease`. It is created before anything is asked for and stays the same object
 * while it waits, holds and ends, so that whoever owns it can `end` it at any moment, whatever has happened to it
 * meanwhile: it leaves the queue, or gives its connection back, exactly once.
 *
 * **Rules**
 *
 * 1. Never more than `max` slots, counting those being opened and closed.
 * 2. First come, first served: while somebody waits, no newcomer takes a connection.
 * 3. A waiter takes the first connection that becomes free, also while another one is still being opened for it. When
 *    the demand is gone, no further connection is opened.
 * 4. At most `maxConnecting` connections are opened at a time. After a failure a single prober tries again with full
 *    jitter, below a ceiling of a tenth of the time that the outage has lasted, so that recovery is noticed within a
 *    tenth of the outage; the first success lets 1, 2, 4, … through again. An attempt or a ping that hangs counts as
 *    supply for nobody after `slowConnect`.
 * 5. A connection that was idle for longer than `validateAfter` is pinged before it is lent.
 * 6. Statements share a connection only when none is free: the least loaded one, never one that is `reserved` for
 *    somebody who waits for a whole connection, that is too old, that carries a statement which is not known to be
 *    quick, or on which nothing has been answered for `slowStatement` beyond the fastest answer. They may do so past
 *    those who wait for a whole connection, because they take nothing away from them, but not past each other.
 *
 * 7. When a connection dies of the network, those beside it are suspected: each is pinged before it is lent again, and
 *    idle ones are so in the background, a few at a time. A server that refuses one more connection lowers what the pool
 *    takes for its maximum for a while, and nobody fails for it.
 * 8. While the pool is used, it opens connections ahead of demand and closes those that were not needed lately, see
 *    `Scaling`. It keeps as many as it wants to have ahead, as if they were `min`. A pool that nobody uses has no timer
 *    for this, and `idleTimeout` ends its connections.
 *
 * @since 0.1.0
 */
import * as Lanes from "./Lanes.ts"
import { Limiter } from "./Limiter.ts"
import type { CloseReason, ConnectFailure, FailReason, PoolEvent, Suspicion } from "./PoolEvent.ts"
import { RoundTrip } from "./RoundTrip.ts"
import * as Scaling from "./Scaling.ts"

/**
 * The options of a pool, as numbers. Durations are milliseconds; `Infinity` switches a limit off.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  readonly min: number
  readonly max: number
  readonly maxConnecting: number
  readonly maxWaiting: number
  readonly acquireTimeout: number
  readonly idleTimeout: number
  readonly lifetime: number
  /** The part of `lifetime` by which a connection may end early, from 0 to 1. */
  readonly lifetimeJitter: number
  readonly validateAfter: number
  readonly keepAlive: number
  readonly backoffBase: number
  readonly backoffCap: number
  /** How many statements may share one connection; 1 switches sharing off. */
  readonly pipelineDepth: number
  /** How much longer than the fastest answer a statement may take and still count as quick. */
  readonly slowStatement: number
  /** How long a statement may have to wait for those it shares a connection with, until one more is opened. */
  readonly shareWait: number
  /** How long an attempt to connect, or a ping, may take until nobody counts on it any more. */
  readonly slowConnect: number
  /** How long after the server refused one more connection the pool tries one more. */
  readonly overloadRecovery: number
  /** How long somebody may have a connection until it is reported. */
  readonly leakThreshold: number
  /** How long somebody may have a connection until it is taken away. */
  readonly reclaimAfter: number
  /** The lanes beside the one that everybody is in who names none. */
  readonly lanes: ReadonlyArray<Lanes.LaneOptions>
  /** Whether less is run at a time when the server gets slower under it. */
  readonly adaptive: boolean
  /** When the pool grows ahead of demand and shrinks after it; `undefined` if it never does. */
  readonly scaling: Scaling.Options | undefined
}

/**
 * What is to be done.
 *
 * @category models
 * @since 0.1.0
 */
export type Action<C> =
  /** Tell the holder of the lease that `lease.slot` is its. */
  | { readonly _tag: "Lease"; readonly lease: Lease<C> }
  /** Tell the holder of the lease that there is no connection for it. */
  | { readonly _tag: "Fail"; readonly lease: Lease<C>; readonly reason: FailReason }
  /** Open a connection, then call `connected` or `connectFailed`. */
  | { readonly _tag: "Connect"; readonly slot: Slot<C> }
  /** Ask the server for a sign of life, or whether its role has changed if that is suspected; then call `validated`. */
  | { readonly _tag: "Ping"; readonly slot: Slot<C> }
  /** Clean up after a borrower, then call `wasReset`. */
  | { readonly _tag: "Reset"; readonly slot: Slot<C> }
  /** Close the connection, then call `closed`. `abrupt` if whoever has it is cut off. */
  | { readonly _tag: "Close"; readonly slot: Slot<C>; readonly reason: CloseReason; readonly abrupt: boolean }
  /** Interrupt the holder of the lease: its connection is taken away. */
  | { readonly _tag: "Reclaim"; readonly lease: Lease<C> }
  /** Tell that this has happened, and to whom. */
  | { readonly _tag: "Report"; readonly event: PoolEvent; readonly lease: Lease<C> | undefined }
  /** Call `tick` at this time. A later `Wake` with an earlier time replaces it. */
  | { readonly _tag: "Wake"; readonly at: number }
  /** The pool is closed, or was to be drained, and its last connection is gone. */
  | { readonly _tag: "Drained" }

/**
 * @category models
 * @since 0.1.0
 */
export type Phase = "Connecting" | "Validating" | "Idle" | "Leased" | "Shared" | "Resetting" | "Closing" | "Gone"

/**
 * One connection, from the decision to open it until it is gone.
 *
 * @category models
 * @since 0.1.0
 */
export class Slot<C> {
  readonly id: number
  /** When opening it began. */
  readonly createdAt: number
  /** When the attempt to open it, or the ping, that is under way began. */
  since: number
  phase: Phase = "Connecting"
  connection: C | undefined = undefined
  /** When it is too old to be lent again. */
  expiresAt = Infinity
  /** When it became idle. */
  idleSince = 0
  /** When the server last gave a sign of life. */
  aliveAt = 0
  /** The lease of whoever has it for itself, or of the statement that is first in line; the others follow it. */
  lease: Lease<C> | undefined = undefined
  /** The lease of the statement that is last in line. */
  last: Lease<C> | undefined = undefined
  /** How many statements share it. */
  load = 0
  /** How many statements on it are not known to be quick, or were abandoned and may still run on the server. */
  unproven = 0
  /** When the statement that is first in line on it began to be so. */
  headSince = 0
  /** Whether it is being emptied for somebody who waits for a whole connection. */
  reserved = false
  /** Why it is closed instead of being lent again. */
  retired: CloseReason | undefined = undefined
  /** Why the server is asked before it is lent again. */
  suspicion: Suspicion | undefined = undefined
  /** The suspicion that the ping which is under way clears up. */
  asked: Suspicion | undefined = undefined
  /** The lane that has it, or had it last. */
  lane = 0

  constructor(id: number, createdAt: number) {
    this.id = id
    this.createdAt = createdAt
    this.since = createdAt
  }
}

/**
 * What is known of a statement that is run again and again: whether it is safe to let others wait behind it.
 *
 * **Details**
 *
 * It counts as quick once it has been so twice, so a statement that nobody knows keeps its connection to itself. One
 * slow answer is enough to lose a trust that is new; one that has grown over many answers is lost by the second,
 * because now and then any statement has to wait for a process that had other things to do. Slow answers that come
 * together are one piece of evidence.
 *
 * @category models
 * @since 0.1.0
 */
export class StatementProfile {
  private trust = 0
  private slowAt = -Infinity

  get quick(): boolean {
    return this.trust >= 2
  }

  /** The statement was first in line on its connection for `millis` until now, and is slow from `limit` on. */
  observe(millis: number, limit: number, now: number): void {
    if (millis < limit) {
      if (this.trust < 16) this.trust++
    } else if (now - this.slowAt >= limit) {
      this.slowAt = now
      this.trust = Math.max(0, this.trust - 8)
    }
  }
}

/**
 * Somebody who wants, has, or had a connection.
 *
 * @category models
 * @since 0.1.0
 */
export class Lease<C> {
  /** Whether it wants the connection for itself, or for one statement among others. */
  readonly shared: boolean
  /** The number of its lane; 0 is the one of those who name none. */
  readonly lane: number
  /** What is known of the statement, if it wants to share. */
  readonly profile: StatementProfile | undefined
  /** Whether the statement was known to be quick when it got its connection, so that others may follow it. */
  proven = false
  state: "New" | "Waiting" | "Held" | "Failed" | "Ended" = "New"
  slot: Slot<C> | undefined = undefined
  /** Its place among all who ever waited. */
  ticket = 0
  /** When it asked for a connection. */
  askedAt = 0
  /** When it got its connection. */
  heldAt = 0
  deadline = Infinity
  /** Whether it was reported that it is held for too long. */
  leaked = false
  /** Its neighbours in the queue, and later in the line on the connection that it shares. */
  previous: Lease<C> | undefined = undefined
  next: Lease<C> | undefined = undefined

  constructor(shared: boolean, profile?: StatementProfile, lane = 0) {
    this.shared = shared
    this.profile = profile
    this.lane = lane
  }
}

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
  /** Lent as a whole, or shared by at least one statement. */
  readonly used: number
  readonly connecting: number
  readonly waiting: number
}

/** For how many waiting statements one more connection is opened. */
const perConnection = 16

/** Answers closer than this, in milliseconds, have come in one piece. */
const together = 0.1

/**
 * @category models
 * @since 0.1.0
 */
export class PoolState<C> {
  /** `resize` replaces them. */
  options: Options
  /** What is to be done, in this order. Whoever called an event takes them out. */
  readonly actions: Array<Action<C>> = []
  readonly slots = new Set<Slot<C>>()
  closing = false
  /** What becomes of those who want a connection while nobody gets one. */
  suspended: "hold" | "reject" | undefined = undefined
  /** What the server has room for, as far as it has refused more. */
  ceiling = Infinity
  /** How many of the connections that come back are to be closed, for somebody outside. */
  surrender = 0
  /** How many more connections there is room for outside. Only those that are opened ahead of demand go by it. */
  spare = Infinity

  private readonly roundTrip = new RoundTrip()
  private readonly random: () => number
  private nextId = 1
  private nextTicket = 1
  /** Last in, first out: what is not needed gets old at the bottom. */
  private readonly idle: Array<Slot<C>> = []
  private readonly shared: Array<Slot<C>> = []
  /** Those being opened and those being pinged, in the order in which that began. */
  private readonly opening: Array<Slot<C>> = []
  private readonly pinging: Array<Slot<C>> = []
  /** How many are open and stay so: neither being opened nor being closed. */
  private open = 0
  /** How many are lent. */
  private used = 0
  private reserved = 0
  /** How long a statement on a shared connection is first in line, on average. */
  private pace: number
  /** The part of those statements that were not answered together with the one before. */
  private singly = 1
  /** Those who wait, in lanes; the first one is for those who name none, and the only one as a rule. */
  private readonly lanes: ReadonlyArray<WaitingLane<C>>
  private readonly main: WaitingLane<C>
  /** How many wait for a whole connection, and how many to share one, in all lanes. */
  private wholes = 0
  private sharers = 0
  /** When the `Wake` that is under way is due. */
  private wakeAt = Infinity
  /** Since when every attempt to connect has failed. */
  private outageSince: number | undefined = undefined
  private retryAt = -Infinity
  /** How many connections may be opened at a time just now. */
  private window: number
  /** When it may be tried whether the server has room for one more. */
  private raiseAt = Infinity
  /** Whether some connection may be under suspicion. */
  private suspecting = false
  private draining = false
  /** How much may run at a time, and how much does. */
  private readonly limiter: Limiter | undefined
  private running = 0
  private readonly scaling: Scaling.Scaling | undefined
  /** When demand is looked at next; never while nobody comes. */
  private scaleAt = Infinity
  /** How many connections are kept without demand: `min`, or as many as there should be ahead of demand. */
  private floor: number
  /** After what time something must be done about a lease. */
  private readonly watchAfter: number

  constructor(options: Options, random: () => number) {
    this.options = options
    this.random = random
    this.window = options.maxConnecting
    // Until it is known better, one that is ahead is one too many.
    this.pace = options.shareWait
    this.lanes = [{ guaranteed: 0, max: 1 }, ...options.lanes].map((lane) => new WaitingLane<C>(lane))
    this.main = this.lanes[0]!
    this.limiter = options.adaptive ? new Limiter(options.max * options.pipelineDepth) : undefined
    this.scaling = options.scaling === undefined ? undefined : new Scaling.Scaling(options.scaling)
    this.floor = options.min
    this.watchAfter = Math.min(options.leakThreshold, options.reclaimAfter)
  }

  get counts(): Counts {
    return {
      total: this.slots.size,
      idle: this.idle.length,
      used: this.used,
      connecting: this.opening.length,
      waiting: this.waiting
    }
  }

  get waiting(): number {
    return this.wholes + this.sharers
  }

  /** The most connections just now. */
  get limit(): number {
    return Math.min(this.options.max, this.ceiling)
  }

  /**
   * From when on a statement counts as slow. The way to the server and back is not its fault, or none would ever be
   * quick on a long one.
   */
  get slowLimit(): number {
    return this.roundTrip.fastest + this.options.slowStatement
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Leases
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Somebody wants a connection. Returns `true` if it has one now; otherwise the lease waits, or has failed, and an
   * action will say so. A lease that has ended before it asked gets nothing.
   */
  acquire(lease: Lease<C>, now: number): boolean {
    if (lease.state !== "New") return false
    lease.askedAt = now
    if (this.closing) {
      this.fail(lease, "PoolClosed")
      return false
    }
    if (this.suspended === "reject") {
      this.fail(lease, "Suspended")
      return false
    }
    // Statements may pass those who wait for a whole connection, on one that is not reserved for these.
    const lane = this.lanes[lease.lane]!
    if (lane.sharing.size === 0 && this.suspended === undefined && (lease.shared || lane.whole.size === 0)) {
      const slot = this.pick(lease, now)
      if (slot !== undefined) {
        this.lend(slot, lease, now)
        if (slot.load > 1 || this.open < this.floor) this.supply(now)
        return true
      }
    }
    // Whoever waits for a connection that the pool may still open stands in nobody's way.
    if (this.waiting >= this.options.maxWaiting + Math.max(0, this.limit - this.used)) {
      this.fail(lease, "QueueFull")
      return false
    }
    lease.state = "Waiting"
    lease.ticket = this.nextTicket++
    lease.deadline = now + this.options.acquireTimeout
    if (lease.shared) {
      this.sharers++
      lane.sharing.push(lease)
    } else {
      this.wholes++
      lane.whole.push(lease)
    }
    this.settle(now)
    return false
  }

  /**
   * Whoever the lease belongs to is done with it: it leaves the queue or gives its connection back. Harmless if that
   * has already happened.
   *
   * `ready` tells whether the next borrower can use the connection as it is. `answered` tells whether the server is
   * done with the statement of a lease that shared: an interrupted one may still run, and the others wait behind it.
   */
  end(lease: Lease<C>, now: number, ready: boolean, answered = true): void {
    const state = lease.state
    lease.state = "Ended"
    if (state === "Waiting") {
      this.dequeue(lease)
      this.settle(now)
      return
    }
    if (state !== "Held") return
    const slot = lease.slot!
    if (this.limiter !== undefined) this.limited(lease, now)
    if (this.scaling !== undefined) this.scaling.meter.ended(lease.proven, now)
    if (lease.leaked) {
      this.report({ _tag: "LeakReturned", connection: slot.id, millis: now - lease.heldAt }, lease)
    }
    if (slot.phase === "Leased") {
      slot.lease = undefined
    } else if (slot.phase === "Shared") {
      this.leave(slot, lease, now, answered)
      if (slot.load > 0) {
        if (this.waiting > 0) this.settle(now)
        return
      }
      slot.unproven = 0
      this.unshare(slot)
    } else {
      // The connection is gone already: there is nothing to give back.
      if (this.limiter !== undefined) this.settle(now)
      return
    }
    this.used--
    this.lanes[slot.lane]!.used--
    if (ready || this.closing) {
      slot.aliveAt = now
      this.free(slot, now)
    } else {
      slot.phase = "Resetting"
      this.actions.push({ _tag: "Reset", slot })
      // Nobody knows how long that takes.
      if (this.waiting > 0) this.settle(now)
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What became of actions
  // -------------------------------------------------------------------------------------------------------------------

  /** A connection was opened. */
  connected(slot: Slot<C>, connection: C, now: number): void {
    if (slot.phase !== "Connecting") return
    remove(this.opening, slot)
    this.open++
    slot.connection = connection
    this.outageSince = undefined
    this.retryAt = -Infinity
    this.report({ _tag: "Created", connection: slot.id, millis: now - slot.createdAt })
    this.window = Math.min(this.options.maxConnecting, this.window * 2)
    slot.aliveAt = now
    // Connecting takes several round trips, so the first answer replaces this.
    this.roundTrip.observe(now - slot.createdAt, now)
    slot.expiresAt = now + this.options.lifetime * (1 - this.options.lifetimeJitter * this.random())
    this.free(slot, now)
    if (this.closing) return
    // The next one may be opened now, also if nobody waits.
    if (this.suspended === undefined) this.supply(now)
    // Those that were kept without demand so far may now be one too many.
    if (this.open === this.floor + 1) this.rearm()
  }

  /** A connection could not be opened. */
  connectFailed(slot: Slot<C>, now: number, reason: ConnectFailure): void {
    if (slot.phase !== "Connecting") return
    this.remove(slot)
    this.report({ _tag: "ConnectFailed", connection: slot.id, millis: now - slot.createdAt, reason })
    if (this.closing) return this.drained()
    if (reason === "Full") {
      this.lower(now)
      // The server is there, and the connections that it has accepted serve everybody.
      if (this.open > 0) return this.settle(now)
    }
    this.window = 1
    // Nobody has tried for a while: what happened before says nothing of how long the server has been away.
    if (this.outageSince === undefined || this.retryAt + this.options.backoffCap < slot.createdAt) {
      this.outageSince = now
    }
    // Attempts that were under way when the outage began fail together: they are one piece of evidence, not many.
    if (this.retryAt <= now) {
      const { backoffBase, backoffCap } = this.options
      const ceiling = Math.min(backoffCap, Math.max(backoffBase, (now - this.outageSince) / 10))
      this.retryAt = now + ceiling * this.random()
    }
    // One that began before the pool was cleared was refused with what counted then, for example an old password.
    if (reason === "Permanent" && this.open === 0 && slot.retired === undefined) this.refuseAll("ConnectFailed")
    this.settle(now)
  }

  /** The server answered a ping, or did not. */
  validated(slot: Slot<C>, now: number, alive: boolean): void {
    if (slot.phase !== "Validating") return
    remove(this.pinging, slot)
    if (alive) {
      slot.aliveAt = now
      // An answer says nothing of a role that came into doubt while it was on its way.
      if (slot.suspicion === slot.asked || slot.suspicion === "NetworkFault") slot.suspicion = undefined
      // A ping proves that the connection lives, not that anybody needs it: unless somebody does, it stays idle since
      // it was.
      this.free(slot, now, this.waiting === 0 ? slot.idleSince : now)
    } else {
      this.close(slot, slot.asked === "RoleChange" ? "Retired" : "PingFailed", now)
      if (slot.asked !== "RoleChange") this.suspect("NetworkFault", slot.since)
      this.settle(now)
    }
  }

  /** A connection was cleaned up after a borrower, or could not be. */
  wasReset(slot: Slot<C>, now: number, ok: boolean): void {
    if (slot.phase !== "Resetting") return
    if (ok) {
      slot.aliveAt = now
      this.free(slot, now)
    } else {
      this.close(slot, "ResetFailed", now)
      this.settle(now)
    }
  }

  /**
   * A connection ended by itself, in whatever phase it was. Its borrowers still hold their leases and end them. `fault`
   * if it was the network, so that those beside it may be dead too.
   */
  lost(slot: Slot<C>, now: number, fault: boolean): void {
    if (slot.phase === "Closing" || slot.phase === "Connecting" || slot.phase === "Gone") return
    // Whoever has answered since it was asked is alive.
    const since = slot.phase === "Validating" ? slot.since : now
    this.ended(slot, now, "Lost")
    if (this.closing) return this.drained()
    if (fault) this.suspect("NetworkFault", since)
    this.settle(now)
  }

  /** A connection that was to be closed is gone. */
  closed(slot: Slot<C>, now: number): void {
    if (slot.phase === "Gone") return
    if (slot.phase === "Closing") this.remove(slot)
    else this.ended(slot, now, "Shutdown")
    if (this.closing) this.drained()
    else this.settle(now)
  }

  /** The server of a connection has changed its role: it accepts no writes any more, and perhaps no other does. */
  retire(slot: Slot<C>, now: number): void {
    if (this.closing || slot.retired === "Retired") return
    switch (slot.phase) {
      case "Connecting":
      case "Closing":
      case "Gone":
        return
      case "Idle":
        remove(this.idle, slot)
        this.close(slot, "Retired", now)
        break
      default:
        slot.retired = "Retired"
    }
    this.suspect("RoleChange", Infinity)
    this.settle(now)
  }

  /** The time that the last `Wake` named has come. */
  tick(now: number): void {
    this.wakeAt = Infinity
    if (this.closing) return
    let first: Lease<C> | undefined
    while ((first = this.first()) !== undefined && first.deadline <= now) this.refuse(first, "AcquireTimeout")
    if (this.scaleAt <= now) this.scale(now)
    const { idleTimeout, keepAlive } = this.options
    // From the bottom: those that nobody has needed for longest.
    for (const slot of this.idle.slice()) {
      if (slot.expiresAt <= now) {
        remove(this.idle, slot)
        this.close(slot, "Lifetime", now)
      } else if (slot.idleSince + idleTimeout <= now && this.open > this.floor) {
        remove(this.idle, slot)
        this.close(slot, "IdleTimeout", now)
      } else if (slot.aliveAt + keepAlive <= now) {
        remove(this.idle, slot)
        this.validate(slot, now)
      }
    }
    if (this.raiseAt <= now) this.raise(now)
    if (this.watchAfter !== Infinity) this.watch(now)
    this.settle(now)
    this.rearm()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What people ask for
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Replaces all connections. Idle ones are closed now; lent ones when they come back, or now too if the mode says so.
   * What is being opened was asked for with what counted before, so it is closed when it is there.
   */
  clear(mode: "graceful" | "immediate", now: number): void {
    if (this.closing) return
    this.report({ _tag: "Cleared", count: this.slots.size - this.inPhase("Closing"), mode })
    for (const slot of Array.from(this.slots)) {
      if (slot.phase === "Closing") continue
      if (slot.phase === "Idle") {
        remove(this.idle, slot)
        this.close(slot, "Cleared", now)
      } else if (mode === "graceful" || slot.phase === "Connecting") {
        slot.retired = "Cleared"
      } else {
        this.cut(slot, "Cleared", now)
      }
    }
    // What was refused before says nothing of what comes now.
    this.outageSince = undefined
    this.retryAt = -Infinity
    this.settle(now)
  }

  /** Nobody gets a connection any more until `resume`. Those who wait go on waiting, or fail. */
  suspend(mode: "hold" | "reject"): void {
    if (this.closing || this.suspended === mode) return
    this.suspended = mode
    this.report({ _tag: "Suspended", mode })
    if (mode === "reject") this.refuseAll("Suspended")
  }

  resume(now: number): void {
    if (this.closing || this.suspended === undefined) return
    this.suspended = undefined
    this.draining = false
    this.report({ _tag: "Resumed" })
    this.settle(now)
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
    this.options = { ...this.options, min, max }
    // What is wanted beyond that is found out anew.
    this.floor = min
    this.report({ _tag: "Resized", min, max })
    while (this.idle.length > 0 && this.open > max) this.close(this.idle.shift()!, "Resized", now)
    for (const slot of this.slots) if (slot.retired === "Resized") slot.retired = undefined
    // Statements would otherwise follow each other on a connection for ever.
    let excess = this.open - max
    for (const slot of this.shared) {
      if (excess-- <= 0) break
      slot.retired ??= "Resized"
    }
    this.settle(now)
    this.rearm()
  }

  /** No more leases: whoever waits fails, idle connections are closed, lent ones when they come back. */
  shutdown(now: number): void {
    if (this.closing) return
    this.report({ _tag: "ShutdownStarted", used: this.used, waiting: this.waiting })
    this.closing = true
    this.draining = false
    this.refuseAll("PoolClosed")
    for (const slot of this.idle.splice(0)) this.close(slot, "Shutdown", now)
    this.drained()
  }

  /** Closes the connection that has been idle for longest, for somebody outside. Returns whether there was one. */
  giveUpIdle(now: number): boolean {
    if (this.closing) return false
    const slot = this.idle.shift()
    if (slot === undefined) return false
    this.close(slot, "Budget", now)
    return true
  }

  /** Whether a connection that is being opened is still needed. */
  wantsMore(now: number): boolean {
    return this.waiting > 0 || this.open < this.floor || this.crowded(now)
  }

  /** Opens the connections that `min` asks for. Every later event does so too. */
  start(now: number): void {
    this.settle(now)
  }

  /** Somebody else opens a connection, and will call `connected` or `connectFailed` for this slot. */
  begin(now: number): Slot<C> {
    const slot = new Slot<C>(this.nextId++, now)
    this.slots.add(slot)
    this.opening.push(slot)
    return slot
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  /** The connection that there is for the lease now. */
  private pick(lease: Lease<C>, now: number): Slot<C> | undefined {
    if (this.limiter !== undefined && this.running >= this.limiter.limit) return undefined
    const lane = this.lanes[lease.lane]!
    return (this.hasRoom(lane) ? this.fresh(now) : undefined) ??
      (lease.shared ? this.leastLoaded(now, lease.lane) : undefined)
  }

  /** Whether the lane may take one more connection. */
  private hasRoom(lane: WaitingLane<C>): boolean {
    return this.lanes.length === 1 || Lanes.room(this.lanes, lane, this.limit) > 0
  }

  /** The idle connection that was used last, of those that may be lent without a ping. */
  private fresh(now: number): Slot<C> | undefined {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const slot = this.idle[i]!
      if (slot.expiresAt <= now) {
        this.idle.splice(i, 1)
        this.close(slot, "Lifetime", now)
      } else if (slot.aliveAt + this.options.validateAfter >= now && slot.suspicion === undefined) {
        return slot
      }
    }
    return undefined
  }

  private lend(slot: Slot<C>, lease: Lease<C>, now: number): void {
    lease.slot = slot
    lease.heldAt = now
    lease.state = "Held"
    if (this.watchAfter !== Infinity) this.wake(now + this.watchAfter)
    if (this.limiter !== undefined) this.running++
    if (slot.phase === "Idle") {
      remove(this.idle, slot)
      this.used++
      slot.lane = lease.lane
      this.lanes[lease.lane]!.used++
      if (!lease.shared) {
        slot.phase = "Leased"
        slot.lease = lease
        if (this.scaling !== undefined) this.measure(lease, now)
        return
      }
      slot.phase = "Shared"
      slot.headSince = now
      this.shared.push(slot)
    }
    this.join(slot, lease)
    if (this.scaling !== undefined) this.measure(lease, now)
  }

  /** Whoever lets nobody follow counts as one who has the connection for itself. */
  private measure(lease: Lease<C>, now: number): void {
    if (this.scaleAt === Infinity) {
      this.scaling!.begin(now)
      this.scaleAt = now + this.scaling!.options.interval
      this.wake(this.scaleAt)
    }
    this.scaling!.meter.began(lease.proven, now)
  }

  /** The last in line on a connection. */
  private join(slot: Slot<C>, lease: Lease<C>): void {
    slot.load++
    lease.proven = lease.profile !== undefined && lease.profile.quick
    if (!lease.proven) slot.unproven++
    lease.previous = slot.last
    if (slot.last === undefined) slot.lease = lease
    else slot.last.next = lease
    slot.last = lease
  }

  private leave(slot: Slot<C>, lease: Lease<C>, now: number, answered: boolean): void {
    slot.load--
    if (answered) {
      if (!lease.proven) slot.unproven--
    } else if (lease.proven) slot.unproven++
    if (slot.lease === lease) {
      // Answers come in order, so it was first in line since the one before it was answered.
      const millis = now - slot.headSince
      const limit = this.slowLimit
      if (answered || millis >= limit) lease.profile?.observe(millis, limit, now)
      if (answered) {
        // One that followed another was under way already while that one was answered.
        if (lease.heldAt >= slot.headSince) this.roundTrip.observe(millis, now)
        slot.headSince = now
        this.pace += (millis - this.pace) / 16
        this.singly += ((millis > together ? 1 : 0) - this.singly) / 32
      }
    }
    if (lease.previous === undefined) slot.lease = lease.next
    else lease.previous.next = lease.next
    if (lease.next === undefined) slot.last = lease.previous
    else lease.next.previous = lease.previous
    lease.previous = undefined
    lease.next = undefined
  }

  private leastLoaded(now: number, lane: number): Slot<C> | undefined {
    const limit = this.slowLimit
    let best: Slot<C> | undefined
    let load = this.options.pipelineDepth
    for (let i = 0; i < this.shared.length; i++) {
      const slot = this.shared[i]!
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
   * Keeps as many shared connections from new statements as there are people waiting for a whole one. Returns whether
   * there is one less.
   */
  private reserve(): boolean {
    const before = this.reserved
    let wanted = this.wholes
    if (this.lanes.length > 1) {
      // Not for those who could not have them.
      wanted = 0
      for (const lane of this.lanes) wanted += Math.min(lane.whole.size, Lanes.claim(this.lanes, lane, this.limit))
      for (let surplus = before - wanted; surplus > 0; surplus--) this.unreserve()
    }
    while (this.reserved < wanted && this.reserved < this.shared.length) {
      let best: Slot<C> | undefined
      for (const slot of this.shared) {
        if (!slot.reserved && (best === undefined || slot.load < best.load)) best = slot
      }
      best!.reserved = true
      this.reserved++
    }
    return this.reserved < before
  }

  /** One person less waits for a whole connection: the one that would take longest to empty is for sharing again. */
  private unreserve(): void {
    let best: Slot<C> | undefined
    for (const slot of this.shared) {
      if (slot.reserved && (best === undefined || slot.load > best.load)) best = slot
    }
    best!.reserved = false
    this.reserved--
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Supply and demand
  // -------------------------------------------------------------------------------------------------------------------

  /** A connection has nobody on it: it is for the next in line, or idle, or too old. */
  private free(slot: Slot<C>, now: number, idleSince: number = now): void {
    if (this.closing) return this.close(slot, "Shutdown", now)
    if (slot.retired !== undefined || slot.expiresAt <= now || this.open > this.options.max) {
      this.close(slot, slot.retired ?? (slot.expiresAt <= now ? "Lifetime" : "Resized"), now)
      return this.settle(now)
    }
    if (this.surrender > 0) {
      this.surrender--
      this.close(slot, "Budget", now)
      return this.settle(now)
    }
    slot.phase = "Idle"
    slot.idleSince = idleSince
    let index = this.idle.length
    while (index > 0 && this.idle[index - 1]!.idleSince > idleSince) index--
    if (index === this.idle.length) this.idle.push(slot)
    else this.idle.splice(index, 0, slot)
    if (this.waiting > 0) this.settle(now)
    else if (this.suspecting) this.probe(now)
    if (slot.phase === "Idle") this.wake(this.dueAt(slot))
  }

  /** Serves the queues, sees to supply, and names the time of the next tick. */
  private settle(now: number): void {
    if (this.closing) return
    let lease = this.first()
    if (this.suspended !== undefined) {
      if (lease !== undefined) this.wake(lease.deadline)
      return
    }
    do {
      while (lease !== undefined && (lease = this.serve(lease, now)) !== undefined) {
        this.actions.push({ _tag: "Lease", lease })
        lease = this.first()
      }
      lease = this.first()
    } while (this.reserve() && lease !== undefined)
    this.supply(now)
    if (this.suspecting) this.probe(now)
    lease = this.first()
    if (lease !== undefined) this.wake(lease.deadline)
  }

  /** Lends a connection to whoever has waited longest of those for whom there is one. */
  private serve(first: Lease<C>, now: number): Lease<C> | undefined {
    let lease: Lease<C> | undefined = first
    let slot = this.pick(lease, now)
    if (slot === undefined && this.lanes.length > 1) {
      // The lanes stand in nobody's way.
      let ticket = lease.ticket
      while (slot === undefined && (lease = this.first(ticket)) !== undefined) {
        ticket = lease.ticket
        slot = this.pick(lease, now)
      }
    } else if (slot === undefined && !lease.shared && this.main.sharing.head !== undefined) {
      // Nothing is free, but there may be room on a connection that is shared.
      lease = this.main.sharing.head
      slot = this.pick(lease, now)
    }
    if (slot === undefined) return undefined
    this.dequeue(lease!)
    this.lend(slot, lease!, now)
    return lease
  }

  /** Pings and opens connections as far as there is demand that no connection under way will meet. */
  private supply(now: number): void {
    const { maxConnecting, shareWait, slowConnect } = this.options
    // Statements that share say that one more connection would be used, not how many.
    const crowded = this.crowded(now)
    let wholes = this.wholes
    let sharers = this.sharers
    if (this.lanes.length > 1) {
      wholes = 0
      sharers = 0
      for (const lane of this.lanes) {
        const space = Math.max(0, Lanes.room(this.lanes, lane, this.limit))
        wholes += Math.min(lane.whole.size, space)
        sharers += Math.min(lane.sharing.size, Math.max(0, space - lane.whole.size))
      }
    }
    if (this.limiter !== undefined) {
      // For those who may not run yet, no connection is needed.
      const free = Math.max(0, this.limiter.limit - this.running)
      wholes = Math.min(wholes, free)
      sharers = Math.min(sharers, free - wholes)
    }
    const demand = Math.max(wholes + sharers, crowded ? 1 : 0)
    const slowPings = this.hanging(this.pinging, now)
    // Idle connections while there is demand are ones that must be pinged first.
    while (this.idle.length > 0 && this.pinging.length - slowPings < demand) this.validate(this.idle.pop()!, now)
    let room = this.limit - this.slots.size
    if (demand > 0 && slowPings < this.pinging.length && room + this.idle.length > 0) {
      this.wake(this.pinging[slowPings]!.since + slowConnect)
    }
    if (room <= 0) return
    // Statements that wait beside connections which they could share are served within moments, as a rule.
    const sharing = sharers === 0 ? undefined : this.firstSharer()
    const patient = sharing !== undefined && this.shared.length > 0 && sharing.askedAt + shareWait > now
    if (patient) this.wake(sharing.askedAt + shareWait)
    // Not one for each of them: they can share.
    const statements = patient ? 0 : Math.ceil(sharers / perConnection)
    const pressing = Math.max(wholes + statements, crowded ? 1 : 0)
    // A ping that hangs says that the others may hang as well.
    const wanted = Math.max(slowPings > 0 ? pressing : pressing - this.pinging.length, this.floor - this.open)
    if (wanted <= 0) return
    const slow = this.hanging(this.opening, now)
    const underWay = this.opening.length - slow
    let missing = Math.min(wanted - underWay, this.window - underWay, maxConnecting - this.opening.length, room)
    if (missing > 0 && this.retryAt > now) return this.wake(this.retryAt)
    for (; missing > 0; missing--, room--) this.actions.push({ _tag: "Connect", slot: this.begin(now) })
    if (slow < this.opening.length && this.opening.length < maxConnecting && room > 0) {
      this.wake(this.opening[slow]!.since + slowConnect)
    }
  }

  /**
   * Whether a statement that shares has to wait so long that another connection would be worth it. Few connections with
   * many quick statements on each are faster than many with few: each write and each answer then carries more of them.
   */
  private crowded(now: number): boolean {
    if (this.shared.length === 0 || this.fresh(now) !== undefined) return false
    let ahead = Infinity
    for (const slot of this.shared) ahead = Math.min(ahead, slot.load - 1)
    // Answers that come together have been waiting for us, and not we for the server.
    return ahead > 0 && this.singly > 0.5 && ahead * this.pace >= this.options.shareWait
  }

  /** Opens connections ahead of demand, and closes those that were not needed lately. */
  private scale(now: number): void {
    const { min, shareWait } = this.options
    const verdict = this.scaling!.look(
      now,
      Math.min(this.limit, this.limiter?.limit ?? Infinity),
      // Answers that come together have been waiting for us, and not we for the server.
      (sharing) => Scaling.requiredToShare(sharing, this.singly > 0.5 ? this.pace : 0, shareWait)
    )
    if (verdict === undefined) {
      this.scaleAt = Infinity
      this.floor = min
      return
    }
    this.scaleAt = now + this.scaling!.options.interval
    const size = this.open + this.opening.length
    // A server that has refused one more is asked again only for somebody who needs it.
    const most = this.suspended === undefined && this.ceiling === Infinity ? size + this.spare : this.open
    const ahead = Math.min(verdict.connections, most)
    if (ahead > Math.max(size, this.floor)) {
      this.report({ _tag: "ScaledUp", from: size, to: ahead, reason: verdict.reason })
    }
    this.floor = Math.max(min, ahead)
    // The last one is for whoever comes next.
    const least = Math.max(this.floor, verdict.enough, 1)
    let excess = 0
    while (
      this.open - excess > least && this.idle[excess] !== undefined && this.idle[excess]!.idleSince <= verdict.idleSince
    ) excess++
    if (excess === 0) return
    this.report({ _tag: "ScaledDown", from: this.open, to: this.open - excess, reason: "Unneeded" })
    for (const slot of this.idle.splice(0, excess)) this.close(slot, "Unneeded", now)
  }

  /** How many of those being opened or pinged have been so for too long. */
  private hanging(list: ReadonlyArray<Slot<C>>, now: number): number {
    let count = 0
    while (count < list.length && list[count]!.since + this.options.slowConnect <= now) count++
    return count
  }

  private validate(slot: Slot<C>, now: number): void {
    slot.phase = "Validating"
    slot.since = now
    slot.asked = slot.suspicion
    this.pinging.push(slot)
    this.actions.push({ _tag: "Ping", slot })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What evidence tells
  // -------------------------------------------------------------------------------------------------------------------

  /** All connections that have not given a sign of life since are in doubt, also those that are lent. */
  private suspect(reason: Suspicion, since: number): void {
    let count = 0
    for (const slot of this.slots) {
      if (slot.suspicion === reason || slot.suspicion === "RoleChange") continue
      // One that is too many may not be so any more before it comes back.
      if (slot.retired !== undefined && slot.retired !== "Resized") continue
      switch (slot.phase) {
        case "Connecting":
        case "Closing":
          continue
        case "Validating":
          // The answer that it waits for will tell.
          if (reason === "NetworkFault") continue
          break
        case "Idle":
          if (slot.aliveAt >= since) continue
          break
      }
      slot.suspicion = reason
      count++
    }
    if (count === 0) return
    this.suspecting = true
    this.report({ _tag: "Suspected", count, reason })
  }

  /** Pings suspected connections that nobody wants just now, a few at a time. */
  private probe(now: number): void {
    for (let i = this.idle.length - 1; i >= 0 && this.pinging.length < this.options.maxConnecting; i--) {
      const slot = this.idle[i]!
      if (slot.suspicion === undefined) continue
      this.idle.splice(i, 1)
      this.validate(slot, now)
    }
    this.suspecting = false
    for (const slot of this.slots) if (slot.suspicion !== undefined) this.suspecting = true
  }

  /** The server has refused one more connection than there are. */
  private lower(now: number): void {
    const from = this.limit
    this.ceiling = Math.max(1, this.slots.size)
    this.raiseAt = now + this.options.overloadRecovery
    this.wake(this.raiseAt)
    if (this.limit < from) this.report({ _tag: "OverloadLowered", from, to: this.limit })
  }

  /** The server has not refused for a while. */
  private raise(now: number): void {
    const from = this.limit
    this.ceiling++
    this.raiseAt = now + this.options.overloadRecovery
    if (this.ceiling >= this.options.max) {
      this.ceiling = Infinity
      this.raiseAt = Infinity
    }
    if (this.limit > from) this.report({ _tag: "OverloadRaised", from, to: this.limit })
  }

  /** Something that was run has ended. */
  private limited(lease: Lease<C>, now: number): void {
    const { limit: from } = this.limiter!
    if (this.limiter!.observe(now - lease.heldAt, this.running--, now)) {
      this.report({ _tag: "LimitChanged", from, to: this.limiter!.limit })
    }
  }

  /** Looks for leases that are held for too long. */
  private watch(now: number): void {
    const { leakThreshold, reclaimAfter } = this.options
    for (const slot of Array.from(this.slots)) {
      if (slot.phase !== "Leased" && slot.phase !== "Shared") continue
      for (let lease = slot.lease; lease !== undefined; lease = lease.next) {
        const millis = now - lease.heldAt
        const event = { connection: slot.id, millis }
        if (millis >= leakThreshold && !lease.leaked) {
          lease.leaked = true
          this.report({ _tag: "LeakSuspected", ...event }, lease)
        }
        if (millis >= reclaimAfter) {
          this.report({ _tag: "LeakReclaimed", ...event }, lease)
          this.cut(slot, "Reclaimed", now)
          this.actions.push({ _tag: "Reclaim", lease })
          break
        }
      }
    }
  }

  /** When something must be done about somebody who has a connection. */
  private watchAt(): number {
    let at = Infinity
    for (const slot of this.slots) {
      if (slot.phase !== "Leased" && slot.phase !== "Shared") continue
      for (let lease = slot.lease; lease !== undefined; lease = lease.next) {
        at = Math.min(at, lease.heldAt + (lease.leaked ? this.options.reclaimAfter : this.watchAfter))
      }
    }
    return at
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Time
  // -------------------------------------------------------------------------------------------------------------------

  private wake(at: number): void {
    if (at >= this.wakeAt) return
    this.wakeAt = at
    this.actions.push({ _tag: "Wake", at })
  }

  /** When something must be done about an idle connection. */
  private dueAt(slot: Slot<C>): number {
    const { idleTimeout, keepAlive } = this.options
    return Math.min(
      slot.expiresAt,
      slot.aliveAt + keepAlive,
      this.open > this.floor ? slot.idleSince + idleTimeout : Infinity
    )
  }

  /** Names the time when something must be done about any idle connection. */
  private rearm(): void {
    let at = Infinity
    for (const slot of this.idle) at = Math.min(at, this.dueAt(slot))
    if (this.watchAfter !== Infinity) at = Math.min(at, this.watchAt())
    this.wake(Math.min(at, this.raiseAt, this.scaleAt))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end of a connection
  // -------------------------------------------------------------------------------------------------------------------

  /** Closes a connection that nobody has and that stands in no list. */
  private close(slot: Slot<C>, reason: CloseReason, now: number, abrupt = false): void {
    slot.phase = "Closing"
    this.open--
    this.report({ _tag: "Closed", connection: slot.id, millis: now - slot.createdAt, reason })
    this.actions.push({ _tag: "Close", slot, reason, abrupt })
  }

  /** Closes a connection whatever is done with it. Its borrowers still hold their leases and end them. */
  private cut(slot: Slot<C>, reason: CloseReason, now: number): void {
    this.detach(slot)
    this.close(slot, reason, now, true)
  }

  /** A connection is gone that was not to be closed. */
  private ended(slot: Slot<C>, now: number, reason: CloseReason): void {
    if (slot.phase !== "Connecting") {
      this.report({ _tag: "Closed", connection: slot.id, millis: now - slot.createdAt, reason })
    }
    this.remove(slot)
  }

  /** Takes a slot out of whatever its phase put it into. */
  private detach(slot: Slot<C>): void {
    if (slot.phase === "Idle") remove(this.idle, slot)
    else if (slot.phase === "Validating") remove(this.pinging, slot)
    else if (slot.phase === "Shared") this.unshare(slot)
    if (slot.phase === "Leased" || slot.phase === "Shared") {
      this.used--
      this.lanes[slot.lane]!.used--
    }
  }

  /** Takes a slot out of whatever its phase put it into, and forgets it. */
  private remove(slot: Slot<C>): void {
    if (slot.phase === "Connecting") remove(this.opening, slot)
    else if (slot.phase !== "Closing") {
      this.open--
      this.detach(slot)
    }
    slot.phase = "Gone"
    slot.lease = undefined
    slot.last = undefined
    this.slots.delete(slot)
    if (this.draining) this.drained()
  }

  private inPhase(phase: Phase): number {
    let count = 0
    for (const slot of this.slots) if (slot.phase === phase) count++
    return count
  }

  /** Nobody shares the connection any more. */
  private unshare(slot: Slot<C>): void {
    const last = this.shared.pop()!
    if (last !== slot) this.shared[this.shared.indexOf(slot)] = last
    if (!slot.reserved) return
    slot.reserved = false
    this.reserved--
  }

  private drained(): void {
    if (this.slots.size > 0) return
    this.draining = false
    this.actions.push({ _tag: "Drained" })
  }

  private report(event: PoolEvent, lease?: Lease<C>): void {
    this.actions.push({ _tag: "Report", event, lease })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The queues
  // -------------------------------------------------------------------------------------------------------------------

  /** Who has waited longest, or longest after a ticket. All wait equally long, so nobody has an earlier deadline. */
  private first(after = 0): Lease<C> | undefined {
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

  /** Who has waited longest of those who want to share. */
  private firstSharer(): Lease<C> | undefined {
    let first: Lease<C> | undefined
    for (const { sharing } of this.lanes) {
      if (sharing.head !== undefined && (first === undefined || sharing.head.ticket < first.ticket)) {
        first = sharing.head
      }
    }
    return first
  }

  private dequeue(lease: Lease<C>): void {
    const lane = this.lanes[lease.lane]!
    if (lease.shared) {
      this.sharers--
      return lane.sharing.remove(lease)
    }
    this.wholes--
    lane.whole.remove(lease)
    if (this.reserved > this.wholes) this.unreserve()
  }

  private refuse(lease: Lease<C>, reason: FailReason): void {
    this.dequeue(lease)
    this.fail(lease, reason)
  }

  private refuseAll(reason: FailReason): void {
    let lease: Lease<C> | undefined
    while ((lease = this.first()) !== undefined) this.refuse(lease, reason)
  }

  private fail(lease: Lease<C>, reason: FailReason): void {
    lease.state = "Failed"
    this.actions.push({ _tag: "Fail", lease, reason })
  }
}

/** A linked list, so that leaving it costs the same wherever one stands. */
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

/** A lane, and those who wait in it. */
class WaitingLane<C> extends Lanes.Lane {
  readonly whole = new Queue<C>()
  readonly sharing = new Queue<C>()
}

const remove = <A>(list: Array<A>, item: A): void => {
  if (list[list.length - 1] === item) list.pop()
  else list.splice(list.indexOf(item), 1)
}
