/**
 * The most connections that there may be: `max`, or what the server had room for when it refused one more.
 *
 * @since 0.2.0
 */

/**
 * @category models
 * @since 0.2.0
 */
export class ServerLimit {
  /** The option `max`. */
  max: number
  /** What the server has room for, as far as it has refused more. */
  ceiling = Infinity
  /** When it may be tried whether the server has room for one more. */
  raiseAt = Infinity
  private readonly recovery: number

  constructor(options: { readonly max: number; readonly overloadRecovery: number }) {
    this.max = options.max
    this.recovery = options.overloadRecovery
  }

  get limit(): number {
    return Math.min(this.max, this.ceiling)
  }

  /** `max` has changed. What the server has refused is below it, or does not matter any more. */
  resize(max: number): void {
    this.max = max
    if (this.ceiling < max) return
    this.ceiling = Infinity
    this.raiseAt = Infinity
  }

  /** The server has refused one more connection than these. */
  lower(connections: number, now: number): void {
    this.ceiling = Math.max(1, connections)
    this.raiseAt = now + this.recovery
  }

  /** The server has not refused for a while. */
  raise(now: number): void {
    this.ceiling++
    this.raiseAt = now + this.recovery
    if (this.ceiling >= this.max) {
      this.ceiling = Infinity
      this.raiseAt = Infinity
    }
  }
}
