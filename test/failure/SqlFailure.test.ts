/** What a person sees of a failed statement, and what a program can ask for. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as util from "node:util"
import { SqlFailure, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { excerpt } from "../../src/failure/excerpt.ts"
import { describeWith, freshDatabase } from "../support/index.ts"
import { layerAt } from "../transaction/support.ts"

describe("an excerpt", () => {
  it("one line and a position → a mark under the place", () => {
    assert.deepStrictEqual(excerpt("select cens from account", 8), ["  select cens from account", "         ^"])
  })

  it("several lines → the line of the position, with its number", () => {
    assert.deepStrictEqual(excerpt("\n  select id,\n    cens\n  from t", 19), ["  line 3: cens", "          ^"])
  })

  it("characters of two units ahead of the position → the mark stands under the place", () => {
    const [, mark] = excerpt("select '😀😀', cens", 14)
    assert.strictEqual(mark!.length - 1 - 2, "select '😀😀', ".length)
  })

  for (const position of [1, 90, 350, 399, 400]) {
    it(`a long line, position ${position} → a part of it around the place`, () => {
      const sql = `select ${Array.from({ length: 100 }, (_, i) => `c${i}`.padEnd(4)).join("")}`.slice(0, 400)
      const [line, mark] = excerpt(sql, position)
      assert.isBelow(line!.length, 130)
      // A line ends before blanks.
      assert.strictEqual(line![mark!.length - 1] ?? " ", sql[position - 1])
    })
  }

  it("no position → one line, shortened", () => {
    const [line] = excerpt(`select\n  1, ${"x".repeat(1_000)}`, undefined)
    assert.isTrue(line!.startsWith("  select 1, xxx") && line!.endsWith("…"))
  })

  it("position behind the end → no mark", () => {
    assert.strictEqual(excerpt("select", 100).length, 1)
    assert.strictEqual(excerpt("select", 7).length, 2)
  })

  it("statement about a password → its literals are hidden", () => {
    assert.notInclude(excerpt("alter role a password 'hunter2'", undefined).join(), "hunter2")
  })
})

const failed = <A>(effect: Effect.Effect<A, unknown, SqlClient>) =>
  Effect.map(Effect.flip(effect), (e) => e as SqlError)

const ways: ReadonlyArray<readonly [string, (sql: SqlClient, text: string) => Effect.Effect<unknown, unknown, any>]> = [
  ["statement", (sql, text) => sql.unsafe(text)],
  ["unprepared", (sql, text) => sql.unsafe(text).unprepared],
  ["values", (sql, text) => sql.unsafe(text).values],
  ["raw", (sql, text) => sql.unsafe(text).raw],
  ["stream", (sql, text) => Stream.runDrain(sql.unsafe(text).stream)],
  ["in `Transaction.run`", (sql, text) => Transaction.run(sql.unsafe(text), {})],
  ["in `withTransaction`", (sql, text) => sql.withTransaction(sql.unsafe(text))],
  [
    "on a reserved connection",
    (sql, text) => Effect.scoped(Effect.flatMap(sql.reserve, (connection) => connection.execute(text, [], undefined)))
  ]
]

const databases = [
  ["postgresql", (url: string) => layerAt(url)],
  ["mariadb", (url: string) => Layer.provideMerge(Mariadb.layer({ url: Redacted.make(url) }), Logger.layer([]))],
  ["mysql", (url: string) => Layer.provideMerge(Mysql.layer({ url: Redacted.make(url) }), Logger.layer([]))]
] as const

for (const [server, at] of databases) {
  describeWith(`url-${server}`)(`failures of ${server}`, () => {
    const live = Layer.unwrap(Effect.map(freshDatabase(server), at))
    it.layer(live, { excludeTestServices: true })((it) => {
      for (const [way, run] of ways) {
        it.effect(`${way} → the message shows the statement and the place`, () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            const text = "select 1 as a form nothing"
            const error = yield* failed(run(sql, text))
            const failure = SqlFailure.of(error)
            assert.strictEqual(failure.sql, text)
            assert.include(error.message, text)
            assert.match(error.message, /\n +\^/)
          }))
      }

      it.effect("constraints → their names, the same on all databases", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql.unsafe(
            "create table person (id int primary key, email varchar(50), " +
              "constraint person_email unique (email), constraint positive check (id > 0))"
          )
          yield* sql.unsafe(
            "create table pet (id int primary key, owner int not null, " +
              "constraint pet_owner foreign key (owner) references person (id))"
          )
          yield* sql`insert into person values (1, 'a@b')`
          const of = (text: string) => Effect.map(failed(sql.unsafe(text)), SqlFailure.of)
          assert.strictEqual((yield* of("insert into person values (2, 'a@b')")).constraint, "person_email")
          assert.strictEqual((yield* of("insert into person values (0, 'c@d')")).constraint, "positive")
          const orphan = yield* of("insert into pet values (1, 99)")
          assert.strictEqual(orphan.constraint, "pet_owner")
          assert.strictEqual(orphan.table, "pet")
          assert.strictEqual((yield* of("insert into pet values (1, null)")).column, "owner")
        }))

      it.effect("parameters and details → never in what is printed", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql.unsafe("create table secret_key (k varchar(50) primary key)")
          yield* sql`insert into secret_key values (${"hunter2"})`
          const error = yield* failed(sql`insert into secret_key values (${"hunter2"})`)
          const printed = [
            error.message,
            util.inspect(error, { depth: 10 }),
            util.inspect(error, { depth: 10, customInspect: false }),
            Cause.pretty(Cause.fail(error)),
            JSON.stringify(error)
          ]
          for (const text of printed) assert.notInclude(text, "hunter2")
        }))

      it.effect("printed by the process → short, without frames of the library", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const exit = yield* Effect.exit(sql`select nothing from nowhere`)
          const error = Cause.squash((exit as Exit.Failure<never, SqlError>).cause) as Error
          const printed = util.inspect(error, { customInspect: false, depth: 5 })
          assert.notMatch(printed, /[\\/]src[\\/](?:postgres|mysql-family|database|failure)[\\/]/)
          assert.isBelow(printed.split("\n").length, 40)
          assert.strictEqual(util.inspect(error), error.stack)
        }))
    })
  })
}
