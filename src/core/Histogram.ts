/**
 * Counting durations so that recording one costs nanoseconds and every quantile can be asked for later.
 *
 * **Details**
 *
 * Buckets grow with the durations: sixteen for each power of two microseconds, so a quantile is right within 6 %, from
 * a microsecond to more than an hour, in less than 2 KB.
 *
 * @since 0.1.0
 */

const perPower = 16
const bits = 4
const buckets = (32 - bits) * perPower

const indexOf = (micros: number): number => {
  if (micros < perPower) return micros
  const power = 31 - Math.clz32(micros)
  return ((power - bits + 1) << bits) + ((micros >>> (power - bits)) & (perPower - 1))
}

/** The middle of a bucket, in milliseconds. */
const valueOf = (index: number): number => {
  if (index < perPower) return index / 1000
  const power = (index >> bits) + bits - 1
  const base = 2 ** power
  return (base + ((index & (perPower - 1)) + 0.5) * (base / perPower)) / 1000
}

/**
 * What is known of a number of durations, in milliseconds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Summary {
  readonly count: number
  readonly sum: number
  readonly average: number
  readonly p50: number
  readonly p95: number
  readonly p99: number
  readonly max: number
}

/**
 * Durations since it was made.
 *
 * @category models
 * @since 0.1.0
 */
export class Histogram {
  readonly counts = new Uint32Array(buckets)
  count = 0
  sum = 0
  max = 0

  /** Counts a duration in milliseconds. */
  record(millis: number): void {
    const micros = millis <= 0 ? 0 : millis >= 4_294_967 ? 0xffffffff : (millis * 1000) >>> 0
    this.counts[indexOf(micros)]!++
    this.count++
    this.sum += millis
    if (millis > this.max) this.max = millis
  }

  clear(): void {
    if (this.count === 0) return
    this.counts.fill(0)
    this.count = 0
    this.sum = 0
    this.max = 0
  }

  /** How many were at most this long. Exact at the bounds of buckets, within 6 % between them. */
  atMost(millis: number): number {
    let total = 0
    for (let i = 0; i < buckets && valueOf(i) <= millis; i++) total += this.counts[i]!
    return total
  }

  get summary(): Summary {
    return summarize([this])
  }
}

/**
 * Durations of the last minute or so: a ring of histograms, each for a slice of time.
 *
 * @category models
 * @since 0.1.0
 */
export class RecentHistogram {
  private readonly slices: ReadonlyArray<Histogram>
  private readonly sliceMillis: number
  private current = 0
  private endsAt = -Infinity

  constructor(windowMillis: number, slices = 6) {
    this.slices = Array.from({ length: slices }, () => new Histogram())
    this.sliceMillis = windowMillis / slices
  }

  record(millis: number, now: number): void {
    if (now >= this.endsAt) this.turn(now)
    this.slices[this.current]!.record(millis)
  }

  summary(now: number): Summary {
    if (now >= this.endsAt) this.turn(now)
    return summarize(this.slices)
  }

  /** The slices whose time has passed make room for the current one. */
  private turn(now: number): void {
    const passed = Math.floor((now - this.endsAt) / this.sliceMillis) + 1
    const turns = Math.min(this.slices.length, passed)
    for (let i = 0; i < turns; i++) {
      this.current = (this.current + 1) % this.slices.length
      this.slices[this.current]!.clear()
    }
    this.endsAt = this.endsAt === -Infinity ? now + this.sliceMillis : this.endsAt + passed * this.sliceMillis
  }
}

/**
 * Puts histograms together.
 *
 * @category combinators
 * @since 0.1.0
 */
export const summarize = (histograms: ReadonlyArray<Histogram>): Summary => {
  let count = 0
  let sum = 0
  let max = 0
  for (const histogram of histograms) {
    count += histogram.count
    sum += histogram.sum
    max = Math.max(max, histogram.max)
  }
  const ranks = [0.5, 0.95, 0.99].map((q) => Math.max(1, Math.ceil(count * q)))
  const quantiles = [0, 0, 0]
  let seen = 0
  let next = 0
  for (let i = 0; i < buckets && next < ranks.length && count > 0; i++) {
    for (const histogram of histograms) seen += histogram.counts[i]!
    while (next < ranks.length && seen >= ranks[next]!) quantiles[next++] = Math.min(max, valueOf(i))
  }
  return {
    count,
    sum,
    average: count === 0 ? 0 : sum / count,
    p50: quantiles[0]!,
    p95: quantiles[1]!,
    p99: quantiles[2]!,
    max
  }
}
