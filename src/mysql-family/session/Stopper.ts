/**
 * Stops on the server what runs in vain: KILL QUERY over a side connection.
 *
 * A kill hits what the session runs when it arrives. So nothing is begun while one is on its way, and after one that
 * came late the next thing that runs is a statement that does nothing.
 */
import * as Effect from "effect/Effect"
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
  readonly giveUp: (what: string) => void
}

export class Stopper {
  private readonly host: StopperHost
  private readonly canceller: Canceller
  /** How long a statement has that does not end when it is killed, in milliseconds. */
  private readonly limit: number
  /** Kills that are on their way. */
  private kills = 0
  /** What was killed last. */
  private target: Exchange | undefined = undefined
  /** A kill may have come after what it was meant for. */
  needsProbe = false

  constructor(host: StopperHost, canceller: Canceller, limit: number) {
    this.host = host
    this.canceller = canceller
    this.limit = limit
  }

  get isBusy(): boolean {
    return this.kills > 0
  }

  /** What runs in vain is only in the way of what comes next. */
  consider(): void {
    if (this.kills === 0 && this.isWasted && this.host.head !== this.target) this.kill()
  }

  private get isWasted(): boolean {
    return !this.host.isClosed && this.host.isWasted
  }

  private kill(): void {
    const target = this.host.head!
    this.kills++
    this.canceller.kill(this.host, () => this.isWasted, (sent) => this.killed(target, sent))
  }

  private killed(target: Exchange, sent: boolean): void {
    this.kills--
    if (this.host.isClosed) return
    if (target.isDone) {
      this.needsProbe ||= sent
      return this.host.next()
    }
    if (this.target !== target) {
      // A server that does not stop when it is asked to, or could not be asked, has this long.
      this.target = target
      clearTimeout(target.timer)
      target.timer = setTimeout(() => {
        if (!target.isDone) this.host.giveUp("an abandoned statement could not be stopped")
      }, this.limit)
    }
    // It may have come between two steps of the same statement.
    setTimeout(() => {
      if (!target.isDone && this.host.head === target && this.kills === 0 && this.isWasted) this.kill()
    }, killAgainAfter)
    this.host.next()
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
