/**
 * What a cache holds and what it may serve: a pure unit, without a clock and without effects.
 *
 * **Details**
 *
 * Each invalidation gets the next number. For every tag the state knows the number of its last invalidation, and every
 * entry the number that was current when its read *began*. An entry may be served while no tag of it has a higher
 * number. So a read that began before an invalidation and ended after it is never served, and an invalidation costs as
 * much as it names tags, not as much as there are entries.
 *
 * A tag is *in doubt* from the moment a COMMIT that invalidates it is sent until its outcome is known: entries with
 * this tag are neither served nor stored.
 *
 * Entries leave by least recent use when there are too many of them or they are too large together. The numbers of tags
 * are bounded too: when the oldest ones are forgotten, the highest of them becomes the `floor`, which every tag without
 * a number of its own has. That can only turn hits into misses.
 */

/** A stored result. Times are in milliseconds of a monotonic clock. */
export interface Entry<A> {
  readonly value: A
  readonly bytes: number
  readonly tags: ReadonlyArray<string>
  /** The number of the last invalidation when the read began. */
  readonly generation: number
  readonly storedAt: number
  readonly freshUntil: number
  /** How long it may be served while it is read anew. */
  readonly staleUntil: number
  /** How long it may be served when it cannot be read anew. */
  readonly errorUntil: number
  /** How long the read took. */
  readonly cost: number
}

/** The bounds of a cache. */
export interface Bounds {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxTags: number
}

export class CacheState<A> {
  private readonly bounds: Bounds
  /** In the order of use: the least recently used entry comes first. */
  private readonly entries = new Map<string, Entry<A>>()
  /** In the order of invalidation: the tag that was invalidated longest ago comes first. */
  private readonly generations = new Map<string, number>()
  private readonly doubts = new Map<string, number>()
  private floor = 0
  private last = 0
  private total = 0
  evicted = 0

  constructor(bounds: Bounds) {
    this.bounds = bounds
  }

  /** The number of the last invalidation. A read takes it before it is sent. */
  get generation(): number {
    return this.last
  }

  get size(): number {
    return this.entries.size
  }

  get bytes(): number {
    return this.total
  }

  /** Whether nothing with one of these tags was invalidated since the invalidation with this number. */
  isCurrent(tags: ReadonlyArray<string>, generation: number): boolean {
    for (const tag of tags) if ((this.generations.get(tag) ?? this.floor) > generation) return false
    return generation >= this.floor
  }

  isInDoubt(tags: ReadonlyArray<string>): boolean {
    if (this.doubts.size === 0) return false
    for (const tag of tags) if (this.doubts.has(tag)) return true
    return false
  }

  /** The entry of a key, if it may still be served by what is known of its tags. The times are for the caller. */
  find(key: string): Entry<A> | undefined {
    const entry = this.entries.get(key)
    if (entry === undefined) return undefined
    if (!this.isCurrent(entry.tags, entry.generation)) {
      this.drop(key, entry)
      return undefined
    }
    this.entries.delete(key)
    this.entries.set(key, entry)
    return entry
  }

  /** Stores a result, unless it is outdated already or its tags are in doubt. Says whether it did. */
  store(key: string, entry: Entry<A>): boolean {
    if (this.isInDoubt(entry.tags) || !this.isCurrent(entry.tags, entry.generation)) return false
    const previous = this.entries.get(key)
    // Two reads of one key overlap only if the later one began after an invalidation.
    if (previous !== undefined && previous.generation > entry.generation) return false
    if (previous !== undefined) this.drop(key, previous)
    if (entry.bytes > this.bounds.maxBytes) return false
    this.entries.set(key, entry)
    this.total += entry.bytes
    this.shrink()
    return true
  }

  remove(key: string): void {
    const entry = this.entries.get(key)
    if (entry !== undefined) this.drop(key, entry)
  }

  /** What has one of these tags and was read before now is not served any more. */
  invalidate(tags: Iterable<string>): void {
    const generation = ++this.last
    for (const tag of tags) {
      this.generations.delete(tag)
      this.generations.set(tag, generation)
    }
    if (this.generations.size <= this.bounds.maxTags) return
    // Half at once, so that it happens rarely.
    let surplus = this.generations.size - Math.floor(this.bounds.maxTags / 2)
    for (const [tag, generation] of this.generations) {
      if (surplus-- <= 0) break
      this.floor = generation
      this.generations.delete(tag)
    }
  }

  /** Nothing that was read before now is served any more: an invalidation may have been missed. */
  invalidateAll(): void {
    this.floor = ++this.last
    this.generations.clear()
    this.entries.clear()
    this.total = 0
  }

  /** These tags may be invalidated at any moment. */
  doubt(tags: Iterable<string>): void {
    for (const tag of tags) this.doubts.set(tag, (this.doubts.get(tag) ?? 0) + 1)
  }

  /** The doubt of one call of `doubt` with the same tags is over. */
  settle(tags: Iterable<string>): void {
    for (const tag of tags) {
      const count = this.doubts.get(tag) ?? 0
      if (count > 1) this.doubts.set(tag, count - 1)
      else this.doubts.delete(tag)
    }
  }

  private shrink(): void {
    const { maxBytes, maxEntries } = this.bounds
    for (const [key, entry] of this.entries) {
      if (this.entries.size <= maxEntries && this.total <= maxBytes) return
      this.drop(key, entry)
      this.evicted++
    }
  }

  private drop(key: string, entry: Entry<A>): void {
    this.entries.delete(key)
    this.total -= entry.bytes
  }
}

/**
 * Whether a fresh entry is read anew ahead of its end, so that not all of its readers find it gone at one time.
 *
 * The probability grows towards the end, and earlier for what takes long to read: "Optimal Probabilistic Cache Stampede
 * Prevention" (Vattani, Chierichetti, Lowenstein, 2015) with β = 1. `random` is above 0 and at most 1.
 */
export const isDueEarly = (entry: Entry<unknown>, now: number, random: number): boolean =>
  now - entry.cost * Math.log(random) >= entry.freshUntil
