/** How long statements may take, on the server and on our side. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Evidence from "../../../src/failure/Evidence.ts"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { parseMillis, StatementLimit } from "../../../src/postgres/session/StatementLimit.ts"
import * as StatementTimeout from "../../../src/transaction/StatementTimeout.ts"
import { connect, one, run, sqlFailure, working } from "../support.ts"

const known = (session: Session) => one(session, "select current_setting('statement_timeout')")

/** A session whose server knows nothing of the limit that the session keeps. */
const unlimitedServer = connect({}, { statementLimit: 300, statementTimeout: Infinity })

describe("the limit follows what the session was told", () => {
  const limited = connect({ statementTimeout: "200 millis" })

  for (
    const [what, statements] of [
      ["set", ["set statement_timeout = 0"]],
      ["set in seconds", ["set statement_timeout = '1min'"]],
      ["set_config", ["select set_config('statement_timeout', '0', false)"]],
      ["a script", ["script: set statement_timeout = 0; select 1"]]
    ] as const
  ) {
    it.live(`outside a transaction: ${what} → a longer statement is not cut off`, () =>
      Effect.gen(function*() {
        const session = yield* limited
        for (const sql of statements) {
          if (sql.startsWith("script: ")) yield* session.script(sql.slice(8))
          else yield* run(session, sql)
        }
        assert.strictEqual(yield* one(session, "select pg_sleep(1.5)::text"), "")
        assert.isFalse(session.isClosed)
      }).pipe(Effect.scoped))
  }

  for (
    const change of [
      "set local statement_timeout = 0",
      "SET /* in a comment */ LOCAL statement_timeout TO '5 min'",
      "select set_config('statement_timeout', '0', true)",
      "set statement_timeout = 0"
    ]
  ) {
    it.live(`inside a transaction that is rolled back: ${change} → holds in it, and not behind it`, () =>
      Effect.gen(function*() {
        const session = yield* limited
        yield* session.begin({ lazy: true })
        yield* run(session, change)
        assert.strictEqual(yield* one(session, "select pg_sleep(1.4)::text"), "")
        yield* session.rollback
        assert.strictEqual(yield* known(session), "200ms")
        const error = yield* sqlFailure(run(session, "select pg_sleep(1)"))
        assert.strictEqual(error.reason._tag, "StatementTimeoutError")
        assert.isFalse(session.isClosed)
      }).pipe(Effect.scoped))
  }

  it.live("a name that is a parameter: set_config($1, …) → is followed", () =>
    Effect.gen(function*() {
      const session = yield* limited
      yield* session.begin({})
      yield* run(session, "select set_config($1, $2, true)", ["statement_timeout", "0"])
      assert.strictEqual(yield* one(session, "select pg_sleep(1.4)::text"), "")
      yield* session.commit
    }).pipe(Effect.scoped))

  it.live("rollback to a savepoint → the limit of before", () =>
    Effect.gen(function*() {
      const session = yield* limited
      yield* session.begin({})
      yield* session.savepoint("s")
      yield* run(session, "set local statement_timeout = 0")
      yield* run(session, "select 1")
      yield* session.rollbackSavepoint("s")
      assert.strictEqual(yield* known(session), "200ms")
      yield* session.rollback
    }).pipe(Effect.scoped))
})

describe("a piece of work with a limit of its own", () => {
  it.live("outside a transaction → the server and the session keep it, and the next statement has the usual one", () =>
    Effect.gen(function*() {
      const session = yield* connect({ statementTimeout: "200 millis" })
      const long = one(session, "select pg_sleep(1.4)::text || current_setting('statement_timeout')")
      assert.strictEqual(yield* StatementTimeout.within(long, "10 seconds"), "10s")
      assert.strictEqual(yield* known(session), "200ms")
      assert.strictEqual(yield* StatementTimeout.within(known(session), "Infinity"), "0")
      const error = yield* sqlFailure(StatementTimeout.within(run(session, "select pg_sleep(3)"), "50 millis"))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.strictEqual(yield* known(session), "200ms")
    }).pipe(Effect.scoped))

  for (const lazy of [false, true]) {
    it.live(`inside a transaction (${lazy ? "lazy" : "begun"}) → the same, and it ends with the transaction`, () =>
      Effect.gen(function*() {
        const session = yield* connect({ statementTimeout: "200 millis" })
        yield* run(session, "select 1")
        yield* session.begin({ lazy })
        const long = one(session, "select pg_sleep(1.4)::text || current_setting('statement_timeout')")
        assert.strictEqual(yield* StatementTimeout.within(long, "10 seconds"), "10s")
        assert.strictEqual(yield* known(session), "200ms")
        assert.strictEqual(yield* StatementTimeout.within(known(session), "11 seconds"), "11s")
        yield* session.commit
        assert.strictEqual(yield* known(session), "200ms")
      }).pipe(Effect.scoped))
  }

  it.live("a script, a stream → the same", () =>
    Effect.gen(function*() {
      const session = yield* connect({ statementTimeout: "200 millis" })
      const [, answer] = yield* StatementTimeout.within(
        session.script("select pg_sleep(0.3); show statement_timeout"),
        "9 seconds"
      )
      assert.deepStrictEqual(answer!.rows, [{ statement_timeout: "9s" }])
      assert.strictEqual(yield* known(session), "200ms")
    }).pipe(Effect.scoped))
})

describe("what our own limit cuts off", () => {
  it.live("a statement → is cancelled on the server, was not applied, and the session goes on", () =>
    Effect.gen(function*() {
      const session = yield* unlimitedServer
      const error = yield* sqlFailure(run(session, "select pg_sleep(20)"))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      const evidence = Evidence.of(error)
      assert.strictEqual(evidence.endedBy, "Limit")
      assert.strictEqual(evidence.answer, "Error")
      assert.isTrue(evidence.ready)
      assert.strictEqual(evidence.limitMillis, 300)
      assert.isFalse(session.isClosed)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }).pipe(Effect.scoped))

  it.live("others that wait behind it on the session → are answered", () =>
    Effect.gen(function*() {
      const session = yield* unlimitedServer
      yield* run(session, "select 1 as warm")
      const [error, ...others] = yield* Effect.all([
        sqlFailure(run(session, "select pg_sleep(20)")),
        one(session, "select 1"),
        one(session, "select 2")
      ], { concurrency: "unbounded" })
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.deepStrictEqual(others, [1, 2])
    }).pipe(Effect.scoped))

  it.live(
    "the request comes late and hits the one behind it → that one is run again, and its caller hears of nothing",
    () =>
      Effect.gen(function*() {
        const observer = yield* connect()
        const asked = yield* Deferred.make<() => void>()
        const session = yield* connect({}, {
          statementLimit: 2_000,
          statementTimeout: Infinity,
          cancel: (_, done) => Deferred.doneUnsafe(asked, Effect.succeed(done))
        })
        const sleep = (seconds: number, name: string) =>
          run(session, `select pg_sleep($1::float8) as ${name}`, [seconds])
        yield* Effect.all([sleep(0, "first"), sleep(0, "second")])
        const first = yield* Effect.forkChild(sleep(2.5, "first"), { startImmediately: true })
        const second = yield* Effect.forkChild(sleep(1.5, "second"), { startImmediately: true })
        const done = yield* Deferred.await(asked)
        // It has ended by itself before the server got the request.
        assert.deepStrictEqual(yield* Fiber.join(first), [{ first: "" }])
        yield* working(session)
        yield* run(observer, "select pg_cancel_backend($1::int)", [session.processId])
        done()
        assert.deepStrictEqual(yield* Fiber.join(second), [{ second: "" }])
      }).pipe(Effect.scoped),
    30_000
  )

  it.live("a script of several statements → each of them has the time of one", () =>
    Effect.gen(function*() {
      const session = yield* unlimitedServer
      const results = yield* session.script("select pg_sleep(0.2); select pg_sleep(0.2); select pg_sleep(0.2)")
      assert.strictEqual(results.length, 3)
      const error = yield* sqlFailure(session.script("select 1; select pg_sleep(20)"))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.isFalse(session.isClosed)
    }).pipe(Effect.scoped))

  it.live("where nothing can be cancelled → the session is lost, and the statement may have been applied", () =>
    Effect.gen(function*() {
      const session = yield* connect({}, { statementLimit: 200, statementTimeout: Infinity, cancel: undefined })
      const error = yield* sqlFailure(run(session, "select pg_sleep(20)"))
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.deepInclude(Evidence.of(error), { endedBy: "Limit", sent: true, answer: "None", ready: false })
      assert.isTrue(session.isClosed)
    }).pipe(Effect.scoped))
})

it("a setting as SHOW writes it → milliseconds", () => {
  const cases = [["0", Infinity], ["250ms", 250], ["5s", 5_000], ["2min", 120_000], ["3h", 10_800_000], [
    "1d",
    86_400_000
  ]]
  for (const [text, millis] of cases) assert.strictEqual(parseMillis(text), millis as number)
  assert.isUndefined(parseMillis("soon"))
  assert.isUndefined(parseMillis(undefined))
})

it("a session that nothing was told → nothing is written ahead of a statement", () => {
  const limit = new StatementLimit(5_000, 6_000)
  assert.isUndefined(limit.before(undefined))
  assert.isUndefined(limit.before(5_000))
  limit.onBegin()
  limit.onIdle()
  assert.isUndefined(limit.before(undefined))
})
