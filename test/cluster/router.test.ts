/** The way of callers to the nodes of a cluster, step by step. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import * as Tracer from "effect/Tracer"
import { Adapter } from "../../src/Adapter.ts"
import * as Cluster from "../../src/cluster/Cluster.ts"
import type { ClusterAdapter, NodeOptions } from "../../src/cluster/ClusterAdapter.ts"
import { Database, Reads, Transaction } from "../../src/index.ts"
import * as Pool from "../../src/pool/Pool.ts"
import * as PoolError from "../../src/pool/PoolError.ts"
import { FakeCluster } from "./fake.ts"

/** Lets that much time pass, step by step, so that what waits for each other gets on. */
const pass = (millis: number) =>
  Effect.forEach(Array.from({ length: millis / 20 }), () => TestClock.adjust("20 millis"), { discard: true })

/** Makes a cluster while time passes. */
const make = (adapter: ClusterAdapter, pool: Pool.Options = {}) =>
  Effect.gen(function*() {
    const making = yield* Effect.forkChild(Cluster.make(adapter, { pool }), { startImmediately: true })
    yield* pass(2_500)
    return yield* Fiber.join(making)
  })

describe("callers of a cluster", () => {
  it.effect("have one time for all of their waiting: for a primary, and in the queue of its pool", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b")
      const { pool } = yield* make(fake.adapter(), { max: 1, acquireTimeout: "3 seconds" })
      fake.at("a").isUp = false
      yield* pass(2_000)
      const ask = <A>(body: Effect.Effect<A>) =>
        Effect.forkChild(pool.use((connection) => Effect.as(body, fake.of(connection).name)), {
          startImmediately: true
        })
      const first = yield* ask(Effect.sleep("1500 millis"))
      const second = yield* ask(Effect.void)
      yield* pass(2_000)
      fake.promote("b")
      yield* pass(900)
      assert.isUndefined(first.pollUnsafe())
      assert.isUndefined(second.pollUnsafe())
      // The first one has the only connection for longer than the second one has time.
      yield* pass(200)
      const error = yield* Effect.flip(Fiber.join(second))
      const reason = PoolError.fromSqlError(error as never)?.reason
      assert.strictEqual(reason?._tag, "AcquireTimeout")
      assert.isAtLeast((reason as PoolError.AcquireTimeout).waitedMillis, 3_000)
      assert.isBelow((reason as PoolError.AcquireTimeout).waitedMillis, 3_100)
      yield* pass(1_000)
      assert.strictEqual(yield* Fiber.join(first), "b")
    }).pipe(Effect.scoped))

  const leavings: ReadonlyArray<readonly [how: string, leave: (fake: FakeCluster) => void, serves: "a" | "b"]> = [
    ["is away, and is back", (fake) => void (fake.at("a").isUp = false), "a"],
    ["becomes a replica", (fake) => void (fake.at("a").role = "replica"), "b"],
    ["is left behind by another one", (fake) => fake.promote("b"), "b"]
  ]
  for (const [how, leave, serves] of leavings) {
    it.effect(`that wait in the pool of a primary that ${how} are sent to the next one, once`, () =>
      Effect.gen(function*() {
        const fake = new FakeCluster("a", "b")
        const { pool } = yield* make(fake.adapter(), { max: 1, acquireTimeout: "1 minute" })
        const where = pool.use((connection) => Effect.sync(() => fake.of(connection).name))
        const holder = yield* Effect.forkChild(Effect.exit(pool.use(() => Effect.sleep("4 seconds"))), {
          startImmediately: true
        })
        const waiting = yield* Effect.forEach(
          [1, 2, 3],
          () => Effect.forkChild(where, { startImmediately: true })
        )
        yield* pass(200)
        leave(fake)
        // A server that is away says so at once.
        fake.at("a").adapter.connections.forEach((connection) => fake.at("a").isUp || connection.lose())
        yield* pass(3_000)
        fake.at(serves).isUp = true
        fake.at(serves).role = "primary"
        fake.at(serves).generation = Math.max(fake.at("a").generation, fake.at("b").generation)
        yield* pass(8_000)
        assert.deepStrictEqual(yield* Effect.forEach(waiting, Fiber.join), [serves, serves, serves])
        yield* Fiber.join(holder)
      }).pipe(Effect.scoped))
  }

  it.effect("that wait in the pool of a replica go on elsewhere when it is away", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b", "c")
      fake.at("c").isUp = false
      const { pool } = yield* make(fake.adapter(), { max: 1, acquireTimeout: "1 minute" })
      const where = pool.use((connection) => Effect.sync(() => fake.of(connection).name)).pipe(Reads.replica)
      const holder = yield* Effect.forkChild(
        Effect.exit(pool.use(() => Effect.sleep("30 seconds")).pipe(Reads.replica)),
        {
          startImmediately: true
        }
      )
      const waiting = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(where, { startImmediately: true }))
      yield* pass(200)
      fake.at("b").isUp = false
      fake.at("c").isUp = true
      fake.at("b").adapter.connections.forEach((connection) => connection.lose())
      yield* pass(8_000)
      const places = yield* Effect.forEach(waiting, (fiber) => Effect.exit(Fiber.join(fiber)))
      for (const exit of places) assert.isTrue(exit._tag === "Success" && exit.value === "c" || exit._tag === "Failure")
      yield* Fiber.interrupt(holder)
    }).pipe(Effect.scoped))

  it.effect("go on at the new primary in their order, all of them", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b")
      const { pool } = yield* make(fake.adapter(), { max: 2, acquireTimeout: "10 seconds" })
      fake.at("a").isUp = false
      yield* pass(1_500)
      const order: Array<number> = []
      const waiting = yield* Effect.forEach(Array.from({ length: 20 }, (_, n) => n), (n) =>
        Effect.forkChild(
          pool.use((connection) =>
            Effect.andThen(
              Effect.sync(() => void order.push(n)),
              Effect.as(Effect.sleep("10 millis"), fake.of(connection).name)
            )
          ),
          { startImmediately: true }
        ))
      yield* pass(3_000)
      assert.deepStrictEqual(order, [])
      fake.promote("b")
      yield* pass(600)
      assert.deepStrictEqual(yield* Effect.forEach(waiting, Fiber.join), waiting.map(() => "b"))
      assert.deepStrictEqual(order, waiting.map((_, n) => n))
    }).pipe(Effect.scoped))

  it.effect("follow nodes that come and go", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b", "c")
      const lists = yield* Queue.unbounded<ReadonlyArray<NodeOptions>>()
      yield* Queue.offer(lists, [{ host: "a" }])
      const { cluster, pool } = yield* make(fake.adapter({ candidates: Stream.fromQueue(lists) }))
      const where = pool.use((connection) => Effect.sync(() => fake.of(connection).name))
      const names = Effect.map(cluster.topology, ({ nodes }) => nodes.map(({ name }) => name))
      const offer = (...hosts: ReadonlyArray<string>) =>
        Effect.andThen(Queue.offer(lists, hosts.map((host) => ({ host }))), pass(3_000))
      assert.strictEqual(yield* where, "a")
      assert.include(yield* Effect.map(Effect.flip(where.pipe(Reads.replica)), String), "had no replica")

      yield* offer("a", "b")
      assert.strictEqual(yield* where.pipe(Reads.replica), "b")
      assert.strictEqual(yield* where, "a")

      // A list that is empty is no reason to leave all of them.
      yield* offer()
      assert.deepStrictEqual(yield* names, ["a", "b"])

      // Another one takes the place of the primary, which is taken from the list later.
      fake.promote("b")
      yield* offer("a", "b", "c")
      assert.strictEqual(yield* where, "b")
      assert.strictEqual(yield* where.pipe(Reads.replica), "c")
      yield* offer("b", "c")
      assert.deepStrictEqual(yield* names, ["b", "c"])
      assert.strictEqual(fake.at("a").adapter.open.length, 0)
      assert.strictEqual(yield* where, "b")
    }).pipe(Effect.scoped))

  it.effect("leave no connection behind, also one that was opened too late", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b")
      fake.at("b").adapter.onConnect = () => Effect.sleep("600 millis")
      yield* Effect.scoped(Effect.gen(function*() {
        const { pool } = yield* make(fake.adapter())
        yield* pool.use(() => Effect.void)
        // The one on which it is asked what it is. That is heard at once.
        fake.at("b").adapter.connections.at(-1)!.lose()
        yield* pass(120)
        assert.strictEqual(fake.at("b").adapter.connecting, 1)
      }))
      yield* pass(3_000)
      for (const { adapter } of fake.servers.values()) assert.strictEqual(adapter.open.length, 0)
    }))

  it.effect("read in the zone of the program, or in the one that they ask for, while there is one", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b", "c")
      const candidates = [{ host: "a" }, { host: "b", zone: "x" }, { host: "c", zone: "y" }]
      const { pool } = yield* make(fake.adapter({ candidates, zone: "x" }))
      const where = pool.use((connection) => Effect.sync(() => fake.of(connection).name))
      const seen = (policy: Reads.Policy) =>
        Effect.map(Effect.all(Array.from({ length: 20 }, () => where.pipe(policy))), (all) => [...new Set(all)])
      assert.deepStrictEqual(yield* seen(Reads.prefer), ["b"])
      assert.deepStrictEqual(yield* seen(Reads.within("5 seconds", { zone: "y" })), ["c"])
      fake.at("b").isUp = false
      yield* pass(2_000)
      assert.deepStrictEqual(yield* seen(Reads.prefer), ["c"])
    }).pipe(Effect.scoped))

  it.effect("are spread over all standbys where a client only reads", () =>
    Effect.gen(function*() {
      for (const target of ["standby", "read-only", "prefer-standby", "any"] as const) {
        const fake = new FakeCluster("a", "b", "c", "d")
        const { pool } = yield* make(fake.adapter({ target }))
        const where = pool.use((connection) => Effect.sync(() => fake.of(connection).name))
        const all = yield* Effect.all(Array.from({ length: 60 }, () => where))
        assert.deepStrictEqual([...new Set(all)].toSorted(), ["b", "c", "d"], target)
      }
    }).pipe(Effect.scoped))

  it.effect("tell their spans on which server they ran, and what that is", () =>
    Effect.gen(function*() {
      const fake = new FakeCluster("a", "b")
      const { adapter, pool } = yield* make(fake.adapter())
      const spans: Array<Tracer.NativeSpan> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      const database = Database.layer({ breaker: false }).pipe(
        Layer.provide([Layer.succeed(Pool.Pool, pool), Layer.succeed(Adapter, adapter)])
      )
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`select 1`
        yield* sql`select 2`.pipe(Reads.replica)
        yield* Transaction.run(Effect.andThen(sql`update 3`, sql`delete 4`))
        yield* Transaction.run(Stream.runDrain(sql`select 5`.stream), { access: "read only", reads: Reads.prefer })
      }).pipe(Effect.provide(database), Effect.withSpan("handler"), Effect.provideService(Tracer.Tracer, tracer))
      const told = spans.map(({ attributes, name }) => [
        name,
        attributes.get("server.address"),
        attributes.get("watertight.node.role")
      ])
      assert.deepStrictEqual(told.filter(([name]) => !/^(db|sql)\./.test(String(name))), [
        ["handler", undefined, undefined],
        ["select", "a", "primary"],
        ["select", "b", "replica"],
        ["update", "a", "primary"],
        ["delete", "a", "primary"],
        ["select", "b", "replica"]
      ])
    }).pipe(Effect.scoped))
})
