/** Our compiler says what that of `@effect/sql-pg` says, and the client is found under its name. */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Statement from "effect/sql/Statement"
import { Postgres } from "watertight/postgres"
import { json, makeCompiler } from "../../../src/postgres/statement/Compiler.ts"
import { freshDatabase } from "../../support/index.ts"

const snake = (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`)

const compilers = [
  ["no names", undefined, undefined],
  ["names", snake, undefined],
  ["names, but not in JSON", snake, false]
] as const

const never = Effect.die("not asked for")

const statements: ReadonlyArray<readonly [string, (sql: Statement.Constructor) => Statement.Fragment]> = [
  ["an identifier with a quote and a dot", (sql) => sql`select ${sql("a\"b.firstName")} from ${sql("myTable")}`],
  ["parameters", (sql) => sql`select ${1}, ${"two"}, ${null}`],
  ["in", (sql) => sql`select * from t where ${sql.in("firstName", [1, 2])}`],
  [
    "an insert",
    (sql) => sql`insert into t ${sql.insert([{ firstName: 1, b: 2 }, { firstName: 3, b: 4 }]).returning("*")}`
  ],
  ["an update", (sql) => sql`update t set ${sql.update({ firstName: 1, id: 2 }, ["id"])} where id = ${2}`],
  [
    "an update of many",
    (sql) => sql`update t set a = data.a from ${sql.updateValues([{ firstName: 1 }, { firstName: 2 }], "data")}`
  ],
  [
    "an update of many, returned",
    (sql) =>
      sql`update t set a = data.a from ${
        sql.updateValues([{ firstName: 1 }, { firstName: 2 }], "data").returning(sql`${sql("lastName")}, ${5}`)
      }`
  ],
  ["a document", () => json({ firstName: { lastName: 1 } })],
  ["and, or", (sql) => sql`select ${sql.and([sql`a = ${1}`, sql.or(["b", sql`c = ${2}`])])}`]
]

describe("the compiler", () => {
  for (const [name, transform, transformJson] of compilers) {
    const ours = makeCompiler(transform, transformJson)
    const theirs = PgClient.makeCompiler(transform, transformJson)
    const sql = Statement.make(never, ours, [], undefined)
    for (const [what, fragment] of statements) {
      it(`${name}: ${what}`, () => {
        for (const withoutTransform of [false, true]) {
          assert.deepStrictEqual(
            ours.compile(fragment(sql), withoutTransform),
            theirs.compile(fragment(sql), withoutTransform)
          )
        }
      })
    }
  }
})

describe("the client of `@effect/sql-pg`", () => {
  it.effect("is found by those who ask for it", () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase("postgresql")
      const rows = yield* Effect.gen(function*() {
        const sql = yield* PgClient.PgClient
        assert.strictEqual(sql[PgClient.TypeId], PgClient.TypeId)
        return yield* sql`select ${sql.json({ a: 1 })} -> 'a' as a`
      }).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(url) })))
      assert.deepStrictEqual(rows, [{ a: 1 }])
      assert.strictEqual(PgClient.PgClient.key, Context.Service("@effect/sql-pg/PgClient").key)
    }))
})
