import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import { Adapter } from "../../../src/Adapter.ts"
import * as Database from "../../../src/Database.ts"
import * as Health from "../../../src/pool/Health.ts"
import * as Pool from "../../../src/pool/Pool.ts"
import * as PoolError from "../../../src/pool/PoolError.ts"
import * as Pools from "../../../src/pool/Pools.ts"
import { FakeAdapter, refused, wrongPassword } from "../../../src/testing/FakeAdapter.ts"
import * as Transaction from "../../../src/transaction/Transaction.ts"

const fork = Effect.forkChild({ startImmediately: true })

/** Fake databases, as many as are asked for. `all` has those of each key in the order in which they were made. */
class Fakes {
  readonly all = new Map<string, Array<FakeAdapter>>()
  prepare: (fake: FakeAdapter, key: string) => void = () => {}
  options: (key: string) => Pool.Options = () => ({})

  readonly lookup = (key: string) =>
    Layer.unwrap(Effect.sync(() => {
      const fake = new FakeAdapter()
      this.prepare(fake, key)
      this.all.set(key, [...this.all.get(key) ?? [], fake])
      return Database.layerOf(Layer.succeed(Adapter, fake), {
        pool: { startup: "lazy", shutdownTimeout: 0, ...this.options(key) }
      })
    }))

  last(key: string): FakeAdapter {
    return this.all.get(key)!.at(-1)!
  }

  /** All connections of all of them that are open or being opened. */
  get count(): number {
    let count = 0
    for (const fakes of this.all.values()) for (const fake of fakes) count += fake.open.length + fake.connecting
    return count
  }
}

const setUp = Effect.fnUntraced(function*(
  options: Omit<Pools.Options<string, never, never, never>, "lookup"> = {},
  fakes: Fakes = new Fakes()
) {
  const pools = yield* Pools.make({ lookup: fakes.lookup, ...options })
  return { fakes, pools }
})

type Some = Effect.Success<ReturnType<typeof setUp>>["pools"]

const query = Effect.flatMap(SqlClient, (sql) => sql`select 1`)
const sleep = (millis: number) => Effect.flatMap(SqlClient, (sql) => sql.unsafe(`sleep ${millis}`))

/** So many have a connection of this key until they are told to give it back. */
const hold = Effect.fnUntraced(function*(pools: Some, key: string, count = 1) {
  const done = yield* Deferred.make<void>()
  const lent = yield* Effect.forEach(Array.from({ length: count }), () => Deferred.make<void>())
  const fibers = yield* Effect.forEach(
    lent,
    (lent) =>
      fork(
        pools.use(key)(Effect.flatMap(Pool.Pool, (pool) =>
          pool.use(() =>
            Effect.andThen(Deferred.succeed(lent, undefined), Deferred.await(done))
          )))
      )
  )
  return {
    lent: Effect.forEach(lent, Deferred.await, { discard: true }),
    fibers,
    release: Effect.andThen(Deferred.succeed(done, undefined), Fiber.awaitAll(fibers))
  }
})

const poolErrorOf = <A>(exit: Exit.Exit<A, unknown>) => {
  if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
  const error = Cause.findErrorOption(exit.cause)
  if (error._tag === "None") return assert.fail(Cause.pretty(exit.cause))
  return PoolError.fromSqlError(error.value as SqlError)?.reason._tag
}

describe("Pools: keyed databases", () => {
  it.effect("connects a database when it is first asked for, and shares it", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp()
      assert.deepStrictEqual(yield* pools.keys, [])
      yield* pools.use("a")(query)
      yield* pools.use("a")(query)
      yield* pools.use("b")(query)
      assert.strictEqual(fakes.all.get("a")!.length, 1)
      assert.strictEqual(fakes.last("a").connections.length, 1)
      assert.strictEqual(fakes.last("b").connections.length, 1)
      assert.sameMembers(Array.from(yield* pools.keys), ["a", "b"])
    }))

  it.effect("provides a database as a layer", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp()
      const rows = yield* Effect.provide(query, pools.get("a"))
      assert.deepStrictEqual(rows, [{ connection: "1" }])
      assert.strictEqual(fakes.last("a").connections.length, 1)
    }))

  it.effect("is a service with a layer of its own", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      class Tenants extends Pools.Service<Tenants>()("test/Tenants", { lookup: fakes.lookup, budget: 3 }) {}
      const program = Effect.gen(function*() {
        yield* query.pipe(Tenants.provide("a"))
        yield* query.pipe(Effect.provide(Tenants.get("a")))
        const tenants = yield* Tenants
        return yield* tenants.stats
      })
      const stats = yield* Effect.provide(program, Tenants.layer)
      assert.strictEqual(stats.checkouts, 2)
      assert.strictEqual(stats.budget.total, 3)
      assert.strictEqual(fakes.count, 0)
    }))

  it.effect("closes a database that nobody has asked for during the idle time, and not before", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ idleTimeToLive: "1 minute" })
      yield* pools.use("a")(query)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(fakes.count, 1)
      yield* pools.use("a")(query)
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(fakes.count, 1)
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(fakes.count, 0)
      yield* pools.use("a")(query)
      assert.strictEqual(fakes.all.get("a")!.length, 2)
    }))

  it.effect("tries again after a database could not be connected, instead of remembering the failure", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      fakes.options = () => ({ startup: "verify" })
      let wrong = true
      fakes.prepare = (fake) => {
        fake.onConnect = () => wrong ? Effect.fail(wrongPassword) : Effect.void
      }
      const { pools } = yield* setUp({}, fakes)
      const first = yield* Effect.exit(pools.use("a")(query))
      assert.isTrue(Exit.isFailure(first))
      wrong = false
      yield* Effect.yieldNow
      yield* TestClock.adjust("1 millis")
      yield* pools.use("a")(query)
    }))

  it.effect("builds a database with what the pools were made with, not with what its first user happens to have", () =>
    Effect.gen(function*() {
      let seen: unknown = undefined
      const pools = yield* Pools.make({
        lookup: () =>
          Layer.effect(
            Pool.Pool,
            Effect.flatMap(Effect.currentParentSpan.pipe(Effect.option), (span) => {
              seen = span._tag
              return Pool.make(new FakeAdapter(), { startup: "lazy", shutdownTimeout: 0 })
            })
          )
      })
      yield* Effect.withSpan(pools.use("a")(Effect.void), "request")
      assert.strictEqual(seen, "None")
    }))

  it.effect("refuses a budget that cannot work", () =>
    Effect.gen(function*() {
      for (const budget of [0, -1, 1.5, Number.NaN]) {
        const error = yield* Effect.flip(setUp({ budget }))
        assert.strictEqual(error._tag, "InvalidOptions")
        assert.strictEqual((error as { readonly option: string }).option, "budget")
      }
    }))
})

describe("Pools: refreshing", () => {
  it.effect("gives a new database to whoever asks after a refresh, and lets the others finish on the old one", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp()
      const old = yield* hold(pools, "a")
      yield* old.lent
      yield* pools.refresh("a")
      yield* pools.use("a")(query)
      assert.strictEqual(fakes.all.get("a")!.length, 2)
      const [before, after] = fakes.all.get("a")!
      assert.strictEqual(before!.open.length, 1)
      assert.strictEqual(after!.open.length, 1)
      yield* old.release
      yield* TestClock.adjust("1 millis")
      assert.strictEqual(before!.open.length, 0)
      assert.strictEqual(after!.open.length, 1)
    }))

  it.effect("a layer that somebody still has is not handed out again after a refresh", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp()
      const layer = pools.get("a")
      const done = yield* Deferred.make<void>()
      const inFlight = yield* fork(
        Effect.provide(Effect.andThen(query, Effect.andThen(Deferred.await(done), query)), layer)
      )
      yield* TestClock.adjust("1 millis")
      yield* pools.refresh("a")
      yield* Effect.provide(query, layer)
      assert.strictEqual(fakes.all.get("a")!.length, 2)
      assert.strictEqual(fakes.all.get("a")![1]!.connections[0]!.ran.length, 1)
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(inFlight)
      assert.strictEqual(fakes.all.get("a")![0]!.connections[0]!.ran.length, 2)
    }))

  it.effect("a lookup that returns the same layer each time gets a new database nevertheless", () =>
    Effect.gen(function*() {
      let made = 0
      const shared = Database.layerOf(
        Layer.effect(
          Adapter,
          Effect.sync(() => {
            made++
            return new FakeAdapter()
          })
        ),
        { pool: { startup: "lazy", shutdownTimeout: 0 } }
      )
      const pools = yield* Pools.make({ lookup: () => shared })
      const done = yield* Deferred.make<void>()
      const old = yield* fork(pools.use("a")(Effect.andThen(query, Deferred.await(done))))
      yield* TestClock.adjust("1 millis")
      yield* pools.refreshAll
      yield* pools.use("a")(query)
      assert.strictEqual(made, 2)
      yield* Deferred.succeed(done, undefined)
      yield* Fiber.join(old)
    }))
})

describe("Pools: the budget", () => {
  it.effect("never lets all pools together have more connections than the budget", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      let peak = 0
      fakes.prepare = (fake) => {
        fake.onConnect = () => {
          peak = Math.max(peak, fakes.count)
          return Effect.sleep("5 millis")
        }
        fake.onClose = () => Effect.sleep("3 millis")
      }
      const { pools } = yield* setUp({ budget: 5 }, fakes)
      const random = yield* Random.Random
      const fibers = yield* Effect.forEach(Array.from({ length: 300 }), () =>
        fork(Effect.andThen(
          Effect.sleep(random.nextIntUnsafe() % 200 + 200),
          pools.use(`tenant ${Math.abs(random.nextIntUnsafe()) % 10}`)(sleep(10))
        )))
      yield* TestClock.adjust("60 seconds")
      for (const fiber of fibers) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual(peak, 5)
      const stats = yield* pools.stats
      assert.isAtMost(stats.budget.used, 5)
      assert.strictEqual(stats.total, stats.budget.used)
      assert.strictEqual(stats.budget.waiting, 0)
      assert.strictEqual(stats.checkouts, 300)
      assert.strictEqual(stats.checkins, 300)
    }))

  it.effect("closes a connection that is idle elsewhere when a pool needs one", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 3 })
      for (const key of ["a", "b", "c"]) yield* pools.use(key)(query)
      assert.strictEqual(fakes.count, 3)
      yield* pools.use("d")(query)
      assert.strictEqual(fakes.count, 3)
      const stats = yield* pools.stats
      assert.strictEqual(stats.closed.Budget, 1)
    }))

  it.effect("waits for a connection that comes back elsewhere when all are lent", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 2 })
      const a = yield* hold(pools, "a", 2)
      yield* a.lent
      const b = yield* fork(pools.use("b")(query))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(b.pollUnsafe())
      yield* a.release
      yield* TestClock.adjust("1 millis")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(b)))
      assert.isAtMost(fakes.count, 2)
    }))

  it.effect("a pool that is always busy gives up what it has more than its share when another one starves", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 4 })
      // More than it can do at any time.
      const busy = yield* Effect.forEach(
        Array.from({ length: 12 }),
        () =>
          fork(Effect.forever(
            pools.use("busy")(
              Effect.flatMap(
                Pool.Pool,
                (pool) => pool.use((connection) => connection.execute("sleep 20", [], undefined))
              )
            )
          ))
      )
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(fakes.last("busy").open.length, 4)
      const others = yield* Effect.forEach(
        Array.from({ length: 4 }),
        () =>
          fork(
            pools.use("small")(
              Effect.flatMap(
                Pool.Pool,
                (pool) => pool.use((connection) => connection.execute("sleep 20", [], undefined))
              )
            )
          )
      )
      yield* TestClock.adjust("100 millis")
      for (const fiber of others) assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.isAtLeast(fakes.last("busy").open.length, 2)
      assert.isAtMost(fakes.count, 4)
      // And it gets them back when the other one has no use for them.
      yield* TestClock.adjust("200 millis")
      assert.strictEqual(fakes.last("busy").open.length, 4)
      yield* Fiber.interruptAll(busy)
    }))

  it.effect("a pool opens connections ahead of demand only where nobody else has asked for the room", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 3 })
      // For a load of nearly two, a pool by itself would have five connections.
      const busy = Effect.repeat(pools.use("a")(sleep(90)), Schedule.spaced("10 millis"))
      yield* fork(busy)
      yield* TestClock.adjust("50 millis")
      yield* fork(busy)
      const b = yield* hold(pools, "b", 1)
      yield* b.lent
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(fakes.last("a").open.length, 2)
      yield* b.release
      yield* TestClock.adjust("1 minute")
      // What is idle elsewhere is taken only for callers who wait.
      assert.strictEqual(fakes.last("a").open.length, 2)
      assert.strictEqual(fakes.count, 3)
      assert.strictEqual((yield* pools.stats).budget.waiting, 0)
    }))

  it.effect("opens nothing for callers who have gone while it waited for room", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 1 })
      const a = yield* hold(pools, "a")
      yield* a.lent
      const b = yield* fork(pools.use("b")(query))
      yield* TestClock.adjust("1 second")
      yield* Fiber.interrupt(b)
      yield* a.release
      yield* TestClock.adjust("1 second")
      assert.strictEqual(fakes.last("b").attempts.length, 0)
      assert.strictEqual((yield* pools.stats).budget.waiting, 0)
    }))

  it.effect("gives back the room of an attempt that failed and of a connection that was lost", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      fakes.prepare = (fake, key) => {
        if (key === "down") fake.onConnect = () => Effect.fail(refused)
      }
      const { pools } = yield* setUp({ budget: 1 }, fakes)
      const down = yield* fork(pools.use("down")(query))
      yield* TestClock.adjust("1 second")
      yield* pools.use("up")(query)
      fakes.last("up").connections[0]!.lose()
      yield* Fiber.interrupt(down)
      yield* pools.use("other")(query)
      assert.strictEqual((yield* pools.stats).budget.used, 1)
    }))

  /** Has a connection of one database while it asks another one. */
  const within = (pools: Some, outer: string, inner: string) =>
    pools.use(outer)(
      Effect.flatMap(Pool.Pool, (pool) => pool.use(() => Effect.andThen(Effect.yieldNow, pools.use(inner)(query))))
    )

  it.effect("fails whoever waits for room while it has all of it itself, with NestedAcquire", () =>
    Effect.gen(function*() {
      const { fakes, pools } = yield* setUp({ budget: 1 })
      assert.strictEqual(poolErrorOf(yield* Effect.exit(within(pools, "a", "b"))), "NestedAcquire")
      const inTransaction = pools.use("a")(Transaction.run(pools.use("b")(query)))
      assert.strictEqual(poolErrorOf(yield* Effect.exit(inTransaction)), "NestedAcquire")
      // What it had is back, and there is room for it.
      yield* pools.use("b")(query)
      assert.isAtMost(fakes.count, 1)
      assert.strictEqual((yield* pools.stats).budget.waiting, 0)
    }))

  it.effect("fails one of two who wait for what the other one has, and the other one gets it", () =>
    Effect.gen(function*() {
      const { pools } = yield* setUp({ budget: 2 })
      const both = yield* Effect.forEach(
        [["a", "b"], ["b", "a"]] as const,
        ([outer, inner]) => fork(within(pools, outer, inner))
      )
      yield* TestClock.adjust("1 second")
      const exits = yield* Fiber.awaitAll(both)
      assert.deepStrictEqual(exits.filter(Exit.isFailure).map(poolErrorOf), ["NestedAcquire"])
      assert.lengthOf(exits.filter(Exit.isSuccess), 1)
    }))

  it.effect("lets whoever has a connection wait for room as long as somebody else will give one back", () =>
    Effect.gen(function*() {
      const { pools } = yield* setUp({ budget: 2 })
      const other = yield* hold(pools, "c", 1)
      yield* other.lent
      const nested = yield* fork(within(pools, "a", "b"))
      yield* TestClock.adjust("1 second")
      assert.isUndefined(nested.pollUnsafe())
      yield* other.release
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(nested)
    }))

  it.effect("fails a caller for whom there is no room in time as any pool would", () =>
    Effect.gen(function*() {
      const { pools } = yield* setUp({ budget: 1 })
      const a = yield* hold(pools, "a")
      yield* a.lent
      const b = yield* fork(pools.use("b")(query))
      yield* TestClock.adjust("11 seconds")
      assert.strictEqual(poolErrorOf(yield* Fiber.await(b)), "AcquireTimeout")
      yield* a.release
    }))
})

describe("Pools: together", () => {
  it.effect("adds up the statistics of all pools", () =>
    Effect.gen(function*() {
      const { pools } = yield* setUp()
      yield* pools.use("a")(sleep(10)).pipe(fork, Effect.andThen(TestClock.adjust("10 millis")))
      yield* pools.use("b")(sleep(30)).pipe(fork, Effect.andThen(TestClock.adjust("30 millis")))
      yield* pools.use("b")(sleep(30)).pipe(fork, Effect.andThen(TestClock.adjust("30 millis")))
      const stats = yield* pools.stats
      assert.deepStrictEqual(stats.pools.map(({ key, stats }) => [key, stats.checkouts]), [["a", 1], ["b", 2]])
      assert.strictEqual(stats.checkouts, 3)
      assert.strictEqual(stats.total, 2)
      assert.strictEqual(stats.idle, 2)
      assert.strictEqual(stats.use.life.count, 3)
      assert.strictEqual(stats.use.life.sum, 70)
      assert.strictEqual(stats.use.recent.max, 30)
      assert.strictEqual(stats.budget.total, Infinity)
    }))

  it.effect("is as healthy as the worst of them, and says which one that is", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      fakes.prepare = (fake, key) => {
        if (key === "down") fake.onConnect = () => Effect.fail(refused)
      }
      const { pools } = yield* setUp({}, fakes)
      yield* pools.use("up")(query)
      assert.isTrue(Health.isHealthy(yield* pools.health))
      const down = yield* fork(pools.use("down")(query))
      yield* TestClock.adjust("2 seconds")
      const health = yield* pools.health
      assert.isTrue(Health.isCritical(health))
      assert.strictEqual(health.reasons[0]!._tag, "Unreachable")
      assert.match(health.reasons[0]!.pool, /^fake:\/\/db/)
      yield* Fiber.interrupt(down)
    }))

  it.effect("shuts all pools down at the same time, within one deadline, and tells who was cut off", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      fakes.options = () => ({ shutdownTimeout: "1 hour" })
      const { pools } = yield* setUp({ shutdownTimeout: "5 seconds" }, fakes)
      for (const key of ["a", "b", "c"]) yield* (yield* hold(pools, key)).lent
      const shutdown = yield* fork(pools.shutdown)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const reports = yield* Fiber.join(shutdown)
      assert.strictEqual(reports.length, 3)
      for (const report of reports) assert.strictEqual(report.cut.length, 1)
      assert.strictEqual(fakes.count, 0)
      assert.strictEqual(poolErrorOf(yield* Effect.exit(pools.use("a")(query))), "PoolClosed")
      assert.strictEqual(poolErrorOf(yield* Effect.exit(pools.use("new")(query))), "PoolClosed")
    }))

  it.effect("hands out no database that was still being connected when they were shut down", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      const begun = yield* Deferred.make<void>()
      const ready = yield* Deferred.make<void>()
      const pools = yield* Pools.make({
        lookup: (key: string) =>
          Layer.unwrap(
            Effect.as(Effect.andThen(Deferred.succeed(begun, undefined), Deferred.await(ready)), fakes.lookup(key))
          )
      })
      const early = yield* fork(pools.use("a")(query))
      yield* Deferred.await(begun)
      const shutdown = yield* fork(pools.shutdown)
      yield* Deferred.succeed(ready, undefined)
      assert.strictEqual(poolErrorOf(yield* Fiber.await(early)), "PoolClosed")
      yield* Fiber.join(shutdown)
      assert.strictEqual(fakes.count, 0)
      assert.strictEqual((yield* pools.stats).total, 0)
    }))

  it.effect("leaves nothing behind when its scope closes", () =>
    Effect.gen(function*() {
      const fakes = new Fakes()
      const scope = yield* Scope.make()
      const { pools } = yield* Scope.provide(setUp({ budget: 4 }, fakes), scope)
      for (const key of ["a", "b", "c"]) yield* pools.use(key)(query)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(fakes.count, 0)
      const { budget } = yield* pools.stats
      assert.deepStrictEqual(budget, { total: 4, used: 0, waiting: 0 })
    }))
})
