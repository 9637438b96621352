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
 * @since 0.1.0
 */
import { RoundTrip } from "./RoundTrip.ts"

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
}

/**
 * Why a connection was closed.
 *
 * @category models
 * @since 0.1.0
 */
export type CloseReason =
  | "Lifetime"
  | "IdleTimeout"
  | "PingFailed"
  | "ResetFailed"
  | "Lost"
  /** Another pool of the same budget needed it more. */
  | "Budget"
  | "Shutdown"

/**
 * Why somebody did not get a connection.
 *
 * @category models
 * @since 0.1.0
 */
export type FailReason = "AcquireTimeout" | "QueueFull" | "PoolClosed" | "ConnectFailed"

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
  /** Ask the server for a sign of life, then call `validated`. */
  | { readonly _tag: "Ping"; readonly slot: Slot<C> }
  /** Clean up after a borrower, then call `wasReset`. */
  | { readonly _tag: "Reset"; readonly slot: Slot<C> }
  /** Close the connection, then call `closed`. */
  | { readonly _tag: "Close"; readonly slot: Slot<C>; readonly reason: CloseReason }
  /** Call `tick` at this time. A later `Wake` with an earlier time replaces it. */
  | { readonly _tag: "Wake"; readonly at: number }
  /** The pool is closed and its last connection is gone. */
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
  /** Its neighbours in the queue, and later in the line on the connection that it shares. */
  previous: Lease<C> | undefined = undefined
  next: Lease<C> | undefined = undefined

  constructor(shared: boolean, profile?: StatementProfile) {
    this.shared = shared
    this.profile = profile
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
  readonly options: Options
  /** What is to be done, in this order. Whoever called an event takes them out. */
  readonly actions: Array<Action<C>> = []
  readonly slots = new Set<Slot<C>>()
  closing = false
  /** How many of the connections that come back are to be closed, for somebody outside. */
  surrender = 0

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
  private readonly whole = new Queue<C>()
  private readonly sharing = new Queue<C>()
  /** When the `Wake` that is under way is due. */
  private wakeAt = Infinity
  /** Since when every attempt to connect has failed. */
  private outageSince: number | undefined = undefined
  private retryAt = -Infinity
  /** How many connections may be opened at a time just now. */
  private window: number

  constructor(options: Options, random: () => number) {
    this.options = options
    this.random = random
    this.window = options.maxConnecting
    // Until it is known better, one that is ahead is one too many.
    this.pace = options.shareWait
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
    return this.whole.size + this.sharing.size
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
    // Statements may pass those who wait for a whole connection, on one that is not reserved for these.
    if (this.sharing.size === 0 && (lease.shared || this.whole.size === 0)) {
      const slot = this.pick(lease, now)
      if (slot !== undefined) {
        this.lend(slot, lease, now)
        if (slot.load > 1 || this.open < this.options.min) this.supply(now)
        return true
      }
    }
    // Whoever waits for a connection that the pool may still open stands in nobody's way.
    if (this.waiting >= this.options.maxWaiting + this.options.max - this.used) {
      this.fail(lease, "QueueFull")
      return false
    }
    lease.state = "Waiting"
    lease.ticket = this.nextTicket++
    lease.deadline = now + this.options.acquireTimeout
    if (lease.shared) this.sharing.push(lease)
    else this.whole.push(lease)
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
      return
    }
    this.used--
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
    this.window = Math.min(this.options.maxConnecting, this.window * 2)
    slot.aliveAt = now
    // Connecting takes several round trips, so the first answer replaces this.
    this.roundTrip.observe(now - slot.createdAt, now)
    slot.expiresAt = now + this.options.lifetime * (1 - this.options.lifetimeJitter * this.random())
    this.free(slot, now)
    if (this.closing) return
    // The next one may be opened now, also if nobody waits.
    this.supply(now)
    // Those that `min` has kept so far may now be one too many.
    if (this.open === this.options.min + 1) this.rearm()
  }

  /** A connection could not be opened. `permanent` if that will stay so until a person changes something. */
  connectFailed(slot: Slot<C>, now: number, permanent: boolean): void {
    if (slot.phase !== "Connecting") return
    this.remove(slot)
    if (this.closing) return this.drained()
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
    if (permanent && this.open === 0) this.refuseAll("ConnectFailed")
    this.settle(now)
  }

  /** The server answered a ping, or did not. */
  validated(slot: Slot<C>, now: number, alive: boolean): void {
    if (slot.phase !== "Validating") return
    remove(this.pinging, slot)
    if (alive) {
      slot.aliveAt = now
      // A ping proves that the connection lives, not that anybody needs it: unless somebody does, it stays idle since
      // it was.
      this.free(slot, now, this.waiting === 0 ? slot.idleSince : now)
    } else {
      this.close(slot, "PingFailed")
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
      this.close(slot, "ResetFailed")
      this.settle(now)
    }
  }

  /** A connection ended by itself, in whatever phase it was. Its borrowers still hold their leases and end them. */
  lost(slot: Slot<C>, now: number): void {
    if (slot.phase === "Closing" || slot.phase === "Connecting") return
    this.closed(slot, now)
  }

  /** A connection that was to be closed is gone. */
  closed(slot: Slot<C>, now: number): void {
    if (slot.phase === "Gone") return
    this.remove(slot)
    if (this.closing) this.drained()
    else this.settle(now)
  }

  /** The time that the last `Wake` named has come. */
  tick(now: number): void {
    this.wakeAt = Infinity
    if (this.closing) return
    let first: Lease<C> | undefined
    while ((first = this.first()) !== undefined && first.deadline <= now) this.refuse(first, "AcquireTimeout")
    const { idleTimeout, keepAlive, min } = this.options
    // From the bottom: those that nobody has needed for longest.
    for (const slot of this.idle.slice()) {
      if (slot.expiresAt <= now) {
        remove(this.idle, slot)
        this.close(slot, "Lifetime")
      } else if (slot.idleSince + idleTimeout <= now && this.open > min) {
        remove(this.idle, slot)
        this.close(slot, "IdleTimeout")
      } else if (slot.aliveAt + keepAlive <= now) {
        remove(this.idle, slot)
        this.validate(slot, now)
      }
    }
    this.settle(now)
    this.rearm()
  }

  /** No more leases: whoever waits fails, idle connections are closed, lent ones when they come back. */
  shutdown(): void {
    if (this.closing) return
    this.closing = true
    this.refuseAll("PoolClosed")
    for (const slot of this.idle.splice(0)) this.close(slot, "Shutdown")
    this.drained()
  }

  /** Closes the connection that has been idle for longest, for somebody outside. Returns whether there was one. */
  giveUpIdle(): boolean {
    if (this.closing) return false
    const slot = this.idle.shift()
    if (slot === undefined) return false
    this.close(slot, "Budget")
    return true
  }

  /** Whether a connection that is being opened is still needed. */
  wantsMore(now: number): boolean {
    return this.waiting > 0 || this.open < this.options.min || this.crowded(now)
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
    return this.fresh(now) ?? (lease.shared ? this.leastLoaded(now) : undefined)
  }

  /** The idle connection that was used last, of those that may be lent without a ping. */
  private fresh(now: number): Slot<C> | undefined {
    for (let i = this.idle.length - 1; i >= 0; i--) {
      const slot = this.idle[i]!
      if (slot.expiresAt <= now) {
        this.idle.splice(i, 1)
        this.close(slot, "Lifetime")
      } else if (slot.aliveAt + this.options.validateAfter >= now) {
        return slot
      }
    }
    return undefined
  }

  private lend(slot: Slot<C>, lease: Lease<C>, now: number): void {
    lease.slot = slot
    lease.heldAt = now
    lease.state = "Held"
    if (slot.phase === "Idle") {
      remove(this.idle, slot)
      this.used++
      if (!lease.shared) {
        slot.phase = "Leased"
        slot.lease = lease
        return
      }
      slot.phase = "Shared"
      slot.headSince = now
      this.shared.push(slot)
    }
    this.join(slot, lease)
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

  private leastLoaded(now: number): Slot<C> | undefined {
    const limit = this.slowLimit
    let best: Slot<C> | undefined
    let load = this.options.pipelineDepth
    for (let i = 0; i < this.shared.length; i++) {
      const slot = this.shared[i]!
      if (
        slot.load < load && slot.unproven === 0 && !slot.reserved && now - slot.headSince < limit &&
        slot.expiresAt > now
      ) {
        best = slot
        load = slot.load
      }
    }
    return best
  }

  /** Keeps as many shared connections from new statements as there are people waiting for a whole one. */
  private reserve(): void {
    while (this.reserved < this.whole.size && this.reserved < this.shared.length) {
      let best: Slot<C> | undefined
      for (const slot of this.shared) {
        if (!slot.reserved && (best === undefined || slot.load < best.load)) best = slot
      }
      best!.reserved = true
      this.reserved++
    }
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
    if (this.closing) return this.close(slot, "Shutdown")
    if (slot.expiresAt <= now) {
      this.close(slot, "Lifetime")
      return this.settle(now)
    }
    if (this.surrender > 0) {
      this.surrender--
      this.close(slot, "Budget")
      return this.settle(now)
    }
    slot.phase = "Idle"
    slot.idleSince = idleSince
    let index = this.idle.length
    while (index > 0 && this.idle[index - 1]!.idleSince > idleSince) index--
    if (index === this.idle.length) this.idle.push(slot)
    else this.idle.splice(index, 0, slot)
    if (this.waiting > 0) this.settle(now)
    else this.wake(this.dueAt(slot))
  }

  /** Serves the queues, sees to supply, and names the time of the next tick. */
  private settle(now: number): void {
    if (this.closing) return
    let lease = this.first()
    while (lease !== undefined) {
      let slot = this.pick(lease, now)
      if (slot === undefined) {
        // Nothing is free, but there may be room on a connection that is shared.
        if (lease.shared || this.sharing.head === undefined) break
        lease = this.sharing.head
        slot = this.pick(lease, now)
        if (slot === undefined) break
      }
      this.dequeue(lease)
      this.lend(slot, lease, now)
      this.actions.push({ _tag: "Lease", lease })
      lease = this.first()
    }
    this.reserve()
    this.supply(now)
    lease = this.first()
    if (lease !== undefined) this.wake(lease.deadline)
  }

  /** Pings and opens connections as far as there is demand that no connection under way will meet. */
  private supply(now: number): void {
    const { max, maxConnecting, min, shareWait, slowConnect } = this.options
    // Statements that share say that one more connection would be used, not how many.
    const crowded = this.crowded(now)
    const demand = Math.max(this.waiting, crowded ? 1 : 0)
    const slowPings = this.hanging(this.pinging, now)
    // Idle connections while there is demand are ones that must be pinged first.
    while (this.idle.length > 0 && this.pinging.length - slowPings < demand) this.validate(this.idle.pop()!, now)
    let room = max - this.slots.size
    if (demand > 0 && slowPings < this.pinging.length && room + this.idle.length > 0) {
      this.wake(this.pinging[slowPings]!.since + slowConnect)
    }
    if (room <= 0) return
    // Statements that wait beside connections which they could share are served within moments, as a rule.
    const sharing = this.sharing.head
    const patient = sharing !== undefined && this.shared.length > 0 && sharing.askedAt + shareWait > now
    if (patient) this.wake(sharing.askedAt + shareWait)
    // Not one for each of them: they can share.
    const statements = patient ? 0 : Math.ceil(this.sharing.size / perConnection)
    const pressing = Math.max(this.whole.size + statements, crowded ? 1 : 0)
    // A ping that hangs says that the others may hang as well.
    const wanted = Math.max(slowPings > 0 ? pressing : pressing - this.pinging.length, min - this.open)
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

  /** How many of those being opened or pinged have been so for too long. */
  private hanging(list: ReadonlyArray<Slot<C>>, now: number): number {
    let count = 0
    while (count < list.length && list[count]!.since + this.options.slowConnect <= now) count++
    return count
  }

  private validate(slot: Slot<C>, now: number): void {
    slot.phase = "Validating"
    slot.since = now
    this.pinging.push(slot)
    this.actions.push({ _tag: "Ping", slot })
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
    const { idleTimeout, keepAlive, min } = this.options
    return Math.min(
      slot.expiresAt,
      slot.aliveAt + keepAlive,
      this.open > min ? slot.idleSince + idleTimeout : Infinity
    )
  }

  /** Names the time when something must be done about any idle connection. */
  private rearm(): void {
    let at = Infinity
    for (const slot of this.idle) at = Math.min(at, this.dueAt(slot))
    this.wake(at)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end of a connection
  // -------------------------------------------------------------------------------------------------------------------

  /** Closes a connection that nobody has and that stands in no list. */
  private close(slot: Slot<C>, reason: CloseReason): void {
    slot.phase = "Closing"
    this.open--
    this.actions.push({ _tag: "Close", slot, reason })
  }

  /** Takes a slot out of whatever its phase put it into, and forgets it. */
  private remove(slot: Slot<C>): void {
    if (slot.phase === "Connecting") remove(this.opening, slot)
    else if (slot.phase !== "Closing") {
      this.open--
      if (slot.phase === "Idle") remove(this.idle, slot)
      else if (slot.phase === "Validating") remove(this.pinging, slot)
      else if (slot.phase === "Shared") this.unshare(slot)
      if (slot.phase === "Leased" || slot.phase === "Shared") this.used--
    }
    slot.phase = "Gone"
    slot.lease = undefined
    slot.last = undefined
    this.slots.delete(slot)
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
    if (this.slots.size === 0) this.actions.push({ _tag: "Drained" })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The queues
  // -------------------------------------------------------------------------------------------------------------------

  /** Who has waited longest. All wait equally long, so nobody has an earlier deadline. */
  private first(): Lease<C> | undefined {
    const whole = this.whole.head
    const sharing = this.sharing.head
    if (whole === undefined) return sharing
    return sharing === undefined || whole.ticket < sharing.ticket ? whole : sharing
  }

  private dequeue(lease: Lease<C>): void {
    if (lease.shared) return this.sharing.remove(lease)
    this.whole.remove(lease)
    if (this.reserved > this.whole.size) this.unreserve()
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

const remove = <A>(list: Array<A>, item: A): void => {
  if (list[list.length - 1] === item) list.pop()
  else list.splice(list.indexOf(item), 1)
}
