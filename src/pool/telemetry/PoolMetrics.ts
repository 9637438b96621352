/**
 * The metrics of a pool: a table of instruments, each read when it is exported.
 *
 * @since 0.2.0
 */
import type * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { Health } from "../Health.ts"
import type { CloseReason, FailReason } from "../state/PoolEvent.ts"
import type { Counts } from "../state/PoolState.ts"
import { attributesOf, register } from "./series.ts"
import type { Timing } from "./Timing.ts"

/**
 * What the metrics are read from.
 *
 * @category models
 * @since 0.2.0
 */
export interface Readings {
  readonly counts: () => Counts
  readonly limits: () => { readonly min: number; readonly max: number; readonly effectiveMax: number }
  readonly failed: Readonly<Record<FailReason, number>>
  readonly closed: Readonly<Record<CloseReason, number>>
  readonly health: () => Health
  readonly create: Timing
  readonly wait: Timing
  readonly use: Timing
  readonly connectFailures: () => number
  readonly validationFailures: () => number
  readonly resets: () => number
  readonly leaksSuspected: () => number
}

/**
 * One instrument. `upDown` is what OpenTelemetry calls an UpDownCounter. `each` makes one series for every value of an
 * attribute.
 */
type Instrument =
  & { readonly name: string; readonly unit: string; readonly about: string }
  & (
    | {
      readonly kind: "counter" | "gauge" | "upDown"
      readonly each?: {
        readonly attribute: string
        readonly values: (readings: Readings) => ReadonlyArray<string>
      }
      readonly read: (readings: Readings, value: string) => number
    }
    | { readonly kind: "histogram"; readonly read: (readings: Readings) => Timing }
  )

const connections = "{connection}"
const levels: Record<Health["_tag"], number> = { Healthy: 0, Degraded: 1, Critical: 2 }

const instruments: ReadonlyArray<Instrument> = [
  {
    kind: "upDown",
    name: "db.client.connection.count",
    unit: connections,
    about: "The number of connections that are currently in state described by the state attribute.",
    each: { attribute: "db.client.connection.state", values: () => ["idle", "used"] },
    read: ({ counts }, state) => counts()[state as "idle" | "used"]
  },
  {
    kind: "upDown",
    name: "db.client.connection.idle.max",
    unit: connections,
    about: "The maximum number of idle open connections allowed.",
    read: ({ limits }) => limits().max
  },
  {
    kind: "upDown",
    name: "db.client.connection.idle.min",
    unit: connections,
    about: "The minimum number of idle open connections allowed.",
    read: ({ limits }) => limits().min
  },
  {
    kind: "upDown",
    name: "db.client.connection.max",
    unit: connections,
    about: "The maximum number of open connections allowed.",
    read: ({ limits }) => limits().max
  },
  {
    kind: "upDown",
    name: "db.client.connection.pending_requests",
    unit: "{request}",
    about: "The number of current pending requests for an open connection.",
    read: ({ counts }) => counts().waiting
  },
  {
    kind: "counter",
    name: "db.client.connection.timeouts",
    unit: "{timeout}",
    about: "The number of connection timeouts that have occurred trying to obtain a connection from the pool.",
    read: ({ failed }) => failed.AcquireTimeout
  },
  {
    kind: "histogram",
    name: "db.client.connection.create_time",
    unit: "s",
    about: "The time it took to create a new connection.",
    read: ({ create }) => create
  },
  {
    kind: "histogram",
    name: "db.client.connection.wait_time",
    unit: "s",
    about: "The time it took to obtain an open connection from the pool.",
    read: ({ wait }) => wait
  },
  {
    kind: "histogram",
    name: "db.client.connection.use_time",
    unit: "s",
    about: "The time between borrowing a connection and returning it to the pool.",
    read: ({ use }) => use
  },
  {
    kind: "counter",
    name: "watertight.pool.closed",
    unit: connections,
    about: "How many connections were closed.",
    each: { attribute: "watertight.pool.reason", values: ({ closed }) => Object.keys(closed) },
    read: ({ closed }, reason) => closed[reason as CloseReason]
  },
  {
    kind: "counter",
    name: "watertight.pool.failed",
    unit: "{request}",
    about: "How many callers got no connection.",
    each: { attribute: "watertight.pool.reason", values: ({ failed }) => Object.keys(failed) },
    read: ({ failed }, reason) => failed[reason as FailReason]
  },
  {
    kind: "gauge",
    name: "watertight.pool.health",
    unit: "1",
    about: "Whether the pool works: 0 healthy, 1 degraded, 2 critical.",
    read: ({ health }) => levels[health()._tag]
  },
  {
    kind: "counter",
    name: "watertight.pool.connect_failures",
    unit: "{attempt}",
    about: "How many attempts to connect failed.",
    read: ({ connectFailures }) => connectFailures()
  },
  {
    kind: "counter",
    name: "watertight.pool.validation_failures",
    unit: "{ping}",
    about: "How many connections did not answer a ping.",
    read: ({ validationFailures }) => validationFailures()
  },
  {
    kind: "counter",
    name: "watertight.pool.resets",
    unit: "{reset}",
    about: "How often a connection had to be cleaned up before the next borrower.",
    read: ({ resets }) => resets()
  },
  {
    kind: "counter",
    name: "watertight.pool.leaks",
    unit: "{leak}",
    about: "How many connections were held for longer than the leak threshold.",
    read: ({ leaksSuspected }) => leaksSuspected()
  },
  {
    kind: "upDown",
    name: "watertight.pool.connecting",
    unit: connections,
    about: "How many connections are being opened.",
    read: ({ counts }) => counts().connecting
  },
  {
    kind: "upDown",
    name: "watertight.pool.effective_max",
    unit: connections,
    about: "The most connections just now: less than the maximum while the server has no room for more.",
    read: ({ limits }) => limits().effectiveMax
  }
]

/**
 * Registers all metrics of a pool. Returns what removes them.
 *
 * @category constructors
 * @since 0.2.0
 */
export const registerAll = (context: Context.Context<never>, pool: string, readings: Readings): () => void => {
  const registrations: Array<Metric.Registration> = []
  for (const instrument of instruments) {
    const { about: description, name, unit } = instrument
    const options = (attributes: Record<string, string>) => ({
      description,
      attributes: attributesOf(context, { "db.client.connection.pool.name": pool, ...attributes }, unit)
    })
    if (instrument.kind === "histogram") {
      const metric = Metric.histogram(name, { ...options({}), boundaries: [] })
      const timing = instrument.read(readings)
      registrations.push(register(context, metric, () => timing.buckets.state))
      continue
    }
    const { each, kind, read } = instrument
    for (const value of each?.values(readings) ?? [""]) {
      const attributes = options(each === undefined ? {} : { [each.attribute]: value })
      const get = () => read(readings, value)
      registrations.push(
        kind === "gauge"
          ? register(context, Metric.gauge(name, attributes), () => ({ value: get() }))
          : kind === "counter"
          ? register(context, Metric.counter(name, { ...attributes, incremental: true }), () => ({
            count: get(),
            incremental: true
          }))
          : register(context, Metric.counter(name, attributes), () => ({ count: get(), incremental: false }))
      )
    }
  }
  return () => {
    for (const registration of registrations) registration.remove()
  }
}
