/** What a cache counts, and the metrics that show it. Counters are plain numbers and are read when they are exported. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"

/** Why a read went past the cache. */
export type BypassReason = "transaction" | "doubt" | "deaf" | "opted_out" | "no_key"

/** What a read was answered with. */
export type ReadResult = "hit" | "stale" | "miss" | "shared"

/** What made an invalidation. */
export type InvalidationSource = "local" | "remote" | "doubt" | "gap"

/** The upper bounds of the histogram of ages, in seconds. */
const ageBounds = [0.1, 1, 10, 60, 600, 3_600, Infinity]

export class Counters {
  readonly requests: Record<ReadResult, number> = { hit: 0, stale: 0, miss: 0, shared: 0 }
  readonly bypassed: Record<BypassReason, number> = { transaction: 0, doubt: 0, deaf: 0, opted_out: 0, no_key: 0 }
  readonly invalidations: Record<InvalidationSource, number> = { local: 0, remote: 0, doubt: 0, gap: 0 }
  /** Results that were not stored because an invalidation overtook their read. */
  discarded = 0
  /** Results that were not stored because they are larger than `maxResultBytes`. */
  tooLarge = 0
  /** Failures of the shared store, each of which was a miss. */
  storeFailures = 0
  readonly ages = ageBounds.map(() => 0)
  private ageSum = 0
  private ageMax = 0
  private ageCount = 0

  /** An entry was served this long after it was read. */
  served(ageMillis: number): void {
    const seconds = ageMillis / 1_000
    this.ages[ageBounds.findIndex((bound) => seconds <= bound)]!++
    this.ageSum += seconds
    this.ageCount++
    if (seconds > this.ageMax) this.ageMax = seconds
  }

  get ageState(): Metric.HistogramState {
    let count = 0
    const buckets = ageBounds.map((bound, index): [number, number] => [bound, count += this.ages[index]!])
    return { buckets, count: this.ageCount, min: 0, max: this.ageMax, sum: this.ageSum }
  }
}

/** What is measured beside the counters. */
export interface Gauges {
  readonly entries: () => number
  readonly bytes: () => number
  readonly evicted: () => number
  readonly deafSeconds: () => number
}

/** Registers the metrics of a cache for as long as the scope is open. */
export const register = (
  database: string,
  counters: Counters,
  gauges: Gauges
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.contextWith((context: Context.Context<Scope.Scope>) => {
    const registrations: Array<Metric.Registration> = []
    const add = <State>(metric: Metric.Metric<number, State>, get: () => State): void => {
      registrations.push(
        Metric.registerUnsafe(metric, context as Context.Context<never>, {
          get,
          update: () => {},
          modify: () => {}
        })
      )
    }
    const count = (name: string, description: string, attributes: Record<string, string>, get: () => number) =>
      add(
        Metric.counter(name, {
          description,
          incremental: true,
          attributes: { "watertight.database": database, ...attributes }
        }),
        () => ({ count: get(), incremental: true })
      )
    const gauge = (name: string, description: string, get: () => number) =>
      add(
        Metric.gauge(name, { description, attributes: { "watertight.database": database } }),
        () => ({ value: get() })
      )

    for (const result of keysOf(counters.requests)) {
      const description = "Reads through the cache, by what they were answered with"
      count("watertight.cache.requests", description, { result }, () => counters.requests[result])
    }
    for (const reason of keysOf(counters.bypassed)) {
      const description = "Reads that went past the cache, by reason"
      count("watertight.cache.bypassed", description, { reason }, () => counters.bypassed[reason])
    }
    for (const source of keysOf(counters.invalidations)) {
      const description = "Invalidations, by what made them"
      count("watertight.cache.invalidations", description, { source }, () => counters.invalidations[source])
    }
    count(
      "watertight.cache.discarded",
      "Results that were not stored because an invalidation overtook their read",
      {},
      () => counters.discarded
    )
    count(
      "watertight.cache.too_large",
      "Results that were not stored because they are too large",
      {},
      () => counters.tooLarge
    )
    count(
      "watertight.cache.store_failures",
      "Failures of the shared store; each was a miss",
      {},
      () => counters.storeFailures
    )
    count("watertight.cache.evicted", "Entries that were dropped to make room", {}, gauges.evicted)
    gauge("watertight.cache.entries", "Entries in the cache", gauges.entries)
    gauge("watertight.cache.bytes", "About how many bytes the entries take", gauges.bytes)
    gauge("watertight.cache.deaf", "For how many seconds no invalidation of others could be read", gauges.deafSeconds)
    add(
      Metric.histogram("watertight.cache.age", {
        description: "How old what was served was, in seconds",
        boundaries: ageBounds,
        attributes: { "watertight.database": database }
      }),
      () => counters.ageState
    )
    return Effect.addFinalizer(() =>
      Effect.sync(() => {
        for (const registration of registrations) registration.remove()
      })
    )
  })

const keysOf = <K extends string>(record: Record<K, unknown>): ReadonlyArray<K> => Object.keys(record) as Array<K>
