/**
 * Who has the session, and who waits for it.
 *
 * The drivers write what they are given whatever happened before. So they are given one statement after the other: a
 * statement that is interrupted while it waits here never reaches the server. Only reads and writes of rows outside of
 * transactions are pipelined, where the driver can.
 */
import * as Effect from "effect/Effect"
import { type Exchange, ExchangeQueue } from "../exchange/Exchange.ts"
import type { Stopper } from "./Stopper.ts"

/** What the scheduler asks its session. */
export interface SchedulerHost {
  readonly canPipeline: boolean
  readonly isClosed: boolean
  /** Whether no transaction is open, beyond doubt. */
  readonly isClean: boolean
  /** An exchange that does nothing: a kill that comes late hits this one. */
  readonly makeProbe: () => Exchange
  /** The session is over: fails the exchange. */
  readonly failLost: (exchange: Exchange) => void
}

export class Scheduler {
  private readonly host: SchedulerHost
  private readonly stopper: Stopper
  private readonly running = new ExchangeQueue()
  private readonly waiting = new ExchangeQueue()
  /** How many of those that run are abandoned. */
  private abandoned = 0

  constructor(host: SchedulerHost, stopper: Stopper) {
    this.host = host
    this.stopper = stopper
  }

  get isIdle(): boolean {
    return this.running.size === 0 && this.waiting.size === 0
  }

  /** What the server works on. */
  get head(): Exchange | undefined {
    return this.running.head
  }

  /** Whether what runs is in vain. */
  get isWasted(): boolean {
    const { head } = this.running
    return head !== undefined && this.abandoned === this.running.size && head.canBeKilled && head.sent
  }

  /** Gives an exchange its turn or lets it wait. Returns what its interruption has to do. */
  submit(exchange: Exchange): Effect.Effect<void> {
    if (this.host.isClosed) {
      exchange.isDone = true
      this.host.failLost(exchange)
      return Effect.void
    }
    if (this.waiting.head === undefined && !this.stopper.needsProbe && this.canStart(exchange)) this.start(exchange)
    else {
      this.waiting.push(exchange)
      if (this.running.head === undefined) this.pump()
      // A stream that is not read on would be in its way for ever, if the reader waits for this exchange.
      else this.running.head.makeWay()
    }
    return Effect.sync(() => this.abandon(exchange))
  }

  private canStart(exchange: Exchange): boolean {
    if (this.stopper.isBusy || this.host.isClosed) return false
    const ahead = this.running.tail
    return ahead === undefined ||
      this.host.canPipeline && exchange.pipelines && ahead.pipelines && this.host.isClean
  }

  private start(exchange: Exchange): void {
    exchange.isRunning = true
    this.running.push(exchange)
    if (exchange.abandoned) this.abandoned++
    if (this.waiting.head !== undefined) exchange.makeWay()
    exchange.start()
  }

  private pump(): void {
    for (let exchange = this.waiting.head; exchange !== undefined; exchange = this.waiting.head) {
      if (!this.canStart(exchange)) return
      if (this.stopper.needsProbe) {
        this.stopper.needsProbe = false
        return this.start(this.host.makeProbe())
      }
      this.waiting.remove(exchange)
      this.start(exchange)
    }
  }

  /** An exchange has its answer, or is never sent. */
  finish(exchange: Exchange): void {
    exchange.isDone = true
    this.running.remove(exchange)
    if (exchange.abandoned) this.abandoned--
  }

  /** The caller has been told: the next one has its turn. */
  next(): void {
    if (this.waiting.head !== undefined) this.pump()
    if (this.abandoned > 0) this.stopper.consider()
  }

  /** The caller is gone. Its fiber goes on at once; this is about the server. */
  abandon(exchange: Exchange): void {
    if (exchange.isDone || exchange.abandoned) return
    exchange.abandoned = true
    if (exchange.isRunning) {
      this.abandoned++
      exchange.discard()
      return this.stopper.consider()
    }
    if (!exchange.canBeDropped) return
    exchange.isDone = true
    this.waiting.remove(exchange)
  }

  /** Everything that has its turn or waits for it. */
  *all(): Iterable<Exchange> {
    for (const queue of [this.running, this.waiting]) {
      for (let exchange = queue.head; exchange !== undefined; exchange = exchange.next) yield exchange
    }
  }

  /** Takes out what waits and may be refused. */
  takeRefusable(): ReadonlyArray<Exchange> {
    const taken: Array<Exchange> = []
    for (let exchange = this.waiting.head; exchange !== undefined;) {
      const { next } = exchange
      if (exchange.canBeKilled) {
        this.waiting.remove(exchange)
        exchange.isDone = true
        taken.push(exchange)
      }
      exchange = next
    }
    return taken
  }

  /** Takes everything out. */
  drain(): ReadonlyArray<Exchange> {
    this.abandoned = 0
    return [...this.running.drain(), ...this.waiting.drain()]
  }
}
