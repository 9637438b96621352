import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as fs from "node:fs"
import { Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Pglite } from "watertight/pglite"
import { Postgres } from "watertight/postgres"
import { TestDatabase } from "watertight/testing"
import { describeWith, sharedUrl } from "../support/index.ts"

const databases = [
  ["postgresql", (url: Redacted.Redacted<string>) => Postgres.layer({ url })],
  ["mariadb", (url: Redacted.Redacted<string>) => Mariadb.layer({ url })],
  ["mysql", (url: Redacted.Redacted<string>) => Mysql.layer({ url })]
] as const

const names = Effect.flatMap(SqlClient, (sql) =>
  Effect.map(
    sql.onDialectOrElse({
      mysql: () => sql<{ name: string }>`select schema_name as name from information_schema.schemata`,
      orElse: () => sql<{ name: string }>`select datname as name from pg_database`
    }),
    (rows) => rows.map((row) => row.name).filter((name) => name.startsWith("watertight_"))
  ))

for (const [server, database] of databases) {
  describeWith(`url-${server}`)(`test databases of ${server}`, () => {
    const url = Redacted.make(sharedUrl(server))
    let migrations = 0
    const migrate = Effect.gen(function*() {
      migrations++
      const sql = yield* SqlClient
      yield* sql`create table parent (id int primary key, twice int generated always as (id * 2) stored)`
      yield* sql`create table child (id int primary key, parent int, foreign key (parent) references parent (id))`
      yield* sql`insert into parent (id) values (1)`
      yield* sql`insert into child values (1, 1)`
    })
    const options = {
      url,
      database: (url: Redacted.Redacted<string>) => Layer.provideMerge(database(url), Logger.layer([])),
      migrate
    }
    const quiet = Layer.provideMerge(database(url), Logger.layer([]))
    const count = Effect.flatMap(SqlClient, (sql) => Effect.map(sql`select * from child`, (rows) => rows.length))
    const insert = (id: number) => Effect.flatMap(SqlClient, (sql) => sql`insert into child values (${id}, 1)`)

    it.live("each build → a copy of its own, migrated once, and dropped at the end", () =>
      Effect.gen(function*() {
        const before = new Set(yield* Effect.provide(names, quiet))
        migrations = 0
        const live = TestDatabase.layer(options)
        const one = Effect.andThen(Effect.andThen(insert(2), insert(3)), count).pipe(Effect.provide(live))
        const two = Effect.andThen(insert(2), count).pipe(Effect.provide(live))
        assert.strictEqual(yield* one, 3)
        assert.strictEqual(yield* two, 2)
        assert.strictEqual(migrations, 1)
        const after = (yield* Effect.provide(names, quiet)).filter((name) => !before.has(name))
        assert.isFalse(after.some((name) => name.startsWith("watertight_test_")), after.join())
        // Constraints and generated columns came along.
        const checked = Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* Effect.flip(sql`insert into child values (9, 99)`)
          const [row] = yield* sql<{ twice: number }>`select twice from parent`
          assert.strictEqual(row!.twice, 2)
        })
        yield* Effect.provide(checked, live)
        for (const name of after) {
          yield* Effect.flatMap(SqlClient, (sql) => sql`drop database ${sql(name)}`).pipe(Effect.provide(quiet))
        }
      }), 60_000)

    it.live("template with a version → used again, also by two at a time", () =>
      Effect.gen(function*() {
        migrations = 0
        const version = `${server} ${performance.timeOrigin}`
        const use = () => Effect.provide(count, TestDatabase.layer({ ...options, version }))
        assert.deepStrictEqual(yield* Effect.all([use(), use()], { concurrency: 2 }), [1, 1])
        const made = migrations
        assert.strictEqual(yield* use(), 1)
        assert.strictEqual(migrations, made)
      }), 60_000)

    it.live("template that an earlier run has left → dropped", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create database watertight_temporary_7_x`
        yield* Effect.provide(count, TestDatabase.layer(options))
        assert.isFalse((yield* names).includes("watertight_temporary_7_x"))
      }).pipe(Effect.provide(quiet)), 60_000)

    it.live("rollback → the program runs as it is, and nothing stays", () =>
      Effect.gen(function*() {
        const live = TestDatabase.layer(options)
        yield* Effect.gen(function*() {
          const program = Effect.gen(function*() {
            yield* Transaction.run(insert(2), { isolation: "serializable", nesting: "requiresNew" })
            yield* Effect.ignore(Transaction.run(Effect.andThen(insert(3), Effect.fail("undone")), {}))
            return yield* count
          })
          assert.strictEqual(yield* TestDatabase.rollback(program), 2)
          assert.strictEqual(yield* count, 1)
          const failing = Effect.andThen(insert(2), Effect.fail("as the program fails"))
          assert.strictEqual(yield* Effect.flip(TestDatabase.rollback(failing)), "as the program fails")
          assert.strictEqual(yield* count, 1)
        }).pipe(Effect.provide(live))
      }), 60_000)
  })
}

it.live(
  "embedded: each build → a copy of its own, migrated once, and gone at the end; also with rollback",
  () =>
    Effect.gen(function*() {
      let migrations = 0
      const folders: Array<string> = []
      const live = TestDatabase.embedded({
        database: (dataDir) => {
          folders.push(dataDir)
          return Pglite.layer({ dataDir })
        },
        migrate: Effect.gen(function*() {
          migrations++
          const sql = yield* SqlClient
          yield* sql`create table person (id int primary key)`
          yield* sql`insert into person values (1)`
        })
      })
      const use = (id: number) =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const program = Transaction.run(sql`insert into person values (9)`, { isolation: "serializable" })
          yield* TestDatabase.rollback(program)
          yield* sql`insert into person values (${id})`
          return (yield* sql<{ id: number }>`select id from person order by id`).map(({ id }) => id)
        }).pipe(Effect.provide(live))
      assert.deepStrictEqual([yield* use(2), yield* use(3)], [[1, 2], [1, 3]])
      assert.strictEqual(migrations, 1)
      assert.lengthOf(folders, 3)
      assert.deepStrictEqual(folders.slice(1).filter((folder) => fs.existsSync(folder)), [])
    }),
  120_000
)
