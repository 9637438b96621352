import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Transaction } from "watertight"
import { Arrays, Postgres, Sessions, Types } from "watertight/postgres"
import { freshDatabase } from "../../support/index.ts"
import { database } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

const script = (sql: string) =>
  Effect.scoped(
    Effect.flatMap(Sessions.Sessions, ({ borrow }) => Effect.flatMap(borrow, (session) => session.script(sql)))
  )

const plain = { pool: { max: 2 }, breaker: false } as const

it.layer(database(plain as never), { timeout: "60 seconds" })("a parameter", (it) => {
  it.effect("a fraction compared with numeric: the index is used", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table price (p numeric primary key)`
      yield* sql`insert into price select n / 100.0 from generate_series(1, 20000) n`
      yield* script("analyze price")
      const plan = yield* sql`explain select p from price where p = ${12.34}`
      assert.include(JSON.stringify(plan), "Index")
      assert.deepStrictEqual(yield* sql`select p::text from price where p = ${12.34}`, [{ p: "12.3400000000000000" }])
    }))

  it.effect("where the server derives a type or none: the same in a transaction and outside, first and again", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create function small(smallint) returns int language sql as 'select $1 + 1'`
      yield* sql`create table doc (id int, j jsonb)`
      const run = Effect.gen(function*() {
        assert.deepStrictEqual(yield* sql`select round(${1.239}, 2) as r`, [{ r: "1.24" }])
        assert.deepStrictEqual(yield* sql`select small(${4}) as r`, [{ r: 5 }])
        assert.deepStrictEqual(yield* sql`select ${1} + ${2} as r`, [{ r: 3 }])
        assert.deepStrictEqual(yield* sql`select ${1.5} as r`, [{ r: 1.5 }])
        assert.deepStrictEqual(yield* sql`select jsonb_build_object('a', ${1}) as r`, [{ r: { a: 1 } }])
        assert.deepStrictEqual(yield* sql`select date_trunc('day', ${new Date(5)}) at time zone 'UTC' as r`, [{
          r: new Date(0)
        }])
        assert.deepStrictEqual(yield* sql`select (${-0}::float8)::text as r`, [{ r: "-0" }])
        assert.deepStrictEqual(yield* sql`select ${2n ** 70n}::numeric as r`, [{ r: String(2n ** 70n) }])
        assert.deepStrictEqual(yield* sql`select ${[0.5, 1, 2]}::float8[] as r`, [{ r: [0.5, 1, 2] }])
        assert.deepStrictEqual(yield* sql`select ${[1, 2 ** 40]}::int8[] as r`, [{ r: [1n, 2n ** 40n] }])
        assert.deepStrictEqual(yield* sql`select ${[null]}::float8[] as r`, [{ r: [null] }])
        assert.deepStrictEqual(yield* sql`select ${[1, 2n, 0.5]} as r`, [{ r: [1, 2, 0.5] }])
        assert.deepStrictEqual(yield* sql`select ${[2n ** 60n + 1n, 0.5]} as r`, [{
          r: [String(2n ** 60n + 1n), "0.5"]
        }])
        assert.deepStrictEqual(yield* sql`select 7 as r where 7 > ${6.5} and 7 <> ${2 ** 40}`, [{ r: 7 }])
        yield* sql`insert into doc values (${1}, ${{ a: [1, { b: null }] }}), (2, ${["x", 1]})`
        assert.deepStrictEqual(yield* sql`select id from doc where j @> ${{ a: [1] }}`, [{ id: 1 }])
        assert.deepStrictEqual(yield* Stream.runCollect(sql`select ${3} + ${4} as r`.stream), [{ r: 7 }])
        yield* sql`delete from doc`
      })
      yield* Transaction.run(run)
      yield* run
      yield* Transaction.run(run)
    }))

  it.effect("a fraction for an integer: refused where it is written, compared where it is not", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table whole (a int)`
      assert.include((yield* sqlFailure(sql`insert into whole values (${1.5})`)).message, "no integer")
      assert.deepStrictEqual(yield* sql`select a from whole where a > ${0.5}`, [])
    }))

  it.effect("too many and too few parameters in any form: refused before anything is sent", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const texts = [
        "select $1::int as a",
        "select $1::int as a, '$2', $$ $3 $$, \"$4\" /* $5 */ from (values (1)) \"$4\"(\"$4\") -- $6"
      ]
      for (const text of texts) {
        for (const params of [[], [1, 2], [1, Types.value("int4", 2)], [true, false, true]]) {
          const statement = sql.unsafe(text, params)
          for (
            const form of [
              statement,
              statement.raw,
              statement.values,
              statement.unprepared,
              Stream.runDrain(statement.stream)
            ]
          ) {
            const error = yield* sqlFailure(form as Effect.Effect<unknown, any>)
            assert.include(
              error.message,
              `the statement was not sent: it has 1 placeholders, but there are ${params.length}`
            )
          }
        }
        assert.deepStrictEqual((yield* sql.unsafe(text, [7]))[0]!["a" as never], 7 as never)
      }
    }))

  it.effect("rows of arrays through unnest, any and all: each row is its own", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create domain tags as text[]`
      yield* sql`create type mood as enum ('sad', 'ok')`
      const rows = [
        { id: 1, t: ["a", "b"], m: "ok", v: [1, 2] },
        { id: 2, t: ["c"], m: null, v: [3] },
        { id: 3, t: [], m: "sad", v: [] },
        { id: 4, t: null, m: "ok", v: null },
        { id: 5, t: ["x,\"y\\", null, "{}"], m: "ok", v: [4] }
      ]
      for (const type of ["text[]", "tags"]) {
        const found = yield* sql`select * from ${
          Arrays.unnest({ id: "int4", t: type, m: "mood", v: "int2vector" }, rows as never)
        } as r order by id`
        assert.deepStrictEqual(found as unknown, rows)
      }
      yield* sql`create table tagged (id int, t text[])`
      yield* sql`insert into tagged select id, t from ${Arrays.unnest({ id: "int4", t: "text[]" } as never, rows)} as r`
      assert.deepStrictEqual(
        yield* sql`select id from tagged where t = ${Arrays.any("text[]", [["c"], ["a", "b"], []])} order by id`,
        [{ id: 1 }, { id: 2 }, { id: 3 }]
      )
      assert.deepStrictEqual(
        yield* sql`select id from tagged where t <> ${Arrays.all("text[]", [["c"], []])} order by id`,
        [{ id: 1 }, { id: 5 }]
      )
      assert.include(
        (yield* sqlFailure(sql`select 1 where '{a}' = ${Arrays.any("tags", [["a"], ["b"]])}`)).message,
        "arrays to the server"
      )
      assert.include(
        (yield* sqlFailure(sql`select ${Types.value("text[][]", [["a"], ["b", "c"]])}`)).message,
        "same length"
      )
    }))

  it.effect("a name of a type that is none: refused, whatever it begins with", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      for (
        const type of [
          "int4; drop table x",
          "int4) x",
          "int4 --",
          "\ud800",
          "int4[]; select 1",
          "a\u0000",
          "",
          "int4 /* */"
        ]
      ) {
        for (const fragment of [Arrays.any(type, [1]), Arrays.unnest({ a: type }, [{ a: 1 }])]) {
          assert.include((yield* sqlFailure(sql`select 1 where 1 = ${fragment}`)).message, "was not sent")
        }
        assert.include((yield* sqlFailure(sql`select ${Types.value(type, 1)}`)).message, "was not sent")
      }
    }))
})

describe("a schema that changes under prepared statements", () => {
  /** How a value would be stored by a statement of its own, and how it is stored under a name from before. */
  const changes: ReadonlyArray<readonly [from: string, to: string, first: string, then: string, using?: string]> = [
    ["date", "timestamp", "2024-01-01", "2024-01-01 10:00:00"],
    ["date", "timestamptz", "2024-01-01", "2024-01-01 10:00:00+05"],
    ["real", "double precision", "0.5", "0.1"],
    ["timestamp", "timestamptz", "2024-01-01 10:00", "2024-01-01 10:00:00+05"],
    ["int", "text", "1", "abc"],
    ["int", "numeric", "1", "1.5"],
    ["time", "timestamp", "10:00", "2024-01-01 10:00:00", "timestamp '2024-01-01'"]
  ]
  for (const own of [true, false]) {
    it.live(
      `by ${own ? "this program" : "another one"}: stored as if it had just been parsed`,
      () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          // A block does not show us what it changes.
          const change = (text: string) => own ? sql.unsafe(text) : script(`do $do$ begin ${text}; end $do$`)
          for (const [index, [from, to, first, then, using]] of changes.entries()) {
            const name = `changed_${own ? "own" : "other"}_${index}`
            yield* sql.unsafe(`create table ${name} (id serial, v ${from})`)
            const insert = (value: unknown) => sql`insert into ${sql(name)} (v) values (${value})`
            yield* insert(first)
            yield* insert(first)
            yield* change(`alter table ${name} alter v type ${to} using ${using ?? `v::${to}`}`)
            yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 1_100)))
            yield* insert(then)
            yield* sql.unsafe(`insert into ${name} (v) values ('${then}')`)
            const rows = yield* sql.unsafe<{ v: unknown }>(`select v::text as v from ${name} order by id`)
            assert.deepStrictEqual(rows[2]!.v, rows[3]!.v, `${from} to ${to}`)
          }
        }).pipe(Effect.provide(database(plain as never))),
      { timeout: 60_000 }
    )
  }

  it.live("a schema for each tenant: no transaction fails, and few are repeated", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* script(`create schema a; create schema b;
        create type a.status as enum ('open', 'done'); create type b.status as enum ('open', 'done');
        create table a.orders (id int, s a.status, m int); create table b.orders (id text, s b.status, m numeric);
        insert into a.orders values (1, 'open', 2); insert into b.orders values ('1', 'open', 2.5)`)
      let bodies = 0
      const inTenant = (tenant: string) =>
        Transaction.run(Effect.gen(function*() {
          bodies++
          yield* sql`select set_config('search_path', ${tenant}, true)`
          const rows = yield* sql`select id, s, m from orders where s = ${"open"} and m > ${1}`
          yield* sql`update orders set s = ${"open"} where s = ${Types.value("status", "done")}`
          return rows[0]
        }))
      const all = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, index) => index),
        (index) => inTenant(index % 3 === 0 ? "a" : "b"),
        { concurrency: 10 }
      )
      all.forEach((row, index) =>
        assert.deepStrictEqual(row, index % 3 === 0 ? { id: 1, s: "open", m: 2 } : { id: "1", s: "open", m: "2.5" })
      )
      assert.isAtMost(bodies, 330)
    }).pipe(Effect.provide(database(plain as never))), { timeout: 60_000 })
})

it.effect("undefined: refused, and null where the option says so", () =>
  Effect.gen(function*() {
    const url = Redacted.make(yield* freshDatabase())
    const query = Effect.flatMap(SqlClient, (sql) => sql`select ${undefined}::int as a, ${[1, undefined]}::int[] as b`)
    const refused = yield* sqlFailure(Effect.provide(query, Postgres.layer({ url })))
    assert.include(refused.message, "parameter $1: undefined is no value: pass null")
    const layer: Layer.Layer<any, any> = Postgres.layer({ url, undefined: "null" })
    assert.deepStrictEqual(yield* Effect.provide(query, layer), [{ a: null, b: [1, null] }])
  }), { timeout: 60_000 })
