/**
 * When connections may be opened: how many at a time, and when the next attempt is due after one has failed.
 *
 * **Details**
 *
 * After a failure a single prober tries again with full jitter, below a ceiling of a tenth of the time that the outage
 * has lasted. So recovery is noticed within a tenth of the outage, and a thousand processes do not come back at once.
 * The first success lets 1, 2, 4, … attempts through again.
 *
 * The prober also asks while no caller waits, as long as there is no connection at all: an outage that only a caller
 * could end would never end for an instance that its readiness keeps from getting callers.
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
  /** When an attempt may begin that no caller waits for, to find out whether the server is back. */
  probeAt = Infinity
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

  /**
   * An attempt that began at `startedAt` has failed. `permanent` if the next one will too, until a person acts. `probe` if
   * no caller waited for it: then the next caller need not wait for the pause either.
   */
  failed(startedAt: number, now: number, permanent: boolean, probe: boolean): void {
    const { backoffBase, backoffCap } = this.options
    const nextAt = this.probeAt === Infinity ? this.retryAt : Math.max(this.retryAt, this.probeAt)
    this.window = 1
    // Nothing was tried for a while: what happened before does not tell how long the server has been away.
    if (this.outageSince === undefined || nextAt + backoffCap < startedAt) this.outageSince = now
    // Attempts that were under way when the outage began fail together: they are one piece of evidence.
    if (!probe && this.retryAt > now) return
    const ceiling = Math.min(backoffCap, Math.max(backoffBase, (now - this.outageSince) / 10))
    const at = now + ceiling * this.random()
    if (!probe) this.retryAt = at
    // A server that refuses a password may lock the account when it is asked too often.
    this.probeAt = permanent ? now + backoffCap * (6 + 6 * this.random()) : at
  }

  /** This process stood still: the server was not away for that long. */
  stalled(from: number, to: number): void {
    if (this.outageSince !== undefined) this.outageSince += Math.max(0, to - Math.max(from, this.outageSince))
  }

  /** What happened before says nothing of the next attempt. */
  forget(): void {
    this.outageSince = undefined
    this.retryAt = -Infinity
    this.probeAt = Infinity
  }
}
