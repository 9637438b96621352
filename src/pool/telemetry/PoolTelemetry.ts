/**
 * What a pool tells about itself: statistics, events, logs and metrics.
 *
 * A checkout costs two array increments here and a return two more. Everything else is computed when somebody asks:
 * metrics are registered with a getter and are read when they are exported.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Queue from "effect/Queue"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter } from "../../Adapter.ts"
import type { Health } from "../Health.ts"
import type { CloseReason, FailReason, PoolEvent } from "../state/PoolEvent.ts"
import type { Counts } from "../state/PoolState.ts"
import { RecentCounter, RecentHistogram, summarize, type Summary } from "./Histogram.ts"

/** How far back "recent" goes, in milliseconds. */
export const recentMillis = 60_000

/** The buckets that OpenTelemetry wants for `db.client.operation.duration`, in milliseconds. */
const bounds = [1, 5, 10, 50, 100, 500, 1_000, 5_000, 10_000]

/** A histogram with the buckets of OpenTelemetry, exact at their bounds. */
export class Buckets {
  count = 0
  private readonly counts: Array<number> = Array.from({ length: bounds.length + 1 }, () => 0)
  private sum = 0
  private min = Infinity
  private max = 0

  record(millis: number): void {
    let i = 0
    while (i < bounds.length && millis > bounds[i]!) i++
    this.counts[i]!++
    this.count++
    this.sum += millis
    if (millis < this.min) this.min = millis
    if (millis > this.max) this.max = millis
  }

  /** As a metric, in seconds. */
  get state(): Metric.HistogramState {
    let total = 0
    return {
      buckets: bounds.map((bound, i): [number, number] => [bound / 1000, total += this.counts[i]!]),
      count: this.count,
      min: this.count === 0 ? 0 : this.min / 1000,
      max: this.max / 1000,
      sum: this.sum / 1000
    }
  }
}

/** Durations, always and recently. */
export interface Durations {
  readonly life: Summary
  readonly recent: Summary
}

/** Durations, for people and for metrics. */
export class Timing {
  readonly buckets = new Buckets()
  readonly histogram = new RecentHistogram(recentMillis)

  record(millis: number, now: number): void {
    this.buckets.record(millis)
    this.histogram.record(millis, now)
  }

  get count(): number {
    return this.buckets.count
  }

  recent(now: number): Summary {
    return this.histogram.summary(now)
  }

  durations(now: number): Durations {
    return { life: this.histogram.life(), recent: this.histogram.summary(now) }
  }
}

/** The durations of several pools, put together. */
export const together = (histograms: ReadonlyArray<RecentHistogram>, now: number): Durations => ({
  life: summarize(histograms.flatMap((histogram) => histogram.all())),
  recent: summarize(histograms.flatMap((histogram) => histogram.recent(now)))
})

// ---------------------------------------------------------------------------------------------------------------------
// Series of metrics
// ---------------------------------------------------------------------------------------------------------------------

type Registry = Map<string, Metric.Metric.Metadata<any, any>>

/**
 * The attributes of a series, and its unit.
 *
 * The exporter for OTLP reads the unit among the attributes, and would send it as one of them too: it is there, but not
 * among those that can be enumerated. For that to last, the attributes of the context are merged here.
 */
const attributesOf = (
  context: Context.Context<never>,
  own: Record<string, string>,
  unit: string
): Metric.Metric.AttributeSet =>
  Object.defineProperty({ ...own, ...Context.get(context, Metric.CurrentMetricAttributes) }, "unit", { value: unit })

/** Registers a series that is read when it is exported. */
const register = <State>(
  context: Context.Context<never>,
  metric: Metric.Metric<number, State>,
  get: () => State
): Metric.Registration =>
  Metric.registerUnsafe(metric, Context.add(context, Metric.CurrentMetricAttributes, {}), {
    get,
    update: () => {},
    modify: () => {}
  })

/** Which names pools have in a registry. Two pools of one database must not hide each other. */
const names = new WeakMap<Registry, Set<string>>()

/** The name, or the name with a number if another pool has it. */
const claimName = (context: Context.Context<never>, name: string) => {
  const registry = Context.get(context, Metric.MetricRegistry)
  let taken = names.get(registry)
  if (taken === undefined) names.set(registry, taken = new Set())
  let unique = name
  for (let i = 2; taken.has(unique); i++) unique = `${name}#${i}`
  taken.add(unique)
  return { name: unique, release: () => taken.delete(unique) }
}

/**
 * The name of a pool as OpenTelemetry wants it, `server.address:server.port/db.namespace`, or the adapter's. Neither has
 * a secret in it.
 */
export const poolName = (adapter: Adapter): string => {
  const attributes = new Map(adapter.spanAttributes)
  const address = attributes.get("server.address")
  if (typeof address !== "string") return adapter.name
  const port = attributes.get("server.port")
  const namespace = attributes.get("db.namespace")
  return `${address}${port === undefined ? "" : `:${port}`}${namespace === undefined ? "" : `/${namespace}`}`
}

// ---------------------------------------------------------------------------------------------------------------------
// Operations
// ---------------------------------------------------------------------------------------------------------------------

interface Series {
  readonly buckets: Buckets
  readonly registration: Metric.Registration
  users: number
}

/** The series of operations have no pool among their attributes, so pools of one database share them. */
const operationSeries = new WeakMap<Registry, Map<string, Series>>()

/** More kinds of errors than this are one. */
const maxSeries = 100

/** How long statements take on the server and on the way there. */
export class Operations {
  readonly timing = new RecentHistogram(recentMillis)
  readonly now: () => number

  private readonly context: Context.Context<never>
  private readonly attributes: Record<string, string>
  private readonly mine = new Map<string, Series>()
  private readonly registry: Registry
  private readonly plain: Buckets

  constructor(adapter: Adapter, context: Context.Context<never>, now: () => number) {
    this.now = now
    this.context = context
    this.registry = Context.get(context, Metric.MetricRegistry)
    const given = new Map(adapter.spanAttributes)
    this.attributes = { "db.system.name": String(given.get("db.system.name") ?? "other_sql") }
    for (const name of ["db.namespace", "server.address", "server.port"]) {
      const value = given.get(name)
      if (value !== undefined) this.attributes[name] = String(value)
    }
    this.plain = this.series(undefined, undefined)
  }

  /** A statement has ended. `name` is what it does, where that is known without looking at it. */
  record(startedAt: number, exit: Exit.Exit<unknown, unknown>, name?: string): void {
    const now = this.now()
    this.ended(now - startedAt, now, exit, name)
  }

  ended(millis: number, now: number, exit: Exit.Exit<unknown, unknown>, name?: string): void {
    this.timing.record(millis, now)
    const buckets = name === undefined && Exit.isSuccess(exit)
      ? this.plain
      : this.series(name, Exit.isSuccess(exit) ? undefined : failureOf(exit.cause))
    buckets.record(millis)
  }

  private series(name: string | undefined, failure: Failure | undefined): Buckets {
    const key = `${name ?? ""} ${failure?.type ?? ""}`
    const known = this.mine.get(key)
    if (known !== undefined) return known.buckets
    if (failure !== undefined && failure.type !== otherFailure.type && this.mine.size >= maxSeries) {
      return this.series(name, otherFailure)
    }
    const attributes = { ...this.attributes }
    if (name !== undefined) attributes["db.operation.name"] = name
    if (failure !== undefined) attributes["error.type"] = failure.type
    if (failure?.status !== undefined) attributes["db.response.status_code"] = failure.status
    let all = operationSeries.get(this.registry)
    if (all === undefined) operationSeries.set(this.registry, all = new Map())
    const id = JSON.stringify([attributes, Context.get(this.context, Metric.CurrentMetricAttributes)])
    let series = all.get(id)
    if (series === undefined) {
      const buckets = new Buckets()
      const metric = Metric.histogram("db.client.operation.duration", {
        description: "Duration of database client operations.",
        attributes: attributesOf(this.context, attributes, "s"),
        boundaries: []
      })
      series = { buckets, registration: register(this.context, metric, () => buckets.state), users: 0 }
      all.set(id, series)
    }
    series.users++
    this.mine.set(key, series)
    return series.buckets
  }

  /** The last one that leaves a series removes it. */
  close(): void {
    const all = operationSeries.get(this.registry)
    for (const series of this.mine.values()) {
      if (--series.users > 0) continue
      series.registration.remove()
      for (const [id, other] of all ?? []) if (other === series) all!.delete(id)
    }
    this.mine.clear()
  }
}

interface Failure {
  /** `error.type` */
  readonly type: string
  /** `db.response.status_code` */
  readonly status: string | undefined
}

const otherFailure: Failure = { type: "_OTHER", status: undefined }
const interrupted: Failure = { type: "Interrupt", status: undefined }

/** What OpenTelemetry wants to know of a failure: the code of the server, or else what kind of failure it was. */
const failureOf = (cause: Cause.Cause<unknown>): Failure => {
  const error = Cause.findErrorOption(cause)
  if (error._tag === "None") return Cause.hasInterrupts(cause) ? interrupted : otherFailure
  const reason = (error.value as Partial<SqlError>).reason
  if (reason === undefined) return otherFailure
  const answer = reason.cause
  if (typeof answer === "object" && answer !== null) {
    // MySQL counts its errors; its SQLSTATE says less.
    if ("errno" in answer && typeof answer.errno === "number" && "sqlState" in answer) {
      return { type: String(answer.errno), status: String(answer.errno) }
    }
    if ("code" in answer && typeof answer.code === "string" && /^[0-9A-Z]{5}$/.test(answer.code)) {
      return { type: answer.code, status: answer.code }
    }
    if ("_tag" in answer && typeof answer._tag === "string") return { type: answer._tag, status: undefined }
  }
  return { type: reason._tag, status: undefined }
}

// ---------------------------------------------------------------------------------------------------------------------
// The pool
// ---------------------------------------------------------------------------------------------------------------------

/** What is asked of the pool when somebody wants to know. */
export interface Source {
  readonly counts: () => Counts
  readonly limits: () => { readonly min: number; readonly max: number; readonly effectiveMax: number }
  readonly failed: Readonly<Record<FailReason, number>>
  readonly closed: Readonly<Record<CloseReason, number>>
  readonly health: () => Health
}

/** What the client of Effect calls the wait for a connection, in milliseconds. */
const waitTime = "db.client.connection.wait_time_ms"

/** What is counted, besides durations. */
type Tally = "validationFailures" | "resets" | "leaksSuspected" | "leaksReturned" | "leaksReclaimed"

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
  private servedAt = -Infinity
  /** Since when somebody has waited while nobody got a connection. */
  private waitingSince = -Infinity
  private timedOutAt = -Infinity
  /** Since when every attempt to connect has failed. */
  outageSince: number | undefined = undefined

  private readonly label: string
  private readonly runFork: (effect: Effect.Effect<void>) => unknown
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
    this.label = adapter.name
    this.runFork = runFork
    this.operations = new Operations(adapter, context, now)
    this.cleanUp.push(claim.release, () => this.operations.close())
    this.registerAll(context, source)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Counting
  // -------------------------------------------------------------------------------------------------------------------

  /** Somebody has got a connection, at once or after it had to wait. */
  served(waitMillis: number, now: number, late: boolean): void {
    if (late) this.waited++
    this.servedAt = now
    this.wait.record(waitMillis, now)
  }

  /** Somebody begins to wait, and so many wait now. */
  waits(waiting: number, now: number): void {
    // One whose time was over hands its place to the next, as it were: it did not get what it wanted.
    const goesOn = waiting > 1 || this.timedOutAt > this.waitingSince && now - this.timedOutAt < recentMillis
    if (this.servedAt >= this.waitingSince || !goesOn) this.waitingSince = now
  }

  /** Somebody got no connection. */
  failed(reason: FailReason, askedAt: number, now: number): void {
    this.failures.record(now)
    if (reason === "AcquireTimeout") this.timedOutAt = now
    if (this.listening) this.report({ _tag: "AcquireFailed", reason, millis: now - askedAt })
  }

  /**
   * Waiting for a connection, as a tracer sees it if there is one: a span of its own, and the true duration on that of
   * the statement, which has been given a connection that stands for the whole pool at once.
   */
  traced(
    fiber: Fiber.Fiber<unknown, unknown>,
    wait: Effect.Effect<void, SqlError>,
    waited: () => number
  ): Effect.Effect<void, SqlError> {
    const { span, tracer, tracerEnabled } = fiber.cache
    if (tracer === undefined || !tracerEnabled || span?._tag !== "Span") return wait
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
    this.log("Info", `${this.label} can be reached again, after ${seconds(now - this.outageSince)}`)
    this.outageSince = undefined
  }

  /** An attempt to connect failed. */
  connectFailed(error: SqlError, permanent: boolean, now: number): void {
    this.connectFailures.record(now)
    if (this.outageSince !== undefined) return
    this.outageSince = now
    this.log("Warn", `${this.label} ${permanent ? "refuses connections" : "cannot be reached"}: ${error.message}`)
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
        // Whoever had its connection taken away ends its lease as well.
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
    switch (event._tag) {
      case "LeakSuspected":
        this.tally.leaksSuspected++
        return this.tell("Warn", `has lent a connection for ${seconds(event.millis)}: is it held for too long?`, detail)
      case "LeakReturned":
        this.tally.leaksReturned++
        return this.tell("Info", `got a connection back that was held for ${seconds(event.millis)}`, detail)
      case "LeakReclaimed":
        this.tally.leaksReclaimed++
        return this.tell("Warn", `took a connection back that was held for ${seconds(event.millis)}`, detail)
      case "OverloadLowered":
        return this.tell("Warn", `has no room for more connections: at most ${event.to} for a while`)
      case "CutOff":
        return this.tell("Warn", `has cut off ${event.count} of its borrowers, who had not finished in time`, detail)
      case "Suspended":
        return this.tell("Info", `lends no connections for now: callers ${event.mode === "hold" ? "wait" : "fail"}`)
      case "Resumed":
        return this.tell("Info", "lends connections again")
      case "Cleared":
        return this.tell("Info", `has its ${event.count} connections replaced, ${event.mode}`)
      case "Suspected":
        return this.tell("Info", `has ${event.count} connections asked for a sign of life: ${event.reason}`)
      case "Resized":
        return this.tell("Info", `keeps from ${event.min} to ${event.max} connections from now on`)
    }
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

  private tell(level: "Info" | "Warn", what: string, detail?: unknown): void {
    this.log(level, `The pool of ${this.label} ${what}`, detail)
  }

  private log(level: "Info" | "Warn", message: string, detail?: unknown): void {
    const log = level === "Info" ? Effect.logInfo : Effect.logWarning
    this.runFork(detail === undefined ? log(message) : log(message, detail))
  }

  /** The pool is gone: its events end, and its metrics. */
  close(): void {
    if (this.closed) return
    this.closed = true
    for (const listener of this.listeners) Queue.endUnsafe(listener)
    for (const cleanUp of this.cleanUp.splice(0)) cleanUp()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Metrics
  // -------------------------------------------------------------------------------------------------------------------

  private registerAll(context: Context.Context<never>, source: Source): void {
    const add = <State>(metric: Metric.Metric<number, State>, get: () => State): void => {
      this.cleanUp.push(register(context, metric, get).remove)
    }
    const options = (description: string, unit: string, attributes: Record<string, string>) => ({
      description,
      attributes: attributesOf(context, { "db.client.connection.pool.name": this.name, ...attributes }, unit)
    })
    const counter = (
      name: string,
      unit: string,
      description: string,
      get: () => number,
      attributes: Record<string, string> = {}
    ) =>
      add(
        Metric.counter(name, { ...options(description, unit, attributes), incremental: true }),
        () => ({ count: get(), incremental: true })
      )
    /** What OpenTelemetry calls an UpDownCounter. */
    const upDown = (
      name: string,
      unit: string,
      description: string,
      get: () => number,
      attributes: Record<string, string> = {}
    ) => add(Metric.counter(name, options(description, unit, attributes)), () => ({ count: get(), incremental: false }))
    const histogram = (name: string, description: string, timing: Timing) =>
      add(Metric.histogram(name, { ...options(description, "s", {}), boundaries: [] }), () => timing.buckets.state)

    const { closed, counts, failed, limits } = source
    const connections = "{connection}"
    for (const state of ["idle", "used"] as const) {
      upDown(
        "db.client.connection.count",
        connections,
        "The number of connections that are currently in state described by the state attribute.",
        () => counts()[state],
        { "db.client.connection.state": state }
      )
    }
    upDown(
      "db.client.connection.idle.max",
      connections,
      "The maximum number of idle open connections allowed.",
      () => limits().max
    )
    upDown(
      "db.client.connection.idle.min",
      connections,
      "The minimum number of idle open connections allowed.",
      () => limits().min
    )
    upDown(
      "db.client.connection.max",
      connections,
      "The maximum number of open connections allowed.",
      () => limits().max
    )
    upDown(
      "db.client.connection.pending_requests",
      "{request}",
      "The number of current pending requests for an open connection.",
      () => counts().waiting
    )
    counter(
      "db.client.connection.timeouts",
      "{timeout}",
      "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
      () => failed.AcquireTimeout
    )
    histogram("db.client.connection.create_time", "The time it took to create a new connection.", this.create)
    histogram(
      "db.client.connection.wait_time",
      "The time it took to obtain an open connection from the pool.",
      this.wait
    )
    histogram(
      "db.client.connection.use_time",
      "The time between borrowing a connection and returning it to the pool.",
      this.use
    )

    for (const reason of Object.keys(closed) as Array<CloseReason>) {
      counter("watertight.pool.closed", connections, "How many connections were closed.", () => closed[reason], {
        "watertight.pool.reason": reason
      })
    }
    for (const reason of Object.keys(failed) as Array<FailReason>) {
      counter("watertight.pool.failed", "{request}", "How many callers got no connection.", () => failed[reason], {
        "watertight.pool.reason": reason
      })
    }
    add(
      Metric.gauge(
        "watertight.pool.health",
        options("Whether the pool works: 0 healthy, 1 degraded, 2 critical.", "1", {})
      ),
      () => ({ value: levels[source.health()._tag] })
    )
    counter(
      "watertight.pool.connect_failures",
      "{attempt}",
      "How many attempts to connect failed.",
      () => this.connectFailures.total
    )
    counter(
      "watertight.pool.validation_failures",
      "{ping}",
      "How many connections did not answer a ping.",
      () => this.tally.validationFailures
    )
    counter(
      "watertight.pool.resets",
      "{reset}",
      "How often a connection had to be cleaned up before the next borrower.",
      () => this.tally.resets
    )
    counter(
      "watertight.pool.leaks",
      "{leak}",
      "How many connections were held for longer than the leak threshold.",
      () => this.tally.leaksSuspected
    )
    upDown(
      "watertight.pool.connecting",
      connections,
      "How many connections are being opened.",
      () => counts().connecting
    )
    upDown(
      "watertight.pool.effective_max",
      connections,
      "The most connections just now: less than the maximum while the server has no room for more.",
      () => limits().effectiveMax
    )
  }
}

const levels: Record<Health["_tag"], number> = { Healthy: 0, Degraded: 1, Critical: 2 }

const seconds = (millis: number): string => `${(millis / 1000).toFixed(millis < 10_000 ? 1 : 0)} s`
