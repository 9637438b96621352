import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { Adapter } from "../../src/Adapter.ts"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"
import { fork } from "./support.ts"

/** What a statement takes without load, and how many can run at a time without loss, in milliseconds. */
const alone = 100
const cores = 8
/** How often the server looks at what it runs. */
const turn = 10

/**
 * A database that does less the more it is given: beyond as many statements as it has cores, all get slower by the cube
 * of what is too much.
 */
const overloaded = Effect.gen(function*() {
  const running = new Map<Deferred.Deferred<void>, number>()
  yield* fork(Effect.repeat(
    Effect.sync(() => {
      const speed = running.size <= cores ? 1 : (cores / running.size) ** 3
      for (const [statement, left] of running) {
        if (left > speed * turn) running.set(statement, left - speed * turn)
        else {
          running.delete(statement)
          Deferred.doneUnsafe(statement, Effect.void)
        }
      }
    }),
    Schedule.spaced(turn)
  ))
  const execute = () =>
    Effect.suspend(() => {
      const statement = Deferred.makeUnsafe<void>()
      running.set(statement, alone)
      return Effect.as(Deferred.await(statement), [])
    })
  const fake = new FakeAdapter()
  return Object.assign(fake, {
    connect: Effect.map(fake.connect, (connection) => Object.assign(connection, { execute }))
  })
})

/** How many statements are done within half a minute for 200 workers, when the pool has found its way. */
const throughput = Effect.fnUntraced(function*(options: Pool.Options) {
  const adapter = yield* overloaded
  const layer = Layer.provide(
    Pool.layer({ max: 64, maxConnecting: 64, shutdownTimeout: 0, acquireTimeout: "1 hour", ...options }),
    Layer.succeed(Adapter, adapter)
  )
  return yield* Effect.gen(function*() {
    const pool = yield* Pool.Pool
    const limits: Array<number> = []
    yield* fork(Stream.runForEach(pool.events, (event) =>
      Effect.sync(() => {
        if (event._tag === "LimitChanged") limits.push(event.to)
      })))
    const statement = pool.use((connection) => connection.execute("update", [], undefined))
    for (let i = 0; i < 200; i++) yield* fork(Effect.forever(statement))
    yield* TestClock.adjust("20 seconds")
    const before = (yield* pool.stats).checkins
    limits.length = 0
    yield* TestClock.adjust("30 seconds")
    return { done: (yield* pool.stats).checkins - before, limits }
  }).pipe(Effect.provide(layer))
}, Effect.scoped)

describe("A pool over a database that slows down under load", () => {
  it.effect("keeps the throughput of the database where a fixed one makes it collapse", () =>
    Effect.gen(function*() {
      const most = 30_000 / alone * cores
      const adaptive = yield* throughput({ adaptive: true })
      assert.isAtLeast(adaptive.done, most / 2)
      // It goes on trying what the database can do.
      assert.isAbove(adaptive.limits.length, 2)
      for (const limit of adaptive.limits) assert.isAtMost(limit, 2 * cores)
      const fixed = yield* throughput({ adaptive: false })
      assert.isAtMost(fixed.done, most / 20)
    }))

  it.effect("takes all connections of a database that does not slow down", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      const pool = yield* Pool.make(fake, { max: 20, shutdownTimeout: 0, adaptive: true })
      const statement = pool.use((connection) => connection.execute("sleep 100", [], undefined))
      for (let i = 0; i < 30; i++) yield* fork(Effect.forever(statement))
      yield* TestClock.adjust("30 seconds")
      assert.strictEqual((yield* pool.stats).used, 20)
    }))
})
