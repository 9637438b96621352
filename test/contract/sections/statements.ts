import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Introspection, Outcome, Pool } from "watertight"
import { sqlFailure } from "../../transaction/support.ts"
import { ids, Place, type Section, table } from "../suite.ts"

export const statements: Section = (test, dialect) => {
  const number = (sql: SqlClient.SqlClient, n: number) =>
    sql<{ n: number }>`select cast(${n} as ${sql.literal(dialect.integer)}) as n`

  test("are made of names, values and lists", () =>
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
      yield* dialect.rename(sql, sql.updateValues([{ id: 1, name: "x" }, { id: 2, name: "y" }], "data"))
      assert.deepStrictEqual(yield* sql`select name from people order by id`.values, [["x"], ["y"], ["cy"]])
      assert.deepStrictEqual(yield* sql.unsafe("select 1 as a"), [{ a: 1 }])
      const odd = "sp ace`\"'é"
      yield* sql`create table ${sql(odd)} (${sql(`${odd}2`)} int)`
      yield* sql`insert into ${sql(odd)} ${sql.insert({ [`${odd}2`]: 7 })}`
      assert.deepStrictEqual(yield* sql`select * from ${sql(odd)}`, [{ [`${odd}2`]: 7 }])
    }))

  test.needing("RETURNING")("answer with what they have written", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key, name varchar(20)")
      assert.deepStrictEqual(
        yield* sql`insert into ${sql(name)} ${sql.insert({ id: 4, name: "d" }).returning("id, name")}`,
        [{ id: 4, name: "d" }]
      )
    }))

  test("have many ways to run, and the same rows in each", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const statement = number(sql, 3)
      const rows = [{ n: 3 }]
      assert.deepStrictEqual(yield* statement, rows)
      assert.deepStrictEqual(yield* statement.values, [[3]])
      assert.deepStrictEqual(yield* statement.unprepared, rows)
      assert.deepStrictEqual(yield* statement.valuesUnprepared, [[3]])
      assert.deepStrictEqual(yield* statement.withoutTransform, rows)
      assert.deepStrictEqual(yield* Stream.runCollect(statement.stream), rows)
      const [text, params] = statement.compile()
      assert.deepStrictEqual(yield* sql.unsafe(text, params), rows)
    }))

  test("can be run again, each time with its own values, and be a part of another", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const two = number(sql, 2)
      assert.deepStrictEqual(yield* two, [{ n: 2 }])
      assert.deepStrictEqual(yield* number(sql, 10), [{ n: 10 }])
      assert.deepStrictEqual(yield* two, [{ n: 2 }])
      const where = sql`n > ${1} and n < ${4}`
      assert.isTrue(Statement.isFragment(where))
      assert.deepStrictEqual(
        yield* sql`select n from ${sql.literal(dialect.series(9))} where ${where} or (${where}) order by n`.values,
        [[2], [3]]
      )
    }))

  test("are answered to whoever asked, in order, also among some that fail", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* Pool.Pool
      const answers = yield* Effect.forEach(
        Array.from({ length: 100 }, (_, n) => n),
        (n) => Effect.result(n % 5 === 0 ? sql.unsafe<{ n: number }>("select n from nowhere") : number(sql, n)),
        { concurrency: "unbounded" }
      )
      answers.forEach((answer, n) => {
        assert.deepStrictEqual(Result.getOrUndefined(answer), n % 5 === 0 ? undefined : [{ n }])
      })
      const stats = yield* pool.stats
      assert.strictEqual(stats.used, 0)
      assert.isAtMost(stats.total, stats.max)
    }))

  test("fail with a reason, show no value, and cost no connection", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const pool = yield* Pool.Pool
      const parent = yield* table("id int primary key")
      const name = yield* table(
        `id int primary key, positive int not null check (positive > 0), parent int,
        foreign key (parent) references ${parent} (id)`
      )
      const insert = (row: Record<string, unknown>) => sql`insert into ${sql(name)} ${sql.insert(row as never)}`
      yield* insert({ id: 1, positive: 1, parent: null })
      const { closed } = yield* pool.stats
      for (
        const [statement, reason] of [
          [insert({ id: 1, positive: 1, parent: null }), "UniqueViolation"],
          [insert({ id: 2, positive: null, parent: null }), "ConstraintError"],
          [insert({ id: 2, positive: -271828, parent: null }), "ConstraintError"],
          [insert({ id: 2, positive: 1, parent: 271828 }), "ConstraintError"],
          [sql`this is no statement`, "SqlSyntaxError"],
          [sql`select * from nowhere where a = ${271828}`, "SqlSyntaxError"],
          [sql`select nothing from ${sql(name)}`, "SqlSyntaxError"]
        ] as const
      ) {
        const error = yield* sqlFailure(statement)
        assert.strictEqual(error.reason._tag, reason, error.message)
        assert.isTrue(Outcome.isNotApplied(error))
        assert.isFalse(error.isRetryable)
        assert.notInclude(error.message, "271828")
        assert.strictEqual((yield* sqlFailure(Effect.asVoid(statement.unprepared))).reason._tag, reason)
      }
      assert.deepStrictEqual(yield* ids(name), [1])
      assert.deepStrictEqual((yield* pool.stats).closed, closed)
      assert.strictEqual(
        yield* insert({ id: 1, positive: 1, parent: null }).pipe(
          Effect.as("inserted"),
          Effect.catchReason("SqlError", "UniqueViolation", () => Effect.succeed("there already"))
        ),
        "there already"
      )
    }))

  test("are seen by a tracer, and by a transformer before they run", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const spans: Array<Tracer.Span> = []
      const tracer = Tracer.make({
        span: (options) => {
          const span = new Tracer.NativeSpan(options)
          spans.push(span)
          return span
        }
      })
      yield* number(sql, 1).pipe(Effect.withTracer(tracer))
      assert.strictEqual(spans[0]?.attributes.get("db.query.text"), number(sql, 1).compile()[0])
      assert.strictEqual(spans[0]?.attributes.get("db.system.name"), dialect.system)
      const transformed = yield* number(sql, 1).pipe(
        Effect.provideService(Statement.CurrentTransformer, (_, sql) => Effect.succeed(number(sql as never, 2)))
      )
      assert.deepStrictEqual(transformed, [{ n: 2 }])
    }))

  test.needing("clients")("have the names that the program gives them", () =>
    Effect.gen(function*() {
      const url = yield* Place
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const plain = sql.withoutTransforms()
        yield* sql`create table ${sql("theTable")} (${sql("theId")} int)`
        yield* sql`insert into ${sql("theTable")} ${sql.insert({ theId: 1 })}`
        const select = sql`select * from ${sql("theTable")}`
        assert.deepStrictEqual(yield* select, [{ theId: 1 }])
        assert.deepStrictEqual(yield* sql.withTransaction(select), [{ theId: 1 }])
        assert.deepStrictEqual(yield* Stream.runCollect(select.stream), [{ theId: 1 }])
        assert.deepStrictEqual(yield* sql`select * from the_table`.withoutTransform, [{ the_id: 1 }])
        assert.deepStrictEqual(yield* plain`select * from ${plain("the_table")}`, [{ the_id: 1 }])
        // What is in the database has its own names.
        const db = yield* Introspection.Introspection
        const [column] = yield* db.columns({ table: "the_table" })
        assert.deepInclude(column, { table: "the_table", name: "the_id", position: 1 })
      }).pipe(Effect.provide(Layer.fresh(dialect.at(url, {
        pool: { max: 1 },
        transformQueryNames: (name) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
        transformResultNames: (name) => name.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase())
      }))))
    }))
}
