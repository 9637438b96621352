import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import { RolledBack } from "../../../src/failure/RolledBack.ts"
import { connect, connector, eventually, failure, fields, one, run, sqlFailure } from "../support.ts"

describe("transactions", () => {
  it.effect("begin, commit and rollback do what they say", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table t (a int)")
      assert.isTrue(session.isReady)
      yield* session.begin({})
      assert.isTrue(session.inTransaction)
      assert.isFalse(session.isReady)
      yield* run(session, "insert into t values (1)")
      yield* session.commit
      assert.isTrue(session.isReady)
      yield* session.begin({})
      yield* run(session, "insert into t values (2)")
      yield* session.rollback
      assert.deepStrictEqual(yield* session.executeValues("select a from t", []), [[1]])
    }))

  it.effect("begins as it is asked to", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const state = Effect.map(
        run(
          session,
          `select current_setting('transaction_isolation') i, current_setting('transaction_read_only') r,
            current_setting('transaction_deferrable') d`
        ),
        ([row]) => row
      )
      const cases = [
        [{}, { i: "read committed", r: "off", d: "off" }],
        [{ isolation: "repeatable read", access: "read write" }, { i: "repeatable read", r: "off", d: "off" }],
        [{ isolation: "serializable", access: "read only", deferrable: true }, { i: "serializable", r: "on", d: "on" }],
        [{ access: "read only", deferrable: false }, { i: "read committed", r: "on", d: "off" }],
        [{ statement: "start transaction isolation level serializable" }, { i: "serializable", r: "off", d: "off" }]
      ] as const
      for (const [how, expected] of cases) {
        yield* session.begin(how)
        assert.deepStrictEqual(yield* state, expected)
        yield* session.rollback
      }
    }))

  it.effect("savepoints undo what came after them", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table t (a int)")
      yield* session.begin({})
      yield* run(session, "insert into t values (1)")
      yield* session.savepoint("sp")
      yield* sqlFailure(run(session, "insert into t values (1/0)"))
      yield* session.rollbackSavepoint("sp")
      yield* run(session, "insert into t values (2)")
      yield* session.releaseSavepoint("sp")
      yield* session.commit
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 2)
    }))

  it.effect("a COMMIT that is answered by ROLLBACK fails, and the session is good", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      yield* sqlFailure(run(session, "select 1/0"))
      assert.strictEqual(fields(yield* sqlFailure(run(session, "select 1"))).code, "25P02")
      const error = yield* sqlFailure(session.commit)
      assert.instanceOf(error.reason.cause, RolledBack)
      assert.isFalse(error.isRetryable)
      assert.isTrue(session.isReady)
    }))

  it.effect("a COMMIT that is refused fails with the server's reason, and the session is good", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table parent (a int primary key)")
      yield* run(session, "create temp table child (a int references parent deferrable initially deferred)")
      yield* session.begin({})
      yield* run(session, "insert into child values (1)")
      const error = yield* sqlFailure(session.commit)
      assert.strictEqual(error.reason._tag, "ConstraintError")
      assert.isTrue(session.isReady)
    }))

  it.effect("a serialization failure at COMMIT is retryable", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const [a, b] = [yield* open, yield* open]
      yield* run(a, "drop table if exists skew")
      yield* run(a, "create table skew (id int, v int)")
      yield* run(a, "insert into skew values (1, 0), (2, 0)")
      for (const session of [a, b]) {
        yield* session.begin({ isolation: "serializable" })
        yield* run(session, "select sum(v) from skew")
      }
      yield* run(a, "update skew set v = 1 where id = 1")
      yield* run(b, "update skew set v = 1 where id = 2")
      yield* a.commit
      const error = yield* sqlFailure(b.commit)
      assert.strictEqual(error.reason._tag, "SerializationError")
      assert.isTrue(error.isRetryable)
      assert.isTrue(b.isReady)
      yield* run(a, "drop table skew")
    }))

  it.effect("what is asked for first in a transaction is run first, also when its columns are not known yet", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table t (a int)")
      for (let round = 0; round < 20; round++) {
        yield* session.begin({})
        const insert = yield* Effect.forkChild(run(session, `insert into t values (${round})`), {
          startImmediately: true
        })
        yield* session.rollback
        yield* Fiber.await(insert)
        assert.strictEqual(yield* one(session, "select count(*)::int from t"), 0)
      }
    }))
})

describe("the session", () => {
  it.effect("reset rolls back and waits for what was abandoned; on a clean session it asks nobody", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.reset
      const before = session.received
      yield* session.reset
      assert.strictEqual(session.received, before)
      yield* run(session, "begin")
      yield* sqlFailure(run(session, "select 1/0"))
      assert.isTrue(session.inTransaction)
      yield* session.reset
      assert.isTrue(session.isReady)
    }))

  it.effect("ping is answered, also in a transaction", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.ping
      yield* session.begin({})
      yield* session.ping
      yield* session.commit
    }))

  it.effect("knows what the server reports of itself", () =>
    Effect.gen(function*() {
      const session = yield* connect({ applicationName: "tester", startupParameters: { TimeZone: "Asia/Tokyo" } })
      assert.match(session.parameters.get("server_version")!, /^\d+/)
      assert.strictEqual(session.parameters.get("in_hot_standby"), "off")
      assert.strictEqual(session.parameters.get("application_name"), "tester")
      assert.strictEqual(session.parameters.get("TimeZone"), "Asia/Tokyo")
      const changes: Array<[string, string]> = []
      session.onParameter((name, value) => changes.push([name, value]))
      yield* run(session, "set default_transaction_read_only = on")
      assert.deepStrictEqual(changes, [["default_transaction_read_only", "on"]])
      assert.strictEqual(session.parameters.get("default_transaction_read_only"), "on")
    }))

  it.effect("sends its limits to the server", () =>
    Effect.gen(function*() {
      const session = yield* connect({
        statementTimeout: "7 seconds",
        lockTimeout: "3 seconds",
        idleInTransactionTimeout: "1 minute"
      })
      assert.strictEqual(yield* one(session, "show statement_timeout"), "7s")
      assert.strictEqual(yield* one(session, "show lock_timeout"), "3s")
      assert.strictEqual(yield* one(session, "show idle_in_transaction_session_timeout"), "1min")
      assert.strictEqual(yield* one(session, "show application_name"), "watertight")
    }))

  it.effect("passes notices on", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const notices: Array<string> = []
      session.onNotice((fields) => notices.push(`${fields.severity} ${fields.message}`))
      yield* run(session, "do $$ begin raise notice 'hello'; raise warning 'careful'; end $$")
      assert.deepStrictEqual(notices, ["NOTICE hello", "WARNING careful"])
    }))

  it.effect("close says goodbye and ends when the socket is closed; what waits fails", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      let told = false
      session.onLost(() => told = true)
      const waiting = yield* Effect.forkChild(sqlFailure(run(session, "select pg_sleep(5)")), {
        startImmediately: true
      })
      yield* session.close
      yield* session.close
      assert.include((yield* Fiber.join(waiting)).message, "closed")
      assert.isTrue(session.isClosed)
      assert.isFalse(told)
      session.destroy("twice")
      const other = yield* connect()
      yield* eventually(Effect.map(
        one(other, "select count(*)::int from pg_stat_activity where pid = $1", [Number(session.id)]),
        (count) => count === 0
      ))
    }))

  it.effect("runs scripts: many statements, their results, and their errors", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const results = yield* session.script(`
        create temp table t (a int, b text, c bool, d timestamptz, e bytea, f jsonb);
        insert into t values (1, 'x', true, '2026-01-01Z', '\\x0102', '{"a":1}'), (2, null, false, null, null, null);
        select a, b, c, e, f, '[1,2)'::int4range r, 5::int8 g, 1.5::float8 h, 2.50 as i from t order by a;
        -- nothing
        ;
        select 1 as last`)
      assert.deepStrictEqual(results.map((result) => [result.command, result.rowCount]), [
        ["CREATE", 0],
        ["INSERT", 2],
        ["SELECT", 2],
        ["SELECT", 1]
      ])
      assert.deepStrictEqual(results[2]!.rows, [
        {
          a: 1,
          b: "x",
          c: true,
          e: new Uint8Array([1, 2]),
          f: { a: 1 },
          r: { lower: 1, upper: 2, bounds: "[)" },
          g: 5n,
          h: 1.5,
          i: "2.50"
        },
        { a: 2, b: null, c: false, e: null, f: null, r: { lower: 1, upper: 2, bounds: "[)" }, g: 5n, h: 1.5, i: "2.50" }
      ])
      assert.deepStrictEqual(results[3]!.rows, [{ last: 1 }])
      const error = yield* sqlFailure(session.script("insert into t values (3); select 1/0; insert into t values (4)"))
      assert.strictEqual(fields(error).code, "22012")
      // One implicit transaction.
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 2)
    }))

  it.effect("a thousand fibers share it and each gets its own answer", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const values = yield* Effect.all(
        Array.from(
          { length: 1_000 },
          (_, n) => one(session, n % 2 === 0 ? "select $1::int" : "select $1::int * 2", [n])
        ),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(values, Array.from({ length: 1_000 }, (_, n) => n % 2 === 0 ? n : n * 2))
    }))
})

describe("notifications", () => {
  it.effect("arrive for as long as the scope is open", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const other = yield* connect()
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(session.listen("News \"1\""), scope)
      const second = yield* Scope.provide(session.listen("News \"1\""), scope)
      assert.isFalse(session.isReady)
      yield* run(other, "select pg_notify($1, $2)", ["News \"1\"", "hello"])
      for (const each of [queue, second]) {
        assert.deepStrictEqual(yield* Queue.take(each), {
          processId: Number(other.id),
          channel: "News \"1\"",
          payload: "hello"
        })
      }
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(session.isReady)
      assert.deepStrictEqual(yield* run(session, "select pg_listening_channels()"), [])
      const exit = yield* Effect.exit(Queue.take(queue))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterrupts(exit.cause))
    }))

  it.effect("a name that the server would cut off is refused", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      for (const name of ["", "x".repeat(64), "ü".repeat(32), "a\u0000b"]) {
        assert.include((yield* failure(session.listen(name))).message, "name of a channel")
      }
    }))
})
