/** Columns of any name × every way out × every database: each is an own property of its row, with its value. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { Copy, Postgres } from "watertight/postgres"
import { describeEach } from "../mysql-family/support.ts"
import { freshDatabase } from "../support/index.ts"

const names: ReadonlyArray<string> = [
  "__proto__",
  "constructor",
  "prototype",
  "__defineGetter__",
  "__defineSetter__",
  "__lookupGetter__",
  "__lookupSetter__",
  "hasOwnProperty",
  "isPrototypeOf",
  "toString",
  "valueOf",
  "toJSON",
  "then",
  "length",
  "name",
  "_tag",
  "~effect/sql/Statement/Fragment",
  "0",
  "1",
  "-1",
  "1e3",
  "A",
  "a b",
  "é漢💧",
  "\u0130",
  "a\"b",
  "a'b",
  "a`b",
  "a\\b",
  "a.b",
  "a?b",
  "$1",
  ":a",
  "a;--",
  "/* a */",
  "${a}",
  "\u2028",
  "x".repeat(60)
]

/** Of results, and of no table. */
const aliases: ReadonlyArray<string> = [...names, "tab\t", "line\nbreak"]

type Quote = (name: string) => string

const ways: Readonly<Record<string, (sql: SqlClient, text: string) => Effect.Effect<unknown, unknown, any>>> = {
  rows: (sql, text) => sql.unsafe(text),
  "rows, prepared": (sql, text) => Effect.andThen(sql.unsafe(text), sql.unsafe(text)),
  "rows in a transaction": (sql, text) => Transaction.run(sql.unsafe(text)),
  unprepared: (sql, text) => sql.unsafe(text).unprepared,
  raw: (sql, text) => Effect.map(sql.unsafe(text).raw, (result: any) => result.rows ?? result),
  stream: (sql, text) => Stream.runCollect(sql.unsafe(text).stream),
  "a stream in a transaction": (sql, text) => Transaction.run(Stream.runCollect(sql.unsafe(text).stream))
}

/** Compares names and values, and looks for what an assignment to the prototype would have done. */
const same = (rows: unknown, wanted: ReadonlyArray<readonly [string, unknown]>, count: number, message: string) => {
  const all = rows as ReadonlyArray<Record<string, unknown>>
  assert.strictEqual(all.length, count, message)
  for (const row of all) {
    assert.sameDeepMembers(
      Object.getOwnPropertyNames(row).map((name) => [name, row[name]]),
      wanted as Array<[string, unknown]>,
      message
    )
    assert.strictEqual(Object.getPrototypeOf(row), Object.prototype, message)
  }
}

const suite = (
  layer: Layer.Layer<any, unknown>,
  quote: Quote,
  { keeps, repeat, text }: {
    /** Whether the server has such a name. */
    readonly keeps: (name: string) => boolean
    readonly repeat: (text: string, count: number) => string
    /** A type of texts. */
    readonly text: string
  }
) =>
  it.layer(layer as Layer.Layer<SqlClient | Transaction.Manager | Bulk.Bulk>, {
    excludeTestServices: true,
    timeout: "60 seconds"
  })("columns of any name", (it) => {
    it.effect("as aliases, alone and together, in one row and in many", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const known = aliases.filter(keeps)
        const together = [known, ...known.map((name) => [name]), ...known.map((name) => ["a", name, "z"])]
        for (const list of together) {
          const select = `select ${list.map((name, index) => `'${index}' as ${quote(name)}`).join(", ")}`
          const wanted = list.map((name, index): readonly [string, unknown] => [name, String(index)])
          for (const [way, read] of Object.entries(ways)) {
            // Many rows are made by a function that was compiled for them.
            for (const count of list.length === 1 ? [1] : [1, 40]) {
              same(yield* read(sql, repeat(select, count)), wanted, count, `${list.slice(0, 3).join()} as ${way}`)
            }
          }
          assert.deepStrictEqual(yield* sql.unsafe(select).values, [list.map((_, index) => String(index))])
        }
      }), 60_000)

    it.effect("several of one name: the last one's value, and all of them in `.values`", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        for (const name of ["a", "__proto__", "constructor", "0", "then"]) {
          const select = `select '1' as ${quote(name)}, '2' as b, '3' as ${quote(name)}`
          for (const [way, read] of Object.entries(ways)) {
            same(yield* read(sql, select), [[name, "3"], ["b", "2"]], 1, `${name} as ${way}`)
          }
          assert.deepStrictEqual(yield* sql.unsafe(select).values, [["1", "2", "3"]])
          assert.deepStrictEqual(yield* sql.unsafe(select).values.pipe(Transaction.run), [["1", "2", "3"]])
        }
      }))

    it.effect("of a table: inserted, updated, loaded and compared by them", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const columns = names.filter(keeps)
        yield* sql.unsafe(
          `create table named (id int primary key, ${columns.map((name) => `${quote(name)} ${text}`).join(", ")})`
        )
        const rowOf = (id: number, mark: string) =>
          Object.fromEntries([["id", id], ...columns.map((name, index) => [name, `${mark}${index}`])])
        const wanted = (id: number, mark: string) => Object.entries(rowOf(id, mark))
        // `fromEntries` defines, so that `__proto__` is there as well.
        assert.isTrue(Object.hasOwn(rowOf(1, "a"), "__proto__"))
        // A dot separates a table from its column.
        const plain = columns.filter((name) => !name.includes("."))
        const some = (id: number, mark: string) =>
          Object.fromEntries([["id", id], ...plain.map((name) => [name, `${mark}${columns.indexOf(name)}`])])
        yield* sql`insert into named ${sql.insert(some(1, "a") as never)}`
        yield* sql`insert into named ${sql.insert([some(2, "b"), some(3, "b")] as never)}`
        yield* Bulk.insert("named", [rowOf(4, "c"), rowOf(5, "c")])
        yield* Bulk.upsert("named", [rowOf(4, "d"), rowOf(6, "d")])
        yield* sql`update named set ${sql.update(some(1, "e") as never, ["id"])} where id = 1`
        for (const [id, mark] of [[5, "c"], [4, "d"], [6, "d"]] as const) {
          same(yield* sql`select * from named where id = ${id}`, wanted(id, mark), 1, `row ${id}`)
        }
        for (const [id, mark] of [[1, "e"], [2, "b"], [3, "b"]] as const) {
          const [row] = yield* sql<Record<string, unknown>>`select * from named where id = ${id}`
          for (const name of plain) assert.strictEqual(row![name], `${mark}${columns.indexOf(name)}`, name)
        }
        for (const name of plain) {
          const found = yield* sql`select id from named where ${sql(name)} = ${`e${columns.indexOf(name)}`}`
          assert.deepStrictEqual(found, [{ id: 1 }], name)
          const listed = yield* sql`select id from named where ${sql.in(name, [`e${columns.indexOf(name)}`])}`
          assert.deepStrictEqual(listed, [{ id: 1 }], name)
        }
      }))
  })

const double: Quote = (name) => `"${name.replaceAll("\"", "\"\"")}"`
const tick: Quote = (name) => `\`${name.replaceAll("`", "``")}\``

const postgres = {
  keeps: () => true,
  repeat: (text: string, count: number) => `${text} from generate_series(1, ${count})`,
  text: "text"
}

describe("PostgreSQL", () => {
  const layer = Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url) })))
  suite(layer, double, postgres)

  it.layer(layer, { excludeTestServices: true })("columns of a COPY", (it) => {
    it.effect("are properties of its rows", () =>
      Effect.gen(function*() {
        const select = `select ${names.map((name, index) => `'${index}'::text as ${double(name)}`).join(", ")}`
        for (const format of ["binary", "text"] as const) {
          const rows = yield* Stream.runCollect(Copy.rows({ query: select, format }))
          same(rows, names.map((name, index) => [name, String(index)]), 1, format)
        }
      }))
  })
})
describe("PGlite", () => suite(Pglite.layer(), double, postgres))

describeEach("over $name", (subject) =>
  suite(
    Layer.unwrap(Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url) }))),
    tick,
    {
      // The characters of names are the first 65,536: MariaDB refuses others, and MySQL makes a question mark of them.
      keeps: (name) => !name.includes("💧"),
      repeat: (text, count) => count === 1 ? text : `${text} from ${subject.server.series(count)}`,
      text: "varchar(20)"
    }
  ))
