/**
 * How long a definition waits for its locks, and how long it lets the others pass before it tries again.
 *
 * A statement that waits for an exclusive lock makes everybody wait who comes after it. So it waits for a moment only,
 * gives up, and comes back: the moments get longer, and so do the pauses.
 */

/** A ladder of attempts. Times are in milliseconds. */
export interface Ladder {
  /** How long the first attempt waits. */
  readonly first: number
  /** The longest that an attempt waits. */
  readonly longest: number
  /** The longest pause between two attempts. */
  readonly pause: number
  /** How long all attempts together may take. */
  readonly limit: number
}

/** One attempt. */
export interface Rung {
  /** How long it waits for a lock. */
  readonly lockTimeout: number
  /** How long to pause if it fails, before chance makes it shorter by up to a half. */
  readonly pause: number
}

/** The attempt of a number, counted from 0. */
export const rung = (ladder: Ladder, attempt: number): Rung => ({
  lockTimeout: Math.min(ladder.longest, Math.round(ladder.first * 1.25 ** attempt)),
  pause: Math.min(ladder.pause, Math.round(50 * 1.5 ** attempt))
})
