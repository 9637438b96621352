/** Values at the edge of what a server has: the same in every way, or refused in every way, and never something else. */
import { assert, describe, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Bulk } from "watertight"
import { Arrays, Postgres, Types } from "watertight/postgres"
import { describeEach } from "../mysql-family/support.ts"
import { freshDatabase } from "../support/index.ts"

const refuses = (value: object): unknown =>
  new Proxy(value, {
    getPrototypeOf: () => {
      throw new Error("s3cret")
    },
    get: () => {
      throw new Error("s3cret")
    },
    ownKeys: () => {
      throw new Error("s3cret")
    }
  })

/** Fails with a typed error that shows nothing of the value. */
const refused = (effect: Effect.Effect<unknown, unknown, any>, about: string) =>
  Effect.map(Effect.exit(effect as Effect.Effect<unknown, unknown>), (exit) => {
    assert.isTrue(Exit.isFailure(exit), `${about}: it was to fail`)
    const { cause } = exit as Exit.Failure<unknown, unknown>
    assert.isFalse(Cause.hasDies(cause), `${about}: ${Cause.pretty(cause)}`)
    assert.notInclude(Cause.pretty(cause), "s3cret", about)
  })

describe("PostgreSQL", () => {
  const database = Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url) })))
  it.layer(database, { excludeTestServices: true, timeout: "60 seconds" })("a value", (it) => {
    it.effect("digits behind the microseconds: rounded as by the server in every way", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table moment (way int, a timestamptz, b timestamp)`
        const texts = [
          "2024-01-05 12:00:00.1234567Z",
          "2024-01-05 12:00:00.1234564Z",
          "2024-12-31 23:59:59.9999999Z",
          "1969-12-31 23:59:59.9999996Z",
          "0001-01-01 00:00:00.000000499Z",
          "2024-01-05 12:00:00.999999999999999999Z"
        ]
        for (const text of texts) {
          yield* sql`delete from moment`
          const [a, b] = [text, text.slice(0, -1)]
          yield* sql`insert into moment values (0, ${a}, ${b})`
          yield* sql`insert into moment values (1, ${Types.value("timestamptz", a)}, ${Types.value("timestamp", b)})`
          yield* Bulk.insert("moment", [{ way: 2, a, b }])
          yield* sql`insert into moment select * from ${
            Arrays.unnest({ way: "int4", a: "timestamptz", b: "timestamp" }, [{ way: 3, a, b }])
          } as r`
          assert.strictEqual((yield* sql`select distinct a::text, b::text from moment`).length, 1, text)
        }
      }))

    it.effect("an array where the elements of one are asked for: refused, also if it is empty", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const lists = [[], [1], [[]], new Float64Array(0), new Int32Array([1]), new BigInt64Array(0)]
        for (const type of ["int4", "text", "timestamptz", "numeric", "bool", "bytea"]) {
          for (const list of lists) {
            const about = `${type} ${Object.prototype.toString.call(list)} of ${list.length}`
            yield* refused(sql`select * from ${Arrays.unnest({ a: type }, [{ a: list }])} as r`, about)
            yield* refused(sql`select 1 where 1 = ${Arrays.any(type, [list])}`, about)
          }
        }
      }))

    it.effect("a value that throws whatever it is asked: refused by Bulk", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table shy (a text, b jsonb)`
        yield* refused(Bulk.insert("shy", [{ a: refuses({}) }]), "a text")
        yield* refused(Bulk.insert("shy", [{ b: refuses({}) }]), "a document")
        assert.deepStrictEqual(yield* sql`select * from shy`, [])
      }))
  })
})

describeEach("over $name", (subject) => {
  const database = Layer.unwrap(
    Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url) }))
  )
  it.layer(database, { excludeTestServices: true, timeout: "60 seconds" })("a value", (it) => {
    it.effect("a number of more digits than the server has: refused in a statement, and kept by Bulk where it fits", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table wide (a varchar(300), b double, c decimal(65, 30))`
        const kept = [
          ...[10n ** 65n - 1n, -(10n ** 65n) + 1n].map((value) => [value, String(value)] as const),
          ...["0.", "-12.", "0.0"].map((head) => head + "7".repeat(60)).map(
            (text) => [BigDecimal.fromStringUnsafe(text), text] as const
          )
        ]
        for (const [value, text] of kept) {
          yield* sql`delete from wide`
          yield* sql`insert into wide (a) values (${value as never})`
          yield* sql`insert into wide (a) values (${value as never})`.unprepared
          assert.deepStrictEqual(yield* sql`select distinct a from wide`, [{ a: text }])
        }
        const long = [10n ** 65n, -(10n ** 1000n), BigDecimal.make(1n, -65), BigDecimal.make(1n, 66)]
        for (const value of long) {
          for (const column of ["a", "b", "c"]) {
            const about = `${typeof value} into ${column}`
            const insert = sql`insert into wide (${sql(column)}) values (${value as never})`
            yield* refused(insert, about)
            yield* refused(insert.unprepared, about)
            yield* refused(sql`insert into wide ${sql.insert({ [column]: value } as never)}`, about)
          }
        }
        yield* sql`delete from wide`
        yield* Bulk.insert("wide", [{ b: BigDecimal.make(1n, -65) }])
        assert.deepStrictEqual(yield* sql`select b from wide`, [{ b: 1e65 }])
      }))

    it.effect("placeholders that would grow together with what stands beside them: refused, prepared or not", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const texts = [
          "??",
          "? ?",
          "?/**/?",
          "'a'?",
          "'a' ?",
          "\"a\"?",
          "b?",
          "n?",
          "1?",
          "1e?",
          "1.?",
          "@?",
          "?1",
          "?.5",
          "?x'41'"
        ]
        for (const text of texts) {
          for (const values of [[1, 2], ["41", "42"], [-1, 1.5], [new Date(0), 2n], [null, true]]) {
            const params = values.slice(0, text.split("?").length - 1)
            const statement = sql.unsafe(`select ${text}`, params)
            yield* refused(statement, `${text} of ${typeof values[0]}`)
            yield* refused(statement.unprepared, `${text} of ${typeof values[0]}, unprepared`)
          }
        }
        // What does not grow together goes through.
        for (const text of ["select?as a", "select/**/?a", "select(?)a", "select-?a"]) {
          assert.deepStrictEqual(
            Number((yield* sql.unsafe<{ a: unknown }>(text, [5]).unprepared)[0]!.a),
            text.includes("-") ? -5 : 5
          )
        }
      }))

    it.effect("a list where one value is asked for: refused, and no row is taken for another one", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table numbered (id int primary key)`
        yield* sql`insert into numbered values (0), (1), (5)`
        const lists = [
          [5],
          [[5]],
          [],
          new Set([5]),
          new Int32Array([5]),
          new Float64Array([5]),
          new BigInt64Array([5n])
        ]
        for (const list of lists) {
          const about = Object.prototype.toString.call(list)
          for (
            const statement of [
              sql`delete from numbered where id in (${list as never})`,
              sql`delete from numbered where id = ${list as never}`,
              sql`update numbered set id = id + 10 where id in (${list as never}, 7)`
            ]
          ) {
            yield* refused(statement, about)
            yield* refused(statement.unprepared, `${about}, unprepared`)
          }
        }
        assert.deepStrictEqual(yield* sql`select id from numbered order by id`.values, [[0], [1], [5]])
      }))

    it.effect("a value that throws whatever it is asked: refused by Bulk", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table shy (a text, b json)`
        yield* refused(Bulk.insert("shy", [{ a: refuses({}) }]), "a text")
        yield* refused(Bulk.insert("shy", [{ b: refuses({}) }]), "a document")
        assert.deepStrictEqual(yield* sql`select * from shy`, [])
      }))
  })
})
