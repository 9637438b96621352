/**
 * How long statements take on the server and on the way there: the metric `db.client.operation.duration`.
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../../Adapter.ts"
import { RecentHistogram } from "./Histogram.ts"
import { attributesOf, register, type Registry } from "./series.ts"
import { Buckets, recentMillis } from "./Timing.ts"

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
    this.ended(now - startedAt, now, Exit.isSuccess(exit) ? undefined : exit.cause, name)
  }

  /** `cause` is why it failed, if it did. */
  ended(millis: number, now: number, cause: Cause.Cause<unknown> | undefined, name?: string): void {
    this.timing.record(millis, now)
    const buckets = name === undefined && cause === undefined
      ? this.plain
      : this.series(name, cause === undefined ? undefined : failureOf(cause))
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
