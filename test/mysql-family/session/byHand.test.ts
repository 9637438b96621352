/** Transactions and locks by hand on the pool: refused, or failed loudly and rolled back, or put back; nothing stays. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Outcome } from "watertight"
import { Mysql } from "watertight/mysql"
import { describeEach, sqlFailure } from "../support.ts"

const refused: ReadonlyArray<string> = [
  "BeGiN",
  "/*!50000 begin*/",
  "/*!begin*/ work",
  "/**/begin",
  "-- note\nbegin",
  "# note\n start /* x */ transaction",
  "start transaction with consistent snapshot",
  "commit and chain",
  "rollback to savepoint a",
  "savepoint a",
  "XA BEGIN 'a'",
  "xa start 'a'",
  "xa/**/recover",
  "set transaction read only",
  "SET autocommit=0",
  "set @@autocommit := 0",
  "set session autocommit = off",
  "SET @@session.autocommit=0",
  "set local autocommit = 0",
  "set names utf8mb4, autocommit = 0",
  "set @@session . /**/ `autocommit` = 0",
  "LOCK TABLES t READ",
  "lock/**/tables t write",
  "unlock tables",
  "HANDLER t OPEN",
  "FLUSH TABLES WITH READ LOCK",
  "flush tables t with read/**/lock",
  "flush tables t for export",
  "select get_lock('a', 0)",
  "select get_lock/**/('a', 0)",
  "SELECT GET_LOCK -- x\n ('a', 0)",
  "select /*!50000 get_lock('a', 0) */",
  "do get_lock('a', 0)",
  "insert into t select get_lock('a', 0)",
  "with x as (select get_lock('a', 0) as l) select l from x"
]

/** What leaves a transaction open. None of the rows may stay. */
const open: ReadonlyArray<string> = [
  "begin; insert into t values (1)",
  "/*!50000 begin*/; insert into t values (1)",
  "start transaction; insert into t values (1); savepoint a",
  "set autocommit = 0; insert into t values (1)",
  "begin; insert into t values (1); commit and chain; insert into t values (1)",
  "prepare p from 'insert into t values (1)'; start transaction; execute p",
  "xa start 'x'; insert into t values (1)",
  "call opens()"
]

/** What is put back, and what the next one sees of it. */
const putBack: ReadonlyArray<readonly [text: string, look: string]> = [
  ["set @x = 1", "select @x"],
  ["select @x := 1", "select @x"],
  ["select @`x` := 1", "select @x"],
  ["select 1 into/**/@x", "select @x"],
  ["select 1, 2 into @y, @x", "select @x"],
  ["select '\\'', @x := 1", "select @x"],
  ["call sets()", "select @x"]
]

describeEach("by hand over $name", (subject) => {
  const database = Layer.unwrap(
    Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 1 } }))
  )

  it.layer(database, { excludeTestServices: true, timeout: "60 seconds" })("on the pool", (it) => {
    it.effect("what belongs to a connection: refused in every form, and not sent", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table t (a int)`
        for (const text of refused) {
          const statement = sql.unsafe(text)
          for (
            const form of [
              statement,
              statement.raw,
              statement.values,
              statement.unprepared,
              Stream.runCollect(statement.stream)
            ]
          ) {
            const error = yield* sqlFailure(form as Effect.Effect<unknown, any>)
            assert.instanceOf(error.reason.cause, Mysql.NeedsConnection, text)
            assert.strictEqual(Outcome.of(error)?.outcome, "NotSent", text)
            assert.isFalse(error.isRetryable)
          }
        }
      }))

    it.effect("what leaves a transaction open: a failure, and nothing of it stays", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table if not exists t (a int)`
        yield* sql.unsafe("create procedure opens() begin start transaction; insert into t values (1); end").unprepared
        yield* sql.unsafe("create procedure ends() begin start transaction; insert into t values (2); commit; end")
          .unprepared
        const own = subject.server.name === "MariaDB"
          ? [...open, "begin not atomic start transaction; insert into t values (1); end"]
          : open
        for (const text of own) {
          const error = yield* sqlFailure(sql.unsafe(text).unprepared)
          assert.match(error.message, /leaves a transaction open, which is rolled back/, text)
          assert.isFalse(error.isRetryable, text)
          assert.strictEqual(Outcome.of(error)?.scope, "Never", text)
          // What was committed before stays, which the outcome says.
          assert.strictEqual(Outcome.of(error)?.outcome, "Unknown", text)
          const stays = text.includes("chain") ? [[1]] : []
          assert.deepStrictEqual(yield* sql`select a from t`.values, stays, text)
          yield* sql`delete from t`
          assert.deepStrictEqual(yield* sql`select @@autocommit as a`, [{ a: 1 }], text)
        }
        for (const form of [sql`call opens()`, sql`call opens()`.raw, Stream.runCollect(sql`call opens()`.stream)]) {
          const error = yield* sqlFailure(form as Effect.Effect<unknown, any>)
          assert.match(error.message, /leaves a transaction open/)
        }
        // What ends what it begins is as good as any other.
        yield* sql`call ends()`
        yield* sql.unsafe("begin; insert into t values (2); commit").unprepared
        yield* sql.unsafe("set autocommit = 0; insert into t values (2); commit; set autocommit = 1").unprepared
        assert.deepStrictEqual(yield* sql`select a from t`.values, [[2], [2], [2]])
      }))

    it.effect("what changes the session: put back before the next statement", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql.unsafe("create procedure sets() set @x = 1").unprepared
        for (const [text, look] of putBack) {
          yield* sql.unsafe(text).unprepared
          assert.deepStrictEqual(yield* sql.unsafe(look).values, [[null]], text)
        }
        for (const text of ["create/**/temporary table gone (a int)", "prepare p from 'select 1'"]) {
          yield* sql.unsafe(text).unprepared
        }
        yield* sqlFailure(sql`select * from gone`)
        yield* sqlFailure(sql.unsafe("execute p").unprepared)
      }))

    it.effect("words in texts, names and comments: none of these", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        for (
          const text of [
            "select 'get_lock(1)' as v",
            "select 1 as `get_lock` -- get_lock('a', 0)",
            "select 'begin; commit' as v",
            "select /* begin; */ 1 as v",
            "select @@autocommit as v",
            "select get_lock('a', 0), release_lock('a')",
            "select is_free_lock('a') as v"
          ]
        ) yield* sql.unsafe(text)
      }))
  })
})
