/**
 * What it costs to take a connection out of the pool and give it back, in nanoseconds of processor time, next to
 * Effect's own pool. There is no database: the connections do nothing.
 *
 *     node --conditions=watertight-source bench/checkout.ts [rounds]
 *
 * All candidates take turns within every round, and the medians are printed: what else the machine does hits all alike.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as EffectPool from "effect/Pool"
import { Pool } from "watertight"
import { StatementProfile } from "../src/core/PoolState.ts"
import { adapter } from "./watertight/stub.ts"

const rounds = Number(process.argv[2] ?? 9)
const size = 8
const crowds = [10, 100, 1_000, 10_000]

/** How many checkouts are measured at a time. */
const alone = 200_000
const crowded = 40_000

/** Runs an effect so often, one after the other. */
const repeat = (effect: Effect.Effect<unknown, unknown>, times: () => boolean): Effect.Effect<void, unknown> =>
  Effect.whileLoop({ while: times, body: () => effect, step: () => {} })

/** The processor time of an effect, in nanoseconds. */
const measure = Effect.fnUntraced(function*(effect: Effect.Effect<unknown, unknown>) {
  yield* Effect.sleep(1)
  globalThis.gc?.()
  const before = process.cpuUsage()
  yield* effect
  const { system, user } = process.cpuUsage(before)
  return (system + user) * 1_000
})

const oneAfterTheOther = (checkout: Effect.Effect<unknown, unknown>) =>
  Effect.suspend(() => {
    let left = alone
    return Effect.map(measure(repeat(checkout, () => left-- > 0)), (nanos) => nanos / alone)
  })

/** As many as there are connections hold one for a turn of the scheduler each, and so many wait. */
const inACrowd = (checkout: Effect.Effect<unknown, unknown>, waiting: number) =>
  Effect.suspend(() => {
    let left = crowded
    const worker = repeat(checkout, () => left-- > 0)
    const workers = Array.from({ length: size + waiting }, () => worker)
    // Those that are there before the first one ends are not what is measured.
    return Effect.map(
      measure(Effect.all(workers, { concurrency: "unbounded", discard: true })),
      (nanos) => nanos / (crowded + waiting)
    )
  })

const median = (numbers: ReadonlyArray<number>): number => {
  const sorted = [...numbers].sort((a, b) => a - b)
  return sorted[Math.floor(sorted.length / 2)]!
}

const program = Effect.gen(function*() {
  const options = { min: size, max: size, acquireTimeout: Duration.minutes(10), validateAfter: Duration.infinity }
  const pool = yield* Pool.make(adapter, options)
  const effectPool = yield* EffectPool.make({ acquire: Effect.succeed({}), size })
  yield* Effect.sleep(50)
  const profile = new StatementProfile()

  const candidates = (body: Effect.Effect<void>) => ({
    "nothing": body,
    "Effect's Pool.use": EffectPool.use(effectPool, () => body),
    "use": pool.use(() => body),
    "share": pool.share(profile, () => body),
    "reserve": Effect.scoped(Effect.flatMap(pool.reserve, () => body))
  })

  const measurements: Record<string, () => Effect.Effect<number, unknown>> = {}
  for (const [name, checkout] of Object.entries(candidates(Effect.void))) {
    measurements[`nobody waits: ${name}`] = () => oneAfterTheOther(checkout)
  }
  for (const crowd of crowds) {
    const { "Effect's Pool.use": theirs, nothing, share, use } = candidates(Effect.yieldNow)
    for (const [name, checkout] of Object.entries({ nothing, "Effect's Pool.use": theirs, use, share })) {
      measurements[`${crowd.toLocaleString("en-US")} wait: ${name}`] = () => inACrowd(checkout, crowd)
    }
  }

  const results: Record<string, Array<number>> = {}
  for (let round = -1; round < rounds; round++) {
    for (const [name, run] of Object.entries(measurements)) {
      const nanos = yield* run()
      // The first round only warms up.
      if (round >= 0) (results[name] ??= []).push(nanos)
    }
  }
  for (const [name, numbers] of Object.entries(results)) {
    const [least, most] = [Math.min(...numbers), Math.max(...numbers)].map(Math.round)
    console.log(`${name.padEnd(34)} ${String(Math.round(median(numbers))).padStart(6)} ns   (${least} to ${most})`)
  }
})

await Effect.runPromise(Effect.scoped(program))
