/**
 * Whether this process stood still, and for how long.
 *
 * **Details**
 *
 * Node runs the timers that are due before it reads from its sockets. After a busy loop, a garbage collection, a
 * suspended laptop or a throttled container, every time limit therefore expires although the answer that it waits for
 * may lie in the buffer of the socket. Two rules follow, and this room is the one place that keeps them:
 *
 * 1. A timer that ends something does not judge when it fires. It lets the event loop read first (`afterReading`), and
 *    judges what is left then.
 * 2. The time during which the process stood still counts for no limit. The guard records each stall, and a limit is
 *    extended by `stalledBetween(start, now)`.
 *
 * The guard finds a stall by a heartbeat: a timer of 50 ms that runs only while `watch` asks for it, and that never
 * keeps the process alive. When the event loop has not come by for more than 100 ms, the process stood still since the
 * last beat. A timer that fires late reports itself with `late`, so a stall is also seen where no heart was beating.
 *
 * All times are milliseconds of the monotonic clock (`performance.now()`).
 *
 * **Gotchas**
 *
 * A stall is never the fault of the database: nothing that has expired because of one may count in a circuit breaker,
 * in the measured latency of the server, or as a slow call.
 *
 * **Example** (A limit that a stall does not use up)
 *
 * ```ts
 * import { DeadlineTimer } from "./DeadlineTimer.ts"
 * import { stallGuard } from "./StallGuard.ts"
 *
 * const startedAt = stallGuard.now()
 * const limit = 5_000
 * const timer: DeadlineTimer = new DeadlineTimer(() => {
 *   const now = stallGuard.now()
 *   const stalled = stallGuard.stalledBetween(startedAt, now)
 *   const deadline = startedAt + limit + stalled
 *   if (deadline > now) timer.arm(deadline, now)
 *   else console.log(`no answer within ${limit} ms; the process stood still for ${stalled} ms of it`)
 * })
 * timer.arm(startedAt + limit, startedAt)
 * ```
 *
 * @since 0.2.0
 */

/**
 * An interval during which the process stood still.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stall {
  readonly from: number
  readonly to: number
}

/**
 * What the guard needs of the process. A test provides its own.
 *
 * @category models
 * @since 0.2.0
 */
export interface Host {
  /** The monotonic time in milliseconds. */
  readonly now: () => number
  /** Calls `f` after `millis`. Does not keep the process alive. */
  readonly after: (millis: number, f: () => void) => void
}

/** How often the heart beats, in milliseconds. */
const beatMillis = 50
/** A gap between two beats that is longer than this is a stall. */
const gapMillis = 100
/** No heart beats for longer than this without being asked again, so a limit of hours costs no beats for hours. */
const horizonMillis = 60_000
/** How many stalls are remembered. Stalls that follow each other without a pause are one. */
const remembered = 256

/**
 * @category models
 * @since 0.2.0
 */
export class StallGuard {
  private readonly host: Host
  private readonly stalls: Array<{ from: number; to: number }> = []
  private readonly listeners = new Set<(stall: Stall) => void>()
  private beating = false
  private lastBeat = 0
  private until = -Infinity

  constructor(host: Host) {
    this.host = host
  }

  /** The monotonic time in milliseconds. */
  now(): number {
    return this.host.now()
  }

  /** Something has a time limit that ends at `until`: the heart beats until then, at most for a minute. */
  watch(until: number): void {
    if (this.beating && until <= this.until) return
    const now = this.host.now()
    this.until = Math.max(this.until, Math.min(until, now + horizonMillis))
    if (this.beating || this.until <= now) return
    this.beating = true
    this.lastBeat = now
    this.host.after(beatMillis, this.beat)
  }

  /** A timer has fired that was due at `due`. Call it before anything is judged. */
  late(due: number): void {
    const now = this.host.now()
    this.look(now)
    if (now - due > gapMillis) this.record(due, now)
  }

  /** For how many milliseconds of an interval the process stood still. */
  stalledBetween(from: number, to: number): number {
    let sum = overlap(from, to, this.sinceLastBeat())
    for (let i = this.stalls.length - 1; i >= 0; i--) {
      const stall = this.stalls[i]!
      if (stall.to <= from) break
      sum += overlap(from, to, stall)
    }
    return sum
  }

  /** A stall that the heart has not found yet: a process that was stopped may read its sockets before its timers fire. */
  private sinceLastBeat(): Stall | undefined {
    const now = this.host.now()
    if (!this.beating || now - this.lastBeat <= gapMillis) return undefined
    return { from: Math.max(this.lastBeat, this.stalls.at(-1)?.to ?? -Infinity), to: now }
  }

  /**
   * Calls `listener` for each stall when it is over, before any limit is judged. A stall that turns out to be longer is
   * reported again with the part that was added. Returns what ends this.
   */
  onStall(listener: (stall: Stall) => void): () => void {
    this.listeners.add(listener)
    return () => this.listeners.delete(listener)
  }

  private readonly beat = (): void => {
    const now = this.host.now()
    this.look(now)
    if (now < this.until) this.host.after(beatMillis, this.beat)
    else this.beating = false
  }

  /** The event loop runs: has it done so since the last beat? */
  private look(now: number): void {
    if (!this.beating) return
    if (now - this.lastBeat > gapMillis) this.record(this.lastBeat, now)
    this.lastBeat = now
  }

  private record(from: number, to: number): void {
    const last = this.stalls.at(-1)
    // Two timers that were late because of one stall report it twice.
    const start = last === undefined ? from : Math.max(from, last.to)
    if (start >= to) return
    if (last !== undefined && start === last.to) last.to = to
    else this.stalls.push({ from: start, to })
    if (this.stalls.length > remembered) this.stalls.shift()
    for (const listener of Array.from(this.listeners)) listener({ from: start, to })
  }
}

const overlap = (from: number, to: number, stall: Stall | undefined): number =>
  stall === undefined ? 0 : Math.max(0, Math.min(to, stall.to) - Math.max(from, stall.from))

const nodeHost: Host = {
  now: () => performance.now(),
  after: (millis, f) => {
    const handle: unknown = setTimeout(f, millis)
    // Deno and browsers have numbers for handles.
    if (typeof handle === "object") (handle as NodeJS.Timeout).unref()
  }
}

/**
 * The guard of this process. There is one event loop, so there is one guard.
 *
 * @category instances
 * @since 0.2.0
 */
export const stallGuard: StallGuard = new StallGuard(nodeHost)

/**
 * Calls `f` after the event loop has read what has arrived on its sockets. Returns what prevents that.
 *
 * **Details**
 *
 * Two turns, because the first `setImmediate` may come before the next poll when it is asked for after a poll.
 *
 * @category utils
 * @since 0.2.0
 */
export const afterReading = (f: () => void): () => void => {
  let handle = setImmediate(() => {
    handle = setImmediate(f)
  })
  return () => clearImmediate(handle)
}

/**
 * How long a process stood still, as the end of a sentence; empty if it did not.
 *
 * @category utils
 * @since 0.2.0
 */
export const describeStall = (stalledMillis: number): string =>
  stalledMillis < gapMillis ? "" : `, of which this process stood still for ${(stalledMillis / 1000).toFixed(1)} s`
