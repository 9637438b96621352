/** Randomness that can be repeated. */

/** A seeded generator. The same seed gives the same numbers, on every machine. */
export interface Seed {
  /** What to pass to `seed` to see the same again. */
  readonly value: number
  /** From 0 up to but not including 1. */
  readonly next: () => number
  /** A whole number from `min` to `max`, both included. */
  readonly int: (min: number, max: number) => number
  readonly chance: (probability: number) => boolean
  readonly pick: <A>(items: readonly [A, ...ReadonlyArray<A>]) => A
  readonly shuffle: <A>(items: Iterable<A>) => Array<A>
  /** A generator of its own: what one part of a test draws does not move the other parts' numbers. */
  readonly fork: () => Seed
}

/** A generator whose seed the environment does not replace. */
export const exactSeed = (value: number): Seed => {
  let state = value >>> 0
  // mulberry32
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 0x1_0000_0000
  }
  const int = (min: number, max: number) => min + Math.floor(next() * (max - min + 1))
  return {
    value,
    next,
    int,
    chance: (probability) => next() < probability,
    pick: (items) => items[int(0, items.length - 1)]!,
    shuffle: (items) => {
      const shuffled = [...items]
      for (let i = shuffled.length - 1; i > 0; i--) {
        const j = int(0, i)
        ;[shuffled[i], shuffled[j]] = [shuffled[j]!, shuffled[i]!]
      }
      return shuffled
    },
    fork: () => exactSeed(Math.floor(next() * 0x1_0000_0000))
  }
}
