/** What Effect itself builds on `SqlClient`, unchanged, on our clients. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as KeyValueStore from "effect/persistence/KeyValueStore"
import * as Persistence from "effect/persistence/Persistence"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Model from "effect/schema/Model"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import * as SqlModel from "effect/sql/SqlModel"
import * as SqlResolver from "effect/sql/SqlResolver"
import * as SqlSchema from "effect/sql/SqlSchema"
import * as Stream from "effect/Stream"
import { Outcome } from "watertight"
import { ImplicitCommit } from "../../src/mysql-common/errors.ts"
import type { LayerOptions } from "../../src/mysql-common/front.ts"
import { freshDatabase } from "../support/index.ts"
import { sqlFailure, type Subject, subjects } from "./support.ts"

/** A client on an empty database of its own. */
const client = (subject: Subject, options: LayerOptions = {}) =>
  Layer.unwrap(Effect.map(
    freshDatabase("mariadb"),
    (url) => subject.module.layer({ url: Redacted.make(url), maxConnections: 4, ...options })
  ))

class Account extends Model.Class<Account>("Account")({
  id: Model.Field({ select: Schema.Number, update: Schema.Number, json: Schema.Number }),
  owner: Schema.String,
  cents: Schema.Number,
  note: Model.JsonFromString(Schema.Struct({ tags: Schema.Array(Schema.String) })),
  createdAt: Model.DateTimeInsertFromDate
}) {}

const accounts = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  yield* sql`
    create table account (
      id bigint auto_increment primary key,
      owner varchar(50) character set utf8mb4 not null unique,
      cents int not null,
      note longtext not null,
      createdAt datetime(3) not null
    )`
  return sql
})

describe.each(subjects)("Effect's own consumers over $name", (subject) => {
  it.live("the constructors of statements", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table people (id int primary key, name varchar(20), age int)`
      yield* sql`insert into people ${
        sql.insert([{ id: 1, name: "ann", age: 30 }, { id: 2, name: "bob", age: 40 }, { id: 3, name: "cy", age: 50 }])
      }`
      yield* sql`update people set ${sql.update({ id: 1, age: 31 }, ["id"])} where id = ${1}`
      assert.deepStrictEqual(yield* sql`select age from people where id in ${sql.in([1, 2])} order by id`.values, [
        [31],
        [40]
      ])
      assert.deepStrictEqual(yield* sql`select id from people where id in ${sql.in([])}`, [])
      assert.deepStrictEqual(
        yield* sql`select ${sql("people.name")} from ${sql("people")} where ${
          sql.and([sql`age > ${35}`, sql.or([sql`id = ${2}`, sql`id = ${3}`])])
        } ${sql.csv("order by", ["id desc"])}`,
        [{ name: "cy" }, { name: "bob" }]
      )
      yield* sql`update people join ${sql.updateValues([{ id: 1, n: "x" }, { id: 2, n: "y" }], "data")}
        on people.id = data.id set people.name = data.n`
      assert.deepStrictEqual(yield* sql`select name from people order by id`.values, [["x"], ["y"], ["cy"]])
      assert.deepStrictEqual(yield* Stream.runCollect(sql`select id from people order by id`.stream), [
        { id: 1 },
        { id: 2 },
        { id: 3 }
      ])
      assert.deepStrictEqual(
        yield* sql`insert into people ${sql.insert({ id: 4, name: "d", age: 1 }).returning("id, name")}`,
        [{ id: 4, name: "d" }]
      )
      assert.deepStrictEqual(yield* sql.unsafe("select ? as a", [1]), [{ a: 1 }])
    }).pipe(Effect.provide(client(subject))))

  it.live("transforms of names", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table ${sql("theTable")} (${sql("theId")} int)`
      yield* sql`insert into ${sql("theTable")} ${sql.insert({ theId: 1 })}`
      assert.deepStrictEqual(yield* sql`select * from ${sql("theTable")}`, [{ theId: 1 }])
      assert.deepStrictEqual(yield* sql`select * from the_table`.withoutTransform, [{ the_id: 1 }])
      assert.deepStrictEqual(yield* sql.withoutTransforms()`select * from ${sql.withoutTransforms()("the_table")}`, [{
        the_id: 1
      }])
    }).pipe(Effect.provide(client(subject, {
      transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      transformResultNames: (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
    }))))

  it.live("SqlSchema and SqlResolver", () =>
    Effect.gen(function*() {
      const sql = yield* accounts
      const insert = SqlResolver.void({
        Request: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        execute: (requests) =>
          sql`insert into account ${
            sql.insert(requests.map((request) => ({ ...request, note: "{}", createdAt: new Date(0) })) as never)
          }`
      })
      yield* Effect.all(
        ["ann", "bob", "cy"].map((owner, i) => SqlResolver.request({ owner, cents: i }, insert)),
        { concurrency: "unbounded" }
      )
      const find = SqlSchema.findAll({
        Request: Schema.Number,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        execute: (least) => sql`select owner, cents from account where cents >= ${least} order by cents`
      })
      assert.deepStrictEqual(yield* find(1), [{ owner: "bob", cents: 1 }, { owner: "cy", cents: 2 }])
      const byOwner = SqlResolver.findById({
        Id: Schema.String,
        Result: Schema.Struct({ owner: Schema.String, cents: Schema.Number }),
        ResultId: (row) => row.owner,
        execute: (owners) => sql`select owner, cents from account where owner in ${sql.in(owners)}`
      })
      const found = yield* Effect.all(
        ["ann", "cy"].map((owner) => SqlResolver.request(owner, byOwner)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(found.map((row) => row.cents), [0, 2])
    }).pipe(Effect.provide(client(subject))))

  it.live("SqlModel", () =>
    Effect.gen(function*() {
      yield* accounts
      const repository = yield* SqlModel.makeRepository(Account, {
        tableName: "account",
        spanPrefix: "Account",
        idColumn: "id"
      })
      const made = yield* Effect.forEach(Array.from({ length: 10 }, (_, n) => n), (n) =>
        Effect.flatMap(
          Account.insert.makeEffect({ owner: `owner ${n} 😀`, cents: n, note: { tags: ["a", `${n}`] } }),
          repository.insert
        ), { concurrency: "unbounded" })
      for (let n = 0; n < 10; n++) {
        assert.strictEqual(made[n]!.owner, `owner ${n} 😀`)
        assert.deepStrictEqual(made[n]!.note, { tags: ["a", `${n}`] })
      }
      const first = made[0]!
      const updated = yield* repository.update(
        Account.update.make({ id: first.id, owner: "new", cents: 5, note: { tags: [] } })
      )
      assert.strictEqual(updated.cents, 5)
      assert.deepStrictEqual(yield* repository.findById(first.id), updated)
      yield* repository.delete(first.id)
      const gone = yield* Effect.exit(repository.findById(first.id))
      assert.strictEqual(gone._tag, "Failure")
      const twice = yield* sqlFailure(Effect.flatMap(
        Account.insert.makeEffect({ owner: "owner 1 😀", cents: 1, note: { tags: [] } }),
        repository.insert
      ))
      assert.strictEqual(twice.reason._tag, "UniqueViolation")
    }).pipe(Effect.provide(client(subject))))

  it.live("KeyValueStore and Persistence", () =>
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
      const backing = yield* Persistence.BackingPersistence
      const persisted = yield* backing.make("store")
      yield* persisted.set("key", { a: [1, "x"] }, undefined)
      assert.deepStrictEqual(yield* persisted.get("key"), { a: [1, "x"] })
    }).pipe(
      Effect.scoped,
      Effect.provide(
        Layer.mergeAll(KeyValueStore.layerSql(), Persistence.layerBackingSql).pipe(Layer.provide(client(subject)))
      )
    ))

  it.live("Migrator, which records a failed migration as applied", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const migrate = Migrator.make({})({
        loader: Migrator.fromRecord({
          "1_one": Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table one (id int)`),
          "2_two": Effect.flatMap(SqlClient.SqlClient, (sql) =>
            Effect.andThen(sql`create table two (id int)`, sql`this is no statement`)),
          "3_three": Effect.flatMap(SqlClient.SqlClient, (sql) =>
            sql`create table three (id int)`)
        } as never)
      })
      // We refuse what would commit the transaction that the migrator relies on.
      const refused = yield* Effect.flip(migrate)
      assert.strictEqual(refused._tag, "MigrationError")
      assert.instanceOf((refused.cause as any).reason.cause, ImplicitCommit)
      assert.deepStrictEqual(yield* sql`select * from effect_sql_migrations`, [])

      // By leave of the caller it goes wrong in the way that it does on every driver: this is what the docs warn of.
      const failed = yield* Effect.exit(subject.module.allowImplicitCommit(migrate))
      assert.strictEqual(failed._tag, "Failure")
      assert.deepStrictEqual(
        yield* sql`select migration_id from effect_sql_migrations order by migration_id`.values,
        [[1], [2], [3]]
      )
      assert.deepStrictEqual(yield* subject.module.allowImplicitCommit(migrate), [])
      assert.deepStrictEqual(yield* sql`show tables like 'three'`, [])
    }).pipe(Effect.provide(client(subject))))

  it.live("a text of several statements is never repeated when it was done in part", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table t (id int primary key, v int) engine = innodb`
      yield* sql`create table log (n int)`
      yield* sql`insert into t values (1, 0), (2, 0)`
      yield* sql`set global innodb_lock_wait_timeout = 1`
      const error = yield* Effect.scoped(Effect.gen(function*() {
        const other = yield* sql.reserve
        yield* other.executeUnprepared("begin", [], undefined)
        yield* other.executeUnprepared("update t set v = 1 where id = 1", [], undefined)
        return yield* sqlFailure(
          sql`set statement innodb_lock_wait_timeout = 1 for insert into log values (1);
          set statement innodb_lock_wait_timeout = 1 for update t set v = 2 where id = ${1}`.unprepared
        )
      }))
      yield* sql`set global innodb_lock_wait_timeout = 50`
      assert.isFalse(error.isRetryable)
      assert.isTrue(Outcome.isUnknown(error))
      assert.match(error.message, /the statements before it in the same text have been committed/)
      assert.deepStrictEqual(yield* sql`select count(*) as n from log`, [{ n: 1 }])
    }).pipe(Effect.provide(client(subject))))

  it.live("spans and `afterCommit`", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table t (id int)`
      const seen: Array<string> = []
      yield* sql.withTransaction(Effect.gen(function*() {
        yield* sql`insert into t values (1)`
        yield* sql.afterCommit(Effect.sync(() => seen.push("after")))
        yield* sql.withTransaction(sql`insert into t values (2)`)
        yield* Effect.ignore(sql.withTransaction(Effect.andThen(sql`insert into t values (3)`, Effect.fail("no"))))
        seen.push("body")
      }))
      assert.deepStrictEqual(seen, ["body", "after"])
      assert.deepStrictEqual(yield* sql`select id from t order by id`.values, [[1], [2]])
      const failed = yield* Effect.exit(
        sql.withTransaction(Effect.andThen(sql`insert into t values (4)`, Effect.fail("mine")))
      )
      assert.deepStrictEqual(
        failed._tag === "Failure" ? Cause.findErrorOption(failed.cause) : undefined,
        Option.some("mine")
      )
    }).pipe(Effect.provide(client(subject))))
})
