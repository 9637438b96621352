/**
 * The one timer of a session: it goes off at the earliest time that was asked for, after the event loop has read what
 * has arrived.
 *
 * **Details**
 *
 * `onDue` looks at what is really due and arms the timer again. It asks `stallGuard.stalledBetween` how much of the time
 * does not count. A delay of more than 24 days, which `setTimeout` would take for none, is waited for in parts.
 *
 * @since 0.2.0
 */
import { afterReading, type StallGuard, stallGuard } from "./StallGuard.ts"

/** The longest delay that `setTimeout` takes. */
const longestDelay = 0x7fffffff

/**
 * @category models
 * @since 0.2.0
 */
export class DeadlineTimer {
  private readonly onDue: () => void
  private readonly guard: StallGuard
  private handle: ReturnType<typeof setTimeout> | undefined = undefined
  private cancelReading: (() => void) | undefined = undefined
  private at = Infinity

  constructor(onDue: () => void, guard: StallGuard = stallGuard) {
    this.onDue = onDue
    this.guard = guard
  }

  /** Sees to it that the timer goes off at `at` or before. Both are times of the guard's clock in milliseconds. */
  arm(at: number, now: number): void {
    if (at >= this.at) return
    if (this.handle !== undefined) clearTimeout(this.handle)
    this.at = at
    this.guard.watch(at)
    this.handle = setTimeout(this.fire, Math.min(longestDelay, Math.max(0, Math.ceil(at - now))))
  }

  stop(): void {
    if (this.handle !== undefined) clearTimeout(this.handle)
    this.cancelReading?.()
    this.handle = undefined
    this.cancelReading = undefined
    this.at = Infinity
  }

  private readonly fire = (): void => {
    const at = this.at
    this.handle = undefined
    this.at = Infinity
    const now = this.guard.now()
    // One part of a long delay has passed. A timer may also fire a fraction of a millisecond early.
    if (at - now > 1) return this.arm(at, now)
    this.guard.late(at)
    this.cancelReading?.()
    this.cancelReading = afterReading(this.due)
  }

  private readonly due = (): void => {
    this.cancelReading = undefined
    this.onDue()
  }
}

/**
 * Calls `f` once this process has been awake for that long, after the event loop has read what has arrived. Returns what
 * prevents that.
 *
 * @category utils
 * @since 0.2.0
 */
export const afterAwake = (millis: number, f: () => void, guard: StallGuard = stallGuard): () => void => {
  const startedAt = guard.now()
  const timer: DeadlineTimer = new DeadlineTimer(() => {
    const now = guard.now()
    const due = startedAt + millis + guard.stalledBetween(startedAt, now)
    if (due - now > 1) timer.arm(due, now)
    else f()
  }, guard)
  timer.arm(startedAt + millis, startedAt)
  return () => timer.stop()
}
