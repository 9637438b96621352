/**
 * Readers and writers of one row, over a cache, in simulated time.
 *
 * The world knows when each version was really applied and when its writer was told. A read is wrong if it began after
 * that and returned an older version: the reader was served what it must not be.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Semaphore from "effect/Semaphore"
import { TestClock } from "effect/testing"

/** How the COMMIT of a writer went. */
export type End = "Applied" | "NotApplied" | "Unknown"

/** What a cache is told about a write, in this order. */
export interface Write {
  readonly onCommit: () => void
  readonly onEnd: (end: End) => void
}

/** A cache of one row. */
export interface Subject {
  readonly read: (run: Effect.Effect<number>) => Effect.Effect<number>
  readonly write: () => Write
}

export interface Report {
  readonly reads: number
  readonly fromDatabase: number
  /** Reads that returned less than a write that was acknowledged, or applied without an answer, before they began. */
  readonly stale: number
}

/** Plays one history: `millis` of simulated time with four readers and two writers. */
export const play = (
  random: () => number,
  millis: number,
  make: Effect.Effect<Subject>
): Effect.Effect<Report, never, never> =>
  Effect.scoped(Effect.gen(function*() {
    const subject = yield* make
    const clock = yield* Clock.Clock
    const now = () => clock.currentTimeMillisUnsafe()
    const pause = (most: number) => Effect.sleep(Math.floor(random() * most) + 1)
    let version = 0
    /** The highest version that a read must see from now on. */
    let due = 0
    let reads = 0
    let fromDatabase = 0
    let stale = 0
    const row = yield* Semaphore.make(1)

    const select = Effect.gen(function*() {
      fromDatabase++
      yield* pause(5)
      const seen = version
      yield* pause(15)
      return seen
    })
    const reader = Effect.gen(function*() {
      const expected = due
      const seen = yield* subject.read(select)
      reads++
      if (seen < expected) stale++
      yield* pause(10)
    })
    const writer = Effect.gen(function*() {
      yield* pause(400)
      yield* row.withPermits(1)(Effect.gen(function*() {
        const next = version + 1
        const write = subject.write()
        write.onCommit()
        yield* pause(5)
        const fate = random()
        // Out of ten writes one is refused, one is lost and applied a while later, and one is lost for good.
        if (fate < 0.1) return write.onEnd("NotApplied")
        if (fate < 0.2) {
          write.onEnd("Unknown")
          yield* pause(2_000)
          version = next
          due = next
          return
        }
        if (fate < 0.3) return write.onEnd("Unknown")
        version = next
        yield* pause(5)
        write.onEnd(fate < 0.4 ? "Unknown" : "Applied")
        due = next
      }))
    })
    const end = now() + millis
    const until = (effect: Effect.Effect<unknown>) =>
      Effect.forkChild(Effect.repeat(effect, { while: () => now() < end }))
    const fibers = yield* Effect.all([
      ...Array.from({ length: 4 }, () => until(reader)),
      ...Array.from({ length: 2 }, () => until(writer))
    ])
    while (now() < end) yield* TestClock.adjust(1)
    yield* Fiber.interruptAll(fibers)
    return { reads, fromDatabase, stale }
  })).pipe(Effect.provide(TestClock.layer()))
