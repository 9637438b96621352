import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, Outcome } from "watertight"
import { Arrays, Copy, Postgres, Sessions, Types } from "watertight/postgres"
import { exactSeed, freshDatabase, type Seed } from "../../support/index.ts"
import { database } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"
import { makers, ownMakers, ownTypes, unmakable } from "./typeValues.ts"

/** The same, for comparing: a `Buffer` is a `Uint8Array`, and what was not given is null. */
const tidy = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? Array.from(value)
    : Array.isArray(value)
    ? value.map(tidy)
    : value instanceof Date || typeof value !== "object" || value === null
    ? value
    : Object.fromEntries(Object.entries(value).map(([key, value]) => [key, tidy(value)]))

const same = (actual: unknown, expected: unknown, message: string) =>
  assert.deepStrictEqual(tidy(actual), tidy(expected), message)

const script = (sql: string) =>
  Effect.scoped(
    Effect.flatMap(Sessions.Sessions, ({ borrow }) => Effect.flatMap(borrow, (session) => session.script(sql)))
  )

/** Sends values every way there is, and expects them back. */
const roundTrip = Effect.fnUntraced(function*(type: string, values: ReadonlyArray<unknown>, at: string) {
  const sql = yield* SqlClient
  const back = yield* Effect.forEach(values, (value) => sql`select ${Types.value(type, value)} as v`, {
    concurrency: 20
  })
  same(back.map(([row]) => row!["v"]), values, `as parameter and result, ${at}`)

  const [list] = yield* sql`select ${Types.value(`${type}[]`, values)} as v`
  same(list!["v"], values, `as elements of an array, ${at}`)
  // What JSON is in an array cannot be told from the array.
  const grid = type.startsWith("json") ? values : [values, values]
  const [nested] = yield* sql`select ${Types.value(`${type}[]`, grid)} as v`
  same(nested!["v"], values.length === 0 ? [] : grid, `as elements of a grid, ${at}`)

  const rows = values.map((v, id) => ({ id, v }))
  const name = `t_${type.replace(/[^a-z0-9_]/gi, "_").toLowerCase()}`
  yield* script(`drop table if exists ${name}; create table ${name} (id int, v ${type}, words tsvector)`)
  for (const format of ["binary", "text"] as const) {
    yield* script(`truncate ${name}`)
    // A column that travels as text only makes the whole COPY go as text.
    yield* Bulk.insert(name, rows, { columns: format === "text" ? ["id", "v", "words"] : ["id", "v"] })
    const there = yield* sql`select v from ${sql(name)} order by id`
    same(there.map((row) => row["v"]), values, `through COPY in ${format}, ${at}`)
    const copied = yield* Stream.runCollect(Copy.rows({ table: name, columns: ["id", "v"], format }))
    same(
      copied.toSorted((a, b) => a["id"] as number - (b["id"] as number)).map((row) => row["v"]),
      values,
      `out of COPY in ${format}, ${at}`
    )
  }
  const texts = yield* script(`select v from ${name} order by id`)
  same(texts[0]!.rows.map((row) => row["v"]), values, `as text, ${at}`)
  yield* script(`drop table ${name}`)
})

const generate = (random: Seed, make: (random: Seed) => unknown): ReadonlyArray<unknown> =>
  Array.from({ length: 12 }, () => random.chance(0.1) ? null : make(random))

const AnySeed = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 0x7fffffff }))

it.layer(database({ maxConnections: 4 }))("PostgreSQL's own types", (it) => {
  for (const [type, make] of Object.entries(makers)) {
    it.effect.prop(type, [AnySeed], ([seed]) => roundTrip(type, generate(exactSeed(seed), make), `seed ${seed}`), {
      arbitrary: { runs: 4 }
    })
  }

  it.effect("there is none that was not thought of", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const types = yield* sql<{ name: string }>`select format_type(t.oid, null) as name, t.typname
        from pg_type t where t.typtype in ('b', 'e', 'd', 'r', 'm') and t.typcategory <> 'A'
        and t.typnamespace = 'pg_catalog'::regnamespace`
      const known = [...Object.keys(makers), ...unmakable].map((name) => name.replaceAll("\"", ""))
      const missing = types.filter((row) => !known.includes(String((row as Record<string, unknown>)["typname"])))
      assert.deepStrictEqual(missing, [])
    }))

  it.effect("every row of every catalogue reads as a composite, and as a row of values", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const tables = yield* sql<{ name: string }>`select c.oid::regclass::text as name from pg_class c
        where c.relkind in ('r', 'v') and c.relnamespace in ('pg_catalog'::regnamespace, 'information_schema'::regnamespace)`
      assert.isAbove(tables.length, 150)
      yield* Effect.forEach(tables, ({ name }) =>
        Effect.gen(function*() {
          const rows = yield* sql.unsafe(`select t as whole, t.* from ${name} t limit 3`)
          for (const { whole, ...columns } of rows as ReadonlyArray<Record<string, unknown>>) {
            same(whole, columns, name)
          }
        }), { concurrency: 4, discard: true })
    }), 60_000)

  it.effect("types without values", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const [row] = yield* sql.unsafe(
        `select 'x'::unknown as u, 'y'::cstring as c, pg_notify('a', 'b') as v, null::pg_node_tree as n,
          row(1, 'a', null, row(now(), array[1])) as r, array[row(1, 2), row(3, null)] as rs`
      )
      const { r, ...rest } = row as any
      assert.deepStrictEqual(rest, { u: "x", c: "y", v: "", n: null, rs: [[1, 2], [3, null]] })
      assert.instanceOf(r[3][0], Date)
      const [tree] = yield* sql`select ev_action as tree from pg_rewrite limit 1`
      assert.isString(tree!["tree"])
    }))
})

it.layer(database({ maxConnections: 4 }))("types that users have made", (it) => {
  it.effect("round trips", () => Effect.andThen(script(ownTypes), Effect.void))

  for (const [type, make] of Object.entries(ownMakers)) {
    it.effect.prop(type, [AnySeed], ([seed]) => roundTrip(type, generate(exactSeed(seed), make), `seed ${seed}`), {
      arbitrary: { runs: 4 }
    })
  }

  it.effect("a type that is made, changed and dropped while sessions know it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create type pair as (a int)`
      const read = sql`select row(1)::pair as p`
      assert.deepStrictEqual(yield* read, [{ p: { a: 1 } }])
      yield* sql`alter type pair add attribute b text`
      const wide = sql`select row(1, 'x')::pair as p`
      assert.deepStrictEqual(yield* wide, [{ p: { a: 1, b: "x" } }])
      yield* sql`drop type pair`
      yield* sql`create type pair as enum ('a')`
      assert.deepStrictEqual(yield* sql.unsafe("select 'a'::pair as p, array['a']::pair[] as ps"), [{
        p: "a",
        ps: ["a"]
      }])
      assert.deepStrictEqual(yield* sql`select ${Types.value("pair[]", ["a", null])} as ps`, [{ ps: ["a", null] }])
    }))

  it.effect("a type that is made in the transaction that uses it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Effect.gen(function*() {
        yield* sql`create type born as enum ('here')`
        assert.deepStrictEqual(yield* sql`select 'here'::born as b, ${Types.value("born[]", ["here"])} as bs`, [
          { b: "here", bs: ["here"] }
        ])
      }).pipe(sql.withTransaction)
    }))

  it.effect("a value of a few bytes keeps nothing alive of what came with it", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const few = "'\\x0102'::bytea"
      const [row] = yield* sql.unsafe<{ a: Uint8Array; b: ReadonlyArray<Uint8Array> }>(
        `select ${few} as a, array[${few}] as b, repeat('x', 50000) as c`
      )
      assert.deepStrictEqual([row!.a.buffer.byteLength, row!.b[0]!.buffer.byteLength], [2, 2])
    }))

  it.effect("a name that is none, and a value that does not fit", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const nothing = yield* sqlFailure(sql`select ${Types.value("nonsense", 1)}`)
      assert.include(nothing.message, "there is no type nonsense")
      // The server would say it back in another spelling, under which it would be asked for again, without an end.
      for (const half of ["\ud800", "public.\udfff", "a\ud800[]"]) {
        for (
          const statement of [
            sql`select ${Types.value(half, 1)}`,
            sql`select 1 = any(${Arrays.any(half, [1])})`,
            sql`select * from ${Arrays.unnest({ a: half }, [{ a: 1 }])}`
          ]
        ) assert.isTrue(Outcome.isNotSent(yield* sqlFailure(statement)), JSON.stringify(half))
      }
      const secret = yield* sqlFailure(sql`select ${Types.value("int4range", Types.range<unknown>("s3cret", 2))}`)
      assert.notInclude(secret.message, "s3cret")
      assert.include(secret.message, "int4range")
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
    }))
})

it.effect("other codecs, by name, also inside of arrays, ranges and composites", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create domain sku as text`
      yield* sql`create type part as (sku sku, n int8)`
      const [row] = yield* sql.unsafe(`select 7::int8 as n, array[8::int8] as ns, '[1,5)'::int8range as r,
        '2026-01-02 03:04:05.678901+00'::timestamptz as at, '-infinity'::timestamptz as never,
        array['a-b'::sku] as skus, row('c-d', 9)::part as part, 1.5 as d, '01:02:03.000004'::time as t,
        '{"a":1}'::jsonb as doc`)
      assert.deepStrictEqual(row as unknown, {
        n: 7,
        ns: [8],
        r: { lower: 1, upper: 5, bounds: "[)" },
        at: "2026-01-02 03:04:05.678901+00",
        never: "-infinity",
        skus: [["a", "b"]],
        part: { sku: ["c", "d"], n: 9 },
        d: 1.5,
        t: "01:02:03.000004",
        doc: { a: 1 }
      })
      const [back] = yield* sql`select ${Types.value("timestamptz", "2026-01-02 03:04:05.678901+00")} as at,
        ${Types.value("sku", ["x", "y"])}::text as sku`
      assert.deepStrictEqual(back as unknown, { at: "2026-01-02 03:04:05.678901+00", sku: "x-y" })
      const error = yield* sqlFailure(sql`select ${2n ** 60n} as n`)
      assert.include(error.message, "cannot be decoded")
    }).pipe(Effect.provide(Postgres.layer({
      url: Redacted.make(url),
      codecs: {
        int8: Types.int8AsNumber,
        timestamptz: Types.timestamptzAsText,
        numeric: Types.numericAsNumber,
        time: Types.timeAsText,
        sku: Types.mapped(Types.text("sku"), {
          decode: (text) => text.split("-"),
          encode: (parts: Array<string>) => parts.join("-")
        })
      }
    })))
  }))
