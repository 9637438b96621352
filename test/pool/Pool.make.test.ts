import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as TestClock from "effect/testing/TestClock"
import * as Adapter from "../../src/Adapter.ts"
import * as InvalidOptions from "../../src/options/InvalidOptions.ts"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter, refused, wrongPassword } from "../../src/testing/FakeAdapter.ts"
import { fork, select, setUp } from "./support.ts"

describe("Pool: construction", () => {
  it.effect("opens the first connection, and lends it first", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ startup: "verify" })
      assert.strictEqual(fake.connections.length, 1)
      yield* pool.use(select)
      assert.strictEqual(fake.connections.length, 1)
      assert.strictEqual((yield* pool.stats).created, 1)
    }))

  it.effect("fails when the database refuses until a person changes something", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.fail(wrongPassword)
      const exit = yield* Effect.exit(Effect.scoped(Pool.make(fake)))
      assert.deepStrictEqual(exit, Exit.fail(wrongPassword))
      assert.strictEqual(fake.attempts.length, 1)
    }))

  it.effect("does not fail when the database cannot be reached just now, and goes on from there", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = (attempt) => attempt < 3 ? Effect.fail(refused) : Effect.void
      const { pool } = yield* setUp({ startup: "verify" }, fake)
      assert.strictEqual((yield* pool.stats).connectFailures, 1)
      const fiber = yield* fork(pool.use(select))
      // The failure counts: the first attempt for the caller waits for the back-off.
      assert.strictEqual(fake.attempts.length, 1)
      yield* TestClock.adjust("1 second")
      assert.isDefined(fiber.pollUnsafe())
    }))

  it.effect("dies when the adapter does", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.die(new Error("a bug"))
      assert.isTrue(Exit.hasDies(yield* Effect.exit(Effect.scoped(Pool.make(fake)))))
    }))

  it.effect("can be interrupted, and leaves nothing behind", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.never
      const fiber = yield* fork(Effect.scoped(Pool.make(fake)))
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(fake.interrupted, 1)
      assert.strictEqual(fake.connecting, 0)
    }))

  it.effect("opens nothing if it is lazy", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      fake.onConnect = () => Effect.fail(wrongPassword)
      yield* setUp({ startup: "lazy" }, fake)
      assert.strictEqual(fake.attempts.length, 0)
    }))

  it.effect("provides the pool of the adapter in the context", () => {
    const fake = new FakeAdapter()
    return Effect.gen(function*() {
      const pool = yield* Pool.Pool
      assert.strictEqual(pool.name, "fake://db")
      yield* pool.use(select)
      assert.deepInclude(yield* pool.stats, { min: 20, max: 100, total: 20 })
    }).pipe(
      Effect.provide(Pool.layer(Pool.webApplication).pipe(Layer.provide(Layer.succeed(Adapter.Adapter, fake)))),
      Effect.tap(() => Effect.sync(() => assert.strictEqual(fake.open.length, 0)))
    )
  })

  it.effect.each([
    ["min", [-1, 1.5, Number.NaN, Infinity, "3", 11]],
    ["max", [0, -1, 2.5, Number.NaN, Infinity, "10"]],
    ["maxConnecting", [0, -1, 1.5, Number.NaN, Infinity]],
    ["maxWaiting", [-1, 0.5, Number.NaN, "many"]],
    ["pipelineDepth", [0, -1, 1.5, Number.NaN, Infinity]],
    ["acquireTimeout", [0, -1, "-1 seconds", Number.NaN, "soon", "0 millis"]],
    ["idleTimeout", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["lifetime", [0, -1, "-1 minutes", Number.NaN, "long"]],
    ["lifetimeJitter", [-0.1, 1.1, Number.NaN, "0.5", Infinity]],
    ["validateAfter", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["keepAlive", [0, -1, Number.NaN, "soon"]],
    ["slowStatement", [0, -1, Number.NaN, "soon"]],
    ["backoffBase", [-1, "-1 seconds", Number.NaN, "soon", "6 seconds"]],
    ["backoffCap", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["shutdownTimeout", [-1, "-1 seconds", Number.NaN, "soon"]],
    ["startup", ["eager", 1, true]],
    [
      "scaling",
      [
        true,
        "fast",
        { utilization: 0 },
        { utilization: 1.1 },
        { utilization: Number.NaN },
        { wait: -1 },
        { wait: "soon" },
        { interval: 0 },
        { interval: Number.NaN },
        { window: Infinity },
        { window: "1 day" },
        { window: "1 second", interval: "2 seconds" }
      ]
    ],
    ["size", [10]],
    ["maxLifetime", ["30 minutes"]]
  ] as ReadonlyArray<readonly [string, ReadonlyArray<unknown>]>)(
    "refuses what cannot work: %s",
    ([option, values]) =>
      Effect.gen(function*() {
        for (const value of values) {
          const fake = new FakeAdapter()
          const error = yield* Effect.flip(Effect.scoped(Pool.make(fake, { [option]: value } as Pool.Options)))
          assert.instanceOf(error, InvalidOptions.InvalidOptions, `${option}: ${String(value)}`)
          assert.strictEqual((error as InvalidOptions.InvalidOptions).option, option)
          assert.include(error.message, `Pool: option \`${option}\``)
          assert.strictEqual(fake.attempts.length, 0)
        }
      })
  )

  it.effect("refuses min above max, also if the database has only one connection", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter({ maxConnections: 1 })
      const error = yield* Effect.flip(Effect.scoped(Pool.make(fake, { min: 5, max: 4 })))
      assert.strictEqual(error.message, "Pool: option `min` is 5 and so above `max`, which is 4")
    }))

  it.effect("names the options that there are when it does not know one", () =>
    Effect.gen(function*() {
      const error = yield* Effect.flip(Effect.scoped(Pool.make(new FakeAdapter(), { maxSize: 5 } as Pool.Options)))
      assert.include(error.message, "`maxSize` does not exist. There are: min, max, maxConnecting")
    }))

  it.effect("accepts the defaults, the presets, and what is infinite where that has a meaning", () =>
    Effect.gen(function*() {
      const all: ReadonlyArray<Pool.Options> = [
        {},
        { min: undefined, max: undefined, lifetime: undefined, startup: undefined },
        Pool.webApplication,
        Pool.backgroundWorker,
        Pool.dataPipeline,
        { ...Pool.webApplication, max: 40 },
        { min: 0, max: 1 },
        { min: 500, max: 500 },
        { scaling: false },
        { scaling: { utilization: 1, wait: Infinity, interval: "5 seconds", window: "5 seconds" } },
        { validateAfter: 0, idleTimeout: 0, shutdownTimeout: 0, maxWaiting: 0, backoffBase: 0 },
        {
          acquireTimeout: Duration.infinity,
          idleTimeout: Duration.infinity,
          lifetime: Duration.infinity,
          validateAfter: Duration.infinity,
          keepAlive: Duration.infinity,
          slowStatement: Duration.infinity,
          shutdownTimeout: Duration.infinity,
          maxWaiting: Infinity
        }
      ]
      for (const options of all) {
        yield* Effect.scoped(Effect.flatMap(Pool.make(new FakeAdapter(), options), (pool) => pool.use(select)))
      }
    }))
})
