/**
 * Series of metrics that are read when they are exported.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Metric from "effect/Metric"
import type { Adapter } from "../../Adapter.ts"

/** The metrics of a program. */
export type Registry = Map<string, Metric.Metric.Metadata<any, any>>

/**
 * The attributes of a series, and its unit.
 *
 * The exporter for OTLP reads the unit among the attributes, and would send it as one of them too: it is there, but not
 * among those that can be enumerated. For that to last, the attributes of the context are merged here.
 */
export const attributesOf = (
  context: Context.Context<never>,
  own: Record<string, string>,
  unit: string
): Metric.Metric.AttributeSet =>
  Object.defineProperty({ ...own, ...Context.get(context, Metric.CurrentMetricAttributes) }, "unit", { value: unit })

/** Registers a series that is read when it is exported. */
export const register = <State>(
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
export const claimName = (context: Context.Context<never>, name: string) => {
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
