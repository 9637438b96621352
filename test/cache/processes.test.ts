/** Caches of several processes: what one commits, the others serve within their bound. */
import { assert, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Retry, Transaction } from "watertight"
import { Cached } from "watertight/cache"
import { Mariadb } from "watertight/mariadb"
import { Notifications } from "watertight/postgres"
import * as RedisServer from "../breaker/redis.ts"
import { describeWith, FaultProxy, freshDatabase } from "../support/index.ts"
import { layerAt } from "../transaction/support.ts"

const postgresAt = (url: string) => layerAt(url)
const mariadbAt = (url: string) => Layer.provideMerge(Mariadb.layer({ url: Redacted.make(url) }), Logger.layer([]))

const setUp = Effect.flatMap(
  SqlClient,
  (sql) => Effect.andThen(sql`create table item (id int primary key, version int)`, sql`insert into item values (1, 1)`)
)
const row = Effect.map(
  Effect.flatMap(SqlClient, (sql) => sql<{ version: number }>`select version from item`),
  (rows) => rows[0]!.version
)
const version = Cached.read(row, {
  tags: ["item"],
  key: "version",
  ttl: "1 hour",
  schema: Schema.Number
})
const bump = Effect.flatMap(SqlClient, (sql) => sql`update item set version = version + 1`)
const write = Transaction.run(Cached.invalidates(bump, ["item"]), {})
const stats = Effect.flatMap(Cached.Cached, (cached) => cached.stats)

/** Waits until the read returns `expected`; fails after a while. */
const reads = (expected: number) =>
  Effect.repeat(Effect.andThen(Effect.sleep("10 millis"), version), { until: (seen) => seen === expected }).pipe(
    Effect.timeout("10 seconds")
  )

for (
  const [database, kind, at] of [
    ["PostgreSQL", "postgresql", postgresAt],
    ["MariaDB", "mariadb", mariadbAt]
  ] as const
) {
  describeWith(`url-${kind}`)(`announcements on ${database}`, () => {
    const process = (url: string, options: Parameters<typeof Cached.layer>[0] = {}) =>
      Cached.layer({ announce: "table", interval: "50 millis", bound: "1 second", ...options }).pipe(
        Layer.provideMerge(at(url))
      )

    it.live("a COMMIT of one process → the other one serves the new row", () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase(kind)
        const one = yield* Layer.build(process(url))
        const two = yield* Layer.build(process(url))
        yield* Effect.provide(setUp, one)
        assert.strictEqual(yield* Effect.provide(version, two), 1)
        for (let expected = 2; expected <= 5; expected++) {
          yield* Effect.provide(write, one)
          assert.strictEqual(yield* Effect.provide(version, one), expected)
          yield* Effect.provide(reads(expected), two)
        }
        const { invalidations, requests } = yield* Effect.provide(stats, two)
        assert.isAbove(requests.hit, 0)
        assert.isAbove(invalidations.remote, 3)
      }))

    it.live("transactions that commit in another order than they wrote → none is missed", () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase(kind)
        const one = yield* Layer.build(process(url))
        const two = yield* Layer.build(process(url))
        yield* Effect.provide(
          Effect.flatMap(SqlClient, (sql) => sql`create table other (id int primary key)`),
          one
        )
        // The later a transaction begins, the sooner it commits.
        // Fewer than the pool has connections: all are open at once.
        const count = 8
        const gates = yield* Effect.forEach(Array.from({ length: count }), () => Latch.make())
        const transactions = yield* Effect.forEach(gates, (gate, i) =>
          Effect.gen(function*() {
            const wrote = yield* Latch.make()
            const body = Effect.gen(function*() {
              const sql = yield* SqlClient
              yield* Cached.invalidates(sql`insert into other values (${i})`, { item: [i] })
              yield* wrote.open
              yield* gate.await
            })
            const fiber = yield* Effect.forkChild(Effect.provide(Transaction.run(body, {}), one))
            yield* Effect.race(wrote.await, Fiber.await(fiber))
            return fiber
          }))
        yield* Effect.forEach([...gates].reverse(), (gate) => gate.open)
        yield* Effect.forEach(transactions, Fiber.join)
        const remote = Effect.provide(Effect.map(stats, ({ invalidations }) => invalidations.remote), two)
        yield* Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), remote), {
          until: (seen) => seen >= count
        }).pipe(Effect.timeout("10 seconds"))
        assert.strictEqual(yield* remote, count)
      }))

    it.live(
      "process is cut off → it goes past its cache within its bound, and is right again afterwards",
      () =>
        Effect.gen(function*() {
          const url = yield* freshDatabase(kind)
          const proxy = yield* FaultProxy.make(url)
          const one = yield* Layer.build(process(url))
          yield* Effect.provide(setUp, one)
          const two = yield* Layer.build(process(proxy.url, { bound: "500 millis" }))
          assert.strictEqual(yield* Effect.provide(version, two), 1)
          yield* proxy.blackhole
          yield* Effect.provide(write, one)
          // Served from memory until the bound, then not at all: the database cannot be reached.
          const served = Effect.provide(version, two).pipe(
            Effect.timeoutOption("50 millis"),
            Effect.repeat({ until: (answer) => answer._tag === "None" })
          )
          const [took] = yield* Effect.timed(served)
          assert.isBelow(Duration.toMillis(took), 10_000)
          yield* proxy.heal
          assert.strictEqual(yield* Effect.provide(version, two), 2)
          yield* Effect.provide(reads(2), two)
        }),
      60_000
    )
  })
}

it.live("wake-ups on PostgreSQL → heard long before the interval", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    const process = Effect.gen(function*() {
      const database = yield* Layer.build(layerAt(url))
      return yield* Layer.build(
        Layer.unwrap(
          Effect.map(Effect.context<Notifications.Notifications>(), (context) =>
            Cached.layer({
              announce: "table",
              interval: "1 hour",
              bound: "2 hours",
              wakeUps: Stream.provideContext(Notifications.stream("watertight_invalidation"), context)
            }))
        ).pipe(Layer.provideMerge(Layer.succeedContext(database)))
      )
    })
    const one = yield* process
    const two = yield* process
    yield* Effect.provide(setUp, one)
    assert.strictEqual(yield* Effect.provide(version, two), 1)
    // A notification that is sent before the other process listens wakes nothing, so the write is repeated.
    yield* Effect.provide(write, one).pipe(
      Effect.andThen(Effect.sleep("50 millis")),
      Effect.andThen(Effect.provide(version, two)),
      Effect.repeat({ until: (seen) => seen > 1 }),
      Effect.timeout("10 seconds")
    )
  }))

describeWith("redis")("a store in Redis", () => {
  const process = (url: string, port: number) =>
    Cached.layerRedis({ storeTimeout: "500 millis", doubt: "2 seconds" }).pipe(
      Layer.provide(RedisServer.layer(port)),
      Layer.provideMerge(layerAt(url))
    )

  it.live("one process reads → the other one has it; one commits → both read anew", () =>
    Effect.gen(function*() {
      const redis = yield* RedisServer.make
      const url = yield* freshDatabase()
      const one = yield* Layer.build(process(url, redis.port))
      const two = yield* Layer.build(process(url, redis.port))
      yield* Effect.provide(setUp, one)
      assert.strictEqual(yield* Effect.provide(version, one), 1)
      yield* Effect.provide(bump, one)
      // Nothing was invalidated: the store answers.
      assert.strictEqual(yield* Effect.provide(version, two), 1)
      yield* Effect.provide(write, one)
      yield* Effect.provide(reads(3), two)
      assert.strictEqual(yield* Effect.provide(version, one), 3)
    }))

  it.live("read that an invalidation overtakes → not served from the store", () =>
    Effect.gen(function*() {
      const redis = yield* RedisServer.make
      const url = yield* freshDatabase()
      const one = yield* Layer.build(process(url, redis.port))
      const two = yield* Layer.build(process(url, redis.port))
      yield* Effect.provide(setUp, one)
      const reading = yield* Latch.make()
      const go = yield* Latch.make()
      const slow = Cached.read(Effect.tap(row, () => Effect.andThen(reading.open, go.await)), {
        tags: ["item"],
        key: "version",
        schema: Schema.Number
      })
      const fiber = yield* Effect.forkChild(Effect.provide(slow, two))
      yield* reading.await
      yield* Effect.provide(Cached.invalidates(bump, ["item"]), one)
      yield* go.open
      yield* Fiber.join(fiber)
      assert.strictEqual(yield* Effect.provide(version, two), 2)
    }))

  it.live("COMMIT is unknown → no process is served from the store while the doubt lasts", () =>
    Effect.gen(function*() {
      const redis = yield* RedisServer.make
      const url = yield* freshDatabase()
      const proxy = yield* FaultProxy.make(url)
      const one = yield* Layer.build(process(proxy.url, redis.port))
      const two = yield* Layer.build(process(url, redis.port))
      yield* Effect.provide(setUp, one)
      assert.strictEqual(yield* Effect.provide(version, two), 1)
      yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", "after")
      const unknown = Transaction.run(Cached.invalidates(bump, ["item"]), { resolve: "never", retry: Retry.never })
      yield* Effect.flip(Effect.provide(unknown, one))
      yield* Effect.provide(reads(2), two)
    }))

  for (const fault of ["kill", "pause"] as const) {
    it.live(`Redis: ${fault} → a read is a miss and takes no longer than the limit allows`, () =>
      Effect.gen(function*() {
        const redis = yield* RedisServer.make
        const one = yield* Layer.build(process(yield* freshDatabase(), redis.port))
        yield* Effect.provide(setUp, one)
        assert.strictEqual(yield* Effect.provide(version, one), 1)
        yield* redis[fault]
        const [took, seen] = yield* Effect.timed(Effect.provide(version, one))
        assert.strictEqual(seen, 1)
        assert.isBelow(Duration.toMillis(took), 15_000)
        assert.isAbove((yield* Effect.provide(stats, one)).storeFailures, 0)
        if (fault === "pause") yield* redis.resume
      }))
  }
})
