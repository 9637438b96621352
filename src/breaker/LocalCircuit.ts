import type * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { Resolved } from "./BreakerOptions.ts"
import type { Permit, State } from "./BreakerState.ts"
import { isDoubtful, isFailure, isLoss } from "./isFailure.ts"
import { LossEvents } from "./LossEvents.ts"

/** Where the state of a circuit is kept. */
export interface Store {
  readonly service: CircuitBreaker.CircuitBreakerStore["Service"]
  /** Whether it came from the context, so that other processes may use it too, and it may be slow or broken. */
  readonly shared: boolean
}

/** A permit, with what the store said when it was asked. */
export interface Ticket extends Permit {
  readonly store: Store
  readonly admission: CircuitBreaker.Admission
}

/** Outcomes to be recorded, or a look into the store. */
export interface Work {
  readonly ticket: Ticket | undefined
  successes: number
  readonly failure: boolean
}

/** What the circuit tells the parts around it. */
export interface Listener {
  readonly submit: (work: Work) => void
  readonly lookUp: (now: number) => void
  /** A failure may be that of a database that is away. Returns whether that is found out, and counted then. */
  readonly doubt: () => boolean
  /** For how many of the last milliseconds this process stood still. */
  readonly stalled: (millis: number) => number
}

/**
 * What a call reads and writes while the circuit is closed. It decides nothing: it knows which outcomes the circuit
 * need not be told.
 *
 * `credit` successes are not recorded yet. Counting ends at as many as the policy can see, the window of a rate or one
 * success after a failure; a failure brings them with it. No success can trip a policy, but for one: that which makes
 * the number of calls reach `minimumCalls` of a rate, when there was a failure before. That one is recorded at once.
 */
export class LocalCircuit {
  closed = false
  watching = true
  permit: Ticket
  /** When `touch` has something to do. */
  due = Infinity

  tag: "Closed" | "Open" | "HalfOpen" = "Closed"
  isolated = false
  store: Store
  epoch = 0
  /** Until when the circuit is open, or is known to be probed by another process. Monotonic time in milliseconds. */
  until = 0
  openings = 0

  private credit = 0
  /** How many outcomes this epoch has had, until it is clear that `minimumCalls` are reached. */
  private seen = 0
  private tainted = false
  private readonly losses = new LossEvents()
  private readonly visible: number
  private readonly minimumCalls: number
  private readonly slowMillis: number
  private readonly listener: Listener

  constructor(options: Resolved, store: Store, listener: Listener) {
    const { slowMillis, tripPolicy } = options
    this.visible = tripPolicy._tag === "Rate" ? tripPolicy.size : 1
    this.minimumCalls = tripPolicy._tag === "Rate" ? tripPolicy.minimumCalls : 0
    this.slowMillis = slowMillis
    this.store = store
    this.listener = listener
    this.permit = {
      epoch: -1,
      store,
      admission: { generation: -1, probe: false, consecutiveOpenings: 0, transition: undefined }
    }
  }

  touch(now: number): void {
    if (now >= this.due) this.listener.lookUp(now)
  }

  succeeded(millis: number, permit: Permit): void {
    if (permit.epoch !== this.epoch) return
    if (this.isSlow(millis)) return this.count(permit as Ticket)
    if (this.credit === this.visible) return
    this.credit++
    if (++this.seen === this.minimumCalls && this.tainted) return this.record(permit as Ticket, false)
    if (this.credit === this.visible) this.watching = this.slowMillis !== Infinity
  }

  failed(error: unknown, millis: number, permit: Permit): void {
    if (permit.epoch === this.epoch && this.isCounted(error, millis)) this.count(permit as Ticket)
  }

  /** Whether a failure counts, and is not one more victim of an event that has been counted. */
  isCounted(error: unknown, millis: number): boolean {
    if (isFailure(error, this.isSlow(millis))) {
      return !this.losses.isKnown(error) && !(isLoss(error) && this.listener.doubt())
    }
    if (isDoubtful(error)) this.listener.doubt()
    return false
  }

  /** Whether a call took longer than `slowCall`, not counting the time in which this process stood still. */
  isSlow(millis: number): boolean {
    return millis > this.slowMillis && millis - this.listener.stalled(millis) > this.slowMillis
  }

  private count(ticket: Ticket): void {
    this.seen++
    this.tainted = true
    this.record(ticket, true)
  }

  private record(ticket: Ticket, failure: boolean): void {
    const successes = this.credit
    this.credit = 0
    this.watching = true
    this.listener.submit({ ticket, successes, failure })
  }

  /** Tells a shared store of the successes that no failure has brought to it. */
  reportSuccesses(): void {
    if (this.closed && this.credit > 0) this.record(this.permit, false)
  }

  /** The circuit is closed, and this is what the store admits calls under. */
  close(store: Store, admission: CircuitBreaker.Admission): void {
    const { permit } = this
    const continues = permit.epoch === this.epoch && permit.store === store &&
      permit.admission.generation === admission.generation
    if (!continues) {
      this.epoch++
      this.credit = 0
      this.seen = 0
      this.tainted = false
      this.watching = true
    }
    this.tag = "Closed"
    this.closed = !this.isolated
    this.permit = { epoch: this.epoch, store, admission }
  }

  /** The circuit is not closed any more: what it has admitted is late. */
  leave(tag: "Open" | "HalfOpen", until: number): void {
    this.epoch++
    this.closed = false
    this.tag = tag
    this.until = until
  }

  /** The circuit was isolated by hand. What was admitted before is late, also after a reset. */
  isolate(): void {
    this.isolated = true
    this.closed = false
    this.epoch++
  }

  get seenAs(): State["_tag"] {
    return this.isolated ? "Isolated" : this.tag
  }
}
