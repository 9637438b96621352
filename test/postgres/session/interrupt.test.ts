import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type { Session } from "../../../src/postgres/session/Session.ts"
import { connect, connector, eventually, fields, one, run, sqlFailure, working } from "../support.ts"

/** What the server says that the session is doing. */
const activity = (observer: Session, session: Session) =>
  Effect.map(
    run(observer, "select state, query from pg_stat_activity where pid = $1::int", [Number(session.id)]),
    ([row]) => row as { readonly state: string; readonly query: string } | undefined
  )

const elapsed = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<number, E, R> =>
  Effect.suspend(() => {
    const started = performance.now()
    return Effect.map(effect, () => performance.now() - started)
  })

describe("interruption", () => {
  it.live("of a statement alone goes on at once, and the server stops soon", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const observer = yield* connect()
      const fiber = yield* Effect.forkChild(run(session, "select pg_sleep(30)"))
      yield* eventually(Effect.map(activity(observer, session), (row) => row?.query.includes("pg_sleep") === true))
      // It has not waited for the server: the session is not ready yet.
      yield* Fiber.interrupt(fiber)
      assert.isFalse(session.isReady)
      assert.isBelow(yield* elapsed(session.reset), 10_000)
      assert.isTrue(session.isReady)
      assert.strictEqual((yield* activity(observer, session))?.state, "idle")
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("never hits what runs next", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      for (let round = 0; round < 40; round++) {
        // Ends at about the time when the cancel request goes out.
        const fiber = yield* Effect.forkChild(run(session, `select pg_sleep(${0.005 + (round % 10) / 1000})`))
        yield* Effect.sleep("1 millis")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* one(session, "select count(*)::int from generate_series(1, 20000)"), 20_000)
      }
    }))

  it.live("of a statement that shares the session disturbs nobody", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const sleep = (seconds: number) => run(session, "select pg_sleep($1::float8)", [seconds])
      yield* Effect.all([sleep(0.1), one(session, "select 1")])
      const slow = yield* Effect.forkChild(sleep(3), { startImmediately: true })
      const neighbour = yield* Effect.forkChild(one(session, "select 1"), { startImmediately: true })
      yield* working(session)
      yield* Fiber.interrupt(slow)
      // It has not waited for the statement, behind which the neighbour is.
      assert.isUndefined(neighbour.pollUnsafe())
      assert.strictEqual(yield* Fiber.join(neighbour), 1)
      assert.isTrue(session.isReady)
    }))

  it.live("of a statement that others were ahead of stops the server once they are done", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* Effect.all([run(session, "select pg_sleep(0.1)"), one(session, "select pg_sleep(0.01), pg_sleep(0)")])
      const ahead = yield* Effect.forkChild(run(session, "select pg_sleep(0.1)"), { startImmediately: true })
      const slow = yield* Effect.forkChild(run(session, "select pg_sleep(20)"), { startImmediately: true })
      yield* working(session)
      yield* Fiber.interrupt(slow)
      yield* Fiber.join(ahead)
      assert.isBelow(yield* elapsed(session.reset), 10_000)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("of all that share the session stops the server", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const fibers = yield* Effect.all(
        Array.from(
          { length: 3 },
          () => Effect.forkChild(run(session, "select pg_sleep(20)"), { startImmediately: true })
        )
      )
      yield* working(session)
      for (const fiber of fibers) yield* Fiber.interrupt(fiber)
      assert.isBelow(yield* elapsed(session.reset), 10_000)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("before a statement was written means that the server never sees it", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* run(session, "create temp table seen (a int)")
      for (const warm of [false, true]) {
        const sql = "insert into seen values ($1)"
        if (warm) yield* run(session, sql, [0])
        const fiber = yield* Effect.forkChild(run(session, sql, [7]), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* one(session, "select count(*)::int from seen where a = 7"), 0)
      }
      assert.isTrue(session.isReady)
    }))

  it.live("of the first user of a statement leaves the others what they need, also in a transaction", () =>
    Effect.gen(function*() {
      const open = yield* connector()
      const [first, second] = [yield* open, yield* open]
      const sql = "select $1::int + 1"
      for (const known of [false, true]) {
        if (known) yield* run(first, sql, [1])
        const session = known ? second : first
        yield* session.begin({})
        const leader = yield* Effect.forkChild(one(session, sql, [1]), { startImmediately: true })
        const follower = yield* Effect.forkChild(one(session, sql, [2]), { startImmediately: true })
        yield* Fiber.interrupt(leader)
        assert.strictEqual(yield* Fiber.join(follower), 3)
        yield* session.commit
      }
    }))

  it.live("before a statement was written cannot abort the transaction either", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      const fiber = yield* Effect.forkChild(run(session, "selec nonsense"), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.strictEqual(yield* one(session, "select 1"), 1)
      yield* session.commit
    }))

  it.live("in a transaction lets ROLLBACK through at once", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      const timed = yield* Effect.exit(Effect.timeout(run(session, "select pg_sleep(30)"), "50 millis"))
      assert.strictEqual(timed._tag, "Failure")
      assert.isBelow(yield* elapsed(session.rollback), 10_000)
      assert.isTrue(session.isReady)
    }))

  it.live("of BEGIN leaves a session that reset cleans", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const fiber = yield* Effect.forkChild(session.begin({}), { startImmediately: true })
      yield* Effect.promise(() => Promise.resolve())
      yield* Fiber.interrupt(fiber)
      yield* session.reset
      assert.isFalse(session.inTransaction)
      assert.isTrue(session.isReady)
    }))

  it.live("of COMMIT waits for its answer", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      yield* session.begin({})
      const fiber = yield* Effect.forkChild(session.commit, { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      assert.isFalse(session.inTransaction)
      assert.isTrue(session.isReady)
    }))

  it.live("cancel stops whatever runs, for whoever waits for it", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      const fiber = yield* Effect.forkChild(sqlFailure(run(session, "select pg_sleep(30)")), { startImmediately: true })
      yield* working(session)
      yield* session.cancel
      const error = yield* Fiber.join(fiber)
      assert.strictEqual(error.reason._tag, "StatementTimeoutError")
      assert.strictEqual(fields(error).code, "57014")
      assert.isFalse(error.isRetryable)
      assert.strictEqual(yield* one(session, "select 1"), 1)
      yield* session.cancel
    }))

  it.live("of 200 statements in a row leaves the session good and the server without side connections", () =>
    Effect.gen(function*() {
      const session = yield* connect()
      for (let round = 0; round < 200; round++) {
        const fiber = yield* Effect.forkChild(one(session, "select $1::int", [round]), { startImmediately: true })
        if (round % 2 === 0) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
      }
      assert.strictEqual(yield* one(session, "select 1"), 1)
      assert.isTrue(session.isReady)
    }))
})
