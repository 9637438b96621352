/**
 * What ends a transaction from inside and begins another one at once, so that the server goes on saying that one is open:
 * nothing after it is sent, and success is not told.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Outcome, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { Postgres, Script } from "watertight/postgres"
import { describeEach, sqlFailure } from "../mysql-family/support.ts"
import { freshDatabase } from "../support/index.ts"

type Run = (sql: SqlClient, text: string) => Effect.Effect<unknown, unknown, any>

const plain: Run = (sql, text) => sql.unsafe(text)
const stream: Run = (sql, text) => Stream.runDrain(sql.unsafe(text).stream)
const unprepared: Run = (sql, text) => sql.unsafe(text).unprepared
const script: Run = (_, text) => Script.run(text)

interface Case {
  readonly text: string
  readonly ways: ReadonlyArray<Run>
  /** Whether what came before it stays. */
  readonly commits: boolean
}

const ends = (commits: boolean, ways: ReadonlyArray<Run>, ...texts: ReadonlyArray<string>): ReadonlyArray<Case> =>
  texts.map((text) => ({ text, ways, commits }))

const onPostgres: ReadonlyArray<Case> = [
  ...ends(true, [plain, unprepared, stream, script], "commit and chain", "/* */ END work AND CHAIN", "commit"),
  ...ends(false, [plain, unprepared, stream, script], "rollback and chain", "abort transaction and chain", "rollback"),
  ...ends(true, [script], "commit; begin; insert into t values (2)", "select 1; commit; start transaction"),
  ...ends(
    false,
    [script],
    "rollback; begin",
    "savepoint a; rollback to a; rollback work; begin",
    "abort; begin; select 1"
  )
]

/** What looks like an end, and is none. */
const harmlessOnPostgres = [
  "savepoint a; insert into t values (9); rollback to a",
  "savepoint a; insert into t values (9); rollback work to savepoint a; release a",
  "savepoint commit; insert into t values (9); rollback transaction to commit",
  "begin",
  "select 'rollback and chain' as rollback",
  "do $$ begin perform 1; end $$"
]

const routines = [
  "create procedure begins() begin start transaction; insert into t values (2); end",
  "create procedure chains() begin commit; start transaction; end",
  "create procedure undoes() begin rollback; start transaction; end",
  "create procedure fails() begin commit; start transaction; signal sqlstate '45000' set message_text = 'no'; end",
  "create procedure defines() begin truncate u; start transaction; end",
  "create procedure writes() begin insert into t values (9); delete from t where a = 9; select 1; select 2; end",
  "create procedure saves() begin savepoint a; insert into t values (9); rollback to a; end",
  "create procedure says_no() begin declare exit handler for sqlexception begin end; insert into nowhere values (1); end"
]

const everywhere = [plain, unprepared, stream]

const onMysql = (isMariadb: boolean): ReadonlyArray<Case> => [
  ...ends(true, everywhere, "call begins()", "call chains()", "call defines()", "call fails()"),
  ...ends(false, everywhere, "call undoes()"),
  ...ends(true, [unprepared], "prepare s from 'call chains()'; execute s"),
  ...(isMariadb
    ? ends(
      true,
      [unprepared],
      "execute immediate 'call chains()'",
      "begin not atomic commit; start transaction; end",
      "if true then commit; start transaction; end if",
      "set statement max_statement_time = 5 for call chains()"
    )
    : [])
]

const harmlessOnMysql = ["call writes()", "call saves()", "call says_no()"]

const suite = (
  layer: Layer.Layer<any, unknown>,
  options: {
    readonly cases: ReadonlyArray<Case>
    readonly harmless: ReadonlyArray<string>
    readonly harmlessBy: Run
    readonly routines: ReadonlyArray<string>
  }
) =>
  it.layer(layer as Layer.Layer<SqlClient | Transaction.Manager>, { excludeTestServices: true, timeout: "60 seconds" })(
    "inside a transaction",
    (it) => {
      const prepared = Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql.unsafe("create table if not exists t (a int)")
        yield* sql.unsafe("create table if not exists u (a int)")
        yield* sql`delete from t`
        return sql
      })
      const rows = Effect.flatMap(
        SqlClient,
        (sql) => Effect.map(sql`select a from t order by a`.values, (all) => all.flat())
      )

      it.effect("what ends it and begins another one is found out", () =>
        Effect.gen(function*() {
          const sql = yield* prepared
          for (const text of options.routines) yield* sql.unsafe(text).unprepared
          for (const { commits, text, ways } of options.cases) {
            for (const [index, way] of ways.entries()) {
              const about = `${text}, way ${index}`
              yield* sql`delete from t`
              const error = yield* sqlFailure(Transaction.run(Effect.gen(function*() {
                yield* sql`insert into t values (1)`
                yield* Effect.ignore(way(sql, text) as Effect.Effect<unknown, unknown>)
                yield* sql`insert into t values (3)`
              })))
              if (!text.includes("fails")) assert.include(error.message, "ended by a statement inside it", about)
              assert.strictEqual(Outcome.of(error)?.outcome, "Unknown", about)
              assert.deepStrictEqual(yield* rows, commits ? [1] : [], about)
              // Nothing of it is left to the next one.
              yield* Transaction.run(sql`insert into t values (4)`)
              assert.deepStrictEqual(yield* rows, commits ? [1, 4] : [4], about)
            }
          }
        }), 60_000)

      it.effect("what ends nothing goes through", () =>
        Effect.gen(function*() {
          const sql = yield* prepared
          for (const text of options.harmless) {
            yield* sql`delete from t`
            yield* Transaction.run(Effect.gen(function*() {
              yield* sql`insert into t values (1)`
              yield* options.harmlessBy(sql, text) as Effect.Effect<unknown, unknown>
              yield* sql`insert into t values (3)`
            }))
            assert.deepStrictEqual(yield* rows, [1, 3], text)
          }
        }))
    }
  )

const postgres = { cases: onPostgres, harmless: harmlessOnPostgres, harmlessBy: script, routines: [] }

describe("PostgreSQL", () =>
  suite(
    Layer.unwrap(Effect.map(freshDatabase(), (url) => Postgres.layer({ url: Redacted.make(url), pool: { max: 1 } }))),
    postgres
  ))

describe("PGlite", () => suite(Pglite.layer(), postgres))

describeEach("over $name", (subject) =>
  suite(
    Layer.unwrap(
      Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 1 } }))
    ),
    {
      cases: onMysql(subject.server.name === "MariaDB"),
      harmless: harmlessOnMysql,
      harmlessBy: unprepared,
      routines
    }
  ))
