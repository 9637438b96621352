import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"
import { seed as makeSeed } from "../support/seed.ts"

/** How many checkouts; `npm run soak:pool` asks for five million. */
const total = Number(process.env["WATERTIGHT_SOAK_CHECKOUTS"] ?? 50_000)
const workers = Number(process.env["WATERTIGHT_SOAK_FIBERS"] ?? 1_000)

const turn = Effect.promise(() => new Promise<void>((resolve) => setImmediate(resolve)))

describe("A pool under everything at once", () => {
  it.live("strands nobody and loses nothing", () => {
    const seed = makeSeed(7)
    return Effect.gen(function*() {
      const fake = new FakeAdapter()
      const pool = yield* Pool.make(fake, {
        startup: "lazy",
        max: 16,
        min: 2,
        acquireTimeout: "1 minute",
        backoffBase: "1 millis",
        backoffCap: "10 millis",
        overloadRecovery: "20 millis",
        leakThreshold: "1 second",
        lifetime: "200 millis",
        validateAfter: "5 millis",
        shutdownTimeout: "1 second",
        scaling: { interval: "20 millis", window: "200 millis" },
        lanes: { report: { max: 0.5 }, login: { guaranteed: 0.2 } }
      })
      let left = total
      let interrupted = 0
      let stop = false

      const worker = Effect.fnUntraced(function*(index: number) {
        const random = makeSeed(seed.value * 1_000 + index)
        const lane = random.pick(["report", "login", "other"])
        while (left-- > 0) {
          const kind = random.next()
          const body = pool.use((connection) =>
            kind < 0.1 ? connection.execute("set x", [], undefined) : kind < 0.3 ? turn : Effect.void
          )
          const once = Pool.withLane(
            kind > 0.6 ? pool.share(undefined, (connection) => connection.execute("select", [], undefined)) : body,
            lane
          )
          if (random.chance(0.05)) {
            const fiber = yield* Effect.forkChild(Effect.ignore(once), { startImmediately: random.chance(0.5) })
            if (random.chance(0.5)) yield* turn
            yield* Fiber.interrupt(fiber)
            interrupted++
          } else yield* Effect.ignore(once)
          if (random.chance(0.2)) yield* turn
        }
      })

      const trouble = Effect.gen(function*() {
        while (!stop) {
          yield* Effect.sleep(1)
          const open = fake.open
          const die = seed.next()
          if (die < 0.2 && open.length > 0) open[seed.int(0, open.length - 1)]!.lose()
          else if (die < 0.25) yield* pool.clear({ mode: seed.pick(["graceful", "immediate"]) })
          else if (die < 0.35) yield* pool.resize({ min: 0, max: seed.int(1, 16) })
          else if (die < 0.4) yield* Effect.andThen(pool.suspend(), Effect.andThen(Effect.sleep(2), pool.resume))
          else if (die < 0.42) yield* Effect.andThen(pool.drain({ timeout: 1 }), pool.resume)
          // What the fake remembers is not the pool's.
          for (const connection of fake.connections.splice(0)) {
            connection.ran.length = 0
            if (!connection.isClosed) fake.connections.push(connection)
          }
        }
      })

      const chaos = yield* Effect.forkChild(trouble)
      const fibers = yield* Effect.forEach(
        Array.from({ length: workers }, (_, i) => i),
        (i) => Effect.forkChild(worker(i))
      )
      // While all are at work: after a tenth, and before the last tenth.
      const heap: Array<number> = []
      while (left > 0) {
        yield* Effect.sleep(20)
        if (globalThis.gc === undefined || left > total * (heap.length === 0 ? 0.9 : 0.1) || heap.length === 2) continue
        globalThis.gc()
        heap.push(process.memoryUsage().heapUsed / 1e6)
      }
      for (const fiber of fibers) yield* Fiber.await(fiber)
      stop = true
      yield* Fiber.await(chaos)
      yield* pool.resume
      yield* Effect.sleep(20)
      const stats = yield* pool.stats
      const context = `WATERTIGHT_TEST_SEED=${seed.value}: ${JSON.stringify(stats)}`
      assert.deepStrictEqual([stats.used, stats.waiting], [0, 0], context)
      assert.isAbove(interrupted, 0)
      const [warm, late] = heap
      if (warm !== undefined && late !== undefined) {
        console.log(`${stats.checkouts} checkouts; heap: ${warm.toFixed(1)} MB when warm, ${late.toFixed(1)} MB late`)
        assert.isBelow(late, warm * 1.1 + 8, context)
      }
      assert.deepStrictEqual((yield* pool.shutdown).cut, [])
      assert.deepStrictEqual(fake.open, [])
      // Each of the many troubles would be told in the log.
    }).pipe(Effect.scoped, Effect.provideService(References.MinimumLogLevel, "None"))
  }, total > 50_000 ? 3_600_000 : 60_000)
})
