import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Pool, Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import { Trace, traceOf } from "../../src/postgres/session/SessionResidue.ts"
import { freshDatabase } from "../support/index.ts"

/** A database over a single connection, so that the next borrower gets what the one before has left. */
const withDatabase = <A, E>(
  effect: Effect.Effect<A, E, SqlClient.SqlClient | Pool.Pool | Transaction.Manager>,
  pool: Pool.Options = {}
) =>
  Effect.flatMap(
    freshDatabase(),
    (url) => Effect.provide(effect, Postgres.layer({ url: Redacted.make(url), pool: { max: 1, ...pool } }))
  )

/** Statements one after the other, on a connection of their own. */
const borrow = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(
    Pool.Pool,
    (pool) =>
      pool.use((connection) =>
        Effect.forEach(statements, (statement) => connection.executeUnprepared(statement, [], undefined))
      )
  )

const one = (statement: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql.unsafe<Record<string, unknown>>(statement)
    return Object.values(rows[0] ?? {})[0]
  })

const backend = one("select pg_backend_pid()")

/** What borrowers may leave behind, and how the next one would notice. */
const states: ReadonlyArray<
  readonly [name: string, leave: ReadonlyArray<string>, look: string, clean: unknown]
> = [
  ["a setting", ["set work_mem = '7MB'"], "select current_setting('work_mem') <> '7MB'", true],
  ["a setting made by a function", ["select set_config('work_mem', '7MB', false)"], "show work_mem", "4MB"],
  ["a setting that the server reports", ["do $$begin set time zone 'Asia/Tokyo'; end$$"], "show timezone", undefined],
  [
    "a role",
    ["create role test_role_of_reset", "set role test_role_of_reset"],
    "select current_user::text = 'test_role_of_reset'",
    false
  ],
  ["a temporary table", ["create temp table t (a int)"], "select count(*)::int from pg_class where relname = 't'", 0],
  [
    "a temporary table made of a query",
    ["select 1 as a into temp t"],
    "select count(*)::int from pg_class where relname = 't'",
    0
  ],
  [
    "an advisory lock",
    ["select pg_advisory_lock(7)"],
    "select count(*)::int from pg_locks where locktype = 'advisory'",
    0
  ],
  ["a listen", ["listen news"], "select count(*)::int from pg_listening_channels()", 0],
  [
    "a cursor",
    ["begin", "declare c cursor with hold for select 1", "commit"],
    "select count(*)::int from pg_cursors where name = 'c'",
    0
  ],
  [
    "an isolation level",
    ["set session characteristics as transaction isolation level serializable"],
    "show transaction_isolation",
    "read committed"
  ],
  ["a read-only session", ["set default_transaction_read_only = on"], "show transaction_read_only", "off"],
  [
    "a prepared statement",
    ["prepare p as select 1"],
    "select count(*)::int from pg_prepared_statements where from_sql",
    0
  ],
  [
    "an open transaction",
    ["begin", "create table left_behind (a int)"],
    "select to_regclass('left_behind')::text",
    null
  ],
  ["a failed transaction", ["begin"], "select 1", 1]
]

describe("The next borrower of a PostgreSQL session finds nothing of", () => {
  for (const [name, leave, look, clean] of states) {
    it.effect(name, () =>
      withDatabase(Effect.gen(function*() {
        const before = yield* one(look)
        const pid = yield* backend
        yield* borrow(...leave)
        if (name === "a failed transaction") yield* Effect.exit(borrow("begin", "select nothing"))
        assert.strictEqual(yield* one(look), clean === undefined ? before : clean)
        assert.strictEqual(yield* backend, pid, "it is not the same session")
        yield* Effect.ignore(borrow("drop role if exists test_role_of_reset"))
      })))
  }

  it.effect("a loaded library: the session ends", () =>
    withDatabase(Effect.gen(function*() {
      const pid = yield* backend
      const exit = yield* Effect.exit(borrow("load 'auto_explain'"))
      if (Exit.isSuccess(exit)) assert.notStrictEqual(yield* backend, pid)
    })))
})

describe("What is left behind is undone", () => {
  it.effect("also when it was done by a statement outside of any transaction", () =>
    withDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`set work_mem = '7MB'`
      assert.strictEqual(yield* one("show work_mem"), "4MB")
    })))

  it.effect("a statement prepared by hand: who comes next, behind the cleaning, uses no name that is gone", () =>
    withDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const known = sql`select 1 as known`
      yield* Effect.replicateEffect(known, 5)
      let bodies = 0
      const counted = Effect.andThen(Effect.sync(() => bodies++), known)
      for (let round = 0; round < 20; round++) {
        const leaving = yield* Effect.forkChild(sql.unsafe(`prepare foo${round} as select 1`).unprepared, {
          startImmediately: true
        })
        assert.deepStrictEqual(yield* sql.withTransaction(known), [{ known: 1 }])
        yield* Fiber.join(leaving)
        yield* Effect.forkChild(sql.unsafe(`prepare bar${round} as select 1`).unprepared, { startImmediately: true })
        yield* Transaction.run(counted)
      }
      assert.strictEqual(bodies, 20)
      assert.strictEqual(yield* one("select count(*)::int from pg_prepared_statements where name ~ '^(foo|bar)'"), 0)
    })))

  it.effect("also when statements share the connection", () =>
    withDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const show = sql<{ readonly work_mem: string }>`show work_mem`
      const set = sql`set work_mem = '7MB'`
      // Both are known to be quick by now.
      for (let i = 0; i < 4; i++) yield* Effect.all([show, set])
      const answers = yield* Effect.all([set, show, show, set, show].map((effect) => effect as typeof show), {
        concurrency: "unbounded"
      })
      for (const [row] of answers) if (row !== undefined) assert.strictEqual(row.work_mem, "4MB")
    })))

  it.effect("also when it was done in a transaction, and what is local to one needs no undoing", () =>
    withDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Transaction.run(sql`set work_mem = '7MB'`, {})
      assert.strictEqual(yield* one("show work_mem"), "4MB")
      yield* Transaction.run(sql`set local work_mem = '7MB'`, {})
      assert.strictEqual(yield* one("show work_mem"), "4MB")
    })))

  it.effect("also when it was done on a reserved connection", () =>
    withDatabase(Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.scoped(Effect.flatMap(sql.reserve, (connection) =>
        Effect.gen(function*() {
          yield* connection.execute("set work_mem = '7MB'", [], undefined)
          const [row] = (yield* connection.executeValues("show work_mem", [])) as ReadonlyArray<ReadonlyArray<unknown>>
          assert.strictEqual(row![0], "7MB")
        })))
      assert.strictEqual(yield* one("show work_mem"), "4MB")
    })))

  it.effect("with prepared statements left as they are", () =>
    withDatabase(Effect.gen(function*() {
      const named = "select count(*)::int from pg_prepared_statements where not from_sql"
      yield* one("select 41 + 1")
      const before = (yield* one(named)) as number
      assert.isAbove(before, 0)
      yield* borrow("set work_mem = '7MB'")
      assert.isAtLeast((yield* one(named)) as number, before)
    })))

  it.effect("without a round trip of its own, and only when there is something", () =>
    withDatabase(Effect.gen(function*() {
      const pool = yield* Pool.Pool
      for (let i = 0; i < 10; i++) yield* borrow("select 1", "set local work_mem = '1MB'")
      yield* borrow("set work_mem = '7MB'")
      yield* one("select 1")
      assert.strictEqual((yield* pool.stats).resets, 0)
    })))

  it.effect("of whatever a function did, when it is to be always", () =>
    withDatabase(
      Effect.gen(function*() {
        yield* borrow(
          "create function hide() returns void language sql as $$select pg_advisory_lock(1)$$",
          "select hide()"
        )
        assert.strictEqual(yield* one("select count(*)::int from pg_locks where locktype = 'advisory'"), 0)
      }),
      { reset: "always" }
    ))

  it.effect("not at all, when it is to be never", () =>
    withDatabase(
      Effect.gen(function*() {
        yield* borrow("set work_mem = '7MB'")
        assert.strictEqual(yield* one("show work_mem"), "7MB")
      }),
      { reset: "never" }
    ))
})

describe("The text of a statement tells that it leaves", () => {
  for (
    const [sql, trace] of [
      ["select a from b where c = $1", Trace.Nothing],
      ["update b set a = 1", Trace.Nothing],
      ["insert into b (a) values ('set x')", Trace.Nothing],
      ["set local x = 1", Trace.Nothing],
      ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", Trace.Nothing],
      ["set constraints all deferred", Trace.Nothing],
      ["select set_config('a.b', $1, true)", Trace.Nothing],
      ["select pg_advisory_xact_lock(1)", Trace.Nothing],
      ["declare c cursor for select 1", Trace.Nothing],
      ["prepare transaction 'x'", Trace.Nothing],
      ["insert into t values (1) on conflict do nothing", Trace.Nothing],
      ["  -- why\n set x = 1", Trace.State],
      ["/* why */ set session x = 1", Trace.State],
      ["select 1; set x = 1", Trace.State],
      ["select set_config('a.b', $1, false)", Trace.State],
      ["select set_config('a', 'b', true), set_config('c', 'd', false)", Trace.State],
      ["select pg_try_advisory_lock_shared(1)", Trace.State],
      ["create temporary table t (a int)", Trace.State],
      ["create or replace temp view v as select 1", Trace.State],
      ["select 1 into temp t", Trace.State],
      ["create table pg_temp.t (a int)", Trace.State],
      ["LISTEN x", Trace.State],
      ["do $$begin end$$", Trace.State],
      ["call p()", Trace.State],
      ["prepare p as select 1", Trace.Name],
      ["load 'x'", Trace.Library],
      ["set transaction read only", Trace.ReadOnly]
    ] as const
  ) it(`${trace}: ${sql.replaceAll("\n", " ")}`, () => assert.strictEqual(traceOf(sql), trace))
})
