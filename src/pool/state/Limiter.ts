/**
 * How much work a database is given at a time, by how it answers.
 *
 * **Details**
 *
 * A database that is given more than it can do does less. While answers take about as long as when there was little to
 * do, the limit grows by its square root with each window of answers; when they take more than `tolerance` times that,
 * it shrinks in proportion. What "little to do" means is the fastest window of the last one to two minutes, so a
 * database that became slower for good gets a new measure.
 *
 * @since 0.1.0
 */
import { RoundTrip } from "./RoundTrip.ts"

/** How many answers make a window. */
const windowSize = 16
/** How much longer than without load an answer may take. */
const tolerance = 1.5
/** How fast the limit follows what was measured. */
const smoothing = 0.2

/**
 * @category models
 * @since 0.1.0
 */
export class Limiter {
  /** How much may run at a time. */
  limit: number

  private max: number
  private readonly unloaded = new RoundTrip()
  private estimate: number
  private count = 0
  private sum = 0
  /** The most that ran at a time in this window. */
  private peak = 0

  /** It begins with a few, so that the first answers tell how long they take without load. */
  constructor(max: number) {
    this.max = max
    this.estimate = Math.min(4, max)
    this.limit = Math.floor(this.estimate)
  }

  /** The most that may ever run at a time has changed. */
  resize(max: number): void {
    this.max = max
    this.estimate = Math.max(1, Math.min(max, this.estimate))
    this.limit = Math.floor(this.estimate)
  }

  /** Something was done within `millis`, while so much ran. Returns whether the limit has changed. */
  observe(millis: number, running: number, now: number): boolean {
    this.sum += millis
    if (running > this.peak) this.peak = running
    if (++this.count < windowSize) return false
    const mean = Math.max(this.sum / this.count, 0.001)
    const busy = this.peak * 2 > this.limit
    this.count = 0
    this.sum = 0
    this.peak = 0
    this.unloaded.observe(mean, now)
    const gradient = Math.max(0.5, Math.min(1, tolerance * this.unloaded.fastest / mean))
    // Where the limit was not used it was not tried either.
    if (gradient === 1 && !busy) return false
    const target = this.estimate * gradient + Math.sqrt(this.estimate)
    this.estimate = Math.max(1, Math.min(this.max, this.estimate + (target - this.estimate) * smoothing))
    const before = this.limit
    this.limit = Math.floor(this.estimate)
    return this.limit !== before
  }
}
