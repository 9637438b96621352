import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Metric from "effect/Metric"
import * as Scope from "effect/Scope"
import * as TestClock from "effect/testing/TestClock"
import * as Pool from "../../../src/pool/Pool.ts"
import { FakeAdapter } from "../../../src/testing/FakeAdapter.ts"

class NamedAdapter extends FakeAdapter {
  override readonly spanAttributes: any = [
    ["custom", "of the user"],
    ["db.system.name", "postgresql"],
    ["db.namespace", "shop"],
    ["server.address", "db.internal"],
    ["server.port", 5432]
  ]
}

const name = "db.internal:5432/shop"
const own = { "db.client.connection.pool.name": name }

/** What a registry has, without what belongs to others. */
const read = Effect.map(Metric.snapshot, (all) => all.filter(({ id }) => /^(db|watertight)\./.test(id)))

const stateOf = (all: Effect.Success<typeof read>, id: string, attributes: Record<string, string> = own): any => {
  const found = all.filter((metric) =>
    metric.id === id && JSON.stringify(metric.attributes) === JSON.stringify(attributes)
  )
  assert.strictEqual(found.length, 1, `${id} ${JSON.stringify(attributes)}`)
  return found[0]!.state
}

const withRegistry = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.provideService(effect, Metric.MetricRegistry, new Map())

const setUp = (options: Pool.Options = {}, fake: FakeAdapter = new NamedAdapter()) =>
  Pool.make(fake, { startup: "lazy", shutdownTimeout: 0, ...options })

const sleep = (pool: Pool.Pool, millis: number) =>
  pool.share(undefined, (connection) => connection.execute(`sleep ${millis}`, [], undefined))

describe("Metrics", () => {
  it.effect("are all that OpenTelemetry asks for, with its names, units, instruments and attributes", () =>
    withRegistry(Effect.gen(function*() {
      yield* setUp()
      const all = yield* read
      const instrument = (metric: (typeof all)[number]) =>
        metric.type === "Counter" ? metric.state.incremental ? "Counter" : "UpDownCounter" : metric.type
      const standard = all
        .filter(({ id }) => id.startsWith("db."))
        .map((metric) => [
          metric.id,
          instrument(metric),
          metric.attributes!["unit"],
          Object.keys(metric.attributes!).join()
        ])
        .sort()
      const pool = "db.client.connection.pool.name"
      assert.deepStrictEqual(standard, [
        ["db.client.connection.count", "UpDownCounter", "{connection}", `${pool},db.client.connection.state`],
        ["db.client.connection.count", "UpDownCounter", "{connection}", `${pool},db.client.connection.state`],
        ["db.client.connection.create_time", "Histogram", "s", pool],
        ["db.client.connection.idle.max", "UpDownCounter", "{connection}", pool],
        ["db.client.connection.idle.min", "UpDownCounter", "{connection}", pool],
        ["db.client.connection.max", "UpDownCounter", "{connection}", pool],
        ["db.client.connection.pending_requests", "UpDownCounter", "{request}", pool],
        ["db.client.connection.timeouts", "Counter", "{timeout}", pool],
        ["db.client.connection.use_time", "Histogram", "s", pool],
        ["db.client.connection.wait_time", "Histogram", "s", pool],
        ["db.client.operation.duration", "Histogram", "s", "db.system.name,db.namespace,server.address,server.port"]
      ])
      const operation = all.find(({ id }) => id === "db.client.operation.duration")!
      assert.deepStrictEqual({ ...operation.attributes }, {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.internal",
        "server.port": "5432"
      })
      assert.deepStrictEqual(
        (operation.state as Metric.HistogramState).buckets.map(([bound]) => bound),
        [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10]
      )
    })))

  it.effect("of its own have one prefix", () =>
    withRegistry(Effect.gen(function*() {
      yield* setUp()
      const all = yield* read
      assert.deepStrictEqual(
        Array.from(new Set(all.map(({ id }) => id).filter((id) => !id.startsWith("db.")))).sort(),
        [
          "watertight.pool.closed",
          "watertight.pool.connect_failures",
          "watertight.pool.connecting",
          "watertight.pool.effective_max",
          "watertight.pool.failed",
          "watertight.pool.health",
          "watertight.pool.leaks",
          "watertight.pool.resets",
          "watertight.pool.validation_failures"
        ]
      )
    })))

  it.effect("say what the statistics say", () =>
    withRegistry(Effect.gen(function*() {
      const fake = new NamedAdapter({ canPipeline: false })
      fake.onConnect = () => Effect.sleep(20)
      const pool = yield* setUp({ min: 1, max: 2, acquireTimeout: "1 second", pipelineDepth: 1 }, fake)
      yield* TestClock.adjust(20)
      const fibers = yield* Effect.forEach([200, 200, 50, 5000], (millis) =>
        Effect.forkChild(sleep(pool, millis), { startImmediately: true }))
      assert.strictEqual(stateOf(yield* read, "db.client.connection.pending_requests").count, 3)
      yield* TestClock.adjust(100)
      let all = yield* read
      const stats = yield* pool.stats
      assert.strictEqual(
        stateOf(all, "db.client.connection.count", { ...own, "db.client.connection.state": "idle" }).count,
        stats.idle
      )
      assert.strictEqual(
        stateOf(all, "db.client.connection.count", { ...own, "db.client.connection.state": "used" }).count,
        2
      )
      assert.strictEqual(stateOf(all, "db.client.connection.max").count, 2)
      assert.strictEqual(stateOf(all, "db.client.connection.idle.max").count, 2)
      assert.strictEqual(stateOf(all, "db.client.connection.idle.min").count, 1)
      yield* TestClock.adjust(10_000)
      for (const fiber of fibers) {
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      }
      all = yield* read
      assert.strictEqual(stateOf(all, "db.client.connection.create_time").count, 2)
      assert.approximately(stateOf(all, "db.client.connection.create_time").sum, 0.04, 1e-9)
      const use = stateOf(all, "db.client.connection.use_time")
      assert.strictEqual(use.count, 4)
      assert.approximately(use.sum, 5.45, 1e-9)
      assert.deepStrictEqual(use.buckets, [
        [0.001, 0],
        [0.005, 0],
        [0.01, 0],
        [0.05, 1],
        [0.1, 1],
        [0.5, 3],
        [1, 3],
        [5, 4],
        [10, 4]
      ])
      const wait = stateOf(all, "db.client.connection.wait_time")
      assert.strictEqual(wait.count, 4)
      assert.strictEqual(wait.buckets[0][1], 1)
      assert.strictEqual(
        stateOf(all, "db.client.operation.duration", {
          "db.system.name": "postgresql",
          "db.namespace": "shop",
          "server.address": "db.internal",
          "server.port": "5432"
        }).count,
        4
      )
      assert.strictEqual(stateOf(all, "watertight.pool.health").value, 1)
    })))

  it.effect("say why connections were closed and callers got none", () =>
    withRegistry(Effect.gen(function*() {
      const fake = new NamedAdapter()
      const pool = yield* setUp({ max: 1, acquireTimeout: 100, idleTimeout: "1 minute" }, fake)
      const holder = yield* Effect.forkChild(pool.use(() => Effect.sleep(500)), { startImmediately: true })
      const late = yield* Effect.forkChild(Effect.exit(pool.use(() => Effect.void)), { startImmediately: true })
      yield* TestClock.adjust(500)
      yield* Fiber.join(holder)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(late)))
      yield* TestClock.adjust("61 seconds")
      const all = yield* read
      assert.strictEqual(stateOf(all, "db.client.connection.timeouts").count, 1)
      assert.strictEqual(
        stateOf(all, "watertight.pool.failed", { ...own, "watertight.pool.reason": "AcquireTimeout" }).count,
        1
      )
      assert.strictEqual(
        stateOf(all, "watertight.pool.failed", { ...own, "watertight.pool.reason": "QueueFull" }).count,
        0
      )
      assert.strictEqual(
        stateOf(all, "watertight.pool.closed", { ...own, "watertight.pool.reason": "IdleTimeout" }).count,
        1
      )
    })))

  it.effect("of two pools of one database do not hide each other, and go with their pool", () =>
    withRegistry(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const first = yield* setUp()
      const second = yield* Scope.provide(setUp(), scope)
      assert.strictEqual((yield* first.stats).pool, name)
      assert.strictEqual((yield* second.stats).pool, `${name}#2`)
      yield* sleep(first, 0)
      yield* sleep(second, 0)
      yield* sleep(second, 0)
      const all = yield* read
      assert.strictEqual(stateOf(all, "db.client.connection.use_time").count, 1)
      assert.strictEqual(
        stateOf(all, "db.client.connection.use_time", { "db.client.connection.pool.name": `${name}#2` }).count,
        2
      )
      // Operations know no pool.
      assert.strictEqual((all.find(({ id }) => id === "db.client.operation.duration")!.state as any).count, 3)
      yield* Scope.close(scope, Exit.void)
      const after = yield* read
      assert.isUndefined(after.find(({ attributes }) => attributes?.["db.client.connection.pool.name"] === `${name}#2`))
      assert.strictEqual((after.find(({ id }) => id === "db.client.operation.duration")!.state as any).count, 3)
    })))

  it.effect("all go when the last pool goes", () =>
    withRegistry(Effect.gen(function*() {
      const scope = yield* Scope.make()
      const pool = yield* Scope.provide(setUp(), scope)
      yield* Effect.exit(pool.use((connection) => connection.execute("fail", [], undefined)))
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(yield* read, [])
    })))

  it.effect("of operations say what failed, and what they do where that is known", () =>
    withRegistry(Effect.gen(function*() {
      const pool = yield* setUp()
      yield* pool.use((connection) =>
        Effect.gen(function*() {
          yield* connection.begin({ statement: undefined } as never)
          yield* connection.execute("insert", [], undefined)
          yield* connection.commit
          yield* Effect.exit(connection.execute("fail", [], undefined))
        })
      )
      yield* Effect.exit(pool.share(undefined, (connection) => connection.execute("fail", [], undefined)))
      const base = {
        "db.system.name": "postgresql",
        "db.namespace": "shop",
        "server.address": "db.internal",
        "server.port": "5432"
      }
      const all = yield* read
      const count = (attributes: Record<string, string>) =>
        stateOf(all, "db.client.operation.duration", { ...base, ...attributes }).count
      assert.strictEqual(count({}), 1)
      assert.strictEqual(count({ "db.operation.name": "BEGIN" }), 1)
      assert.strictEqual(count({ "db.operation.name": "COMMIT" }), 1)
      // The fake server's errors have no code.
      assert.strictEqual(count({ "error.type": "SqlSyntaxError" }), 2)
    })))

  it.effect("keep the attributes that the context adds", () =>
    withRegistry(Effect.gen(function*() {
      yield* Effect.provideService(setUp(), Metric.CurrentMetricAttributes, { service: "shop" })
      const all = yield* read
      const max = all.find(({ id }) => id === "db.client.connection.max")!
      assert.deepStrictEqual({ ...max.attributes }, { ...own, service: "shop" })
      assert.strictEqual(max.attributes!["unit"], "{connection}")
    })))
})
