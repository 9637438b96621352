import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Outcome, Transaction } from "watertight"
import { Pglite } from "watertight/pglite"
import { Postgres, Script } from "watertight/postgres"
import { needsConnection } from "../../../src/postgres/session/ownConnection.ts"
import { describeWith } from "../../support/index.ts"
import { database } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

const refused = [
  "begin",
  "BEGIN ISOLATION LEVEL SERIALIZABLE",
  "start transaction read only",
  "commit",
  "COMMIT AND CHAIN",
  "end",
  "rollback work",
  "rollback to savepoint a",
  "abort",
  "savepoint a",
  "release savepoint a",
  "prepare transaction 'x'",
  "set local work_mem = '1MB'",
  "set transaction isolation level serializable",
  "set constraints all deferred",
  "lock table t",
  "declare c cursor for select 1",
  "declare c cursor with hold for select 1",
  "fetch all from c",
  "move next in c",
  "listen news",
  "select pg_advisory_lock(1)",
  "select pg_try_advisory_lock_shared(1, 2)",
  "select pg_advisory_xact_lock(1)",
  "select pg_catalog.pg_advisory_lock(1)",
  "select \"pg_advisory_lock\"(1)",
  "select u&\"pg_\\0061dvisory_lock\"(1)",
  "select pg_advisory_lock/* now */(1)",
  "select pg_advisory_lock(id) from t",
  "with l as (select pg_advisory_lock(1)) select 1 from l",
  "select set_config('app.tenant', 'a', true)",
  "/* a /* b */ c */ -- d\n ; begin; ;",
  "\t\f\r\n\tBeGiN\n--",
  "SET\n/**/LOCAL x = 1"
]

const allowed = [
  "select 1",
  "insert into t values ('begin; commit')",
  "select 'pg_advisory_lock(1)' as \"begin\"",
  "select 1 as begin -- pg_advisory_lock(1)",
  "select my.pg_advisory_lock(1)",
  "select pg_advisory_lock",
  "select pg_advisory_unlock_all()",
  "select pg_advisory_lock(1), pg_advisory_unlock(1)",
  "select x.v from (select pg_advisory_xact_lock(1)) l, lateral (select 1 as v) x",
  "with t as (select set_config('app.tenant', 'a', true)) select count(*) from t",
  "select set_config('app.tenant', 'a', false)",
  "commit prepared 'x'",
  "rollback prepared 'x'",
  "set session characteristics as transaction read only",
  "prepare p as select 1",
  "create function f() returns void language sql begin atomic select pg_advisory_lock(1); end",
  "do $$ begin perform pg_advisory_lock(1); end $$",
  "create table begin_ (a int)",
  "begin; insert into t values (1); commit",
  "savepoints"
]

describe("a statement on the pool → whether it needs a connection of its own", () => {
  it.each(refused)("%j → refused", (sql) => {
    assert.match(needsConnection(sql)!.message, /Use `|Use the options|Use it inside/)
  })
  it.each(allowed)("%j → runs", (sql) => {
    assert.isUndefined(needsConnection(sql))
  })
})

const ways: Record<string, (sql: SqlClient, text: string) => Effect.Effect<unknown, unknown>> = {
  unsafe: (sql, text) => sql.unsafe(text),
  raw: (sql, text) => sql.unsafe(text).raw,
  values: (sql, text) => sql.unsafe(text).values,
  unprepared: (sql, text) => sql.unsafe(text).unprepared,
  stream: (sql, text) => Stream.runCollect(sql.unsafe(text).stream),
  fragment: (sql, text) => sql`${sql.literal(text)}`
}

const suite = (layer: Layer.Layer<SqlClient | Transaction.Manager | Postgres.Services, unknown>) => {
  it.layer(layer as Layer.Layer<SqlClient | Transaction.Manager | Postgres.Services>)("on a database", (it) => {
    it.effect("what belongs to a connection is refused on the pool, in all ways, and nothing is sent", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        for (const [name, run] of Object.entries(ways)) {
          for (const text of refused) {
            const error = yield* sqlFailure(run(sql, text))
            assert.instanceOf(error.reason.cause, Postgres.NeedsConnection, `${name}: ${text}`)
            assert.strictEqual(Outcome.of(error)?.outcome, "NotSent", `${name}: ${text}`)
            assert.isFalse(error.isRetryable)
          }
        }
      }))

    it.effect("and runs on a connection that is held, and in a transaction", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table if not exists held (a int)`
        yield* Effect.scoped(Effect.gen(function*() {
          const connection = yield* sql.reserve
          for (
            const text of [
              "begin",
              "savepoint a",
              "set local work_mem = '1MB'",
              "insert into held values (1)",
              "declare c cursor for select 1",
              "fetch all from c",
              "select pg_advisory_xact_lock(1)",
              "rollback",
              "select pg_advisory_lock(2)"
            ]
          ) yield* connection.executeUnprepared(text, [], undefined)
        }))
        yield* Effect.gen(function*() {
          yield* sql`savepoint a`
          yield* sql`set local work_mem = '1MB'`
          yield* sql`select pg_advisory_xact_lock(1)`
          yield* sql`rollback to a`
          yield* sql`insert into held values (2)`
        }).pipe(Transaction.run())
        assert.deepStrictEqual(yield* sql`select a from held`, [{ a: 2 }])
      }))

    it.effect("a script may begin and commit, but not leave a transaction open", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        yield* sql`create table if not exists script (a int)`
        yield* Script.run("begin; insert into script values (1); commit")
        for (
          const text of [
            "begin; insert into script values (2)",
            "select 1; begin; insert into script values (2); select 2"
          ]
        ) {
          const error = yield* sqlFailure(Script.run(text))
          assert.include(error.message, "leaves a transaction open")
          assert.isTrue(Outcome.isNotApplied(error))
        }
        for (const text of ["begin", "commit", "-- only\n set local x = 1;"]) {
          assert.instanceOf((yield* sqlFailure(Script.run(text))).reason.cause, Postgres.NeedsConnection)
        }
        assert.deepStrictEqual(yield* sql`select a from script`, [{ a: 1 }])
      }))
  })
}

describeWith("url-postgresql")("transactions by hand, PostgreSQL", () => suite(database({ maxConnections: 2 })))
describe("transactions by hand, PGlite", () => suite(Pglite.layer() as never))

it.layer(database({ maxConnections: 1 }))("what functions of the database leave behind", (it) => {
  it.effect("reaches nobody else, whatever it is", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Script.run(`
        create schema other;
        create function set_tenant(t text) returns text language plpgsql as $$ begin perform set_config('app.tenant', t, false); return t; end $$;
        create function other.hide() returns void language sql as $$ select pg_advisory_lock(77) $$;
        create function make_temp() returns void language plpgsql as $$ begin create temp table left_behind (a int); end $$;
        create function hear() returns void language plpgsql as $$ begin execute 'listen news'; end $$;
      `)
      const look = sql`select coalesce(current_setting('app.tenant', true), '') as tenant,
        (select count(*)::int from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()) as locks,
        (select count(*)::int from pg_class where relname = 'left_behind') as tables,
        (select count(*)::int from pg_listening_channels()) as channels`
      const clean = [{ tenant: "", locks: 0, tables: 0, channels: 0 }]
      const statements = [
        sql`select set_tenant('evil')`,
        sql`select "set_tenant"(${"evil"})`,
        sql`select public /* here */ . set_tenant ('evil') where true`,
        sql`select * from set_tenant('evil') as t (a)`,
        sql`with a (x) as (select 1), b (y) as (select set_tenant('evil')) select * from a, b`,
        sql`values (lower(set_tenant('evil')))`,
        sql`select other.hide()`,
        sql`select make_temp()`,
        sql`select hear()`
      ]
      for (let round = 0; round < 3; round++) {
        for (const statement of statements) {
          yield* statement
          assert.deepStrictEqual(yield* look, clean)
          yield* Transaction.run(statement)
          assert.deepStrictEqual(yield* look, clean)
          yield* Stream.runDrain(statement.stream)
          assert.deepStrictEqual(yield* look, clean)
        }
      }
      // Statements that share the connection do not see it either.
      const seen = yield* Effect.forkChild(Effect.all(Array.from({ length: 20 }, () => look), { concurrency: 20 }))
      yield* statements[0]!
      for (const rows of yield* Fiber.join(seen)) assert.deepStrictEqual(rows, clean)
    }))

  it.effect("costs no reset once the server's own functions are known", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const backend = sql`select pg_backend_pid() as pid`
      const named = sql`select count(*)::int as n from pg_prepared_statements where not from_sql`
      for (let round = 0; round < 3; round++) {
        yield* sql`select width_bucket(5.35, 0.024, 10.06, 5), initcap('a b'), jsonb_pretty('{}'), date_bin('1 day', now(), now())`
      }
      assert.strictEqual((yield* backend).length, 1)
      assert.isAbove((yield* named)[0]!["n"] as number, 0)
    }))
})
