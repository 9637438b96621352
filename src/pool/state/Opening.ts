/**
 * When connections may be opened: how many at a time, and when the next attempt is due after one has failed.
 *
 * **Details**
 *
 * After a failure a single prober tries again with full jitter, below a ceiling of a tenth of the time that the outage
 * has lasted. So recovery is noticed within a tenth of the outage, and a thousand processes do not come back at once.
 * The first success lets 1, 2, 4, … attempts through again.
 *
 * @since 0.2.0
 */
import type { Options } from "./StateOptions.ts"

/**
 * @category models
 * @since 0.2.0
 */
export class Opening {
  /** How many connections may be opened at a time just now. */
  window: number
  /** When the next attempt may begin. */
  retryAt = -Infinity
  /** Since when every attempt has failed. */
  outageSince: number | undefined = undefined
  private readonly options: Pick<Options, "backoffBase" | "backoffCap" | "maxConnecting">
  private readonly random: () => number

  constructor(options: Options, random: () => number) {
    this.options = options
    this.random = random
    this.window = options.maxConnecting
  }

  succeeded(): void {
    this.forget()
    this.window = Math.min(this.options.maxConnecting, this.window * 2)
  }

  /** An attempt that began at `startedAt` has failed. */
  failed(startedAt: number, now: number): void {
    const { backoffBase, backoffCap } = this.options
    this.window = 1
    // Nothing was tried for a while: what happened before does not tell how long the server has been away.
    if (this.outageSince === undefined || this.retryAt + backoffCap < startedAt) this.outageSince = now
    // Attempts that were under way when the outage began fail together: they are one piece of evidence.
    if (this.retryAt > now) return
    const ceiling = Math.min(backoffCap, Math.max(backoffBase, (now - this.outageSince) / 10))
    this.retryAt = now + ceiling * this.random()
  }

  /** What happened before says nothing of the next attempt. */
  forget(): void {
    this.outageSince = undefined
    this.retryAt = -Infinity
  }
}
