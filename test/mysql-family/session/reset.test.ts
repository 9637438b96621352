/** What a borrower leaves in a session never reaches the next one, and undoing it holds nobody up. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Pool, Transaction } from "watertight"
import { MysqlError } from "../../../src/mysql-family/errors/errors.ts"
import { profileOf } from "../../../src/mysql-family/statement/statements.ts"
import type { Kind } from "../servers.ts"
import { describeEach, eventually, type Subject } from "../support.ts"

/** A database over a single connection, so that the next borrower gets what the one before has left. */
const withDatabase = <A, E>(
  subject: Subject,
  effect: Effect.Effect<A, E, SqlClient.SqlClient | Pool.Pool | Transaction.Manager>,
  pool: Pool.Options = {}
) =>
  Effect.flatMap(subject.server.fresh, (url) =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`create table t (a int primary key) engine = innodb`
      yield* sql`insert into t values (1)`
      return yield* effect
    }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(url), pool: { max: 1, ...pool } }))))

/** Statements one after the other, on a connection of their own. Answers with the last one's only value. */
const borrow = (...statements: ReadonlyArray<string>) =>
  Effect.flatMap(
    Pool.Pool,
    (pool) =>
      pool.use((connection) =>
        Effect.reduce(statements, (): unknown => undefined, (_, statement) =>
          Effect.map(
            connection.executeUnprepared(statement, [], undefined),
            (rows: ReadonlyArray<Record<string, unknown>>) => Object.values(rows[0] ?? {})[0]
          ))
      )
  )

/** The same, or the number of the error. */
const look = (...statements: ReadonlyArray<string>) =>
  Effect.catch(borrow(...statements), (error) => {
    const { cause } = (error as SqlError).reason
    return cause instanceof MysqlError ? Effect.succeed(cause.errno) : Effect.fail(error)
  })

const connectionId = borrow("select connection_id()")

/** What borrowers may leave behind, how the next one would notice, and what it sees if nothing is there. */
const statesOf = (server: Kind): ReadonlyArray<
  readonly [name: string, leave: ReadonlyArray<string>, look: ReadonlyArray<string>, clean: unknown]
> => [
  ["a setting", ["set lock_wait_timeout = 7"], ["select @@lock_wait_timeout = 7"], 0],
  [
    "a setting made beside a global one",
    ["set global max_error_count = @@global.max_error_count, session lock_wait_timeout = 7"],
    ["select @@lock_wait_timeout = 7"],
    0
  ],
  [
    "a setting made by a procedure",
    ["create procedure p() set lock_wait_timeout = 7", "call p()"],
    ["select @@lock_wait_timeout = 7"],
    0
  ],
  ["a time zone", ["set time_zone = '+01:00'"], ["select @@time_zone"], "+00:00"],
  ["a character set", ["set names latin1"], ["select @@character_set_client"], "utf8mb4"],
  ["a user variable", ["set @a = 1"], ["select @a is null"], 1],
  ["a user variable assigned in a query", ["select @a := 1"], ["select @a is null"], 1],
  ["a user variable that a query was read into", ["select 1 into @a"], ["select @a is null"], 1],
  ["a temporary table", ["create temporary table x (a int)"], ["select count(*) from x"], 1146],
  [
    "a temporary table in the place of another",
    ["create temporary table t (a int)"],
    ["select count(*) from t"],
    1
  ],
  ["a lock by name", ["select get_lock(database(), 0)"], ["select is_used_lock(database()) is null"], 1],
  ["locked tables", ["create table other (a int)", "lock tables t read"], ["select count(*) from other"], 0],
  ["another database", ["use mysql"], ["select database() = 'mysql'"], 0],
  ["a handler", ["handler t open"], ["handler t read first"], 1109],
  ["a prepared statement", ["prepare p from 'select 1'"], ["execute p"], 1243],
  [
    "an isolation level",
    ["set session transaction isolation level serializable"],
    [server.isolationOfSession],
    "REPEATABLE-READ"
  ],
  [
    "an isolation level for the next transaction",
    ["set transaction isolation level serializable"],
    server.levelOfTransaction,
    "REPEATABLE READ"
  ],
  ["a read-only session", ["set session transaction read only"], [server.readOnlySession], 0],
  ["a session without autocommit", ["set autocommit = 0"], ["select @@autocommit"], 1]
]

describeEach("The next borrower of a session over $name finds nothing of", (subject) => {
  for (const [name, leave, statements, clean] of statesOf(subject.server)) {
    it.effect(name, () =>
      Effect.gen(function*() {
        yield* withDatabase(
          subject,
          Effect.gen(function*() {
            const before = yield* connectionId
            yield* borrow(...leave)
            assert.strictEqual(yield* look(...statements), clean)
            assert.strictEqual(yield* connectionId, before, "it is not the same session")
          })
        )
        // Where nothing is undone it is there, apart from what goes with the transaction.
        if (name === "a session without autocommit") return
        yield* withDatabase(
          subject,
          Effect.gen(function*() {
            yield* borrow(...leave)
            assert.notStrictEqual(yield* look(...statements), clean)
          }),
          { reset: "never" }
        )
      }))
  }

  for (
    const [name, ...leave] of [
      ["an open transaction", "begin", "insert into t values (2)"],
      ["a transaction with an error in it", "start transaction", "insert into t values (2)", "select nothing"],
      ["a transaction without autocommit", "set autocommit = 0", "insert into t values (2)"],
      ["a savepoint", "begin", "savepoint s", "insert into t values (2)"]
    ] as const
  ) {
    it.effect(name, () =>
      withDatabase(
        subject,
        Effect.gen(function*() {
          const before = yield* connectionId
          yield* Effect.exit(borrow(...leave))
          assert.strictEqual(yield* borrow(subject.server.inTransaction), 0)
          assert.strictEqual(yield* borrow("select count(*) from t"), 1)
          assert.strictEqual(yield* connectionId, before, "it is not the same session")
        }),
        { reset: "never" }
      ))
  }

  it.effect("a role", () =>
    withDatabase(
      subject,
      Effect.gen(function*() {
        const role = `role_of_${subject.key}`
        yield* Effect.acquireUseRelease(
          borrow(...subject.server.replace("role", role), `grant ${role} to current_user()`),
          () =>
            Effect.gen(function*() {
              yield* borrow(`set role ${role}`)
              assert.strictEqual(yield* borrow("select current_role()"), subject.server.noRole)
            }),
          () => Effect.ignore(borrow(`drop role ${role}`))
        )
      })
    ))
})

describeEach("What is left behind over $name is undone", (subject) => {
  it.effect("also when it was done by a statement outside of any transaction, or in one", () =>
    withDatabase(
      subject,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`set @a = 1`
        assert.strictEqual(yield* borrow("select @a is null"), 1)
        yield* Transaction.run(sql`set @a = 1`, {})
        assert.strictEqual(yield* borrow("select @a is null"), 1)
      })
    ))

  it.effect("and prepared statements go on working", () =>
    withDatabase(
      subject,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const read = sql`select a from t where a = ${1}`
        for (let i = 0; i < 3; i++) yield* read
        yield* borrow("create temporary table t (a int)", "insert into t values (1), (1)")
        assert.deepStrictEqual(yield* read, [{ a: 1 }])
        yield* borrow("use mysql", "set @a = 1")
        assert.deepStrictEqual(yield* Effect.all([read, read, read]), [[{ a: 1 }], [{ a: 1 }], [{ a: 1 }]])
        const [status] = yield* sql.unsafe<{ readonly Value: string }>("show status like 'Com_stmt_prepare'")
        assert.isAbove(Number(status!.Value), 0, "nothing was prepared")
      })
    ))

  it.effect("only when there is something", () =>
    withDatabase(
      subject,
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* Pool.Pool
        for (let i = 0; i < 10; i++) {
          yield* borrow("select 1", "update t set a = 1")
          yield* sql`select a from t where a = ${i}`
          yield* Transaction.run(sql`select a from t`, { isolation: "serializable" })
        }
        assert.strictEqual((yield* pool.stats).resets, 0)
        yield* borrow("set @a = 1")
        yield* borrow("select 1")
        assert.strictEqual((yield* pool.stats).resets, 1)
      })
    ))

  it.effect("while the next borrower has another connection", () =>
    withDatabase(
      subject,
      Effect.gen(function*() {
        const pool = yield* Pool.Pool
        yield* Effect.all([borrow("do sleep(0.05)"), borrow("do sleep(0.05)")], { concurrency: 2 })
        const used = yield* borrow("set @a = 1", "select connection_id()")
        assert.notStrictEqual(yield* connectionId, used)
        yield* eventually(Effect.map(pool.stats, (stats) => stats.idle === 2 && stats.resets === 1))
      }),
      { max: 2 }
    ))

  for (const reset of ["detect", "always"] as const) {
    it.effect(`${reset === "always" ? "also" : "not"} if a function did it, with \`${reset}\``, () =>
      withDatabase(
        subject,
        Effect.gen(function*() {
          yield* borrow("create function hide() returns int return get_lock(database(), 0)")
          yield* borrow("select hide()")
          assert.strictEqual(yield* borrow("select is_used_lock(database()) is null"), reset === "always" ? 1 : 0)
        }),
        { reset }
      ))
  }
})

describe("The text of a statement tells that it changes the session", () => {
  for (
    const [sql, changes] of [
      ["select a from b where c = ?", false],
      ["insert into b (a) values ('set @x')", false],
      ["update b set a = 1", false],
      ["set global a = 1", false],
      ["savepoint a", false],
      ["set global a = 1, b = 2", true],
      ["set statement max_statement_time = 1 for select 1", true],
      ["/*!40101 set names latin1 */", true],
      ["-- why\n use b", true],
      ["call p()", true],
      ["do get_lock('a', 1)", true],
      ["select @a := b from c", true],
      ["create or replace temporary table a (b int)", true],
      ["unlock tables", true]
    ] as const
  ) it(`${changes}: ${sql.replaceAll("\n", " ")}`, () => assert.strictEqual(profileOf(sql).changesSession, changes))
})
