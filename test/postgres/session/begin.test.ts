/** BEGIN travels with the first statement: what that saves, and that nothing ever runs outside of its transaction. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { TestClock } from "effect/testing"
import { FaultProxy, freshDatabase } from "../../support/index.ts"
import { connect, fields, one, run, sqlFailure } from "../support.ts"

/** A session behind a proxy, and the pieces that it has written since it was asked last. */
const watched = Effect.gen(function*() {
  const proxy = yield* FaultProxy.make(yield* freshDatabase())
  const session = yield* connect({ url: Redacted.make(proxy.url) })
  yield* run(session, "create table t (a int)")
  yield* run(session, "insert into t values (0)")
  let pieces: Array<string> = []
  yield* proxy.when((chunk) => {
    pieces.push(chunk.toString("latin1"))
    return false
  }, "hold")
  const writes = () => {
    const seen = pieces
    pieces = []
    return seen
  }
  return { session, writes }
})

const lazy = { lazy: true } as const
const text = "insert into t values (0)"
/** A BEGIN that the server refuses. */
const refused = { lazy: true, isolation: "none" as "serializable" }

describe("a lazy BEGIN", () => {
  it.effect("is written with the first statement, and answered with it", () =>
    Effect.gen(function*() {
      const { session, writes } = yield* watched
      yield* session.begin(lazy)
      assert.isTrue(session.inTransaction)
      assert.isFalse(session.isReady)
      assert.deepStrictEqual(writes(), [])
      yield* run(session, text)
      yield* session.commit
      const pieces = writes()
      assert.lengthOf(pieces, 2)
      assert.include(pieces[0], "BEGIN")
      // Eagerly it is a piece of its own.
      yield* session.begin({})
      yield* run(session, text)
      yield* session.commit
      assert.lengthOf(writes(), 3)
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 3)
    }))

  it.effect("is never written if there is no statement", () =>
    Effect.gen(function*() {
      const { session, writes } = yield* watched
      for (const end of [session.commit, session.rollback, session.reset]) {
        yield* session.begin(lazy)
        yield* end
        assert.isTrue(session.isReady)
        assert.isFalse(session.inTransaction)
      }
      assert.deepStrictEqual(writes(), [])
    }))

  it.effect("begins as it is asked to, also with a statement that nobody has seen before", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      for (const sql of ["select current_setting('transaction_isolation')", "show transaction_isolation"]) {
        yield* session.begin({ lazy: true, isolation: "serializable", access: "read only" })
        assert.strictEqual(yield* one(session, sql), "serializable")
        const error = yield* sqlFailure(run(session, text))
        assert.strictEqual(fields(error)["code"], "25006")
        yield* session.rollback
      }
    }))

  it.effect("goes ahead of what cannot travel with it", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      const first: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        session.savepoint("a"),
        session.script(`${text}; ${text}`),
        Stream.runCollect(session.executeStream("select a from t", [], undefined)),
        Effect.scoped(session.copyOut("copy t to stdout"))
      ]
      for (const work of first) {
        yield* session.begin(lazy)
        yield* work
        assert.isTrue(session.inTransaction)
        yield* run(session, text)
        yield* session.rollback
        assert.strictEqual(yield* one(session, "select count(*)::int from t"), 1)
      }
    }))

  it.effect("that is refused takes everything along that was meant for its transaction", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      // One that is prepared, one that nobody has seen before, twice, and one that cannot travel with it.
      const statements = [text, "insert into t values (1)", "insert into t values (1)", text]
      for (const [index] of statements.entries()) {
        yield* session.begin(refused)
        const turned = [...statements.slice(index), ...statements.slice(0, index)]
        const exits = yield* Effect.all(turned.map((sql) => Effect.exit(run(session, sql))), {
          concurrency: "unbounded"
        })
        assert.isTrue(exits.every(Exit.isFailure))
        assert.isFalse(session.inTransaction)
        yield* session.rollback
      }
      for (const work of [session.savepoint("a"), session.script(text)]) {
        yield* session.begin(refused)
        const error = yield* sqlFailure(work)
        assert.strictEqual(fields(error)["code"], "42601")
        yield* session.rollback
      }
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 1)
      // Nothing is left of it: the same statements run.
      yield* session.begin(lazy)
      yield* Effect.all(statements.map((sql) => run(session, sql)), { concurrency: "unbounded" })
      yield* session.commit
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 5)
    }))

  it.effect("two cycles in one write would let the statement run outside: the naive way", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      const begin = yield* Effect.forkChild(Effect.exit(session.begin({ isolation: refused.isolation })), {
        startImmediately: true
      })
      yield* run(session, text)
      assert.isTrue(Exit.isFailure(yield* Fiber.join(begin)))
      assert.strictEqual(yield* one(session, "select count(*)::int from t"), 2)
    }))

  it.live("whose statement is interrupted leaves a session that reset cleans", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      yield* session.begin(lazy)
      yield* Effect.timeoutOption(run(session, "select pg_sleep(10)"), "50 millis")
      yield* session.reset
      assert.isTrue(session.isReady)
      // Before it was written, too.
      yield* session.begin(lazy)
      const fiber = yield* Effect.forkChild(run(session, text), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* session.reset
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.effect("is sent also when whoever was to go first has been interrupted, because others go on", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      const first: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        session.savepoint("a"),
        session.script(text),
        run(session, text)
      ]
      for (const work of first) {
        yield* session.begin(lazy)
        const fiber = yield* Effect.forkChild(work, { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        yield* run(session, text)
        yield* session.rollback
        assert.strictEqual(yield* one(session, "select count(*)::int from t"), 1)
      }
    }))

  it.effect("is not forgotten over what is cleaned up ahead of it", () =>
    Effect.gen(function*() {
      const { session } = yield* watched
      let retired = 0
      session.onRetire(() => {
        retired++
      })
      yield* run(session, "set application_name to 'left behind'")
      assert.isTrue(session.handBack("detect"))
      yield* session.begin({ lazy: true, access: "read only" })
      const error = yield* sqlFailure(run(session, text))
      // Asked for, so it says nothing about the server.
      assert.strictEqual(fields(error)["code"], "25006")
      assert.strictEqual(retired, 0)
      assert.isTrue(session.inTransaction)
      yield* session.rollback
      // Never begun, and so not read-only any more.
      yield* session.begin({ lazy: true, access: "read only" })
      yield* session.rollback
      yield* run(session, text)
      assert.isTrue(session.isReady)
    }))

  it.effect("goes ahead when the server has been silent, and shows in its own time whether anybody is there", () =>
    Effect.gen(function*() {
      const { session, writes } = yield* watched
      yield* TestClock.adjust("2 seconds")
      yield* session.begin(lazy)
      assert.lengthOf(writes(), 1)
      yield* session.rollback
    }))
})
