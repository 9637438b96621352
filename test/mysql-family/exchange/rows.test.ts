import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Kind, kindOf } from "../../../src/mysql-family/driver/columns.ts"
import { RowDecoder } from "../../../src/mysql-family/statement/results.ts"
import type { Mysql } from "../../../src/mysql/index.ts"
import { describeEach, liveWith, onFresh, sqlFailure } from "../support.ts"

/** Every way in which rows come as objects. A statement is prepared when it comes again. */
const asObjects = Effect.fnUntraced(function*(
  statement: Statement<any>
): Effect.fn.Return<Record<string, unknown>, SqlError> {
  return {
    first: yield* statement,
    second: yield* statement,
    third: yield* statement,
    unprepared: yield* statement.unprepared,
    stream: yield* Stream.runCollect(statement.stream)
  }
})

describeEach("rows over $name", (subject) => {
  it.layer(onFresh(subject), { excludeTestServices: true })("rows", (it) => {
    it.effect("a column of any name: every way → an own property, and the connection goes on", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        const names = [
          "__proto__",
          "__defineGetter__",
          "__defineSetter__",
          "__lookupGetter__",
          "__lookupSetter__",
          "constructor",
          "toString",
          "hasOwnProperty",
          "",
          "a`b",
          "0",
          "length",
          "名前"
        ]
        const connection = (yield* sql`select connection_id() as id`)[0]!["id"]
        for (const name of names) {
          const text = `select 1 as before_it, json_extract('{"x":1}', '$') as \`${
            name.replaceAll("`", "``")
          }\`, 2 as after_it`
          if (name === "") continue
          const statement = sql.unsafe(text)
          for (const [way, rows] of Object.entries(yield* asObjects(statement))) {
            const [row] = rows as ReadonlyArray<object>
            assert.deepStrictEqual(Object.getPrototypeOf(row), Object.prototype, `${name}, ${way}`)
            assert.deepStrictEqual(
              Object.getOwnPropertyDescriptor(row, name),
              { value: { x: 1 }, enumerable: true, configurable: true, writable: true },
              `${name}, ${way}`
            )
            assert.strictEqual((row as any).before_it + (row as any).after_it, 3, `${name}, ${way}`)
          }
          assert.deepStrictEqual(yield* statement.values, [[1, { x: 1 }, 2]], name)
        }
        assert.strictEqual((yield* sql`select connection_id() as id`)[0]!["id"], connection)
      }))

    it.effect("columns with one name: every way → the last has the value, and values has all", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        const statement = sql`select 1 as a, cast('x' as binary) as a, 3 as b, '{"k":1}' as a`
        for (const [way, rows] of Object.entries(yield* asObjects(statement))) {
          assert.deepStrictEqual(rows, [{ a: "{\"k\":1}", b: 3 }], way)
        }
        assert.deepStrictEqual(yield* statement.values, [[1, new Uint8Array([120]), 3, "{\"k\":1}"]])
      }))

    it.effect("several results: every way → rows in their own columns, and none for an answer without rows", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql.unsafe("create procedure none() begin do 1; end").unprepared
        yield* sql.unsafe(`create procedure one_set() select seq as id, 1.5 as d from ${subject.server.series(3)}`)
          .unprepared
        yield* sql.unsafe(
          `create procedure two_sets() begin select seq as id from ${subject.server.series(2)}; ` +
            "select 'x' as b, json_extract('{\"x\":1}', '$') as id; end"
        ).unprepared
        for (const [way, rows] of Object.entries(yield* asObjects(sql`call none()`))) {
          assert.deepStrictEqual(rows, [], way)
        }
        const rows = [1, 2, 3].map((id) => ({ id, d: "1.5" }))
        for (const [way, found] of Object.entries(yield* asObjects(sql`call one_set()`))) {
          assert.deepStrictEqual(found, rows, way)
        }
        assert.deepStrictEqual(yield* sql`call one_set()`.values, [[1, "1.5"], [2, "1.5"], [3, "1.5"]])
        const sets = [[{ id: 1 }, { id: 2 }], [{ b: "x", id: { x: 1 } }]]
        for (const [way, found] of Object.entries(yield* asObjects(sql`call two_sets()`))) {
          assert.deepStrictEqual(
            way === "stream" ? found : (found as ReadonlyArray<unknown>).slice(0, 2),
            way === "stream" ? sets.flat() : sets,
            way
          )
        }
        const values = yield* sql`call two_sets()`.values
        assert.deepStrictEqual(values.slice(0, 2) as unknown, [[[1], [2]], [["x", { x: 1 }]]])
        const raw = (yield* sql`call two_sets()`.raw) as ReadonlyArray<unknown>
        assert.deepStrictEqual(raw.slice(0, 2), sets)
      }))

    it.effect("a FLOAT: prepared, as text, streamed → one number", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table floats (f float, d double)`
        yield* sql`insert into floats values (0.1, 0.1)`
        const row = { f: Math.fround(0.1), d: 0.1 }
        for (const [way, rows] of Object.entries(yield* asObjects(sql`select f, d from floats`))) {
          assert.deepStrictEqual(rows, [row], way)
        }
      }))

    it.effect("a prepared select *: a column that comes, goes or moves → the rows as they are then", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table changing (id int primary key)`
        yield* sql`insert into changing values (1)`
        const changes = [
          ["add column a int default 7, algorithm = instant", { id: 1, a: 7 }],
          ["add column b varchar(3) default 'x' first, algorithm = instant", { b: "x", id: 1, a: 7 }],
          ["add column c int default 9 invisible", { b: "x", id: 1, a: 7 }],
          ["drop column a", { b: "x", id: 1 }],
          ["drop column b", { id: 1 }]
        ] as const
        const read = sql`select * from changing where id = ${1}`
        for (const [change, row] of changes) {
          yield* asObjects(read)
          yield* sql.unsafe(`alter table changing ${change}`)
          for (const [way, rows] of Object.entries(yield* asObjects(read))) {
            assert.deepStrictEqual(rows, [row], `${change}, ${way}`)
          }
        }
      }))

    it.effect("geometries: every way → GeoJSON, and null where there is none", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table places (id int primary key, p point, g geometry)`
        const given = [
          "POINT(1 2)",
          "LINESTRING(0 0,1 1)",
          "POLYGON((0 0,4 0,4 4,0 0),(1 1,2 1,2 2,1 1))",
          "MULTIPOINT(1 2,3 4)",
          "MULTILINESTRING((0 0,1 1),(2 2,3 3))",
          "MULTIPOLYGON(((0 0,1 0,1 1,0 0)))",
          "GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))"
        ]
        for (const [id, text] of given.entries()) {
          yield* sql`insert into places values (${id}, null, st_geomfromtext(${text}))`
        }
        const rows = yield* sql<{ p: unknown; g: unknown; expected: unknown }>`
          select p, g, cast(st_asgeojson(g) as char) as expected from places order by id`
        for (const row of rows) assert.deepStrictEqual([row.p, row.g], [null, JSON.parse(String(row.expected))])
        assert.strictEqual(rows.length, given.length)
        for (const [way, found] of Object.entries(yield* asObjects(sql`select p, g from places order by id`))) {
          assert.deepStrictEqual(found, rows.map(({ g, p }) => ({ p, g })), way)
        }
      }))

    it.effect("insertId: beyond 2^63 → unsigned", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table large (id bigint unsigned auto_increment primary key, n int)`
        for (const id of [5n, 2n ** 53n + 1n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 2n]) {
          const { insertId } = (yield* sql`insert into large values (${id}, 1)`.raw) as { readonly insertId: unknown }
          assert.strictEqual(insertId, id <= 2n ** 53n ? Number(id) : id)
        }
      }))

    it.effect("a stream with another number of parameters: not sent, in every form", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        for (const params of [[], [1, 2], [1, 2, 3]]) {
          const statement = sql.unsafe("select ? as v", params)
          for (
            const form of [statement, statement.values, statement.raw, statement.unprepared, statement.stream]
          ) {
            const error = yield* sqlFailure(
              Stream.isStream(form) ? Stream.runCollect(form) : form as Effect.Effect<unknown, unknown>
            )
            assert.include(error.message, "not sent")
          }
        }
        assert.deepStrictEqual(yield* Stream.runCollect(sql`select ${3} as v`.stream), [{ v: 3 }])
      }))
  })

  liveWith(subject, "string_to_vector")(
    "a vector: every way → its numbers, which can be written back",
    () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table vectors (id int primary key, v vector(3), w vector(3))`
        yield* sql`insert into vectors values (1, string_to_vector('[1,2.5,-3]'), null)`
        const [row] = yield* sql<{ v: Float32Array }>`select v from vectors`
        yield* sql`update vectors set w = ${row!.v}`
        const expected = [{ v: new Float32Array([1, 2.5, -3]), w: new Float32Array([1, 2.5, -3]), same: 1 }]
        const all = yield* asObjects(sql`select v, w, v = w as same from vectors`)
        for (const [way, rows] of Object.entries(all)) assert.deepStrictEqual(rows, expected, way)
      }).pipe(Effect.provide(onFresh(subject)))
  )

  it.live("the client: also there under the service of @effect/sql-mysql2", () =>
    Effect.gen(function*() {
      const upstream = Context.Service<Mysql.MysqlClient>("@effect/sql-mysql2/MysqlClient")
      const context = (yield* Layer.build(onFresh(subject))) as Context.Context<any>
      assert.strictEqual(Context.get(context, upstream), Context.get(context, subject.module.MysqlClient))
    }))
})

describe("columns", () => {
  const described = { collation: 63, typeName: undefined, isJson: false, isSet: false }

  it("a type that is not known: no character set → bytes, a character set → text", () => {
    assert.strictEqual(kindOf({ ...described, type: 200 }), Kind.Bytes)
    assert.strictEqual(kindOf({ ...described, type: 200, collation: 45 }), Kind.Plain)
  })

  it("a vector of MySQL or MariaDB: its bytes → a Float32Array that has the same bytes", () => {
    const bytes = Buffer.from(new Float32Array([1, 2.5, -3]).buffer)
    for (const type of [{ ...described, type: 242 }, { ...described, type: 15, typeName: "vector" }]) {
      const decoder = new RowDecoder([{ name: "v", kind: kindOf(type), decimals: 0 }])
      const rows = [[bytes]]
      assert.isUndefined(decoder.values(rows, { safeIntegers: false, dateStrings: false }))
      const [row] = decoder.objects(rows)
      assert.deepStrictEqual(row, { v: new Float32Array([1, 2.5, -3]) })
      assert.isTrue(Buffer.from((row!["v"] as Float32Array).buffer).equals(bytes))
    }
  })
})
