/** The cache over a real database. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import { Retry, Transaction } from "watertight"
import { Cached } from "watertight/cache"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { layerAt } from "../transaction/support.ts"

const cachedAt = (url: string, options?: Parameters<typeof Cached.layer>[0]) =>
  Cached.layer(options).pipe(Layer.provideMerge(layerAt(url)))

const fresh = (options?: Parameters<typeof Cached.layer>[0]) =>
  Layer.unwrap(Effect.map(freshDatabase(), (url) => cachedAt(url, options)))

const table = Effect.flatMap(SqlClient, (sql) => sql`create table item (id int primary key, version int not null)`)
const insert = Effect.flatMap(SqlClient, (sql) => sql`insert into item values (1, 1)`)
const bump = Effect.flatMap(SqlClient, (sql) => sql`update item set version = version + 1`)

const direct = Effect.flatMap(SqlClient, (sql) => sql<{ version: number }>`select version from item where id = ${1}`)
const version = Effect.map(
  Effect.flatMap(SqlClient, (sql) =>
    sql<{ version: number }>`select version from item where id = ${1}`.pipe(
      Cached.read({ tags: { item: [1] }, ttl: "1 hour" })
    )),
  (rows) => rows[0]?.version
)
const requests = Effect.map(Effect.flatMap(Cached.Cached, (cached) => cached.stats), (stats) => stats.requests)

describe("a cached read", () => {
  it.live("second read → from the cache; after an acknowledged COMMIT → the new row", () =>
    Effect.gen(function*() {
      yield* table
      yield* insert
      assert.strictEqual(yield* version, 1)
      assert.strictEqual(yield* version, 1)
      assert.deepStrictEqual(yield* requests, { hit: 1, stale: 0, miss: 1, shared: 0 })
      yield* Transaction.run(Cached.invalidates(bump, { item: [1] }), {})
      assert.strictEqual(yield* version, 2)
      yield* Cached.invalidates(bump, ["item"])
      assert.strictEqual(yield* version, 3)
      yield* Transaction.run(bump, {}).pipe(Cached.invalidates(["item"]))
      assert.strictEqual(yield* version, 4)
      yield* bump
      // No tag was named, so this is the bound that `ttl` gives.
      assert.strictEqual(yield* version, 4)
      yield* Cached.invalidate({ item: [2] })
      assert.strictEqual(yield* version, 4)
      yield* Cached.invalidate({ item: [1] })
      assert.strictEqual(yield* version, 5)
      assert.strictEqual(yield* Cached.bypass(version), 5)
    }).pipe(Effect.provide(fresh())))

  it.live("inside a transaction → past the cache, in both directions", () =>
    Effect.gen(function*() {
      yield* table
      yield* insert
      yield* version
      yield* Effect.ignore(Transaction.run(
        Effect.gen(function*() {
          yield* bump
          assert.strictEqual(yield* version, 2)
          return yield* Effect.fail("rolled back")
        }),
        {}
      ))
      assert.strictEqual(yield* version, 1)
      const stats = yield* Effect.flatMap(Cached.Cached, (cached) => cached.stats)
      assert.strictEqual(stats.bypassed.transaction, 1)
      assert.strictEqual(stats.requests.hit, 1)
    }).pipe(Effect.provide(fresh())))

  it.live("transaction with `invalidates` fails → nothing is invalidated", () =>
    Effect.gen(function*() {
      yield* table
      yield* insert
      yield* version
      const body = Effect.andThen(Cached.invalidates(bump, ["item"]), Effect.fail("no"))
      yield* Effect.ignore(Transaction.run(body, {}))
      assert.strictEqual(yield* version, 1)
      assert.strictEqual((yield* requests).hit, 1)
    }).pipe(Effect.provide(fresh())))

  it.live("read that an invalidation overtakes → its caller gets it, and it is not stored", () =>
    Effect.gen(function*() {
      yield* table
      yield* insert
      const reading = yield* Latch.make()
      const go = yield* Latch.make()
      const slow = Cached.read(
        Effect.tap(direct, () => Effect.andThen(reading.open, go.await)),
        { tags: ["item"], key: "slow", ttl: "1 hour" }
      )
      const early = yield* Effect.forkChild(slow)
      yield* reading.await
      yield* Transaction.run(Cached.invalidates(bump, ["item"]), {})
      const late = yield* Effect.forkChild(slow)
      yield* go.open
      // The later caller does not join the earlier read.
      assert.strictEqual((yield* Fiber.join(late))[0]!.version, 2)
      yield* Fiber.join(early)
      assert.strictEqual((yield* slow)[0]!.version, 2)
    }).pipe(Effect.provide(fresh())))

  it.live("10,000 callers of a missing key → one statement; a caller that leaves takes no one along", () =>
    Effect.gen(function*() {
      let runs = 0
      const go = yield* Latch.make()
      const read = Cached.read(
        Effect.as(Effect.andThen(Effect.sync(() => runs++), go.await), "value"),
        { tags: ["x"], key: "one" }
      )
      const first = yield* Effect.forkChild(read, { startImmediately: true })
      const others = yield* Effect.forEach(
        Array.from({ length: 9_999 }),
        () => Effect.forkChild(read, { startImmediately: true })
      )
      yield* Fiber.interrupt(first)
      yield* go.open
      assert.isTrue((yield* Effect.forEach(others, Fiber.join)).every((value) => value === "value"))
      assert.strictEqual(runs, 1)
    }).pipe(Effect.provide(fresh())))

  it.live("failure → shared by who waits, and not stored", () =>
    Effect.gen(function*() {
      let runs = 0
      const read = Cached.read(
        Effect.suspend(() => ++runs === 1 ? Effect.fail("down") : Effect.succeed(runs)),
        { tags: ["x"], key: "fails" }
      )
      assert.strictEqual(yield* Effect.flip(read), "down")
      assert.strictEqual(yield* read, 2)
      assert.strictEqual(yield* read, 2)
    }).pipe(Effect.provide(fresh())))

  it.live("values of other types and partitions → entries of their own", () =>
    Effect.gen(function*() {
      const typed = (value: unknown) =>
        Effect.flatMap(SqlClient, (sql) =>
          sql<{ type: string }>`select pg_typeof(${value})::text as type`.pipe(Cached.read({ tags: ["x"] })))
      assert.strictEqual((yield* typed(1))[0]!.type, "integer")
      assert.notStrictEqual((yield* typed(1n))[0]!.type, "integer")
      const tenant = (id: string) =>
        Cached.within(id)(Cached.read(Effect.succeed(id), { tags: ["x"], key: "same" }))
      assert.strictEqual(yield* tenant("a"), "a")
      assert.strictEqual(yield* tenant("b"), "b")
      assert.strictEqual(yield* tenant("a"), "a")
    }).pipe(Effect.provide(fresh())))

  it.live("result is frozen, so a reader cannot change it for others", () =>
    Effect.gen(function*() {
      const rows = yield* Effect.flatMap(SqlClient, (sql) =>
        sql<{ a: number }>`select 1 as a`.pipe(Cached.read({ tags: ["x"] })))
      const again = yield* Effect.flatMap(SqlClient, (sql) =>
        sql<{ a: number }>`select 1 as a`.pipe(Cached.read({ tags: ["x"] })))
      assert.isTrue(Object.isFrozen(again) && Object.isFrozen(again[0]))
      assert.deepStrictEqual(rows, again)
    }).pipe(Effect.provide(fresh())))
})

for (const [what, fault] of [["applied", "after"], ["not applied", "before"]] as const) {
  it.live(`COMMIT of which the answer is lost, ${what} → the next read sees what is true`, () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase()
      const proxy = yield* FaultProxy.make(url)
      const sql = yield* Effect.map(Layer.build(layerAt(url)), (context) => SqlClient.pipe(Effect.provide(context)))
      const truth = Effect.flatMap(sql, (sql) => sql<{ version: number }>`select version from item`)
      yield* Effect.gen(function*() {
        yield* table
        yield* insert
        yield* version
        yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", fault)
        const write = Transaction.run(Cached.invalidates(bump, ["item"]), { resolve: "never", retry: Retry.never })
        yield* Effect.flip(write)
        const expected = (yield* truth)[0]!.version
        assert.strictEqual(expected, fault === "after" ? 2 : 1)
        assert.strictEqual(yield* version, expected)
        const stats = yield* Effect.flatMap(Cached.Cached, (cached) => cached.stats)
        assert.isAbove(stats.bypassed.doubt, 0)
      }).pipe(Effect.provide(cachedAt(proxy.url)))
    }))
}
