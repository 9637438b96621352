/**
 * The one timer of a session: it goes off at the earliest time that anybody asked for.
 */
export class Timer {
  private readonly onDue: () => void
  private handle: ReturnType<typeof setTimeout> | undefined = undefined
  private at = Infinity

  constructor(onDue: () => void) {
    this.onDue = onDue
  }

  /** Sees to it that the timer goes off at `at` or before. Both times are in milliseconds. */
  arm(at: number, now: number): void {
    if (at >= this.at) return
    if (this.handle !== undefined) clearTimeout(this.handle)
    this.at = at
    this.handle = setTimeout(this.fire, Math.max(0, Math.ceil(at - now)))
  }

  stop(): void {
    if (this.handle !== undefined) clearTimeout(this.handle)
    this.handle = undefined
    this.at = Infinity
  }

  private readonly fire = (): void => {
    this.stop()
    this.onDue()
  }
}
