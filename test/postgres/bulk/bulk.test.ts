import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Pool, Transaction } from "watertight"
import { database } from "../clientSupport.ts"
import { failure, sqlFailure } from "../support.ts"

const count = (table: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient
    const [row] = yield* sql<{ n: number }>`select count(*)::int as n from ${sql(table)}`
    return row!.n
  })

const bulkFailure = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(failure(effect), (error) => {
    assert.instanceOf(error, Bulk.BulkError)
    return error as unknown as Bulk.BulkError
  })

it.layer(database({ maxConnections: 2 }))("Bulk", (it) => {
  it.effect("inserts an array, typed by the table", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create type mood as enum ('sad', 'happy')`
      yield* sql`create table typed (id int primary key, big int8, name text, at timestamptz, doc jsonb, price numeric,
        tags text[], span int4range, mood mood, seen timestamptz not null default '2020-01-01', flag bool, day date)`
      const rows = Array.from({ length: 5_000 }, (_, id) => ({
        id,
        big: id % 2 === 0 ? BigInt(id) * 10_000_000_000n : id,
        name: `näme ${id}\t\\`,
        at: new Date(1_700_000_000_000 + id),
        doc: { a: [id, null], "b\n": "\\" },
        price: id % 2 === 0 ? `${id}.50` : id + 0.5,
        tags: id % 3 === 0 ? [] : ["a,b", null, `${id}`],
        span: { lower: id, upper: null, bounds: "[)" },
        mood: id % 2 === 0 ? "sad" : null,
        flag: id % 2 === 0,
        day: id % 2 === 0 ? "2024-02-29" : new Date("2024-02-29T23:59:59Z")
      }))
      const { bytes, ...result } = yield* Bulk.insert("typed", rows)
      assert.deepStrictEqual(result, { rows: 5_000, bad: [] })
      assert.isAbove(bytes, 100_000)
      const there = yield* sql`select * from typed order by id`
      for (const [id, row] of there.entries()) {
        const given = rows[id]!
        assert.deepStrictEqual(row, {
          ...given,
          big: BigInt(given.big),
          price: `${id}.5${id % 2 === 0 ? "0" : ""}`,
          day: "2024-02-29",
          seen: new Date("2020-01-01T00:00:00Z")
        })
      }
    }))

  it.effect("a stream, in a transaction, with progress", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create schema geo`
      yield* sql`create table geo."Ci.ty" (id serial primary key, name varchar(20))`.pipe(Effect.ignore)
      yield* sql`create table geo.city (id serial primary key, name varchar(20))`
      const heard: Array<Bulk.Progress> = []
      const cities = Stream.range(1, 50_000).pipe(Stream.map((n) => ({ name: `city ${n}` })))
      const undone = yield* Bulk.insert("geo.city", cities).pipe(
        Effect.andThen(count("geo.city")),
        Effect.flatMap((n) => Effect.fail(n)),
        Transaction.run(),
        Effect.flip
      )
      assert.strictEqual(undone as unknown, 50_000)
      assert.strictEqual(yield* count("geo.city"), 0)
      const result = yield* Bulk.insert("geo.city", cities, {
        onProgress: (progress) => Effect.sync(() => heard.push(progress))
      })
      assert.strictEqual(result.rows, 50_000)
      assert.strictEqual(yield* count("geo.city"), 50_000)
      assert.isAbove(heard.length, 3)
      assert.strictEqual(heard.at(-1)!.rows, 50_000)
      assert.strictEqual(heard.at(-1)!.bytes, result.bytes)
    }))

  it.effect("a bad row is named, and nothing of it shown", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table strict (id int not null, name varchar(5), at timestamptz, doc jsonb, tags int[])`
      const good = { id: 1, name: "ok", at: new Date(0), doc: {}, tags: [1] }
      const cases: ReadonlyArray<[row: object, column: string | undefined, actual: string]> = [
        [{ ...good, id: "s3cret" }, "id", "string"],
        [{ ...good, id: 2 ** 31 }, "id", "number"],
        [{ ...good, id: null }, "id", "null"],
        [{ ...good, id: undefined }, "id", "undefined"],
        [{ ...good, name: "s3cret" }, "name", "string"],
        [{ ...good, name: "a\u0000" }, "name", "string"],
        [{ ...good, name: "\ud800" }, "name", "string"],
        [{ ...good, name: 7 }, "name", "number"],
        [{ ...good, at: new Date(NaN) }, "at", "Date"],
        [{ ...good, at: "s3cret" }, "at", "string"],
        [{ ...good, doc: { n: 1n } }, "doc", "object"],
        [{ ...good, doc: { n: "\u0000" } }, "doc", "object"],
        [{ ...good, tags: [1, "s3cret"] }, "tags", "array"],
        [{ ...good, tags: [[1], [2, 3]] }, "tags", "array"],
        [{ ...good, tags: new Map() }, "tags", "Map"],
        [{ ...good, s3cret: 1 }, "s3cret", "object"],
        [null as never, undefined, "null"]
      ]
      for (const [row, column, actual] of cases) {
        const error = yield* bulkFailure(Bulk.insert("strict", [good, good, row, good]))
        assert.strictEqual(error.reason._tag, "RowUnfit")
        const reason = error.reason as Bulk.RowUnfit
        assert.deepStrictEqual([reason.row, reason.column, reason.actual], [3, column, actual], error.message)
        if (column !== "s3cret") assert.notInclude(error.message + JSON.stringify(error), "s3cret")
      }
      assert.strictEqual(yield* count("strict"), 0)
      const rows = cases.flatMap(([row]) => [good, row])
      const { bad, rows: loaded } = yield* Bulk.insert("strict", rows as ReadonlyArray<object>, { onBadRow: "collect" })
      assert.strictEqual(loaded, cases.length)
      assert.deepStrictEqual(bad.map(({ row }) => row), cases.map((_, index) => index * 2 + 2))
      assert.strictEqual(yield* count("strict"), cases.length)
      const tooMany = yield* bulkFailure(
        Bulk.insert("strict", rows as ReadonlyArray<object>, { onBadRow: "collect", maxBadRows: 3 })
      )
      assert.strictEqual((tooMany.reason as Bulk.RowUnfit).row, 8)
      assert.strictEqual(yield* count("strict"), cases.length)
    }))

  it.effect("what only the server knows of a row names it, too", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table unique_id (id int primary key check (id < 100))`
      const error = yield* sqlFailure(
        Bulk.insert("unique_id", [{ id: 1 }, { id: "x" as never }, { id: 2 }, { id: 500 }], { onBadRow: "collect" })
      )
      assert.strictEqual(error.reason._tag, "ConstraintError")
      assert.include(error.message, "row 4")
      assert.include(error.message, "none of the rows was applied")
    }))

  it.effect("wrong tables and columns", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table shape (a int, b int generated always as (a * 2) stored)`
      const reason = (rows: ReadonlyArray<object>, table = "shape", options = {}) =>
        Effect.map(bulkFailure(Bulk.insert(table, rows, options)), (error) => error.reason._tag)
      assert.strictEqual(yield* reason([{ a: 1 }], "nobody"), "TableMissing")
      assert.strictEqual(yield* reason([], "nobody"), "TableMissing")
      assert.strictEqual(yield* reason([{ c: 1 }]), "ColumnsWrong")
      assert.strictEqual(yield* reason([{ a: 1, b: 1 }]), "ColumnsWrong")
      assert.strictEqual(yield* reason([{}]), "ColumnsWrong")
      assert.strictEqual(yield* reason([{ a: 1 }], "shape", { columns: ["a", "a"] }), "ColumnsWrong")
      assert.strictEqual(yield* reason([{ a: 1 }], "shape\"; drop table shape; --"), "TableMissing")
      assert.deepStrictEqual(yield* Bulk.insert("shape", []), { rows: 0, bytes: 0, bad: [] })
    }))

  it.effect("a schema encodes the rows first", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table by_schema (id int, price numeric, at text)`
      const Row = Schema.Struct({ id: Schema.Int, at: Schema.DateFromString })
      const { bad } = yield* Bulk.insert("by_schema", [
        { id: 1, at: new Date(0) },
        { id: 1.5, at: new Date(0) },
        { id: 3, at: new Date(1) }
      ], { schema: Row, onBadRow: "collect" })
      assert.deepStrictEqual(bad.map(({ column, row }) => [row, column]), [[2, undefined]])
      assert.deepStrictEqual(yield* sql`select id, at from by_schema order by id`, [
        { id: 1, at: "1970-01-01T00:00:00.000Z" },
        { id: 3, at: "1970-01-01T00:00:00.001Z" }
      ])
    }))

  it.effect("types that only travel as text", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table as_text (id int, words tsvector, price money, kind regtype, note text)`
      const rows = [
        { id: 1, words: "'a':1 'b'", price: "$1,234.50", kind: "integer", note: "tab\t\\new\nline\r\\N" },
        { id: 2, words: null, price: null, kind: null, note: null }
      ]
      assert.strictEqual((yield* Bulk.insert("as_text", rows)).rows, 2)
      assert.deepStrictEqual(yield* sql`select * from as_text order by id`, rows)
    }))

  it.effect("interruption and failing sources leave nothing", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const pool = yield* Pool.Pool
      yield* sql`create table nothing (id int)`
      const rows = Stream.range(1, 30_000).pipe(Stream.map((id) => ({ id })))
      const boom = yield* Bulk.insert("nothing", Stream.concat(rows, Stream.fail("boom"))).pipe(Effect.flip)
      assert.strictEqual(boom as unknown, "boom")
      const reached = yield* Deferred.make<void>()
      const stuck = Stream.unwrap(Effect.as(Deferred.succeed(reached, undefined), Stream.never))
      const fiber = yield* Bulk.insert("nothing", Stream.concat(rows, stuck)).pipe(Effect.forkChild)
      yield* Deferred.await(reached)
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* count("nothing"), 0)
      assert.strictEqual((yield* pool.stats).used, 0)
    }))

  it.effect("upsert counts what it inserted and updated", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table stock (shop text, item int, n int, note text default 'new', primary key (shop, item))`
      const rows = (n: number, from: number, to: number) =>
        Array.from({ length: to - from }, (_, index) => ({ shop: "a", item: from + index, n }))
      assert.deepStrictEqual(yield* Bulk.upsert("stock", rows(1, 0, 3_000)), { inserted: 3_000, updated: 0, bad: [] })
      assert.deepStrictEqual(yield* Bulk.upsert("stock", rows(2, 2_000, 4_000)), {
        inserted: 1_000,
        updated: 1_000,
        bad: []
      })
      assert.deepStrictEqual(yield* sql`select sum(n)::int as n, min(note) as note from stock`, [
        { n: 6_000, note: "new" }
      ])
      const twice = [{ shop: "b", item: 1, n: 1 }, { shop: "b", item: 1, n: 2 }]
      assert.deepStrictEqual(yield* Bulk.upsert("stock", twice), { inserted: 1, updated: 0, bad: [] })
      assert.deepStrictEqual(yield* sql`select n from stock where shop = 'b'`, [{ n: 2 }])
      yield* Bulk.upsert("stock", twice, { duplicates: "first" })
      assert.deepStrictEqual(yield* sql`select n from stock where shop = 'b'`, [{ n: 1 }])
      yield* Bulk.upsert("stock", twice, { update: [] })
      assert.deepStrictEqual(yield* sql`select n from stock where shop = 'b'`, [{ n: 1 }])
      // In a transaction, twice, and undone with it.
      yield* Effect.gen(function*() {
        yield* Bulk.upsert("stock", rows(3, 0, 10))
        yield* Bulk.upsert("stock", rows(4, 0, 10))
        assert.deepStrictEqual(yield* sql`select sum(n)::int as n from stock where item < 10 and shop = 'a'`, [{
          n: 40
        }])
        return yield* Effect.fail("undo")
      }).pipe(Transaction.run(), Effect.flip)
      assert.deepStrictEqual(yield* sql`select sum(n)::int as n from stock where item < 10 and shop = 'a'`, [{ n: 10 }])
      yield* sql`create table keyless (a int)`
      assert.include((yield* bulkFailure(Bulk.upsert("keyless", [{ a: 1 }]))).message, "primary key")
      assert.include((yield* bulkFailure(Bulk.upsert("stock", [{ shop: "a", n: 1 }]))).message, "item")
      yield* sql`create table parted (id int primary key, n int) partition by range (id)`
      yield* sql`create table parted_1 partition of parted for values from (0) to (1000)`
      assert.deepStrictEqual(yield* Bulk.upsert("parted", [{ id: 1, n: 1 }]), { inserted: 1, updated: 0, bad: [] })
      assert.deepStrictEqual(yield* Bulk.upsert("parted", [{ id: 1, n: 2 }, { id: 2, n: 2 }]), {
        inserted: 1,
        updated: 1,
        bad: []
      })
    }))
})
