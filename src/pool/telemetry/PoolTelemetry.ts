/**
 * What a pool tells about itself: statistics, events, logs and metrics.
 *
 * **Details**
 *
 * A checkout costs two array increments here and a return two more. Everything else is computed when it is asked for:
 * metrics are registered with a getter and are read when they are exported (`PoolMetrics`).
 *
 * @since 0.2.0
 */
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Tracer from "effect/Tracer"
import type { Adapter } from "../../Adapter.ts"
import type { FailReason, PoolEvent } from "../state/PoolEvent.ts"
import { RecentCounter } from "./Histogram.ts"
import { Operations } from "./Operations.ts"
import { PoolLog } from "./PoolLog.ts"
import { type Readings, registerAll } from "./PoolMetrics.ts"
import { claimName, poolName } from "./series.ts"
import { recentMillis, Timing } from "./Timing.ts"

/**
 * What is asked of the pool when its metrics are read.
 *
 * @category models
 * @since 0.2.0
 */
export type Source = Pick<Readings, "closed" | "counts" | "failed" | "health" | "limits">

/** What the client of Effect calls the wait for a connection, in milliseconds. */
const waitTime = "db.client.connection.wait_time_ms"

/** What is counted, besides durations. */
type Tally = "validationFailures" | "resets" | "leaksSuspected" | "leaksReturned" | "leaksReclaimed"

/**
 * @category models
 * @since 0.2.0
 */
export class PoolTelemetry {
  /** The name of the pool in metrics. */
  readonly name: string
  /** How long callers waited for a connection. Its count is that of checkouts. */
  readonly wait = new Timing()
  /** How long they had it. Its count is that of returns. */
  readonly use = new Timing()
  /** How long opening a connection took. Its count is that of connections opened. */
  readonly create = new Timing()
  readonly operations: Operations
  /** Callers who got no connection. */
  readonly failures = new RecentCounter(recentMillis)
  /** Attempts to connect that failed. */
  readonly connectFailures = new RecentCounter(recentMillis)
  readonly tally: Record<Tally, number> = {
    validationFailures: 0,
    resets: 0,
    leaksSuspected: 0,
    leaksReturned: 0,
    leaksReclaimed: 0
  }
  /** How many got one after they had to wait. */
  waited = 0
  /** When somebody last got a connection. */
  servedAt = -Infinity
  /** Since when somebody has waited while nobody got a connection. */
  private waitingSince = -Infinity
  private timedOutAt = -Infinity
  /** Since when every attempt to connect has failed. */
  outageSince: number | undefined = undefined

  private readonly log: PoolLog
  private readonly listeners = new Set<Queue.Queue<PoolEvent, Cause.Done>>()
  private readonly cleanUp: Array<() => void> = []
  private closed = false

  constructor(
    adapter: Adapter,
    context: Context.Context<never>,
    now: () => number,
    runFork: (effect: Effect.Effect<void>) => unknown,
    source: Source
  ) {
    const claim = claimName(context, poolName(adapter))
    this.name = claim.name
    this.log = new PoolLog(adapter.name, runFork)
    this.operations = new Operations(adapter, context, now)
    const unregister = registerAll(context, this.name, {
      ...source,
      create: this.create,
      wait: this.wait,
      use: this.use,
      connectFailures: () => this.connectFailures.total,
      validationFailures: () => this.tally.validationFailures,
      resets: () => this.tally.resets,
      leaksSuspected: () => this.tally.leaksSuspected
    })
    this.cleanUp.push(claim.release, () => this.operations.close(), unregister)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Counting
  // -------------------------------------------------------------------------------------------------------------------

  /** A caller has got a connection, at once or after it had to wait. */
  served(waitMillis: number, now: number, late: boolean): void {
    if (late) this.waited++
    this.servedAt = now
    this.wait.record(waitMillis, now)
  }

  /** A caller begins to wait, and so many wait now. */
  waits(waiting: number, now: number): void {
    // One whose time was over hands its place to the next, as it were: it did not get what it wanted.
    const goesOn = waiting > 1 || this.timedOutAt > this.waitingSince && now - this.timedOutAt < recentMillis
    if (this.servedAt >= this.waitingSince || !goesOn) this.waitingSince = now
  }

  /** A caller got no connection. */
  failed(reason: FailReason, askedAt: number, now: number): void {
    this.failures.record(now)
    if (reason === "AcquireTimeout") this.timedOutAt = now
    if (this.listening) this.report({ _tag: "AcquireFailed", reason, millis: now - askedAt })
  }

  /** Whether a tracer listens, in whose span this is. */
  isTraced(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    const { span, tracer, tracerEnabled } = fiber.cache
    return tracer !== undefined && tracerEnabled && span?._tag === "Span"
  }

  /**
   * Waiting for a connection, as a tracer sees it: a span of its own, and the true duration on that of
   * the statement, which has been given a connection that stands for the whole pool at once.
   */
  traced(
    fiber: Fiber.Fiber<unknown, unknown>,
    wait: Effect.Effect<void, SqlError>,
    waited: () => number
  ): Effect.Effect<void, SqlError> {
    const span = fiber.cache.span as Tracer.Span
    return Effect.useSpan(
      "db.acquire",
      { kind: "internal", attributes: { "db.client.connection.pool.name": this.name } },
      (own) =>
        Effect.onExitPrimitive(wait, () => {
          const millis = waited()
          own.attribute(waitTime, millis)
          // Whoever has not been given it by the client is not a statement.
          if (span.attributes.has(waitTime)) span.attribute(waitTime, millis)
          return undefined
        })
    )
  }

  /** An attempt to connect succeeded. */
  connected(millis: number, now: number): void {
    this.create.record(millis, now)
    if (this.outageSince === undefined) return
    this.log.reachable(now - this.outageSince)
    this.outageSince = undefined
  }

  /** An attempt to connect failed. */
  connectFailed(error: SqlError, permanent: boolean, now: number): void {
    this.connectFailures.record(now)
    if (this.outageSince !== undefined) return
    this.outageSince = now
    this.log.unreachable(error.message, permanent)
  }

  /** This process stood still: nobody had to wait meanwhile, and the server was not away. */
  stalled(from: number, to: number): void {
    const shift = (time: number): number => time + Math.max(0, to - Math.max(from, time))
    if (this.waitingSince > -Infinity) this.waitingSince = shift(this.waitingSince)
    if (this.servedAt > -Infinity) this.servedAt = shift(this.servedAt)
    if (this.outageSince !== undefined) this.outageSince = shift(this.outageSince)
  }

  /** What the pool itself does not know. */
  stats(now: number, waiting: number) {
    const wait = this.wait.durations(now)
    const create = this.create.durations(now)
    const { leaksReclaimed, leaksReturned, leaksSuspected } = this.tally
    return {
      pool: this.name,
      checkouts: this.wait.count,
      checkins: this.use.count,
      waited: this.waited,
      created: this.create.count,
      connectFailures: this.connectFailures.total,
      validationFailures: this.tally.validationFailures,
      resets: this.tally.resets,
      leaks: {
        suspected: leaksSuspected,
        returned: leaksReturned,
        reclaimed: leaksReclaimed,
        // A caller whose connection was taken away ends its lease as well.
        current: leaksSuspected - leaksReturned
      },
      wait,
      use: this.use.durations(now),
      create,
      query: { life: this.operations.timing.life(), recent: this.operations.timing.summary(now) },
      recent: {
        windowMillis: recentMillis,
        checkouts: wait.recent.count,
        failed: this.failures.recent(now),
        created: create.recent.count,
        connectFailures: this.connectFailures.recent(now)
      },
      exhaustedMillis: waiting === 0 ? 0 : Math.max(0, now - Math.max(this.waitingSince, this.servedAt)),
      outageMillis: this.outageSince === undefined ? 0 : now - this.outageSince
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Telling
  // -------------------------------------------------------------------------------------------------------------------

  /** Whether anybody listens. Unless somebody does, no event that happens often needs to be made. */
  get listening(): boolean {
    return this.listeners.size > 0
  }

  /** Something happened. `detail` goes into the log, not into the event. */
  report(event: PoolEvent, detail?: unknown): void {
    for (const listener of this.listeners) Queue.offerUnsafe(listener, event)
    if (event._tag === "LeakSuspected") this.tally.leaksSuspected++
    if (event._tag === "LeakReturned") this.tally.leaksReturned++
    if (event._tag === "LeakReclaimed") this.tally.leaksReclaimed++
    this.log.event(event, detail)
  }

  /** What happens from now on, until the pool is gone. Whoever is too slow misses the oldest. */
  readonly events: Stream.Stream<PoolEvent> = Stream.unwrap(
    Effect.map(
      Effect.acquireRelease(
        Effect.tap(
          Queue.sliding<PoolEvent, Cause.Done>(1024),
          (queue) => Effect.sync(() => this.closed ? Queue.endUnsafe(queue) : this.listeners.add(queue))
        ),
        (queue) => Effect.sync(() => this.listeners.delete(queue))
      ),
      Stream.fromQueue
    )
  )

  /** The pool is gone: its events end, and its metrics. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const listener of this.listeners) Queue.endUnsafe(listener)
    for (const cleanUp of this.cleanUp.splice(0)) cleanUp()
  }
}
