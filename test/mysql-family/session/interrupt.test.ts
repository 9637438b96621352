import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { profileOf } from "../../../src/mysql-family/statement/statements.ts"
import { FaultProxy, seed } from "../../support/index.ts"
import {
  connect,
  connector,
  describeEach,
  elapsed,
  eventually,
  one,
  run,
  sqlFailure,
  type Subject,
  table,
  working
} from "../support.ts"

/** What the server says that the session is doing. */
const activity = (subject: Subject, observer: Session, session: Session) =>
  Effect.map(
    run(observer, `select info as info from ${subject.server.processlist} where id = ?`, [session.threadId]),
    ([row]) => row as { readonly info: string | null } | undefined
  )

const runs = (subject: Subject, observer: Session, session: Session, text: string) =>
  Effect.map(activity(subject, observer, session), (row) => row?.info?.includes(text) === true)

describeEach("interruption over $name", (subject) => {
  it.live("of a statement alone goes on at once, and the server stops soon", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      for (const execute of [session.execute, session.executeUnprepared]) {
        const fiber = yield* Effect.forkChild(execute.call(session, "select sleep(30)", [], undefined))
        yield* eventually(runs(subject, observer, session, "sleep"))
        // It does not wait for the server. That is done before the session is ready again.
        assert.isBelow(yield* elapsed(Fiber.interrupt(fiber)), 15_000)
        assert.isBelow(yield* elapsed(session.reset), 15_000)
        assert.isTrue(session.isReady)
        // The server may still show what the session was reset with.
        assert.notInclude((yield* activity(subject, observer, session))?.info ?? "", "sleep")
        assert.strictEqual(yield* one(session, "select 1"), 1)
      }
    }))

  it.live("stops a write before it is done", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      yield* Effect.exit(
        Effect.timeout(
          run(session, `insert into ${name} select seq + 0 * sleep(0.01) from ${subject.server.series(1000)}`),
          "100 millis"
        )
      )
      yield* session.reset
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 0)
    }))

  it.live("never hits what runs next", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (let round = 0; round < 40; round++) {
        // Ends at about the time when the side connection asks for it.
        const fiber = yield* Effect.forkChild(run(session, `select sleep(${0.008 + (round % 10) / 1000})`))
        yield* Effect.sleep("1 millis")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* one(session, `select count(*) from ${subject.server.series(10_000)}`), 10_000)
      }
      yield* session.reset
      assert.isTrue(session.isReady)
    }), 60_000)

  it.live("of a statement that waits means that the server never sees it", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      yield* session.begin({})
      const ahead = yield* Effect.forkChild(run(session, "select sleep(0.1)"), { startImmediately: true })
      const waiting = yield* Effect.forkChild(run(session, `insert into ${name} values (1)`), {
        startImmediately: true
      })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.join(ahead)
      yield* session.commit
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 0)
    }))

  it.live("a statement behind the question for the transaction: interrupted → never sent", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      const writes = {
        execute: (id: number) => run(session, `insert into ${name} values (?)`, [id]),
        unprepared: (id: number) => session.executeUnprepared(`insert into ${name} values (${id})`, [], undefined),
        stream: (id: number) =>
          Stream.runDrain(session.executeStream(`insert into ${name} values (?)`, [id], undefined)),
        bulk: (id: number) => {
          const sql = `insert into ${name} values (${id})`
          return session.executeBulk(profileOf(sql), (driver, receiver) => driver.query(sql, receiver))
        }
      }
      let id = 0
      for (const [way, write] of Object.entries(writes)) {
        yield* session.begin({})
        yield* run(session, "select 1")
        // After an error nothing is known of the transaction, so the server is asked first.
        yield* sqlFailure(run(session, "select * from nowhere"))
        const fiber = yield* Effect.forkChild(write(++id), { startImmediately: true })
        yield* Fiber.interrupt(fiber)
        const started = performance.now()
        const slow = yield* Effect.forkChild(run(session, "select sleep(20)"), { startImmediately: true })
        yield* Fiber.interrupt(slow)
        assert.strictEqual(yield* one(session, "select 7"), 7)
        assert.isBelow(performance.now() - started, 10_000, way)
        yield* session.commit
        assert.strictEqual(yield* one(session, `select count(*) from ${name} where id = ?`, [id]), 0, way)
      }
    }))

  it.live("in a transaction stops the statement, and the transaction goes on", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      yield* session.begin({})
      yield* run(session, `insert into ${name} values (1)`)
      yield* Effect.exit(Effect.timeout(run(session, "select sleep(30)"), "30 millis"))
      assert.isBelow(yield* elapsed(run(session, `insert into ${name} values (2)`)), 15_000)
      yield* session.commit
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 2)
    }))

  it.live("of a statement that shares the session disturbs nobody", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      const slow = yield* Effect.forkChild(run(session, "select sleep(3)"), { startImmediately: true })
      const neighbour = yield* Effect.forkChild(one(session, "select 1"), { startImmediately: true })
      yield* working(observer, session)
      assert.isBelow(yield* elapsed(Fiber.interrupt(slow)), 2_500)
      assert.strictEqual(yield* Fiber.join(neighbour), 1)
      yield* session.reset
      assert.isTrue(session.isReady)
    }))

  it.live("of all that share the session stops the server", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      const fibers = yield* Effect.all(
        Array.from({ length: 3 }, () => Effect.forkChild(run(session, "select sleep(20)"), { startImmediately: true }))
      )
      yield* working(observer, session)
      for (const fiber of fibers) yield* Fiber.interrupt(fiber)
      assert.isBelow(yield* elapsed(session.reset), 15_000)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("in a storm costs few side connections and leaves all sessions good", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const open = yield* connector(subject, { url: Redacted.make(proxy.url) })
      const sessions = yield* Effect.all(Array.from({ length: 8 }, () => open))
      const connected = proxy.attempts()
      const random = seed(5)
      const work = Effect.fnUntraced(function*(session: Session) {
        for (let round = 0; round < 25; round++) {
          const fiber = yield* Effect.forkChild(run(session, `select sleep(${random.next() / 20})`), {
            startImmediately: true
          })
          yield* Effect.sleep(random.int(0, 30))
          yield* Fiber.interrupt(fiber)
          if (random.chance(0.5)) assert.strictEqual(yield* one(session, "select 7"), 7)
          else if (!session.isReady) yield* session.reset
        }
        if (!session.isReady) yield* session.reset
        assert.isTrue(session.isReady)
      })
      yield* Effect.forEach(sessions, work, { concurrency: "unbounded" })
      // 200 interruptions, of which many needed no help.
      assert.isBelow(proxy.attempts() - connected, 150)
      yield* eventually(Effect.sync(() => proxy.open() === 8))
    }), 60_000)

  it.live("goes on at once also when the server cannot be asked, and the session is given up", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const session = yield* connect(subject, {
        url: Redacted.make(proxy.url),
        controlTimeout: "2 seconds",
        connectTimeout: "2 seconds"
      })
      const observer = yield* connect(subject)
      const fiber = yield* Effect.forkChild(run(session, "select sleep(30)"), { startImmediately: true })
      yield* working(observer, session)
      yield* proxy.blackhole
      yield* Fiber.interrupt(fiber)
      assert.isFalse(session.isClosed)
      yield* sqlFailure(session.reset)
      assert.isTrue(session.isClosed)
    }))

  it.live("never stops anything on another server that has taken the address", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const other = Object.assign(Object.create(session), { server: { ...session.server, identity: "another one" } })
      const observer = yield* connect(subject)
      const fiber = yield* Effect.forkChild(run(session, "select sleep(0.3)"), { startImmediately: true })
      yield* working(observer, session)
      const sent = yield* Effect.callback<boolean>((resume) =>
        session.context.canceller.kill(other, () => true, (sent) => resume(Effect.succeed(sent)))
      )
      assert.isFalse(sent)
      assert.deepStrictEqual(yield* Fiber.join(fiber), [{ "sleep(0.3)": 0 }])
    }))

  it.live("by `cancel` stops whatever runs", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      yield* session.cancel
      const fiber = yield* Effect.forkChild(
        sqlFailure(run(session, subject.server.endless)),
        {
          startImmediately: true
        }
      )
      yield* working(yield* connect(subject), session)
      yield* session.cancel
      const error = yield* Fiber.join(fiber)
      assert.strictEqual((error.reason.cause as any).errno, 1317)
      assert.isFalse(error.isRetryable)
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))
})
