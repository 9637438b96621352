/**
 * Values that look like parts of a statement: a body of JSON may hold whatever marks a literal, an identifier or a
 * fragment of Effect. None becomes SQL, in whatever place it stands.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Outcome, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Pglite } from "watertight/pglite"
import { Arrays, Json, Postgres } from "watertight/postgres"
import { asArgument } from "../../src/values/segments.ts"
import { sqlFailure } from "../postgres/support.ts"
import { freshDatabase } from "../support/index.ts"

const fragment = "~effect/sql/Statement/Fragment"

/** As they come out of `JSON.parse`. */
const forged: Readonly<Record<string, unknown>> = {
  "a literal": { _tag: "Literal", value: "token" },
  "a literal with parameters": { _tag: "Literal", value: "token or $1 = ?", params: [1] },
  "an identifier": { _tag: "Identifier", value: "token" },
  "a parameter": { _tag: "Parameter", value: "secret" },
  "a list": { _tag: "ArrayHelper", value: ["secret"] },
  "an assignment": { _tag: "RecordUpdateHelperSingle", value: { token: "secret" }, omit: [] },
  "rows": { _tag: "RecordInsertHelper", value: [{ token: "secret" }] },
  "rows to update with": { _tag: "RecordUpdateHelper", value: [{ token: "secret" }], alias: "a" },
  "JSON of the driver": { _tag: "Custom", kind: "PgJson", paramA: "secret" },
  "a fragment": { [fragment]: fragment, segments: [{ _tag: "Literal", value: "token" }] },
  "a fragment with a value": { [fragment]: true, segments: [{ _tag: "Parameter", value: "secret" }] },
  "half of a fragment": { [fragment]: true },
  "a fragment without segments": { [fragment]: fragment, segments: [] }
}

type Client = SqlClient

/** Where a value may stand that is compared with a secret. */
const conditions: Readonly<Record<string, (sql: Client, value: any) => Statement.Statement<any>>> = {
  "=": (sql, value) => sql`select id from account where token = ${value}`,
  "a list": (sql, value) => sql`select id from account where token in ${sql.in([value])}`,
  "a column and its list": (sql, value) => sql`select id from account where ${sql.in("token", [value])}`,
  "several conditions": (sql, value) => sql`select id from account where ${sql.and([sql`token = ${value}`])}`,
  "no condition at all": (sql, value) => sql`select id from account where ${value}`,
  "unsafe": (sql, value) =>
    sql.unsafe(
      sql.onDialectOrElse({
        pg: () => "select id from account where token = $1",
        orElse: () => "select id from account where token = ?"
      }),
      [value]
    )
}

const forms: Readonly<
  Record<string, (statement: Statement.Statement<any>) => Effect.Effect<ReadonlyArray<any>, any, any>>
> = {
  rows: (statement) => statement,
  values: (statement) => statement.values,
  unprepared: (statement) => statement.unprepared,
  stream: (statement) => Stream.runCollect(statement.stream) as never,
  "a transaction": (statement) => Transaction.run(statement)
}

const suite = (layer: Layer.Layer<SqlClient | Transaction.Manager, unknown>) => {
  it.layer(layer as Layer.Layer<SqlClient | Transaction.Manager>, { excludeTestServices: true, timeout: "60 seconds" })(
    "a value that looks like a part of a statement",
    (it) => {
      it.effect("in a condition: nobody is let in", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table account (id int primary key, token varchar(40))`
          yield* sql`insert into account values (1, 'secret')`
          for (const [name, value] of Object.entries(forged)) {
            for (const [place, make] of Object.entries(conditions)) {
              for (const [form, run] of Object.entries(forms)) {
                const exit = yield* Effect.exit(run(make(sql, value)))
                if (exit._tag === "Success") assert.deepStrictEqual(exit.value, [], `${name} by ${place}, ${form}`)
                else {assert.isTrue(
                    exit.cause.reasons.every(({ _tag }) => _tag === "Fail"),
                    `${name} by ${place}, ${form}`
                  )}
              }
            }
          }
        }))

      it.effect("in a document: it is stored as it is, or refused, and is never null", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table note (id int primary key, doc ${
            sql.literal(sql.onDialectOrElse({ pg: () => "jsonb", orElse: () => "json" }))
          })`
          const ways: Readonly<Record<string, (id: number, doc: any) => Effect.Effect<unknown, any, any>>> = {
            template: (id, doc) => sql`insert into note (id, doc) values (${id}, ${doc})`,
            insert: (id, doc) => sql`insert into note ${sql.insert({ id, doc })}`,
            "insert of several": (id, doc) => sql`insert into note ${sql.insert([{ id, doc }, { id: -id, doc }])}`,
            update: (id, doc) =>
              Transaction.run(Effect.andThen(
                sql`insert into note (id) values (${id})`,
                sql`update note set ${sql.update({ doc })} where id = ${id}`
              ))
          }
          let id = 0
          for (const [name, value] of Object.entries(forged)) {
            for (const [way, write] of Object.entries(ways)) {
              const exit = yield* Effect.exit(write(++id, value))
              const rows = yield* sql<{ doc: unknown }>`select doc from note where id = ${id}`
              if (exit._tag === "Success") assert.deepStrictEqual(rows, [{ doc: value }], `${name} by ${way}`)
              else {
                assert.deepStrictEqual(rows, [], `${name} by ${way}`)
                assert.isTrue(exit.cause.reasons.every(({ _tag }) => _tag === "Fail"), `${name} by ${way}`)
              }
            }
          }
        }))

      it.effect("what the client has made is a part of the statement", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table part (id int primary key, ${sql("na me")} varchar(40))`
          yield* sql`insert into ${sql("part")} ${sql.insert([{ id: 1, "na me": "a" }, { id: 2, "na me": "b" }])}`
          yield* sql`update part set ${sql.update({ "na me": "c" })} where ${sql.in("id", [1])}`
          const rows = yield* sql`select ${sql.csv(["id", sql`${sql("na me")} as name`])} from part where ${
            sql.and([sql`id in ${sql.in([1, 2])}`, sql.or([sql.literal("1 = 1"), sql`id = ${5}`])])
          } order by ${sql.literal("id")}`
          assert.deepStrictEqual(rows, [{ id: 1, name: "c" }, { id: 2, name: "b" }])
        }))

      it.effect("a row that would lose something: refused before it is sent, with its column", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table item (id int primary key, a varchar(9), b varchar(9))`
          yield* sql`insert into item values (1, 'x', 'y')`
          const now = sql`current_timestamp`
          const cases: ReadonlyArray<readonly [Statement.Statement<any>, RegExp]> = [
            [sql`update item set ${sql.update({ a: undefined as never })} where id = 1`, /"a" is undefined/],
            [sql`update item set ${sql.update({ a: "z", b: undefined as never })} where id = 1`, /"b" is undefined/],
            [sql`insert into item ${sql.insert([{ id: 2 }, { id: 3, a: "lost" } as never])}`, /row 2 .*"a"/],
            [sql`insert into item ${sql.insert({ id: 2, a: now as never })}`, /"a" is a fragment/],
            [sql`update item set ${sql.update({ a: now as never })} where id = 1`, /"a" is a fragment/],
            [sql`update item set ${sql.update({ a: sql.literal("null") as never })} where id = 1`, /"a" is a fragment/]
          ]
          for (const [statement, says] of cases) {
            for (
              const form of [
                statement,
                statement.values,
                statement.raw,
                statement.unprepared,
                Transaction.run(statement)
              ]
            ) {
              const error = yield* sqlFailure(form as Effect.Effect<unknown, any, any>)
              assert.match(error.message, says)
              assert.isFalse(error.isRetryable)
            }
            assert.strictEqual(Outcome.of(yield* sqlFailure(statement))?.outcome, "NotSent")
          }
          assert.deepStrictEqual(yield* sql`select * from item`, [{ id: 1, a: "x", b: "y" }])
          // What is left out of an update by name is not looked at.
          yield* sql`update item set ${sql.update({ id: undefined as never, a: "new" }, ["id"])} where id = 1`
          assert.deepStrictEqual(yield* sql`select a from item`, [{ a: "new" }])
        }))
    }
  )
}

describe("PostgreSQL", () =>
  suite(Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url) })))))
describe("PGlite", () => suite(Pglite.layer()))
describe("MariaDB", () =>
  suite(Layer.unwrap(Effect.map(freshDatabase("mariadb"), (url) => Mariadb.layer({ url: Redacted.make(url) })))))

describe("an argument of a template", () => {
  it("what looks like a part, and was made of JSON: a parameter", () => {
    for (const [name, value] of Object.entries(forged)) {
      const made = asArgument(value) as Statement.Fragment
      assert.deepStrictEqual(made.segments, [Statement.parameter(value)], name)
    }
    assert.deepStrictEqual((asArgument(Statement.identifier("a")) as Statement.Fragment).segments[0]!._tag, "Parameter")
  })
  it("everything else: itself", () => {
    for (
      const value of [null, undefined, 1, "a", [], {}, { a: 1 }, new Date(0), Arrays.any("int4", [1]), Json.value(1)]
    ) {
      assert.strictEqual(asArgument(value), value)
    }
  })
})
