import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Outcome, StatementTimeout, Transaction } from "watertight"
import { StatementLimit } from "../../../src/mysql-family/session/StatementLimit.ts"
import { profileOf } from "../../../src/mysql-family/statement/statements.ts"
import { connect, describeEach, elapsed, eventually, liveWith, lost, one, run, sqlFailure, table } from "../support.ts"

describe("StatementLimit: what a session was told → the limit of its statements", () => {
  const rows: ReadonlyArray<readonly [sql: string, own: number | undefined, then: number]> = [
    ["set session max_statement_time = 10", undefined, 10_000],
    ["set max_statement_time=0.5", undefined, 500],
    ["SET @@session.max_statement_time := 3", undefined, 3_000],
    ["set @@max_statement_time = 3", undefined, 3_000],
    ["set local max_statement_time = 3, sql_mode = ''", undefined, 3_000],
    ["set session max_statement_time = 0", undefined, Infinity],
    ["set session max_statement_time = default", undefined, Infinity],
    ["set session max_statement_time = @x", undefined, Infinity],
    ["set global max_statement_time = 10", undefined, 1_000],
    ["set @@global.max_statement_time = 10", undefined, 1_000],
    ["set statement max_statement_time = 10 for select 1", 10_000, 1_000],
    ["select 'max_statement_time = 10'", undefined, 1_000]
  ]
  it.each(rows)("MariaDB: %s", (sql, own, then) => {
    const limit = new StatementLimit(true, 1_000)
    assert.strictEqual(limit.noteSent(sql, profileOf(sql).words), own)
    assert.strictEqual(limit.limitFor(undefined), then)
    limit.reset()
    assert.strictEqual(limit.limitFor(undefined), 1_000)
  })
  it("MySQL: milliseconds, and a hint for one statement", () => {
    const limit = new StatementLimit(false, 1_000)
    assert.strictEqual(limit.noteSent("select /*+ MAX_EXECUTION_TIME(50) */ 1", "SELECT"), 50)
    limit.noteSent("set session max_execution_time = 7000", "SET SESSION")
    assert.strictEqual(limit.limitFor(undefined), 7_000)
    assert.strictEqual(limit.limitFor(20), 20)
    assert.strictEqual(limit.settingFor(20), "SET SESSION max_execution_time = 20")
    assert.strictEqual(limit.settingFor(7_000), undefined)
    assert.strictEqual(limit.settingFor(Infinity), "SET SESSION max_execution_time = 0")
    // Its own limit is for reads only.
    assert.strictEqual(limit.deadlineOf(500, profileOf("update t set a = 1")), 500)
    assert.strictEqual(limit.deadlineOf(500, profileOf("select 1")), 1_500)
  })
})

describeEach("limits over $name", (subject) => {
  /** A row that another session holds. */
  const held = Effect.gen(function*() {
    const holder = yield* connect(subject)
    const name = yield* table(holder, "id int primary key, n int")
    yield* run(holder, `insert into ${name} values (1, 0)`)
    yield* holder.begin({})
    yield* run(holder, `update ${name} set n = n where id = 1`)
    return { holder, name }
  })

  const running = (text: string) =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      return Number(
        yield* one(
          observer,
          `select count(*) from ${subject.server.processlist} where info like ? and id <> connection_id()`,
          [`%${text}%`]
        )
      )
    }).pipe(Effect.scoped)

  it.live("a write over its limit: not applied, not repeated, the session kept, nothing left on the server", () =>
    Effect.gen(function*() {
      const { holder, name } = yield* held
      const layer = subject.module.layer({
        url: Redacted.make(subject.server.url()),
        statementTimeout: "200 millis",
        pool: { max: 1 }
      })
      let bodies = 0
      const error = yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const write = sql.unsafe(`update ${name} set n = n + 1 where id = 1`)
        return yield* sqlFailure(Transaction.run(Effect.suspend(() => {
          bodies++
          return write
        })))
      }).pipe(Effect.provide(layer))
      assert.strictEqual(bodies, 1)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.strictEqual(Outcome.of(error)?.outcome, "NotApplied")
      assert.strictEqual(yield* running(`update ${name}`), 0)
      yield* holder.rollback
      assert.strictEqual(yield* one(holder, `select n from ${name}`), 0)
    }))

  it.live("a longer limit for one piece of work: on both sides, and the next statement has the usual one", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { statementTimeout: "200 millis" })
      const slow = run(session, "select sleep(0.6) as slept")
      assert.deepStrictEqual(yield* StatementTimeout.within(slow, "5 seconds"), [{ slept: 0 }])
      const rows = Stream.runCollect(session.executeStream("select sleep(0.6) as slept", [], undefined))
      assert.deepStrictEqual(yield* StatementTimeout.within(rows, "5 seconds"), [{ slept: 0 }])
      const error = yield* sqlFailure(run(session, subject.server.endless))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.isFalse(session.isClosed)
      assert.isTrue(session.isReady)
    }))

  it.live("a text of several statements: each of them has the time of one", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { statementTimeout: "500 millis" })
      const texts = Array.from({ length: 8 }, () => "select sleep(0.25) as slept").join("; ")
      yield* session.executeUnprepared(texts, [], undefined)
      const update = Array.from({ length: 8 }, () => "do sleep(0.25)").join("; ")
      yield* session.executeUnprepared(update, [], undefined)
      assert.isTrue(session.isReady)
    }))

  it.live("what the session was told is not cut off by us", () =>
    Effect.gen(function*() {
      const { timeLimit } = subject.server
      const session = yield* connect(subject, { statementTimeout: "100 millis" })
      yield* run(session, `set session ${timeLimit.variable} = ${timeLimit.of(10)}`)
      assert.deepStrictEqual(yield* run(session, "select sleep(1.5) as slept"), [{ slept: 0 }])
      yield* session.reset
      const error = yield* sqlFailure(run(session, subject.server.endless))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
    }))

  liveWith(subject, "SET STATEMENT")("what one statement was told is not cut off by us", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { statementTimeout: "100 millis" })
      assert.deepStrictEqual(
        yield* run(session, "set statement max_statement_time = 10 for select sleep(1.5) as slept"),
        [{ slept: 0 }]
      )
    }))

  it.live("a row lock: waits for as long as lockTimeout says, and NOWAIT not at all", () =>
    Effect.gen(function*() {
      const { name } = yield* held
      const session = yield* connect(subject, { lockTimeout: "1 second" })
      const waited = yield* elapsed(sqlFailure(run(session, `update ${name} set n = 2 where id = 1`)))
      assert.isBelow(waited, 5_000)
      const error = yield* sqlFailure(run(session, `select * from ${name} where id = 1 for update nowait`))
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
      assert.deepStrictEqual(yield* run(session, `select * from ${name} for update skip locked`), [])
    }))

  it.live("an error that ends sessions, raised by a statement: answered, and the session goes on", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (const errno of [1053, 1158, 1927, 1152, 2013, 4031, 1079]) {
        const sql = `signal sqlstate '45000' set mysql_errno = ${errno}, message_text = 'raised'`
        const error = yield* sqlFailure(session.executeUnprepared(sql, [], undefined))
        assert.match(error.message, /raised/)
        assert.isFalse(session.isClosed, String(errno))
        assert.strictEqual(yield* one(session, "select 1"), 1)
      }
    }))

  it.live("a connection that is killed while a statement runs: lost, with what the server said", () =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      const session = yield* connect(subject)
      const fiber = yield* Effect.forkChild(sqlFailure(run(session, "select sleep(20)")), { startImmediately: true })
      yield* eventually(Effect.map(running("sleep(20)"), (n) => n > 0))
      yield* run(observer, `kill connection ${session.threadId}`)
      const error = yield* Fiber.join(fiber)
      assert.isTrue(lost(error).sent)
      assert.isTrue(session.isClosed)
    }))
})

describeEach("packets over $name", (subject) => {
  it.live("a packet above max_allowed_packet: not sent, final, the session kept", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const most = session.server.maxAllowedPacket
      const large = Buffer.alloc(most + 1)
      const ways = [
        run(session, "select length(?)", [large]),
        session.executeUnprepared("select length(?)", [large], undefined),
        Stream.runDrain(session.executeStream("select length(?)", [large], undefined)),
        run(session, `select '${"x".repeat(most)}'`)
      ]
      for (const way of ways) {
        const error = yield* sqlFailure(way)
        assert.match(error.message, /was not sent: it has \d+ bytes, and the server takes \d+ \(max_allowed_packet\)/)
        assert.isFalse(error.isRetryable)
        assert.isTrue(session.isReady)
      }
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))
})
