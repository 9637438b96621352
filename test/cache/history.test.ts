/** Random histories of readers and writers: what a cache serves, against what was committed. */
import { assert, describe, it } from "@effect/vitest"
import * as Cache from "effect/Cache"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { CacheRuntime } from "../../src/cache/CacheRuntime.ts"
import { seed } from "../support/index.ts"
import { type End, play, type Report, type Subject } from "./simulation.ts"

/** `WATERTIGHT_CACHE_ROUNDS=500` for a long look. */
const rounds = Number(process.env["WATERTIGHT_CACHE_ROUNDS"] ?? 5)

const tags = ["row"]
const times = { ttl: 60_000, swr: 0, emptyTtl: 60_000, staleIfError: 0 }

const runtime = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  return yield* CacheRuntime.make({
    maxEntries: 10,
    maxBytes: 10_000,
    maxResultBytes: 1_000,
    maxTags: 10,
    maxRefreshing: 1,
    doubt: 3_000,
    isKept: true,
    now: () => clock.currentTimeMillisUnsafe(),
    isDeaf: () => false,
    onInvalidate: () => {}
  })
})

type Runtime = Effect.Success<typeof runtime>

const readThrough = (cache: Runtime) => (run: Effect.Effect<number>) =>
  cache.bypassOf(tags) === undefined
    ? cache.read({ key: "row", tags, times, run }) as Effect.Effect<number>
    : run

/** The cache as it is, with what its observer is told changed by `end`. */
const watertight = (end: (end: End) => End = (end) => end) =>
  Effect.map(runtime, (cache): Subject => ({
    read: readThrough(cache),
    write: () => {
      const observer = cache.observer(tags, { isAnnounced: false, write: undefined })
      return { onCommit: () => observer.onCommit(), onEnd: (how) => observer.onEnd(end(how)) }
    }
  }))

/** A cache of Effect's that is invalidated at another moment. */
const cacheAside = (when: "before COMMIT" | "after COMMIT") =>
  Effect.map(
    Cache.make<"row", number>({ capacity: 1, timeToLive: "1 minute", lookup: () => Effect.succeed(0) }),
    (cache): Subject => {
      let current: number | undefined
      return {
        read: (run) =>
          Effect.suspend(() =>
            current !== undefined
              ? Effect.succeed(current)
              // What was read is stored, whatever has happened meanwhile.
              : Effect.tap(
                run,
                (value) => Effect.andThen(Cache.set(cache, "row", value), Effect.sync(() => current = value))
              )
          ),
        write: () => ({
          onCommit: () => when === "before COMMIT" && (current = undefined),
          onEnd: (end) => when === "after COMMIT" && end !== "NotApplied" && (current = undefined)
        })
      }
    }
  )

/** Unknown outcomes invalidate once, and nothing is in doubt. */
const withoutDoubt = Effect.map(runtime, (cache): Subject => ({
  read: readThrough(cache),
  write: () => ({ onCommit: () => {}, onEnd: (end) => end !== "NotApplied" && cache.invalidate(tags, "local") })
}))

const histories = (make: Effect.Effect<Subject, never, any>, seeds: number, millis: number) =>
  Effect.gen(function*() {
    const total = { reads: 0, fromDatabase: 0, stale: 0 }
    for (let i = 0; i < seeds; i++) {
      const random = seed(1_000 + i)
      const report: Report = yield* play(() => random.next(), millis, make as Effect.Effect<Subject>)
      total.reads += report.reads
      total.fromDatabase += report.fromDatabase
      total.stale += report.stale
    }
    return total
  })

describe("histories", () => {
  it.live("the cache → no stale read, and most reads are hits", () =>
    Effect.gen(function*() {
      const total = yield* histories(watertight(), rounds, 10_000)
      assert.strictEqual(total.stale, 0)
      assert.isAbove(total.reads, 1_000 * rounds)
      // Three writes of ten are in doubt for three seconds, in which every read goes to the database.
      assert.isBelow(total.fromDatabase, total.reads * 0.95)
    }), 60_000 + rounds * 10_000)

  for (
    const [what, subject] of [
      ["invalidates before COMMIT", cacheAside("before COMMIT")],
      ["stores whatever was read", cacheAside("after COMMIT")],
      ["takes an unknown outcome for a failure", watertight((end) => end === "Unknown" ? "NotApplied" : end)],
      ["has no doubt", withoutDoubt]
    ] as const
  ) {
    it.live(`a cache that ${what} → the checker finds stale reads`, () =>
      Effect.gen(function*() {
        const total = yield* histories(subject, 3, 10_000)
        assert.isAbove(total.stale, 0)
      }), 60_000)
  }
})
