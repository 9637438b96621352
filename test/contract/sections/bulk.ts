import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Pool, Transaction } from "watertight"
import { failure } from "../../transaction/support.ts"
import { ids, Place, type Section, table } from "../suite.ts"

export const bulk: Section = (test, dialect) => {
  const { bytes, double, text } = dialect.columns
  const columns = `id int primary key, a ${text!.type}, b ${bytes!.type}, c ${
    double!.type
  } not null, d ${dialect.instant}`

  const row = (id: number) => ({
    id,
    a: id % 3 === 0 ? null : `${id} é 😀 \\N\t'"\n`,
    b: id % 5 === 0 ? null : new Uint8Array([0, 9, 10, 92, id % 256]),
    c: id / 7,
    d: id % 2 === 0 ? null : new Date(1_700_000_000_000 + id)
  })
  const rows = Array.from({ length: 500 }, (_, id) => row(id))

  test("loads rows as statements would write them, from an array and from a stream", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table(columns)
      assert.strictEqual((yield* Bulk.insert(name, rows.slice(0, 300))).rows, 300)
      assert.strictEqual((yield* Bulk.insert(name, Stream.fromIterable(rows.slice(300)))).rows, 200)
      assert.strictEqual((yield* Bulk.insert(name, [])).rows, 0)
      assert.deepStrictEqual(yield* sql`select * from ${sql(name)} order by id`, rows)
    }))

  test("leaves all rows or none: with its transaction, with a stream that fails, and when it is interrupted", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.Pool
      const name = yield* table(columns)
      yield* failure(Transaction.run(Effect.andThen(Bulk.insert(name, rows), Effect.fail("no"))))
      assert.strictEqual(
        yield* failure(Bulk.insert(name, Stream.concat(Stream.fromIterable(rows), Stream.fail("mine")))),
        "mine"
      )
      const endless = yield* Queue.unbounded<ReturnType<typeof row>>()
      yield* Queue.offerAll(endless, rows)
      const loading = yield* Effect.forkChild(Bulk.insert(name, Stream.fromQueue(endless)))
      yield* Effect.repeat(Effect.andThen(Effect.sleep("1 millis"), Queue.size(endless)), {
        until: (left) => left === 0
      })
      yield* Fiber.interrupt(loading)
      assert.deepStrictEqual(yield* ids(name), [])
      yield* Effect.repeat(Effect.andThen(Effect.sleep("1 millis"), pool.stats), { until: (stats) => stats.used === 0 })
      yield* Transaction.run(Bulk.insert(name, rows))
      assert.strictEqual((yield* ids(name)).length, 500)
    }))

  test("names a row that does not fit, or puts it aside", () =>
    Effect.gen(function*() {
      const name = yield* table(columns)
      const wrong = [row(0), { ...row(1), c: "secret" as never }, row(2), { ...row(3), c: null as never }]
      const error = yield* failure(Bulk.insert(name, wrong))
      assert.instanceOf(error, Bulk.BulkError)
      assert.deepInclude((error as Bulk.BulkError).reason, { _tag: "RowUnfit", row: 2, column: "c", actual: "string" })
      assert.notInclude((error as Bulk.BulkError).message, "secret")
      const { bad, rows } = yield* Bulk.insert(name, wrong, { onBadRow: "collect" })
      assert.strictEqual(rows, 2)
      assert.deepStrictEqual(bad.map(({ column, row }) => [row, column]), [[2, "c"], [4, "c"]])
      assert.deepStrictEqual(yield* ids(name), [0, 2])
    }))

  test("updates the rows that are there, and counts them", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table(columns)
      yield* Bulk.insert(name, rows.slice(0, 3))
      const { inserted, updated } = yield* Bulk.upsert(name, [
        { ...row(1), a: "first" },
        { ...row(1), a: "last" },
        row(7)
      ])
      assert.deepStrictEqual({ inserted, updated }, { inserted: 1, updated: 1 })
      assert.deepStrictEqual(yield* sql`select id, a from ${sql(name)} where id in (1, 7) order by id`.values, [
        [1, "last"],
        [7, row(7).a]
      ])
    }))

  test("a column that a row does not have: null, its default, or a bad row, as the option says", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key, a int default 7, b int")
      const read = sql`select id, a, b from ${sql(name)} order by id`.values
      const rows: ReadonlyArray<{ id: number; a?: number | undefined; b?: number | null | undefined }> = [
        { id: 1, a: 1, b: 1 },
        { id: 2, b: 2 },
        { id: 3, a: undefined, b: 3 },
        { id: 4, b: null, a: 4 },
        { id: 5 }
      ]
      yield* Bulk.insert(name, rows)
      assert.deepStrictEqual(yield* read, [[1, 1, 1], [2, null, 2], [3, null, 3], [4, 4, null], [5, null, null]])
      yield* sql`delete from ${sql(name)}`
      for (const source of [rows, Stream.fromIterable(rows)]) {
        const loaded = yield* Bulk.insert(name, source, { missing: "default" })
        assert.strictEqual(loaded.rows, 5)
        assert.deepStrictEqual(yield* read, [[1, 1, 1], [2, 7, 2], [3, 7, 3], [4, 4, null], [5, 7, null]])
        yield* sql`delete from ${sql(name)}`
      }
      const { bad } = yield* Bulk.insert(name, rows, { missing: "bad", onBadRow: "collect" })
      assert.deepStrictEqual(bad.map(({ column, row }) => [row, column]), [[2, "a"], [3, "a"], [5, "a"]])
      assert.deepStrictEqual(yield* ids(name), [1, 4])
      // What the database refuses of a later kind of rows undoes the earlier ones too.
      yield* sql`delete from ${sql(name)}`
      yield* failure(Bulk.insert(name, [...rows, { id: 1, a: 1, b: 1 }], { missing: "default" }))
      assert.deepStrictEqual(yield* ids(name), [])
    }))

  test("an upsert of rows with different columns: what a row does not have is its default, or is left alone", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key, a int default 7, b int")
      const read = sql`select id, a, b from ${sql(name)} order by id`.values
      const rows: ReadonlyArray<{ id: number; a?: number | undefined; b?: number | null | undefined }> = [
        { id: 1, a: 10, b: 10 },
        { id: 2, b: 20 },
        { id: 3, a: undefined, b: 30 },
        { id: 4, b: null, a: 40 },
        { id: 5 },
        { id: 1, b: 11 }
      ]
      const there = [{ id: 1, a: 1, b: 1 }, { id: 2, a: 2, b: 2 }, { id: 5, a: 5, b: 5 }]
      for (const source of [rows, Stream.fromIterable(rows)]) {
        yield* sql`delete from ${sql(name)}`
        yield* Bulk.insert(name, there)
        const { bad, inserted, updated } = yield* Bulk.upsert(name, source, { missing: "default" })
        assert.deepStrictEqual(yield* read, [[1, 10, 11], [2, 2, 20], [3, 7, 30], [4, 40, null], [5, 5, 5]])
        assert.deepStrictEqual(bad, [])
        assert.strictEqual(inserted, 2)
        assert.include([3, 4], updated)
      }
      // Only what is to be updated is, and a row may lack it.
      yield* sql`delete from ${sql(name)}`
      yield* Bulk.insert(name, there)
      yield* Bulk.upsert(name, rows, { missing: "default", update: ["a"] })
      assert.deepStrictEqual(yield* read, [[1, 10, 1], [2, 2, 2], [3, 7, 30], [4, 40, null], [5, 5, 5]])
      // What is refused of a later kind of rows undoes the earlier ones too.
      yield* sql`delete from ${sql(name)}`
      for (const options of [{ missing: "default" }, { missing: "default", duplicates: "first" }] as const) {
        yield* failure(Bulk.upsert(name, [...rows, { a: 1 } as never], options))
        assert.deepStrictEqual(yield* read, [])
      }
      const refused = yield* failure(Bulk.upsert(name, rows, { missing: "default", duplicates: "first" }))
      assert.include(String(refused), "duplicates")
      assert.deepStrictEqual(yield* read, [])
    }))

  test.needing("clients")(
    "tables, columns, keys and errors have the names of the program",
    () =>
      Effect.gen(function*() {
        const url = yield* Place
        yield* named(url)
      })
  )

  const named = (url: string) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql.unsafe("create table bulk_names (the_id int primary key, the_name varchar(10))")
      yield* Bulk.insert("bulkNames", [{ theId: 1, theName: "a" }, { theId: 2, theName: "b" }])
      const { inserted, updated } = yield* Bulk.upsert(
        "bulkNames",
        Stream.make({ theId: 2, theName: "c" }, { theId: 3, theName: "d" }),
        { key: ["theId"], update: ["theName"] }
      )
      assert.deepStrictEqual([inserted, updated], [1, 1])
      assert.deepStrictEqual(
        yield* sql`select ${sql("theId")}, ${sql("theName")} from ${sql("bulkNames")} order by 1`,
        [
          { theId: 1, theName: "a" },
          { theId: 2, theName: "c" },
          { theId: 3, theName: "d" }
        ]
      )
      const error = yield* failure(Bulk.insert("bulkNames", [{ theId: 4, theAge: 5 }]))
      assert.include((error as Error).message, "the_age")
    }).pipe(Effect.provide(Layer.fresh(dialect.at(url, {
      pool: { max: 1 },
      transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
      transformResultNames: (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
    }))))
}
