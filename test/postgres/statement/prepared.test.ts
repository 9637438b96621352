import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import { Pool, Transaction } from "watertight"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { type CommitToken, ServerIdentity } from "../../../src/postgres/session/transaction/CommitEvidence.ts"
import { freshDatabase } from "../../support/index.ts"
import { database, databaseAt } from "../clientSupport.ts"
import { connect, connector, fields, one, run, sqlFailure } from "../support.ts"

/** The texts of the statements that the server holds for the session, without asking by a statement that it holds. */
const held = (session: Session): Effect.Effect<ReadonlyArray<string>> =>
  Effect.orDie(Effect.map(
    session.script("select statement from pg_prepared_statements order by prepare_time"),
    ([result]) => result!.rows.map((row) => row["statement"] as string)
  ))

/** How many cycles the server answers while an effect runs. */
const cycles = <A, E, R>(session: Session, effect: Effect.Effect<A, E, R>): Effect.Effect<[A, number], E, R> =>
  Effect.suspend(() => {
    let count = 0
    const spy = (session as unknown as { reader: { onReady: (...args: ReadonlyArray<unknown>) => void } }).reader
    const onReady = spy.onReady
    spy.onReady = function(...args) {
      count++
      onReady.apply(spy, args as never)
    }
    return Effect.map(effect, (value) => {
      spy.onReady = onReady
      return [value, count]
    })
  })

describe("prepared statements", () => {
  it.effect("a statement is kept under a name, and one with parameters of other types is another one", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select $1::text as a"
      for (const value of ["x", 1, "y", 2, null]) yield* run(session, sql, [value])
      assert.deepStrictEqual(yield* held(session), [sql, sql])
      yield* session.executeUnprepared("select 1 as once", [], undefined)
      yield* session.executeUnprepared("select 1 as once", [], undefined)
      assert.deepStrictEqual(yield* held(session), [sql, sql])
    }))

  it.effect("the least recently used one goes when there are too many", () =>
    Effect.gen(function*() {
      const session = yield* connect({ preparedStatementCacheSize: 3 })
      for (const n of [1, 2, 3, 1, 4]) yield* run(session, `select ${n}`)
      yield* run(session, "select 1")
      assert.deepStrictEqual((yield* held(session)).toSorted(), ["select 1", "select 3", "select 4"])
    }))

  it.effect("more of them at once than the cache holds all run, also in a transaction", () =>
    Effect.gen(function*() {
      const session = yield* connect({ preparedStatementCacheSize: 2 })
      yield* session.begin({})
      for (const _ of [1, 2, 3]) {
        const results = yield* Effect.all(
          Array.from({ length: 20 }, (_, n) => one(session, `select ${n % 7}::int + $1::int`, [n])),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(results, Array.from({ length: 20 }, (_, n) => (n % 7) + n))
      }
      yield* session.commit
      yield* run(session, "select 1")
      yield* run(session, "select 1")
      assert.isAtMost((yield* held(session)).length, 2)
    }))

  it.effect("one goes after 300 seconds", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select 1 as aged"
      yield* run(session, sql)
      const before = yield* session.script("select name from pg_prepared_statements")
      yield* TestClock.adjust("299 seconds")
      yield* run(session, sql)
      assert.deepStrictEqual(yield* session.script("select name from pg_prepared_statements"), before)
      yield* TestClock.adjust("2 seconds")
      yield* run(session, sql)
      yield* run(session, sql)
      assert.notDeepEqual(yield* session.script("select name from pg_prepared_statements"), before)
      assert.deepStrictEqual(yield* held(session), [sql])
    }))

  it.effect("a long text is not kept", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const long = `select $1::int /* ${"x".repeat(15 * 1024)} */`
      for (const n of [1, 2, 3]) assert.strictEqual(yield* one(session, long, [n]), n)
      yield* run(session, "select 1")
      assert.deepStrictEqual(yield* held(session), ["select 1"])
    }))

  it.effect("without names nothing is kept, and everything works", () =>
    Effect.gen(function*() {
      for (const options of [{ prepare: false }, { preparedStatementCacheSize: 0 }]) {
        const session = yield* connect(options)
        for (const n of [1, 2]) {
          assert.deepStrictEqual(
            yield* Effect.all([
              one(session, "select $1::int", [n]),
              one(session, "select '1 & 2'::tsquery"),
              one(session, "select $1::text", [`${n}`])
            ], { concurrency: "unbounded" }),
            [n, "'1' & '2'", `${n}`]
          )
        }
        assert.deepStrictEqual(yield* held(session), [])
      }
    }))

  it.effect("after DEALLOCATE ALL and DISCARD ALL everything still works", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select $1::int as a"
      for (const forget of ["deallocate all", "discard all"]) {
        yield* run(session, sql, [1])
        yield* run(session, forget)
        assert.strictEqual(yield* one(session, sql, [2]), 2)
        yield* session.script(forget)
        assert.strictEqual(yield* one(session, sql, [3]), 3)
        // Where we cannot see it.
        yield* run(session, `do $$ begin execute '${forget === "discard all" ? "deallocate all" : forget}'; end $$`)
        assert.strictEqual(yield* one(session, sql, [4]), 4)
        assert.strictEqual(yield* one(session, sql, [5]), 5)
      }
    }))

  it.effect("statements that were written behind a DEALLOCATE ALL are repeated", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select $1::int as a"
      yield* run(session, sql, [1])
      yield* run(session, "insert into pg_temp.nothing select 1").pipe(Effect.ignore)
      const results = yield* Effect.all([
        one(session, sql, [1]),
        Effect.as(run(session, "deallocate all"), 0),
        one(session, sql, [2]),
        one(session, sql, [3])
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(results, [1, 0, 2, 3])
    }))

  it.effect("the question for the id of a transaction is prepared with the statement that it rides with, and goes with it", () =>
    Effect.gen(function*() {
      const session = yield* connect({ preparedStatementCacheSize: 2 }, { identity: new ServerIdentity(false) })
      yield* session.script("create temp table t (a int primary key)")
      const questions = Effect.map(
        session.script("select name from pg_prepared_statements where statement like '%/* after: insert%'"),
        ([result]) => result!.rows.length
      )
      const insert = Effect.fnUntraced(function*(column: number, value: number) {
        yield* session.begin({})
        yield* run(session, `insert into t (a) values ($1) /* ${column} */`, [value])
        assert.isDefined((session.commitToken as CommitToken).xid)
        yield* session.commit
      })
      for (let value = 0; value < 5; value++) yield* insert(0, value)
      assert.strictEqual(yield* questions, 1)
      for (let value = 5; value < 20; value++) yield* insert(value % 5, value)
      // The `Close` of the last that had to go waits for a ride.
      yield* run(session, "select 1")
      assert.isAtMost(yield* questions, 2)
      // A write that fails keeps the server from the question, also from preparing it.
      yield* session.begin({})
      yield* sqlFailure(run(session, "insert into t (a) values ($1) /* new */", [1]))
      yield* session.rollback
      yield* session.begin({})
      yield* run(session, "insert into t (a) values ($1) /* new */", [99])
      yield* sqlFailure(run(session, "insert into t (a) values ($1) /* new */", [99]))
      yield* session.rollback
      for (let value = 20; value < 23; value++) {
        yield* session.begin({})
        yield* run(session, "insert into t (a) values ($1) /* new */", [value])
        yield* session.commit
      }
      // Somebody forgets it where we cannot see it: that fails the transaction once, as with the statement itself.
      yield* run(session, "do $$ begin execute 'deallocate all'; end $$")
      yield* session.begin({})
      assert.strictEqual(
        fields(yield* sqlFailure(run(session, "insert into t (a) values ($1) /* new */", [30]))).code,
        "26000"
      )
      yield* session.rollback
      yield* session.begin({})
      yield* run(session, "insert into t (a) values ($1) /* new */", [30])
      yield* session.commit
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 24)
    }))

  it.effect("in a transaction a lost statement fails once, and the transaction works when it is repeated", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select $1::int as a"
      yield* run(session, sql, [1])
      yield* session.begin({})
      yield* run(session, "do $$ begin execute 'deallocate all'; end $$")
      const error = yield* sqlFailure(run(session, sql, [2]))
      assert.strictEqual(fields(error).code, "26000")
      yield* session.rollback
      yield* session.begin({})
      assert.strictEqual(yield* one(session, sql, [3]), 3)
      // Control statements have no name that could be lost.
      yield* run(session, "deallocate all")
      yield* session.savepoint("a")
      yield* session.rollbackSavepoint("a")
      yield* session.commit
      assert.isTrue(session.isReady)
    }))

  it.effect("a stale plan is repaired outside a transaction, and the text gets no name for a while", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const other = yield* connect()
      yield* run(other, "drop table if exists stale")
      yield* run(other, "create table stale (a int)")
      yield* run(other, "insert into stale values (1)")
      const sql = "select * from stale"
      assert.deepStrictEqual(yield* run(session, sql), [{ a: 1 }])
      yield* session.begin({})
      yield* run(other, "alter table stale add b text default 'b'")
      const error = yield* sqlFailure(run(session, sql))
      assert.strictEqual(fields(error).code, "0A000")
      yield* session.rollback
      assert.deepStrictEqual(yield* run(session, sql), [{ a: 1, b: "b" }])
      yield* run(other, "alter table stale drop b")
      yield* session.begin({})
      assert.deepStrictEqual(yield* run(session, sql), [{ a: 1 }])
      yield* session.commit
      yield* run(other, "drop table stale")
    }))

  for (const type of ["money", "tsvector", "int"]) {
    it.live(`a column more beside one of ${type}, on another connection: a transaction is repeated at once, for free`, () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase()
        const alter = yield* connect({ url: Redacted.make(url) })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient
          const pool = yield* Pool.Pool
          yield* run(alter, `create table t (a ${type}, b int)`)
          yield* run(alter, "insert into t (b) values (1)")
          const select = sql`select * from t`
          yield* select
          yield* run(alter, "alter table t add column c int default 2")
          // The next session has not prepared it, but knows the columns from the one before.
          yield* pool.clear()
          let bodies = 0
          const twice = Transaction.run(Effect.suspend(() => ++bodies > 2 ? Effect.die("repeated in vain") : select))
          assert.deepStrictEqual(yield* twice, [{ a: null, b: 1, c: 2 }])
          bodies = 0
          assert.deepStrictEqual(yield* twice, [{ a: null, b: 1, c: 2 }])
          assert.strictEqual(bodies, 1)
        }).pipe(Effect.provide(databaseAt(url, { budget: { capacity: 0.01 }, pool: { max: 1 } })))
      }))
  }

  it.live("what a borrower prepares by hand costs the next one nothing", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const known = sql`select 1 as known`
      for (let i = 0; i < 5; i++) yield* known
      let bodies = 0
      const body = Effect.suspend(() => {
        bodies++
        return known
      })
      for (let i = 0; i < 10; i++) {
        const borrower = yield* Effect.forkChild(sql.unsafe(`prepare by_hand_${i} as select 1`).unprepared, {
          startImmediately: true
        })
        yield* i % 2 === 0 ? sql.withTransaction(body) : Transaction.run(body)
        yield* Fiber.await(borrower)
      }
      assert.strictEqual(bodies, 10)
    }).pipe(Effect.provide(database({ pool: { max: 1 } }))))

  it.effect("many fibers that use one new statement at once share its description", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sql = "select $1::int as a, 'a'::tsvector as p"
      const [results, count] = yield* cycles(
        session,
        Effect.all(Array.from({ length: 10 }, (_, n) => run(session, sql, [n])), { concurrency: "unbounded" })
      )
      assert.deepStrictEqual(results, Array.from({ length: 10 }, (_, a) => [{ a, p: "'a'" }]))
      assert.strictEqual(count, 11)
      assert.deepStrictEqual(yield* held(session), [sql])
    }))

  it.effect("many fibers that use one new statement that does not exist all hear about it", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const session = yield* open
      const errors = yield* Effect.all(
        Array.from({ length: 5 }, () => sqlFailure(run(session, "select * from missing_table"))),
        { concurrency: "unbounded" }
      )
      for (const error of errors) assert.strictEqual(fields(error).code, "42P01")
      yield* run(session, "create temp table missing_table (a int)")
      assert.deepStrictEqual(yield* run(session, "select * from missing_table"), [])
    }))

  it.effect("a statement that failed behind its Parse is parsed again", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const [first, second] = [yield* open, yield* open]
      const sql = "select 10 / $1::int as q"
      yield* run(first, sql, [5])
      const results = yield* Effect.all([
        Effect.exit(one(second, sql, [0])),
        Effect.exit(one(second, sql, [1])),
        Effect.exit(one(second, sql, [2]))
      ], { concurrency: "unbounded" })
      assert.deepStrictEqual(results.map((exit) => exit._tag === "Success" ? exit.value : "failed"), ["failed", 10, 5])
      assert.strictEqual(yield* one(second, sql, [10]), 1)
    }))
})
