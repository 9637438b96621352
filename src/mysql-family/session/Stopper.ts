/**
 * Stops on the server what runs in vain or too long: KILL QUERY over a side connection.
 *
 * A kill hits what the session runs when it arrives. So nothing is begun while one is on its way, and after one that
 * came late the next thing that runs is a statement that does nothing. What does not end is ended with its connection:
 * otherwise it would run on without one of ours.
 */
import * as Effect from "effect/Effect"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import type { Canceller, Target } from "../driver/Canceller.ts"
import type { Exchange } from "../exchange/Exchange.ts"

/** How long a statement that was killed has to end before it is killed again, in milliseconds. */
const killAgainAfter = 200

/** What the stopper asks its session. */
export interface StopperHost extends Target {
  readonly isClosed: boolean
  /** What the server works on. */
  readonly head: Exchange | undefined
  /** Whether what runs is in vain. */
  readonly isWasted: boolean
  /** Something may have its turn now. */
  readonly next: () => void
  /** The time of an exchange begins anew. */
  readonly giveTime: (exchange: Exchange) => void
  /** An exchange could not be stopped, and its connection is to be ended with it. */
  readonly giveUpOn: (exchange: Exchange) => void
}

export class Stopper {
  private readonly host: StopperHost
  private readonly canceller: Canceller
  /** Kills that are on their way. */
  private kills = 0
  /** What was killed last. */
  private target: Exchange | undefined = undefined
  /** A kill may have come after what it was meant for. */
  needsProbe = false

  constructor(host: StopperHost, canceller: Canceller) {
    this.host = host
    this.canceller = canceller
  }

  get isBusy(): boolean {
    return this.kills > 0
  }

  /** What runs in vain is only in the way of what comes next. */
  consider(): void {
    if (this.kills === 0 && this.isWasted && this.host.head !== this.target) this.kill(this.host.head!)
  }

  /** The time of what the server works on is over. */
  stop(exchange: Exchange): void {
    exchange.expiredAfter = exchange.limit
    exchange.discard()
    this.target = exchange
    this.host.giveTime(exchange)
    if (this.kills === 0) this.kill(exchange)
  }

  private get isWasted(): boolean {
    return !this.host.isClosed && this.host.isWasted
  }

  private isInVain(exchange: Exchange): boolean {
    if (exchange.isDone || this.host.isClosed) return false
    return exchange.expiredAfter !== undefined ? this.host.head === exchange : this.isWasted
  }

  private kill(target: Exchange): void {
    this.kills++
    this.canceller.kill(this.host, () => this.isInVain(target), (sent) => this.killed(target, sent))
  }

  private killed(target: Exchange, sent: boolean): void {
    this.kills--
    if (this.host.isClosed) return
    if (target.isDone) {
      this.needsProbe ||= sent
      return this.host.next()
    }
    if (target.expiredAfter !== undefined && !sent) return this.host.giveUpOn(target)
    if (this.target !== target) {
      // A server that does not stop when it is asked to, or could not be asked, has this long.
      this.target = target
      this.host.giveTime(target)
    }
    // It may have come between two steps of the same statement.
    afterAwake(killAgainAfter, () => {
      if (this.kills === 0 && this.host.head === target && this.isInVain(target)) this.kill(target)
    })
    this.host.next()
  }

  /** What was to be stopped has not ended in time: its connection is ended on the server too. */
  endConnection(): void {
    this.canceller.end(this.host)
  }

  /** Whether an exchange was killed. */
  isTarget(exchange: Exchange): boolean {
    return this.target === exchange
  }

  /** Stops what the server works on, whether its caller still waits or not. */
  readonly cancel: Effect.Effect<void> = Effect.callback((resume) => {
    const target = this.host.head
    if (this.host.isClosed || target === undefined) return resume(Effect.void)
    this.kills++
    this.canceller.kill(this.host, () => !target.isDone, (sent) => {
      this.killed(target, sent)
      resume(Effect.void)
    })
  })
}
