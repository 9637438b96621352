import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Transaction } from "watertight"
import { seed } from "../../support/index.ts"
import { type Section, table } from "../suite.ts"

export const types: Section = (test, dialect) => {
  const columns = Object.entries(dialect.columns)
  const given = Object.fromEntries(columns.map(([name, column]) => [name, column.given]))
  const read = Object.fromEntries(
    columns.map(([name, column]) => [name, "read" in column ? column.read : column.given])
  )

  test("each value comes back as itself, whichever way it goes and comes", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table(
        `id int primary key, ${columns.map(([name, { type }]) => `the_${name} ${type}`).join(", ")}`
      )
      const insert = (id: number) =>
        sql`insert into ${sql(name)} ${
          sql.insert({ id, ...Object.fromEntries(columns.map(([name, { given }]) => [`the_${name}`, given])) } as never)
        }`
      yield* insert(1)
      yield* insert(2).unprepared
      yield* Transaction.run(insert(3))
      const list = columns.map(([name]) => `the_${name} as ${name}_`).join(", ")
      const select = sql<Record<string, unknown>>`select ${sql.literal(list)} from ${sql(name)} order by id`
      const expected = Object.fromEntries(Object.entries(read).map(([name, value]) => [`${name}_`, value]))
      const rows = [expected, expected, expected]
      assert.deepStrictEqual(yield* select, rows)
      assert.deepStrictEqual(yield* select.unprepared, rows)
      assert.deepStrictEqual(yield* select.values, rows.map((row) => Object.values(row)))
      assert.deepStrictEqual(yield* Stream.runCollect(select.stream), rows)
      assert.deepStrictEqual(yield* Transaction.run(select), rows)
      // As a condition too.
      for (const column of ["text", "integer", "large", "decimal", "bytes", "day", "instant"]) {
        const found = yield* sql`select id from ${sql(name)} where ${sql(`the_${column}`)} = ${given[column]}`
        assert.strictEqual(found.length, 3, column)
      }
    }))

  test("values at random come back as themselves", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table(
        `id int primary key, a ${dialect.columns["text"]!.type}, b bigint, c ${dialect.columns["double"]!.type},
        d ${dialect.columns["bytes"]!.type}, e ${dialect.instant}`
      )
      const random = seed(23)
      const letters = ["a", "Z", " ", "'", "\"", "\\", "`", "%", "\n", "\t", "é", "漢", "😀", "\u{10FFFF}", "\u0001"]
      const pick = (length: number) => Array.from({ length }, () => letters[random.int(0, letters.length - 1)]).join("")
      const rows = Array.from({ length: 200 }, (_, id) => ({
        id,
        a: pick(random.int(0, 30)),
        b: BigInt.asIntN(64, (BigInt(random.int(0, 2 ** 31)) << 33n) - (BigInt(random.int(0, 2 ** 31)) << 2n)),
        c: (random.next() - 0.5) * 10 ** random.int(-200, 200),
        d: Uint8Array.from({ length: random.int(0, 20) }, () => random.int(0, 255)),
        e: new Date(random.int(0, 2 ** 31) * 1000 + random.int(0, 999))
      }))
      yield* sql`insert into ${sql(name)} ${sql.insert(rows.slice(0, 100) as never)}`
      yield* sql`insert into ${sql(name)} ${sql.insert(rows.slice(100) as never)}`.unprepared
      const found = yield* sql<typeof rows[number]>`select * from ${sql(name)} order by id`
      // What fits into a number is one on some databases.
      assert.deepStrictEqual(found.map((row) => ({ ...row, b: BigInt(row.b) })), rows)
    }))
}
