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
const buckets = (32 - bits + 1) * perPower

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
  readonly counts: Uint32Array | Float64Array
  count = 0
  sum = 0
  max = 0

  constructor(counts: Uint32Array | Float64Array = new Uint32Array(buckets)) {
    this.counts = counts
  }

  /** Counts a duration in milliseconds. */
  record(millis: number): void {
    const micros = millis <= 0 ? 0 : millis >= 4_294_967 ? 0xffffffff : (millis * 1000) >>> 0
    this.counts[indexOf(micros)]!++
    this.count++
    this.sum += millis
    if (millis > this.max) this.max = millis
  }

  /** Counts what another one has counted. */
  add(other: Histogram): void {
    if (other.count === 0) return
    for (let i = 0; i < buckets; i++) this.counts[i]! += other.counts[i]!
    this.count += other.count
    this.sum += other.sum
    this.max = Math.max(this.max, other.max)
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

/** The slices of a window of time, of which the one that is oldest makes room for the current one. */
abstract class Ring {
  protected current = 0
  private endsAt = -Infinity
  private readonly sliceMillis: number
  private readonly size: number

  constructor(windowMillis: number, slices: number) {
    this.sliceMillis = windowMillis / slices
    this.size = slices
  }

  /** Turns to the slice of this time. */
  protected turn(now: number): void {
    if (now < this.endsAt) return
    if (this.endsAt === -Infinity) {
      this.endsAt = now + this.sliceMillis
      return
    }
    const passed = Math.floor((now - this.endsAt) / this.sliceMillis) + 1
    for (let i = Math.min(this.size, passed); i > 0; i--) {
      this.current = (this.current + 1) % this.size
      this.vacate(this.current)
    }
    this.endsAt += passed * this.sliceMillis
  }

  protected abstract vacate(slice: number): void
}

/**
 * Durations of the last minute or so, and of always: a ring of histograms, each for a slice of time, and one for what
 * has left the ring. So each duration is counted once.
 *
 * @category models
 * @since 0.1.0
 */
export class RecentHistogram extends Ring {
  // Made when they are needed: of a thousand pools most have nothing to count.
  private readonly slices: Array<Histogram | undefined>
  // In numbers that do not overflow after four billion durations.
  private readonly past = new Histogram(new Float64Array(buckets))

  constructor(windowMillis: number, slices = 6) {
    super(windowMillis, slices)
    this.slices = Array.from({ length: slices }, () => undefined)
  }

  record(millis: number, now: number): void {
    this.turn(now)
    const slice = this.slices[this.current] ??= new Histogram()
    slice.record(millis)
  }

  /** The durations of the window that ends now. */
  summary(now: number): Summary {
    return summarize(this.recent(now))
  }

  /** All durations ever. */
  life(): Summary {
    return summarize(this.all())
  }

  /** What the window that ends now is made of, to be put together with that of others. */
  recent(now: number): Array<Histogram> {
    this.turn(now)
    return this.slices.filter((slice) => slice !== undefined)
  }

  /** What all durations are made of. */
  all(): Array<Histogram> {
    return [this.past, ...this.slices.filter((slice) => slice !== undefined)]
  }

  protected override vacate(index: number): void {
    const slice = this.slices[index]
    if (slice === undefined) return
    this.past.add(slice)
    slice.clear()
  }
}

/**
 * How often something has happened: always, and in the last minute or so.
 *
 * @category models
 * @since 0.1.0
 */
export class RecentCounter extends Ring {
  total = 0
  private readonly slices: Array<number>

  constructor(windowMillis: number, slices = 6) {
    super(windowMillis, slices)
    this.slices = Array.from({ length: slices }, () => 0)
  }

  record(now: number): void {
    this.turn(now)
    this.total++
    this.slices[this.current]!++
  }

  /** How often within the window that ends now. */
  recent(now: number): number {
    this.turn(now)
    return this.slices.reduce((sum, count) => sum + count, 0)
  }

  protected override vacate(index: number): void {
    this.slices[index] = 0
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
