/**
 * A statement that has been prepared is run again after its column has become another one: each value is what it is,
 * whatever the server had taken the parameter for before.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { connect, describeEach, one, run } from "../support.ts"

const before = [
  "int",
  "bigint unsigned",
  "decimal(10,2)",
  "double",
  "float",
  "year",
  "bit(8)",
  "date",
  "datetime(6)",
  "time",
  "json",
  "blob",
  "varchar(40)"
] as const

const texts = ["+7", "007", "1e3", " 7", "7.0", "-0", "2020-1-1", "0x10", "12345678901234567890"]

const changes: Readonly<Record<string, (table: string) => ReadonlyArray<string>>> = {
  "ALTER": (table) => [`alter table ${table} modify v varchar(40)`],
  "a new table of the same name": (table) => [`drop table ${table}`, `create table ${table} (v varchar(40))`]
}

let tables = 0

describeEach("a prepared statement whose column has become a text: $name", (subject) => {
  for (const [change, statements] of Object.entries(changes)) {
    for (const type of before) {
      it.live(`${type}, by ${change}`, () =>
        Effect.gen(function*() {
          const session = yield* connect(subject)
          for (const first of [["7"], [null], [null, "7"], ["7", null], [7], [7, "7"], [null, 7, "7"]]) {
            const table = `kinds_${process.pid}_${tables++}`
            yield* Effect.addFinalizer(() => Effect.ignore(run(session, `drop table if exists ${table}`)))
            yield* run(session, `create table ${table} (v ${type})`)
            const insert = (value: unknown) => run(session, `insert into ${table} (v) values (?)`, [value])
            const find = (value: unknown) => one(session, `select count(*) from ${table} where v = ?`, [value])
            // Often enough for the statement to be kept. Not every column takes the value.
            for (const value of [...first, ...first]) {
              yield* Effect.ignore(insert(value))
              yield* Effect.ignore(find(value))
            }
            yield* run(session, `delete from ${table}`)
            for (const statement of statements(table)) yield* run(session, statement)
            for (const text of texts) yield* insert(text)
            const stored = yield* session.executeValues(`select v from ${table}`, [])
            assert.deepStrictEqual(stored.map(([v]) => v), texts, JSON.stringify(first))
            for (const text of texts) {
              assert.strictEqual(Number(yield* find(text)), 1, `${text}, ${JSON.stringify(first)}`)
            }
          }
        }), 60_000)
    }
  }
})
