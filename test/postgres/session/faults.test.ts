import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Queue from "effect/Queue"
import * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { PostgresOptions } from "../../../src/postgres/adapter/PostgresOptions.ts"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { FaultProxy, postgresUrl } from "../../support/index.ts"
import { connect, eventually, lost, one, run, sqlFailure } from "../support.ts"

/** A session behind a proxy. */
const behindProxy = (options?: PostgresOptions) =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    const session = yield* connect({ url: Redacted.make(proxy.url), ...options })
    return { proxy, session }
  })

const kill = (session: Session) =>
  Effect.flatMap(connect(), (other) => run(other, "select pg_terminate_backend($1::int)", [Number(session.id)]))

const code = (error: SqlError): string | undefined => (lost(error).serverError as { code?: string } | undefined)?.code

/** The server runs a `pg_sleep` of the session. */
const asleep = (session: Session) =>
  Effect.scoped(Effect.flatMap(connect(), (other) =>
    eventually(Effect.map(
      one(other, `select count(*)::int from pg_stat_activity where pid = ${session.id} and wait_event = 'PgSleep'`),
      (n) => n === 1
    ))))

const whenLost = (session: Session): Effect.Effect<SqlError> =>
  Effect.callback((resume) => session.onLost((error) => resume(Effect.succeed(error))))

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<[A, number], E, R> =>
  Effect.suspend(() => {
    const started = performance.now()
    return Effect.map(effect, (value) => [value, performance.now() - started])
  })

describe("a backend that is terminated", () => {
  it.live("while idle: the session is lost, and the next statement was not sent", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const waiting = yield* Effect.forkChild(whenLost(session), { startImmediately: true })
      yield* kill(session)
      assert.strictEqual(code(yield* Fiber.join(waiting)), "57P01")
      assert.isTrue(session.isClosed)
      assert.isFalse(session.isReady)
      const error = yield* sqlFailure(run(session, "select 1"))
      assert.strictEqual(error.reason._tag, "ConnectionError")
      assert.isFalse(lost(error).sent)
      assert.isTrue(error.isRetryable)
      assert.strictEqual(code(error), "57P01")
      // Once it has happened, whoever asks hears it at once.
      assert.strictEqual(code(yield* whenLost(session)), "57P01")
    }))

  it.live("while this process is busy: what it writes afterwards was not sent, although the socket takes it", () =>
    Effect.gen(function*() {
      for (let round = 0; round < 3; round++) {
        const session = yield* connect()
        yield* run(session, "select 1")
        yield* Effect.scoped(kill(session))
        // The goodbye lies in the buffer, or is on its way. The first write is taken, the second one finds nobody.
        const fibers: Array<Fiber.Fiber<SqlError, never>> = []
        for (let write = 0; write < 3; write++) {
          const until = performance.now() + 15
          while (performance.now() < until) { /* as a garbage collection would */ }
          fibers.push(yield* Effect.forkChild(sqlFailure(run(session, "select 1")), { startImmediately: true }))
          yield* Effect.promise(() => Promise.resolve())
        }
        for (const fiber of fibers) {
          const error = yield* Fiber.join(fiber)
          assert.isFalse(lost(error).sent, `round ${round}: ${error.message}`)
          assert.strictEqual(code(error), "57P01")
        }
      }
    }))

  it.live("while a statement runs: it has been undone, the one behind it was not begun; the server's word is kept", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* Effect.all([run(session, "select pg_sleep(0)"), one(session, "select 1")])
      const running = yield* Effect.forkChild(sqlFailure(run(session, "select pg_sleep(30)")), {
        startImmediately: true
      })
      yield* asleep(session)
      const behind = yield* Effect.forkChild(sqlFailure(run(session, "select 1")), { startImmediately: true })
      yield* Effect.yieldNow
      yield* kill(session)
      for (const [fiber, begun] of [[running, true], [behind, false]] as const) {
        const error = yield* Fiber.join(fiber)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.strictEqual(lost(error).sent, begun)
        assert.strictEqual(lost(error).undone === true, begun)
        assert.strictEqual(error.isRetryable, !begun)
        assert.strictEqual(code(error), "57P01")
        assert.include(error.message, "57P01")
      }
    }))

  it.live("before a statement is written: it was not sent", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table t (a int)")
      const fiber = yield* Effect.forkChild(sqlFailure(run(session, "insert into t values (1)")), {
        startImmediately: true
      })
      session.destroy("for the test")
      const error = yield* Fiber.join(fiber)
      assert.isFalse(lost(error).sent)
      assert.isTrue(error.isRetryable)
      assert.include(error.message, "for the test")
    }))

  it.live("while only the columns were asked for: the statement was not sent", () =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy()
      yield* proxy.when("insert into", "after")
      const error = yield* sqlFailure(run(session, "insert into pg_temp.never_described values (1)"))
      assert.isFalse(lost(error).sent)
    }))

  it.live("in a transaction: every later statement fails typed, and so does ROLLBACK", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      const gone = yield* Effect.forkChild(whenLost(session), { startImmediately: true })
      yield* kill(session)
      yield* Fiber.join(gone)
      for (const effect of [run(session, "select 1"), session.savepoint("a"), session.rollback, session.commit]) {
        const error = yield* sqlFailure(effect as Effect.Effect<unknown, SqlError>)
        assert.isFalse(lost(error).sent)
        assert.strictEqual(code(error), "57P01")
      }
    }))

  it.live("under a stream: it fails typed", () =>
    Effect.gen(function*() {
      for (const inside of [false, true]) {
        const session = yield* connect()
        if (inside) yield* session.begin({})
        let killed = false
        const error = yield* sqlFailure(
          session.executeStream("select i, repeat('x', 1000) from generate_series(1, 100000) i", [], undefined).pipe(
            Stream.runForEach(() =>
              Effect.suspend(() => {
                if (killed) return Effect.void
                killed = true
                return Effect.andThen(kill(session), eventually(Effect.sync(() => session.isClosed)))
              })
            )
          ) as Effect.Effect<void, SqlError>
        )
        assert.strictEqual(code(error), "57P01")
      }
    }))

  it.live("whoever listens hears it", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const queue = yield* session.listen("news")
      const waiting = yield* Effect.forkChild(sqlFailure(Queue.take(queue)), { startImmediately: true })
      yield* kill(session)
      assert.strictEqual(code(yield* Fiber.join(waiting)), "57P01")
    }))
})

describe("a network that fails", () => {
  it.live("a reset while a statement runs: it was sent", () =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy()
      yield* run(session, "select pg_sleep(0)")
      const running = yield* Effect.forkChild(sqlFailure(run(session, "select pg_sleep(30)")), {
        startImmediately: true
      })
      yield* asleep(session)
      yield* proxy.cutAll
      const error = yield* Fiber.join(running)
      assert.isTrue(lost(error).sent)
      assert.isFalse(error.isRetryable)
    }))

  it.live("a clean close by the other side is noticed while idle", () =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy()
      const gone = yield* Effect.forkChild(whenLost(session), { startImmediately: true })
      yield* proxy.finAll
      yield* Fiber.join(gone)
      assert.isTrue(session.isClosed)
    }))

  it.live("a cut at any byte of an answer fails typed and ends the session", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(postgresUrl())
      for (const middle of [1, 4, 5, 6, 20, 40, 48, 53]) {
        const session = yield* connect({ url: Redacted.make(proxy.url) })
        const sql = `select 'cut here ${middle}'::text as a, 1::int as b`
        yield* run(session, sql)
        yield* proxy.when((chunk) => chunk[0] === 0x42, { middle })
        const error = yield* sqlFailure(run(session, sql))
        assert.isTrue(lost(error).sent)
        assert.isTrue(session.isClosed)
        yield* proxy.heal
      }
    }))

  it.live("a black hole: a statement returns by its timeout, a typed timeout that is not retryable", () =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy({ statementTimeout: "200 millis" })
      yield* run(session, "select 1")
      yield* proxy.blackhole
      const [error, took] = yield* timed(sqlFailure(run(session, "select 1")))
      assert.isAtLeast(took, 200)
      // The server's own limit, ours a second later, and a second for the server to stop what it is asked to.
      assert.isBelow(took, 10_000)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.isTrue(lost(error).sent)
      assert.isFalse(error.isRetryable)
      assert.isTrue(session.isClosed)
    }))

  it.live("the server's own statement timeout comes first and costs no session", () =>
    Effect.gen(function*() {
      const { session } = yield* behindProxy({ statementTimeout: "200 millis" })
      const [error, took] = yield* timed(sqlFailure(run(session, "select pg_sleep(10)")))
      assert.isBelow(took, 8_000)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.strictEqual((error.reason.cause as { code?: string }).code, "57014")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("a statement that waits behind others has its own time", () =>
    Effect.gen(function*() {
      const session = yield* connect({ statementTimeout: "400 millis" })
      yield* run(session, "select pg_sleep(0.3)")
      const results = yield* Effect.all(
        Array.from({ length: 6 }, () => Effect.exit(run(session, "select pg_sleep(0.3)"))),
        { concurrency: "unbounded" }
      )
      assert.isTrue(results.every(Exit.isSuccess))
    }))

  it.live("a black hole: control statements return by their limit", () =>
    Effect.gen(function*() {
      const controls: ReadonlyArray<
        [name: string, prepare: boolean, (session: Session) => Effect.Effect<void, SqlError>]
      > = [
        ["ping", false, (session) => session.ping],
        ["begin", false, (session) => session.begin({})],
        ["commit", true, (session) => session.commit],
        ["rollback", true, (session) => session.rollback],
        ["savepoint", true, (session) => session.savepoint("a")],
        ["reset", true, (session) => session.reset]
      ]
      const proxy = yield* FaultProxy.make(postgresUrl())
      for (const [name, prepare, control] of controls) {
        let cancelled = 0
        const session = yield* connect({ url: Redacted.make(proxy.url), controlTimeout: "200 millis" }, {
          cancel: (_, done) => {
            cancelled++
            done()
          }
        })
        if (prepare) yield* session.begin({})
        yield* proxy.blackhole
        const [error, took] = yield* timed(sqlFailure(control(session)))
        assert.isAtLeast(took, 190, name)
        // Without it the usual limit would hold, of 5 seconds.
        assert.isBelow(took, 4_000, name)
        // What decides about a transaction is not to be cancelled half way.
        assert.strictEqual(cancelled, 0, name)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.isTrue(lost(error).sent)
        assert.isFalse(error.isRetryable)
        assert.isTrue(session.isClosed)
        yield* proxy.cutAll
        yield* proxy.heal
      }
    }))

  it.live("a process that is busy for longer than a limit does not blame the server", () =>
    Effect.gen(function*() {
      const session = yield* connect({ controlTimeout: "100 millis" })
      const ping = yield* Effect.forkChild(session.ping, { startImmediately: true })
      yield* Effect.promise(() => Promise.resolve())
      yield* Effect.sync(() => {
        const until = performance.now() + 300
        while (performance.now() < until);
      })
      yield* Fiber.join(ping)
      assert.isTrue(session.isReady)
    }))

  it.live("a black hole: interruption is immediate, and the session is given up in time", () =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy({ controlTimeout: "2 seconds", connectTimeout: "2 seconds" })
      yield* run(session, "select 1")
      yield* proxy.blackhole
      yield* Effect.exit(Effect.timeout(run(session, "select 1"), "50 millis"))
      assert.isFalse(session.isClosed)
      const [error, waited] = yield* timed(sqlFailure(session.reset))
      assert.isBelow(waited, 10_000)
      assert.isFalse(lost(error).sent)
      assert.isTrue(session.isClosed)
    }))

  it.live("a server that answers nothing while connecting: the connect timeout", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(postgresUrl())
      yield* proxy.blackhole
      for (const sslmode of ["disable", "prefer"] as const) {
        const [error, took] = yield* timed(sqlFailure(
          connect({ url: Redacted.make(proxy.url), connectTimeout: "200 millis", sslmode })
        ))
        assert.isBelow(took, 4_000)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.isTrue(error.isRetryable)
        assert.include(error.message, "200 ms")
      }
    }))

  it.live("refused, accepted and closed: a typed error that may pass", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(postgresUrl())
      yield* proxy.refuse
      const refused = yield* sqlFailure(connect({ url: Redacted.make(proxy.url) }))
      assert.include(refused.message, "ECONNREFUSED")
      assert.isTrue(refused.isRetryable)
      yield* proxy.heal
      yield* proxy.acceptAndClose
      const closed = yield* sqlFailure(connect({ url: Redacted.make(proxy.url) }))
      assert.strictEqual(closed.reason._tag, "ConnectionError")
      assert.isTrue(closed.isRetryable)
    }))

  it.live("an interrupted connect leaves nothing behind", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(postgresUrl())
      yield* proxy.delay("50 millis")
      for (let wait = 5; wait < 250; wait += 20) {
        yield* Effect.exit(Effect.scoped(Effect.timeout(connect({ url: Redacted.make(proxy.url) }), `${wait} millis`)))
      }
      yield* proxy.until((proxy) => proxy.open() === 0)
    }))
})

describe("COMMIT", () => {
  const attempt = (fault: FaultProxy.Fault) =>
    Effect.gen(function*() {
      const { proxy, session } = yield* behindProxy({ controlTimeout: "300 millis" })
      const other = yield* connect()
      const table = `committed_${session.id}`
      yield* run(other, `create table ${table} (a int)`)
      yield* session.begin({})
      yield* run(session, `insert into ${table} values (1)`)
      const rule = yield* proxy.when("COMMIT", fault)
      const exit = yield* Effect.exit(session.commit)
      yield* rule.fired
      yield* proxy.cutAll
      // What the server makes of a connection that is gone is settled a moment later.
      yield* eventually(Effect.map(
        one(other, "select count(*)::int from pg_stat_activity where pid = $1::int", [Number(session.id)]),
        (count) => count === 0
      ))
      const applied = (yield* one(other, `select count(*)::int from ${table}`)) === 1
      yield* run(other, `drop table ${table}`)
      return { exit, applied, session }
    })
  const unknown: ReadonlyArray<[FaultProxy.Fault, applied: boolean]> = [
    ["before", false],
    ["after", true],
    ["afterFin", true],
    [{ middle: 3 }, true],
    ["blackholeRequest", false],
    ["blackholeReply", true]
  ]
  for (const [fault, expected] of unknown) {
    it.live(`that is not answered (${JSON.stringify(fault)}) is unknown and not retryable`, () =>
      Effect.gen(function*() {
        const { applied, exit, session } = yield* attempt(fault)
        assert.strictEqual(applied, expected)
        const error = yield* sqlFailure(exit)
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.isTrue(lost(error).sent)
        assert.isFalse(error.isRetryable)
        assert.include(error.message, "COMMIT was sent but not answered: it may or may not have been applied")
        assert.isTrue(session.isClosed)
      }))
  }

  it.live("whose answer arrived before the connection broke is applied", () =>
    Effect.gen(function*() {
      // The tag is there, the rest is not.
      const { applied, exit } = yield* attempt({ middle: 13 })
      assert.isTrue(applied)
      assert.isTrue(Exit.isSuccess(exit))
    }))

  it.live("on a connection that is gone was not sent", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      session.destroy("for the test")
      const error = yield* sqlFailure(session.commit)
      assert.isFalse(lost(error).sent)
      assert.notInclude(error.message, "may or may not")
    }))
})
