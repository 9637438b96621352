/**
 * What is done on the server about exchanges whose callers have left.
 *
 * A cancel request hits whatever runs when it arrives. So it is sent only when nobody waits for anything on the
 * session, and nothing is written while it is under way.
 */
import * as Effect from "effect/Effect"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import { ControlExchange } from "../exchange/ControlExchange.ts"
import { type Exchange, Progress } from "../exchange/Exchange.ts"
import { StatementExchange } from "../exchange/StatementExchange.ts"
import { skipField } from "../statement/RowDecoder.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { SessionKey } from "./SessionOptions.ts"

/** How long an abandoned statement may still end by itself before the server is asked to cancel it, in milliseconds. */
const grace = 10

/** How long a server has to stop what our own limit has cut off, before the session is given up, in milliseconds. */
const stopLimit = 1_000

export class Cancellation {
  private readonly core: SessionCore
  private readonly key: SessionKey
  /** Called when writing may go on. */
  onFree: () => void = () => {}
  /** Runs while an abandoned statement may still end by itself. */
  private stopWaiting: (() => void) | undefined = undefined
  /** Cancel requests that are under way. */
  private requests = 0
  /** The exchange that they were meant for, until it has ended. */
  private target: Exchange | undefined = undefined
  private readonly waiters: Array<() => void> = []

  constructor(core: SessionCore, key: SessionKey) {
    this.core = core
    this.key = key
  }

  /** Whether nothing may be written for the moment. */
  get isHeld(): boolean {
    return this.stopWaiting !== undefined || this.requests > 0 || this.target !== undefined
  }

  /** The caller of an exchange has left. Its fiber has gone on already: this is about the server. */
  readonly abandon = (exchange: Exchange): void => {
    const { core } = this
    if (exchange.abandoned || core.end !== undefined) return
    exchange.abandoned = true
    if (exchange.progress === Progress.Unsent) {
      if (exchange instanceof StatementExchange) core.encoder.withdraw(exchange)
      return
    }
    // A stream that is read to its end, or a statement whose types are being looked up: nothing is awaited for it.
    if (exchange.progress === Progress.Answered) return
    core.awaited--
    if (exchange === core.inFlight.head) core.parser.readField = skipField
    exchange.onAbandon()
    this.consider()
  }

  /** An exchange has been answered, and has left the queue. */
  onAnswered(exchange: Exchange): void {
    if (exchange === this.target) this.target = undefined
    if (this.core.inFlight.size === 0) this.release()
    else if (this.core.awaited === 0) this.consider()
  }

  /** The session has ended. */
  release(): void {
    this.stopWaiting?.()
    this.stopWaiting = undefined
  }

  private consider(): void {
    if (this.isHeld || !this.isWasted || this.core.options.cancel === undefined) return
    this.stopWaiting = afterAwake(grace, () => {
      this.stopWaiting = undefined
      if (this.isWasted) this.send()
      else this.onFree()
    })
  }

  /** Whether what the server does is of no use any more. */
  private get isWasted(): boolean {
    const { head } = this.core.inFlight
    return this.core.awaited === 0 && head !== undefined && head.canBeCancelled
  }

  private send(): void {
    const { core } = this
    const { head } = core.inFlight
    if (core.end !== undefined || head === undefined || core.options.cancel === undefined) return
    this.target = head
    this.requests++
    // A server that does not stop when it is asked to has this long.
    core.tick()
    head.deadline = Math.min(head.deadline, core.now + core.options.controlLimit)
    core.timer.arm(head.deadline, core.now)
    core.options.cancel(this.key, () => {
      this.requests--
      for (const waiter of this.waiters.splice(0)) waiter()
      this.consider()
      this.onFree()
    })
  }

  /**
   * The time of an exchange is over: the server is asked to stop it. Returns whether it can be, and is given the time to
   * answer.
   *
   * The request hits whatever runs when it arrives. If that is one of those behind it, it is repeated where that is safe.
   */
  cutOff(exchange: Exchange): boolean {
    const { core } = this
    if (core.options.cancel === undefined || !exchange.canBeCancelled || !exchange.hasOwnLimit) return false
    if (exchange.expired || exchange === this.target) return false
    exchange.expired = true
    for (const other of core.inFlight.all()) if (other !== exchange) other.endangered = true
    exchange.deadline = Infinity
    core.startTime(exchange, Math.min(stopLimit, core.options.controlLimit))
    this.send()
    return true
  }

  /** Asks the server to give up what it runs, unless that is a COMMIT, which nothing may cut off. */
  get request(): Effect.Effect<void> {
    return Effect.callback((resume) => {
      const { head } = this.core.inFlight
      if (!(head instanceof ControlExchange && head.isUndecided)) this.send()
      if (this.requests === 0) return resume(Effect.void)
      this.waiters.push(() => resume(Effect.void))
    })
  }
}
