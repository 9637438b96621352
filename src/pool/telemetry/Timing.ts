/**
 * Durations, for people and for metrics.
 *
 * @since 0.2.0
 */
import type * as Metric from "effect/Metric"
import { RecentHistogram, summarize, type Summary } from "./Histogram.ts"

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
