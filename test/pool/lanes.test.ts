import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as TestClock from "effect/testing/TestClock"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"
import { fork, sleep } from "./support.ts"

const make = (options: Pool.Options) =>
  Pool.make(new FakeAdapter(), { startup: "lazy", shutdownTimeout: 0, ...options })

describe("Pool.withLane", () => {
  it.effect("keeps a report from starving a login", () =>
    Effect.gen(function*() {
      /** How long a login takes while a hundred reports of a second each want connections. */
      const login = (pool: Pool.Pool) =>
        Effect.gen(function*() {
          yield* Effect.forEach(
            Array.from({ length: 100 }),
            () => fork(pool.use(sleep(1_000)).pipe(Pool.withLane("report")))
          )
          yield* TestClock.adjust(1)
          const fiber = yield* fork(
            Effect.timed(pool.use(sleep(1)).pipe(Pool.withLane("login")))
          )
          yield* TestClock.adjust("30 seconds")
          const [duration] = yield* Fiber.join(fiber)
          return duration
        })
      const lanes = { report: { max: 0.8 }, login: { guaranteed: 0.1 } }
      const starved = yield* login(yield* make({ max: 10, acquireTimeout: "1 minute" }))
      const served = yield* login(yield* make({ max: 10, acquireTimeout: "1 minute", lanes }))
      assert.isAbove(Duration.toMillis(starved), 5_000)
      assert.isBelow(Duration.toMillis(served), 100)
    }))

  it.effect("takes a name that the pool does not know for none", () =>
    Effect.gen(function*() {
      const pool = yield* make({ max: 1, lanes: { report: {} } })
      yield* pool.use(sleep(0)).pipe(Pool.withLane("typo"))
    }))

  it.effect("is refused where lanes cannot work", () =>
    Effect.gen(function*() {
      for (
        const lanes of [
          { a: { guaranteed: 0.6 }, b: { guaranteed: 0.6 } },
          { a: { max: 2 } },
          { a: { guaranteed: -1 } },
          { a: { guaranteed: 0.5, max: 0.2 } }
        ]
      ) {
        const error = yield* Effect.flip(make({ lanes }))
        assert.strictEqual((error as { readonly option?: string }).option, "lanes")
      }
    }))
})
