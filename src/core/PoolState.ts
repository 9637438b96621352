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
 *    tenth of the outage; the first success lets 1, 2, 4, … through again. An attempt that hangs counts as supply for
 *    nobody after `slowConnect`.
 * 5. A connection that was idle for longer than `validateAfter` is pinged before it is lent.
 * 6. Statements share a connection only when none is free: the least loaded one, never one that is `reserved` for
 *    somebody who waits for a whole connection, that carries a statement which is not known to be quick, or on which
 *    nothing has been answered for `slowStatement`.
 *
 * @since 0.1.0
 */

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
  readonly slowStatement: number
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
  phase: Phase = "Connecting"
  connection: C | undefined = undefined
  /** When it is too old to be lent again. */
  expiresAt = Infinity
  /** When it became idle. */
  idleSince = 0
  /** When the server last gave a sign of life. */
  aliveAt = 0
  /** The lease of whoever has it for itself. */
  lease: Lease<C> | undefined = undefined
  /** How many statements share it. */
  load = 0
  /** How many of them are not known to be quick. */
  unproven = 0
  /** When the statement that is first in line on it began to be so. */
  headSince = 0
  /** Whether it is being emptied for somebody who waits for a whole connection. */
  reserved = false

  constructor(id: number, createdAt: number) {
    this.id = id
    this.createdAt = createdAt
  }
}

/**
 * What is known of a statement that is run again and again: whether it is safe to let others wait behind it.
 *
 * **Details**
 *
 * It counts as quick once it has been so twice in a row, so a statement that nobody knows keeps its connection to
 * itself, and one slow answer is enough to lose the trust.
 *
 * @category models
 * @since 0.1.0
 */
export class StatementProfile {
  private streak = 0

  get quick(): boolean {
    return this.streak >= 2
  }

  /** The statement was first in line on its connection for `millis`. */
  observe(millis: number, slowStatement: number): void {
    if (millis >= slowStatement) this.streak = 0
    else if (this.streak < 2) this.streak++
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
  /** When it began to wait. */
  askedAt = 0
  /** When it got its connection. */
  heldAt = 0
  deadline = Infinity
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

  private readonly random: () => number
  private nextId = 1
  /** Last in, first out: what is not needed gets old at the bottom. */
  private readonly idle: Array<Slot<C>> = []
  private readonly shared: Array<Slot<C>> = []
  private connecting = 0
  private validating = 0
  private reserved = 0
  private head: Lease<C> | undefined = undefined
  private tail: Lease<C> | undefined = undefined
  private waitingShared = 0
  private waitingWhole = 0
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
  }

  get counts(): Counts {
    let used = 0
    for (const slot of this.slots) if (slot.phase === "Leased" || slot.phase === "Shared") used++
    return {
      total: this.slots.size,
      idle: this.idle.length,
      used,
      connecting: this.connecting,
      waiting: this.waiting
    }
  }

  get waiting(): number {
    return this.waitingShared + this.waitingWhole
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Leases
  // -------------------------------------------------------------------------------------------------------------------

  /**
   * Somebody wants a connection. Returns `true` if it has one now; otherwise the lease waits, or has failed, and an
   * action will say so.
   */
  acquire(lease: Lease<C>, now: number): boolean {
    lease.askedAt = now
    if (this.closing) {
      this.fail(lease, "PoolClosed")
      return false
    }
    // Statements may join a shared connection past those who wait for a whole one: they take nothing away from them,
    // because connections are reserved for these. They may not overtake each other.
    if (lease.shared ? this.waitingShared === 0 : this.head === undefined) {
      if (this.serve(lease, now)) {
        if (lease.shared && lease.slot!.load > 1) this.supply(now)
        return true
      }
    }
    if (this.waiting >= this.options.maxWaiting) {
      this.fail(lease, "QueueFull")
      return false
    }
    this.enqueue(lease, now)
    this.settle(now)
    return false
  }

  /**
   * Whoever the lease belongs to is done with it: it leaves the queue or gives its connection back. Harmless if that
   * has already happened. `ready` tells whether the next borrower can use the connection as it is.
   */
  end(lease: Lease<C>, now: number, ready: boolean): void {
    const state = lease.state
    lease.state = "Ended"
    if (state === "Waiting") {
      this.unlink(lease)
      this.settle(now)
      return
    }
    if (state !== "Held") return
    const slot = lease.slot!
    if (slot.phase === "Leased") {
      slot.lease = undefined
    } else if (slot.phase === "Shared") {
      if (!lease.proven) slot.unproven--
      // Answers come in order, so this one was first in line since the one before it.
      lease.profile?.observe(now - slot.headSince, this.options.slowStatement)
      slot.headSince = now
      if (--slot.load > 0) {
        if (this.head !== undefined) this.settle(now)
        return
      }
      this.shared.splice(this.shared.indexOf(slot), 1)
      this.unreserve(slot)
    } else {
      // The connection is gone already: there is nothing to give back.
      return
    }
    if (ready || this.closing) {
      slot.aliveAt = now
      this.free(slot, now)
    } else {
      slot.phase = "Resetting"
      this.actions.push({ _tag: "Reset", slot })
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What became of actions
  // -------------------------------------------------------------------------------------------------------------------

  /** A connection was opened. */
  connected(slot: Slot<C>, connection: C, now: number): void {
    slot.connection = connection
    this.connecting--
    this.outageSince = undefined
    this.retryAt = -Infinity
    this.window = Math.min(this.options.maxConnecting, this.window * 2)
    slot.aliveAt = now
    slot.expiresAt = now + this.options.lifetime * (1 - this.options.lifetimeJitter * this.random())
    this.free(slot, now)
  }

  /** A connection could not be opened. `permanent` if that will stay so until a person changes something. */
  connectFailed(slot: Slot<C>, now: number, permanent: boolean): void {
    this.connecting--
    this.remove(slot)
    if (this.closing) return this.drained()
    this.window = 1
    // Nobody has tried for a while: what happened before says nothing of how long the server has been away.
    if (this.outageSince === undefined || this.retryAt + this.options.backoffCap < now) this.outageSince = now
    // Attempts that were under way when the outage began fail together: they are one piece of evidence, not many.
    if (this.retryAt <= now) {
      const { backoffBase, backoffCap } = this.options
      const ceiling = Math.min(backoffCap, Math.max(backoffBase, (now - this.outageSince) / 10))
      this.retryAt = now + ceiling * this.random()
    }
    if (permanent && this.slots.size === this.connecting) {
      while (this.head !== undefined) this.refuse(this.head, "ConnectFailed")
    }
    this.settle(now)
  }

  /** The server answered a ping, or did not. */
  validated(slot: Slot<C>, now: number, alive: boolean): void {
    if (slot.phase !== "Validating") return
    this.validating--
    if (!alive) return this.close(slot, "PingFailed", now)
    slot.aliveAt = now
    // A ping proves that the connection lives, not that anybody needs it: unless somebody does, the idle time goes on.
    this.free(slot, now, this.head === undefined ? slot.idleSince : now)
  }

  /** A connection was cleaned up after a borrower, or could not be. */
  wasReset(slot: Slot<C>, now: number, ok: boolean): void {
    if (slot.phase !== "Resetting") return
    if (!ok) return this.close(slot, "ResetFailed", now)
    slot.aliveAt = now
    this.free(slot, now)
  }

  /** A connection ended by itself, in whatever phase it was. Its borrowers still hold their leases and end them. */
  lost(slot: Slot<C>, now: number): void {
    if (slot.phase === "Closing" || slot.phase === "Gone") return
    this.detach(slot)
    this.remove(slot)
    if (this.closing) return this.drained()
    this.settle(now)
  }

  /** A connection that was to be closed is gone. */
  closed(slot: Slot<C>, now: number): void {
    this.remove(slot)
    if (this.closing) return this.drained()
    this.settle(now)
  }

  /** The time that the last `Wake` named has come. */
  tick(now: number): void {
    this.wakeAt = Infinity
    if (this.closing) return
    // All wait equally long, so the order of the queue is the order of the deadlines.
    while (this.head !== undefined && this.head.deadline <= now) this.refuse(this.head, "AcquireTimeout")
    const { idleTimeout, keepAlive, min } = this.options
    // From the bottom: those that nobody has needed for longest.
    for (const slot of this.idle.slice()) {
      if (slot.expiresAt <= now) {
        this.take(slot)
        this.close(slot, "Lifetime", now)
      } else if (slot.idleSince + idleTimeout <= now && this.slots.size > min) {
        this.take(slot)
        this.close(slot, "IdleTimeout", now)
      } else if (slot.aliveAt + keepAlive <= now) {
        this.take(slot)
        this.validate(slot)
      }
    }
    this.settle(now)
    this.rearm(now)
  }

  /** No more leases: whoever waits fails, idle connections are closed, lent ones when they come back. */
  shutdown(now: number): void {
    if (this.closing) return
    this.closing = true
    while (this.head !== undefined) this.refuse(this.head, "PoolClosed")
    for (const slot of this.idle.splice(0)) this.close(slot, "Shutdown", now)
    this.drained()
  }

  /** Opens the connections that `min` asks for. Every later event does so too. */
  start(now: number): void {
    this.settle(now)
  }

  /** Takes in a connection that was opened by somebody else. */
  adopt(connection: C, now: number): Slot<C> {
    const slot = new Slot<C>(this.nextId++, now)
    this.slots.add(slot)
    this.connecting++
    this.connected(slot, connection, now)
    return slot
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Supply and demand
  // -------------------------------------------------------------------------------------------------------------------

  /** Gives the lease a connection if there is one for it now. */
  private serve(lease: Lease<C>, now: number): boolean {
    while (this.idle.length > 0) {
      const slot = this.idle[this.idle.length - 1]!
      if (slot.expiresAt <= now) {
        this.idle.pop()
        this.close(slot, "Lifetime", now)
      } else if (slot.aliveAt + this.options.validateAfter < now) {
        // It is the one that was used last: the ones below it are as a rule no fresher.
        break
      } else {
        this.idle.pop()
        if (lease.shared) {
          slot.phase = "Shared"
          slot.headSince = now
          this.shared.push(slot)
          this.join(slot, lease, now)
        } else {
          slot.phase = "Leased"
          slot.lease = lease
          this.hold(slot, lease, now)
        }
        return true
      }
    }
    if (lease.shared && this.idle.length === 0) {
      const slot = this.leastLoaded(now)
      if (slot !== undefined) {
        this.join(slot, lease, now)
        return true
      }
    }
    return false
  }

  private join(slot: Slot<C>, lease: Lease<C>, now: number): void {
    slot.load++
    lease.proven = lease.profile !== undefined && lease.profile.quick
    if (!lease.proven) slot.unproven++
    this.hold(slot, lease, now)
  }

  private hold(slot: Slot<C>, lease: Lease<C>, now: number): void {
    lease.slot = slot
    lease.heldAt = now
    lease.state = "Held"
  }

  private leastLoaded(now: number): Slot<C> | undefined {
    const { pipelineDepth, slowStatement } = this.options
    let best: Slot<C> | undefined
    let load = pipelineDepth
    for (let i = 0; i < this.shared.length; i++) {
      const slot = this.shared[i]!
      if (slot.load < load && slot.unproven === 0 && !slot.reserved && now - slot.headSince < slowStatement) {
        best = slot
        load = slot.load
      }
    }
    return best
  }

  /** A connection has nobody on it: it is for the next in line, or idle, or too old. */
  private free(slot: Slot<C>, now: number, idleSince: number = now): void {
    if (this.closing) return this.close(slot, "Shutdown", now)
    if (slot.expiresAt <= now) return this.close(slot, "Lifetime", now)
    slot.phase = "Idle"
    slot.idleSince = idleSince
    let index = this.idle.length
    while (index > 0 && this.idle[index - 1]!.idleSince > idleSince) index--
    if (index === this.idle.length) this.idle.push(slot)
    else this.idle.splice(index, 0, slot)
    if (this.head === undefined) {
      const at = this.dueAt(slot)
      if (at < this.wakeAt) this.wake(at)
    } else {
      this.settle(now)
    }
  }

  /** Serves the queue, sees to supply, and names the time of the next tick. */
  private settle(now: number): void {
    if (this.closing) return
    while (this.head !== undefined) {
      const lease = this.head
      if (!this.serve(lease, now)) break
      this.unlink(lease)
      this.actions.push({ _tag: "Lease", lease })
    }
    this.reserve()
    this.supply(now)
    if (this.head !== undefined && this.head.deadline < this.wakeAt) this.wake(this.head.deadline)
  }

  /** Keeps as many shared connections from new statements as there are people waiting for a whole one. */
  private reserve(): void {
    while (this.reserved < this.waitingWhole) {
      let best: Slot<C> | undefined
      for (const slot of this.shared) {
        if (!slot.reserved && (best === undefined || slot.load < best.load)) best = slot
      }
      if (best === undefined) return
      best.reserved = true
      this.reserved++
    }
    if (this.reserved > this.waitingWhole) {
      for (const slot of this.shared) {
        if (slot.reserved) this.unreserve(slot)
        if (this.reserved === this.waitingWhole) return
      }
    }
  }

  private unreserve(slot: Slot<C>): void {
    if (!slot.reserved) return
    slot.reserved = false
    this.reserved--
  }

  /** Pings and opens connections as far as there is demand that no connection under way will meet. */
  private supply(now: number): void {
    const { max, maxConnecting, min } = this.options
    // Idle connections while somebody waits are ones that must be pinged first.
    while (this.idle.length > 0 && this.validating < this.waiting) this.validate(this.idle.pop()!)
    if (this.slots.size >= max || this.connecting >= Math.min(this.window, maxConnecting)) return
    const hanging = this.connecting === 0 ? 0 : this.hanging(now)
    const underWay = this.connecting - hanging
    // Statements that share say that one more connection would be used, not how many.
    const wanted = Math.max(
      this.waiting - this.validating,
      this.idle.length === 0 && this.shared.length > 0 && this.options.pipelineDepth > 1 && this.crowded() ? 1 : 0,
      min - (this.slots.size - this.connecting)
    )
    let missing = Math.min(
      wanted - underWay,
      max - this.slots.size,
      Math.min(this.window, maxConnecting) - this.connecting
    )
    if (missing <= 0) return
    if (this.retryAt > now) {
      if (this.retryAt < this.wakeAt) this.wake(this.retryAt)
      return
    }
    for (; missing > 0; missing--) {
      const slot = new Slot<C>(this.nextId++, now)
      this.slots.add(slot)
      this.connecting++
      this.actions.push({ _tag: "Connect", slot })
    }
    if (this.options.slowConnect < Infinity) {
      const at = now + this.options.slowConnect
      if (at < this.wakeAt) this.wake(at)
    }
  }

  private crowded(): boolean {
    for (const slot of this.shared) if (slot.load > 1) return true
    return false
  }

  private hanging(now: number): number {
    let count = 0
    for (const slot of this.slots) {
      if (slot.phase === "Connecting" && slot.createdAt + this.options.slowConnect <= now) count++
    }
    return count
  }

  private validate(slot: Slot<C>): void {
    slot.phase = "Validating"
    this.validating++
    this.actions.push({ _tag: "Ping", slot })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Time
  // -------------------------------------------------------------------------------------------------------------------

  private wake(at: number): void {
    this.wakeAt = at
    this.actions.push({ _tag: "Wake", at })
  }

  /** When something must be done about an idle connection. */
  private dueAt(slot: Slot<C>): number {
    const { idleTimeout, keepAlive, min } = this.options
    return Math.min(
      slot.expiresAt,
      slot.aliveAt + keepAlive,
      this.slots.size > min ? slot.idleSince + idleTimeout : Infinity
    )
  }

  private rearm(now: number): void {
    let at = this.head === undefined ? Infinity : this.head.deadline
    for (const slot of this.slots) {
      if (slot.phase === "Idle") at = Math.min(at, this.dueAt(slot))
      else if (slot.phase === "Connecting" && this.waiting > 0 && slot.createdAt + this.options.slowConnect > now) {
        at = Math.min(at, slot.createdAt + this.options.slowConnect)
      }
    }
    if (at < this.wakeAt) this.wake(at)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end of a connection
  // -------------------------------------------------------------------------------------------------------------------

  private close(slot: Slot<C>, reason: CloseReason, now: number): void {
    slot.phase = "Closing"
    this.actions.push({ _tag: "Close", slot, reason })
    if (!this.closing) this.supply(now)
  }

  /** Takes a slot out of whatever structure its phase put it into. */
  private detach(slot: Slot<C>): void {
    switch (slot.phase) {
      case "Connecting": {
        this.connecting--
        break
      }
      case "Validating": {
        this.validating--
        break
      }
      case "Idle": {
        this.take(slot)
        break
      }
      case "Shared": {
        this.shared.splice(this.shared.indexOf(slot), 1)
        this.unreserve(slot)
        break
      }
    }
  }

  private take(slot: Slot<C>): void {
    this.idle.splice(this.idle.indexOf(slot), 1)
  }

  private remove(slot: Slot<C>): void {
    slot.phase = "Gone"
    slot.lease = undefined
    this.slots.delete(slot)
  }

  private drained(): void {
    if (this.slots.size === 0) this.actions.push({ _tag: "Drained" })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The queue: a linked list, so that leaving it costs the same wherever one stands
  // -------------------------------------------------------------------------------------------------------------------

  private enqueue(lease: Lease<C>, now: number): void {
    lease.state = "Waiting"
    lease.deadline = now + this.options.acquireTimeout
    lease.previous = this.tail
    if (this.tail === undefined) this.head = lease
    else this.tail.next = lease
    this.tail = lease
    if (lease.shared) this.waitingShared++
    else this.waitingWhole++
  }

  private unlink(lease: Lease<C>): void {
    if (lease.previous === undefined) this.head = lease.next
    else lease.previous.next = lease.next
    if (lease.next === undefined) this.tail = lease.previous
    else lease.next.previous = lease.previous
    lease.previous = undefined
    lease.next = undefined
    if (lease.shared) this.waitingShared--
    else this.waitingWhole--
  }

  private refuse(lease: Lease<C>, reason: FailReason): void {
    this.unlink(lease)
    this.fail(lease, reason)
  }

  private fail(lease: Lease<C>, reason: FailReason): void {
    lease.state = "Failed"
    this.actions.push({ _tag: "Fail", lease, reason })
  }
}
