/** What Effect itself builds on `SqlClient`, unchanged: above all what it does around transactions. */
import { assert } from "@effect/vitest"
import * as Runner from "effect/cluster/Runner"
import * as RunnerAddress from "effect/cluster/RunnerAddress"
import * as RunnerStorage from "effect/cluster/RunnerStorage"
import * as ShardId from "effect/cluster/ShardId"
import * as ShardingConfig from "effect/cluster/ShardingConfig"
import * as SqlMessageStorage from "effect/cluster/SqlMessageStorage"
import * as SqlRunnerStorage from "effect/cluster/SqlRunnerStorage"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as EventJournal from "effect/eventlog/EventJournal"
import * as SqlEventJournal from "effect/eventlog/SqlEventJournal"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as PersistedQueue from "effect/persistence/PersistedQueue"
import * as Persistence from "effect/persistence/Persistence"
import * as Queue from "effect/Queue"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as Schema from "effect/Schema"
import * as Model from "effect/schema/Model"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as SqlSchema from "effect/sql/SqlSchema"
import * as Stream from "effect/Stream"
import { Introspection, Transaction } from "watertight"
import { failure, sqlFailure } from "../../transaction/support.ts"
import { ids, type Section, table } from "../suite.ts"

class Account extends Model.Class<Account>("Account")({
  id: Model.Field({ select: Schema.Number, update: Schema.Number, json: Schema.Number }),
  owner: Schema.String,
  cents: Schema.Number,
  note: Model.JsonFromString(Schema.Struct({ tags: Schema.Array(Schema.String) })),
  createdAt: Model.DateTimeInsertFromDate
}) {}

export const consumers: Section = (test, dialect) => {
  const accounts = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const [createdAt] = sql`${sql("createdAt")}`.compile()
    const name = yield* table(
      `id ${dialect.key}, owner varchar(50) not null unique, cents int not null default 0,
      note text,
      ${createdAt} ${dialect.instant}`
    )
    return { sql, name }
  })

  test("SqlSchema encodes what it is asked, and decodes what it finds", () =>
    Effect.gen(function*() {
      const { name, sql } = yield* accounts
      yield* sql`insert into ${sql(name)} ${sql.insert([{ owner: "ann", cents: 1 }, { owner: "bob", cents: 2 }])}`
      const find = SqlSchema.findAll({
        Request: Schema.NumberFromString,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        execute: (least) => sql`select owner, cents from ${sql(name)} where cents >= ${Number(least)} order by cents`
      })
      assert.deepStrictEqual(yield* find(2), [{ owner: "bob", cents: 2 }])
    }))

  test("SqlResolver sends one statement for many requests, and keeps those of a transaction to it", () =>
    Effect.gen(function*() {
      const { name, sql } = yield* accounts
      let statements = 0
      const insert = SqlResolver.void({
        Request: Schema.Struct({ owner: Schema.String }),
        execute: (requests) => {
          statements++
          return sql`insert into ${sql(name)} ${sql.insert(requests)}`
        }
      })
      yield* Effect.forEach(["ann", "bob", "cy"], (owner) => SqlResolver.request({ owner }, insert), {
        concurrency: "unbounded"
      })
      assert.strictEqual(statements, 1)
      const byOwner = SqlResolver.findById({
        Id: Schema.String,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        ResultId: (row) => row.owner,
        execute: (owners) => {
          statements++
          return sql`select owner, cents from ${sql(name)} where owner in ${sql.in(owners)}`
        }
      })
      const all = (owners: ReadonlyArray<string>) =>
        Effect.forEach(owners, (owner) => SqlResolver.request(owner, byOwner), { concurrency: "unbounded" })
      yield* all(["ann", "bob", "cy"])
      assert.strictEqual(statements, 2)
      // The transaction sees what it has written, the others do not, although they ask at the same time.
      const inside = Transaction.run(Effect.andThen(sql`update ${sql(name)} set cents = 7`, all(["ann", "bob"])))
      const [within, outside] = yield* Effect.all([inside, all(["ann", "bob"])], { concurrency: "unbounded" })
      assert.deepStrictEqual(within.map(({ cents }) => cents), [7, 7])
      assert.isTrue(outside.every(({ cents }) => cents === 0 || cents === 7))
    }))

  test("a repository of SqlModel takes part in the transaction around it", () =>
    Effect.gen(function*() {
      const { name, sql } = yield* accounts
      const repository = yield* SqlModel.makeRepository(Account, {
        tableName: name,
        spanPrefix: "Account",
        idColumn: "id"
      })
      const insert = (owner: string) =>
        Effect.flatMap(Account.insert.makeEffect({ owner, cents: 1, note: { tags: [owner] } }), repository.insert)
      const made = yield* Transaction.run(insert("ann 😀"))
      assert.deepStrictEqual([made.owner, made.note], ["ann 😀", { tags: ["ann 😀"] }])
      yield* Effect.ignore(Transaction.run(Effect.andThen(insert("bob"), Effect.fail("no"))))
      assert.strictEqual((yield* sqlFailure(insert("ann 😀"))).reason._tag, "UniqueViolation")
      const updated = yield* repository.update(Account.update.make({ ...made, cents: 5 }))
      assert.strictEqual((yield* repository.findById(updated.id)).cents, 5)
      assert.deepStrictEqual(yield* sql`select owner from ${sql(name)}`, [{ owner: "ann 😀" }])
      // Each gets its own row back, also when many come at once.
      const many = yield* Effect.forEach(["a", "b", "c", "d", "e", "f"], insert, { concurrency: "unbounded" })
      assert.deepStrictEqual(many.map(({ owner }) => owner), ["a", "b", "c", "d", "e", "f"])
      yield* repository.delete(updated.id)
      yield* failure(repository.findById(updated.id))
    }))

  const make = (name: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table ${sql(name)} (id int)`)

  test("Migrator runs what is new, once", () =>
    Effect.gen(function*() {
      const migrate = (migrations: Record<string, Effect.Effect<unknown, unknown, SqlClient.SqlClient>>) =>
        Effect.provide(
          Migrator.make({})({ loader: Migrator.fromRecord(migrations), table: "migrated" }),
          dialect.allowDdl
        )
      const first = { "1_cats": make("cats"), "2_dogs": make("dogs") }
      assert.deepStrictEqual(yield* migrate(first), [[1, "cats"], [2, "dogs"]])
      assert.deepStrictEqual(yield* migrate(first), [])
      assert.deepStrictEqual(yield* migrate({ ...first, "3_owls": make("owls") }), [[3, "owls"]])
      assert.deepStrictEqual(yield* Effect.all([ids("cats"), ids("dogs"), ids("owls")]), [[], [], []])
    }))

  test.needing("DDL in transactions")("a migration that fails leaves nothing behind", () =>
    Effect.gen(function*() {
      const db = yield* Introspection.Introspection
      yield* failure(
        Migrator.make({})({
          loader: Migrator.fromRecord({
            "1_one": make("one"),
            "2_wrong": Effect.andThen(make("two"), make("two"))
          }),
          table: "failed"
        })
      )
      assert.deepStrictEqual(yield* Effect.all([db.hasTable("one"), db.hasTable("two")]), [false, false])
    }))

  test("KeyValueStore", () =>
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      yield* store.set("a", "1 😀")
      yield* store.set("a", "2 😀")
      yield* store.set("b", new Uint8Array([1, 2, 255]))
      assert.strictEqual(yield* store.get("a"), "2 😀")
      assert.deepStrictEqual(yield* store.getUint8Array("b"), new Uint8Array([1, 2, 255]))
      assert.strictEqual(yield* store.size, 2)
      yield* store.remove("a")
      assert.isUndefined(yield* store.get("a"))
    }).pipe(Effect.provide(KeyValueStore.layerSql())))

  for (
    const [name, layer] of [
      ["one table", Persistence.layerBackingSql],
      ["a table each", Persistence.layerBackingSqlMultiTable]
    ] as const
  ) {
    test(`Persistence in ${name}`, () =>
      Effect.gen(function*() {
        const backing = yield* Persistence.BackingPersistence
        const store = yield* backing.make("store")
        yield* store.set("key", { a: [1, "x"] }, undefined)
        yield* store.setMany([["key", { a: [2, "é"] }, undefined], ["other", { b: null }, undefined]])
        assert.deepStrictEqual(yield* store.getMany(["key", "nothing", "other"]), [
          { a: [2, "é"] },
          undefined,
          { b: null }
        ])
        yield* store.remove("key")
        assert.isUndefined(yield* store.get("key"))
        yield* store.clear
        assert.isUndefined(yield* store.get("other"))
      }).pipe(Effect.provide(layer)))
  }

  test("PersistedQueue hands out each element once, to many who take", () =>
    Effect.gen(function*() {
      const queue = yield* PersistedQueue.make({ name: "jobs", schema: Schema.Number })
      const taken = yield* Queue.unbounded<number>()
      const takers = yield* Effect.forkChild(Effect.all(
        Array.from({ length: 4 }, () => Effect.forever(queue.take((n) => Queue.offer(taken, n)))),
        { concurrency: "unbounded" }
      ))
      const numbers = Array.from({ length: 30 }, (_, n) => n)
      yield* Effect.forEach(numbers, (n) => queue.offer(n), { concurrency: 8 })
      const got = yield* Effect.forEach(numbers, () => Queue.take(taken))
      yield* Fiber.interrupt(takers)
      assert.deepStrictEqual(got.toSorted((a, b) => a - b), numbers)
      assert.strictEqual(yield* Queue.size(taken), 0)
    }).pipe(Effect.provide(PersistedQueue.layer.pipe(
      Layer.provide(PersistedQueue.layerStoreSql({ pollInterval: "20 millis" })),
      Layer.provide(dialect.allowDdl)
    ))))

  test("Reactivity runs a query again after COMMIT, and not when nothing was committed", () =>
    Effect.gen(function*() {
      const { name, sql } = yield* accounts
      const seen = yield* Queue.unbounded<number>()
      yield* Effect.forkScoped(
        Stream.runForEach(sql.reactive(["account"], ids(name)), (found) => Queue.offer(seen, found.length))
      )
      assert.strictEqual(yield* Queue.take(seen), 0)
      const insert = (owner: string) =>
        Reactivity.mutation(sql`insert into ${sql(name)} (owner) values (${owner})`, ["account"])
      yield* Effect.ignore(Transaction.run(Effect.andThen(insert("ann"), Effect.fail("no"))))
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert("bob")
        // Whoever looks now does not see it, so nobody is told to.
        yield* Effect.sleep("20 millis")
        assert.strictEqual(yield* Queue.size(seen), 0)
      }))
      assert.strictEqual(yield* Queue.take(seen), 1)
      assert.strictEqual(yield* Queue.size(seen), 0)
    }).pipe(Effect.provide(Reactivity.layer)))

  test.needing("ON CONFLICT")(
    "EventJournal keeps what an effect that succeeded has written",
    () =>
      Effect.gen(function*() {
        const journal = yield* EventJournal.EventJournal
        const write = <A, E>(primaryKey: string, effect: Effect.Effect<A, E>) =>
          journal.write({ event: "Renamed", primaryKey, payload: new Uint8Array([1, 255]), effect: () => effect })
        assert.strictEqual(yield* write("é 1", Effect.succeed("written")), "written")
        assert.strictEqual(yield* failure(write("é 2", Effect.fail("no"))), "no")
        const entries = yield* journal.entries
        assert.deepStrictEqual(entries.map(({ payload, primaryKey }) => [primaryKey, payload]), [
          ["é 1", new Uint8Array([1, 255])]
        ])
      }).pipe(Effect.provide(SqlEventJournal.layer()))
  )

  test("the storage of a cluster's messages takes each once", () =>
    Effect.gen(function*() {
      const storage = yield* Effect.provide(SqlMessageStorage.makeEncoded(), dialect.allowDdl)
      const envelope = (requestId: string) => ({
        envelope: {
          _tag: "Request" as const,
          requestId,
          address: { shardId: { group: "default", id: 1 }, entityType: "Counter", entityId: "é 1" },
          tag: "Add",
          payload: { n: 1, text: "é 😀" },
          headers: { a: "b" }
        },
        primaryKey: "the only one",
        deliverAt: null
      })
      assert.strictEqual((yield* storage.saveEnvelope(envelope("100000000001")))._tag, "Success")
      const again = yield* storage.saveEnvelope(envelope("100000000002"))
      assert.strictEqual(again._tag === "Duplicate" && String(again.originalId), "100000000001")
      const [waiting] = yield* storage.unprocessedMessages(["default:1"], Date.now())
      assert.deepInclude(waiting!.envelope, { requestId: "100000000001", payload: { n: 1, text: "é 😀" } })
    }).pipe(Effect.provide(Digest.layerWebCrypto)))

  // The locks of MariaDB have names that are the server's, not the database's.
  const prefix = `cluster_${process.pid}`

  test("the storage of a cluster's runners gives each shard to one of them", () =>
    Effect.gen(function*() {
      const address = RunnerAddress.make("localhost", 1)
      const shards = [ShardId.make("default", 1), ShardId.make("default", 2)]
      const first = yield* RunnerStorage.RunnerStorage
      yield* first.register(Runner.make({ address, groups: ["default"], weight: 1 }), true)
      assert.deepStrictEqual((yield* first.getRunners).map(([runner, healthy]) => [runner.address, healthy]), [
        [address, true]
      ])
      assert.deepStrictEqual(yield* first.acquire(address, shards), shards)
      assert.deepStrictEqual(yield* first.refresh(address, shards), shards)
      yield* Effect.gen(function*() {
        const second = yield* RunnerStorage.RunnerStorage
        const other = RunnerAddress.make("localhost", 2)
        assert.deepStrictEqual(yield* second.acquire(other, shards), [])
        yield* first.release(address, shards[0]!)
        assert.deepStrictEqual(yield* second.acquire(other, shards), [shards[0]!])
      }).pipe(Effect.provide(Layer.fresh(SqlRunnerStorage.layerStorage({ prefix }))))
      yield* first.releaseAll(address)
    }).pipe(
      Effect.provide(SqlRunnerStorage.layerWith({ prefix }).pipe(Layer.provide(dialect.allowDdl))),
      Effect.provide(ShardingConfig.layer({ shardLockDisableAdvisory: dialect.locksShardsByRows }))
    ))
}
