/** What Effect itself builds on `SqlClient`, unchanged, on our client: above all what it does around transactions. */
import { PgMigrator } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, FileSystem, Layer, Path, Queue, Schema, Stream } from "effect"
import { KeyValueStore, PersistedQueue, Persistence } from "effect/persistence"
import { ChildProcessSpawner } from "effect/process"
import { Reactivity } from "effect/reactivity"
import { Model } from "effect/schema"
import { Migrator, SqlClient, SqlModel, SqlResolver, SqlSchema } from "effect/sql"
import { Retry, Transaction } from "watertight"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { failure, freshLayer, layerAt, reasonOf, sqlFailure } from "../transactions/support.ts"

class Account extends Model.Class<Account>("Account")({
  id: Model.Field({ select: Schema.Number, update: Schema.Number, json: Schema.Number }),
  owner: Schema.String,
  cents: Schema.Number,
  createdAt: Model.DateTimeInsertFromDate
}) {}

const accounts = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    create table account (
      id int generated always as identity primary key,
      owner text not null unique,
      cents int not null default 0,
      "createdAt" timestamptz not null default now()
    )`
  return sql
})

const live = <A, E>(name: string, effect: Effect.Effect<A, E, Layer.Success<ReturnType<typeof freshLayer>>>) =>
  it.live(name, () => effect.pipe(Effect.provide(freshLayer())))

describe("SqlSchema, SqlResolver and SqlModel", () => {
  live(
    "SqlSchema encodes what it is asked and decodes what it finds",
    Effect.gen(function*() {
      const sql = yield* accounts
      yield* sql`insert into account ${sql.insert([{ owner: "ann", cents: 1 }, { owner: "bob", cents: 2 }])}`
      const find = SqlSchema.findAll({
        Request: Schema.NumberFromString,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        execute: (least) => sql`select owner, cents from account where cents >= ${Number(least)} order by cents`
      })
      assert.deepStrictEqual(yield* find(2), [{ owner: "bob", cents: 2 }])
    })
  )

  live(
    "SqlResolver sends one statement for many requests, and keeps those of a transaction to it",
    Effect.gen(function*() {
      const sql = yield* accounts
      yield* sql`insert into account ${sql.insert([{ owner: "ann" }, { owner: "bob" }, { owner: "cy" }])}`
      let statements = 0
      const byOwner = SqlResolver.findById({
        Id: Schema.String,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        ResultId: (row) => row.owner,
        execute: (owners) => {
          statements++
          return sql`select owner, cents from account where owner in ${sql.in(owners)}`
        }
      })
      const all = (owners: ReadonlyArray<string>) =>
        Effect.forEach(owners, (owner) => SqlResolver.request(owner, byOwner), { concurrency: "unbounded" })
      yield* all(["ann", "bob", "cy"])
      assert.strictEqual(statements, 1)
      // The transaction sees what it has written, the others do not, although they ask at the same time.
      const inside = Transaction.run(Effect.andThen(sql`update account set cents = 7`, all(["ann", "bob"])))
      const [within, outside] = yield* Effect.all([inside, all(["ann", "bob"])], { concurrency: "unbounded" })
      assert.deepStrictEqual(within.map(({ cents }) => cents), [7, 7])
      assert.isTrue(outside.every(({ cents }) => cents === 0 || cents === 7))
    })
  )

  live(
    "a repository of SqlModel takes part in the transaction around it",
    Effect.gen(function*() {
      const sql = yield* accounts
      const repository = yield* SqlModel.makeRepository(Account, {
        tableName: "account",
        spanPrefix: "Account",
        idColumn: "id"
      })
      const insert = (owner: string) =>
        Effect.flatMap(Account.insert.makeEffect({ owner, cents: 1 }), repository.insert)
      const made = yield* Transaction.run(insert("ann"))
      assert.strictEqual(made.owner, "ann")
      yield* Effect.ignore(Transaction.run(Effect.andThen(insert("bob"), Effect.fail("no"))))
      const twice = yield* sqlFailure(insert("ann"))
      assert.strictEqual(twice.reason._tag, "UniqueViolation")
      const updated = yield* repository.update(Account.update.make({ ...made, cents: 5 }))
      assert.strictEqual((yield* repository.findById(updated.id)).cents, 5)
      assert.deepStrictEqual(yield* sql`select owner from account`, [{ owner: "ann" }])
      yield* repository.delete(updated.id)
      yield* failure(repository.findById(updated.id))
    })
  )
})

describe("migrations", () => {
  // It asks for them in case that it is to write the schema down.
  const nodeServices = Layer.mergeAll(
    FileSystem.layerNoop({}),
    Path.layer,
    Layer.succeed(ChildProcessSpawner.ChildProcessSpawner, undefined as never)
  )

  const statement = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text))

  live(
    "PgMigrator runs what is new, once",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const loader = PgMigrator.fromRecord({
        "1_people": statement("create table people (id int)"),
        "2_pets": statement("create table pets (id int)")
      })
      assert.deepStrictEqual(yield* Effect.orDie(PgMigrator.run({ loader })), [[1, "people"], [2, "pets"]])
      assert.deepStrictEqual(yield* Effect.orDie(PgMigrator.run({ loader })), [])
      yield* sql`select * from people, pets`
    }).pipe(Effect.provide(nodeServices))
  )

  live(
    "a migration that fails leaves nothing behind",
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const exit = yield* Effect.exit(
        Migrator.make({})({
          loader: Migrator.fromRecord({
            "1_people": statement("create table people (id int)"),
            "2_wrong": Effect.andThen(statement("create table pets (id int)"), statement("this is no statement"))
          })
        })
      )
      assert.strictEqual(exit._tag, "Failure")
      assert.deepStrictEqual(
        yield* sql`select to_regclass('people')::text as people, to_regclass('pets')::text as pets`,
        [{ people: null, pets: null }]
      )
    })
  )
})

describe("stores", () => {
  live(
    "KeyValueStore and Persistence",
    Effect.gen(function*() {
      const store = yield* KeyValueStore.KeyValueStore
      yield* store.set("a", "1 😀")
      yield* store.set("a", "2 😀")
      yield* store.set("b", new Uint8Array([1, 2, 255]))
      assert.strictEqual(yield* store.get("a"), "2 😀")
      assert.deepStrictEqual(yield* store.getUint8Array("b"), new Uint8Array([1, 2, 255]))
      yield* store.remove("a")
      assert.isUndefined(yield* store.get("a"))
      const persisted = yield* Effect.flatMap(Persistence.BackingPersistence, (backing) => backing.make("store"))
      yield* persisted.set("key", { a: [1, "x"] }, undefined)
      assert.deepStrictEqual(yield* persisted.get("key"), { a: [1, "x"] })
    }).pipe(Effect.scoped, Effect.provide(Layer.mergeAll(KeyValueStore.layerSql(), Persistence.layerBackingSql)))
  )

  live(
    "PersistedQueue hands out each element once, to many who take",
    Effect.gen(function*() {
      const queue = yield* PersistedQueue.make({ name: "jobs", schema: Schema.Number })
      const taken: Array<number> = []
      const takers = yield* Effect.forkChild(Effect.all(
        Array.from({ length: 4 }, () => Effect.forever(queue.take((n) => Effect.sync(() => taken.push(n))))),
        { concurrency: "unbounded" }
      ))
      yield* Effect.forEach(Array.from({ length: 40 }, (_, n) => n), (n) => queue.offer(n), { concurrency: 8 })
      yield* Effect.repeat(Effect.sleep("10 millis"), { while: () => taken.length < 40 })
      yield* Fiber.interrupt(takers)
      assert.deepStrictEqual(taken.sort((a, b) => a - b), Array.from({ length: 40 }, (_, n) => n))
    }).pipe(
      Effect.provide(
        PersistedQueue.layer.pipe(Layer.provide(PersistedQueue.layerStoreSql({ pollInterval: "20 millis" })))
      )
    )
  )
})

describe("Reactivity", () => {
  live(
    "a query that is reactive runs again after COMMIT, and not when nothing was committed",
    Effect.gen(function*() {
      const sql = yield* accounts
      const seen = yield* Queue.unbounded<number>()
      const count = Effect.map(sql<{ n: number }>`select count(*)::int as n from account`, (rows) => rows[0]!.n)
      yield* Effect.forkScoped(
        Stream.runForEach(sql.reactive(["account"], count), (n) => Queue.offer(seen, n))
      )
      assert.strictEqual(yield* Queue.take(seen), 0)
      const insert = (owner: string) =>
        Reactivity.mutation(sql`insert into account (owner) values (${owner})`, ["account"])
      yield* Effect.ignore(Transaction.run(Effect.andThen(insert("ann"), Effect.fail("no"))))
      yield* Transaction.run(Effect.gen(function*() {
        yield* insert("bob")
        // Whoever looks now does not see it, so nobody is told to.
        yield* Effect.sleep("50 millis")
        assert.strictEqual(yield* Queue.size(seen), 0)
      }))
      assert.strictEqual(yield* Queue.take(seen), 1)
      assert.strictEqual(yield* Queue.size(seen), 0)
    }).pipe(Effect.scoped, Effect.provide(Reactivity.layer))
  )
})

describe("afterCommit", () => {
  const commit = "Q\u0000\u0000\u0000\u000bCOMMIT\u0000"

  /** How often the callback ran, and how the transaction ended, when COMMIT meets this fault. */
  const lose = Effect.fnUntraced(function*(fault: FaultProxy.Fault, spec: Transaction.Spec) {
    const proxy = yield* FaultProxy.make(yield* freshDatabase())
    return yield* Effect.gen(function*() {
      const sql = yield* accounts
      yield* proxy.when(commit, fault)
      let ran = 0
      const exit = yield* Effect.exit(Transaction.run(
        Effect.andThen(sql.afterCommit(Effect.sync(() => ran++)), sql`insert into account (owner) values ('ann')`),
        spec
      ))
      const rows = yield* sql`select count(*)::int as n from account`
      return { ran, rows: rows[0]!["n"], exit }
    }).pipe(Effect.provide(layerAt(proxy.url)))
  })

  it.live("does not run when nobody knows whether it was committed", () =>
    Effect.gen(function*() {
      const { exit, ran, rows } = yield* lose("after", { resolve: "never" })
      assert.strictEqual(reasonOf(yield* sqlFailure(exit))?._tag, "CommitUnknown")
      assert.deepStrictEqual({ ran, rows }, { ran: 0, rows: 1 })
    }))

  it.live("runs when the commit is found, and once", () =>
    Effect.gen(function*() {
      const { exit, ran, rows } = yield* lose("after", {})
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual({ ran, rows }, { ran: 1, rows: 1 })
    }))

  it.live("runs once when the transaction is repeated", () =>
    Effect.gen(function*() {
      const { exit, ran, rows } = yield* lose("before", {})
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual({ ran, rows }, { ran: 1, rows: 1 })
    }))

  it.live("does not run when the transaction failed for good", () =>
    Effect.gen(function*() {
      const { ran, rows } = yield* lose("before", { retry: Retry.never })
      assert.deepStrictEqual({ ran, rows }, { ran: 0, rows: 0 })
    }))

  live(
    "finds the connection given back already, so that it may use it",
    Effect.gen(function*() {
      const sql = yield* accounts
      const seen = yield* Deferred.make<number>()
      yield* Transaction.run(Effect.andThen(
        sql`insert into account (owner) values ('ann')`,
        sql.afterCommit(Effect.orDie(Effect.flatMap(
          sql<{ n: number }>`select count(*)::int as n from account`,
          (rows) => Deferred.succeed(seen, rows[0]!.n)
        )))
      ))
      assert.strictEqual(yield* Deferred.await(seen), 1)
    })
  )
})
