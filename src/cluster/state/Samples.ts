/**
 * Positions of the primary, with the time at which each was asked for.
 *
 * A replica that has a position is at most as stale as the time since it was asked for, whether the primary has written
 * meanwhile or not, and whether the replica is still connected to it. One clock is enough for this, and no right on the
 * server. Samples of an older generation say nothing about the history of a newer one.
 */

export interface Sample {
  /** When the primary was asked, which is before it answered. */
  readonly at: number
  readonly position: string
}

/** How many are kept. Their distance grows with their age. */
const limit = 24

export class Samples {
  /** Of which generation they are. */
  generation: number | undefined = undefined
  private all: ReadonlyArray<Sample> = []

  /** The newest first. */
  get newestFirst(): ReadonlyArray<Sample> {
    return this.all
  }

  /** When the newest one was asked for. */
  get newestAt(): number {
    return this.all.length === 0 ? -Infinity : this.all[0]!.at
  }

  add(sample: Sample, generation: number | undefined): void {
    if (generation !== this.generation) {
      this.generation = generation
      this.all = []
    }
    if (sample.at <= this.newestAt) return
    const all = [sample, ...this.all]
    if (all.length > limit) all.splice(this.leastMissed(all, sample.at), 1)
    this.all = all
  }

  clear(): void {
    this.all = []
  }

  /** The one whose neighbours are closest to each other, in relation to how old it is. The newest two stay. */
  private leastMissed(all: ReadonlyArray<Sample>, now: number): number {
    let least = all.length - 1
    let smallest = Infinity
    for (let i = 2; i < all.length - 1; i++) {
      const gap = (all[i - 1]!.at - all[i + 1]!.at) / (now - all[i]!.at)
      if (gap < smallest) {
        smallest = gap
        least = i
      }
    }
    return least
  }
}
