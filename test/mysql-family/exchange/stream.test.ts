import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Stream from "effect/Stream"
import * as Evidence from "../../../src/failure/Evidence.ts"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import {
  connect,
  describeEach,
  elapsed,
  eventually,
  one,
  run,
  serverError,
  sqlFailure,
  type Subject,
  table
} from "../support.ts"

const rowsOn = ({ server }: Subject) => (session: Session, count: number) =>
  session.executeStream(`select seq as n, repeat('x', 100) as x from ${server.series(count)}`, [], undefined)

/** Whether the server says that the session does nothing. One that was killed too late is "Killed" for a while. */
const isIdleOn = ({ server }: Subject) => (observer: Session, session: Session) =>
  Effect.map(
    one(observer, `select info is null from ${server.processlist} where id = ?`, [session.threadId]),
    (idle) => idle === 1
  )

describeEach("streams over $name", (subject) => {
  const rows = rowsOn(subject)
  const isIdle = isIdleOn(subject)

  it.live("have all rows, in order", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      for (const count of [0, 1, 1023, 1024, 1025, 100_000]) {
        let expected = 0
        yield* Stream.runForEach(
          session.executeStream(
            `select seq as n from ${subject.server.series(100_000)} where seq <= ?`,
            [count],
            undefined
          ),
          (row) =>
            Effect.sync(() => {
              assert.strictEqual(row.n, ++expected)
            })
        )
        assert.strictEqual(expected, count)
        assert.isTrue(session.isReady)
      }
    }))

  it.live("more or fewer parameters than placeholders → not sent, prepared or not, first use and later", () =>
    Effect.gen(function*() {
      for (const disablePreparedStatements of [false, true]) {
        const session = yield* connect(subject, { disablePreparedStatements })
        for (const sql of ["select ? as v", "select ? as v, 'a\\\\?'"]) {
          for (let round = 0; round < 3; round++) {
            for (const params of [[], [1, 2], ["abc", "def", "ghi"]]) {
              const error = yield* sqlFailure(Stream.runDrain(session.executeStream(sql, params, undefined)))
              assert.match(
                error.message,
                new RegExp(`it has 1 placeholders, but there are ${params.length} parameters`)
              )
            }
            const rows = yield* Stream.runCollect(session.executeStream(sql, [5], undefined))
            assert.strictEqual(rows[0].v, 5)
          }
        }
        assert.isTrue(session.isReady)
      }
    }))

  it.live("transform rows, and end at once for a statement without any", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      const double = (rows: ReadonlyArray<any>) => rows.map((row) => ({ n: row.n * 2 }))
      assert.deepStrictEqual(
        yield* Stream.runCollect(session.executeStream("select 1 as n union select 2", [], double as never)),
        [{ n: 2 }, { n: 4 }]
      )
      assert.deepStrictEqual(
        yield* Stream.runCollect(session.executeStream(`insert into ${name} values (?)`, [1], undefined)),
        []
      )
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 1)
    }))

  it.live("fail with typed errors, before the first row and after", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const missing = yield* sqlFailure(Stream.runDrain(session.executeStream("select * from nowhere", [], undefined)))
      assert.strictEqual(serverError(missing).errno, 1146)
      const name = yield* table(session, "id int")
      yield* run(session, `insert into ${name} select seq from ${subject.server.series(5_000)}`)
      // A subquery with more than one row, but not for the first rows.
      const sql = `select id, (select seq from ${subject.server.series(2)} where id > 4000) as x from ${name}`
      const late = yield* sqlFailure(Stream.runDrain(session.executeStream(sql, [], undefined)))
      assert.strictEqual(serverError(late).errno, 1242)
      const wrong = yield* sqlFailure(Stream.runDrain(session.executeStream("select ?", [NaN], undefined)))
      assert.match(wrong.message, /NaN is no value/)
      assert.strictEqual(yield* one(session, "select 1"), 1)
      assert.isTrue(session.isReady)
    }))

  it.live("keep few rows in memory, however slow the reader is", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const count = 400_000
      let read = 0
      let most = 0
      global.gc?.()
      const before = process.memoryUsage().rss
      yield* Stream.runForEachArray(rows(session, count), (chunk) =>
        Effect.gen(function*() {
          read += chunk.length
          most = Math.max(most, chunk.length)
          if (read % 20 === 0) yield* Effect.sleep("1 millis")
          else yield* Effect.yieldNow
        }))
      assert.strictEqual(read, count)
      // A chunk is what one read of the socket has brought, on top of what made the stream pause.
      assert.isBelow(most, 5_000)
      assert.isBelow((process.memoryUsage().rss - before) / 1024 / 1024, 120)
    }), 60_000)

  it.live("hold the server back when nobody reads", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      const started = performance.now()
      const first = yield* Stream.runHead(Stream.mapEffect(rows(session, 3_000_000), (row) =>
        Effect.gen(function*() {
          yield* Effect.sleep("300 millis")
          assert.isFalse(yield* isIdle(observer, session))
          return row
        })))
      assert.strictEqual((first as any).value.n, 1)
      assert.isBelow(performance.now() - started, 8_000)
      yield* session.reset
      assert.isTrue(session.isReady)
    }), 30_000)

  it.live(
    "whose reader pauses for longer than the server waits: the failure says so, and is the reader's",
    () =>
      Effect.gen(function*() {
        const session = yield* connect(subject, { sessionVariables: { net_write_timeout: 1 } })
        const observer = yield* connect(subject)
        const isGone = Effect.map(
          one(observer, `select count(*) from ${subject.server.processlist} where id = ?`, [session.threadId]),
          (count) => Number(count) === 0
        )
        let chunks = 0
        const reading = Stream.runForEachArray(
          rows(session, 3_000_000),
          () => chunks++ === 0 ? eventually(isGone) : Effect.void
        )
        const error = yield* sqlFailure(reading)
        assert.match(error.message, /not read for \d+ s, and the server waits for `net_write_timeout`/)
        assert.strictEqual(Evidence.of(error).endedBy, "Reader")
      }),
    30_000
  )

  it.live("that are stopped early stop the server", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      for (const prepared of [0, 1, 2]) {
        const spent = yield* elapsed(Stream.runCollect(Stream.take(rows(session, 50_000_000), 10)))
        assert.isBelow(spent, 8_000, String(prepared))
        yield* eventually(isIdle(observer, session))
        yield* session.reset
        assert.strictEqual(yield* one(session, "select 1"), 1)
      }
      // The same with a parameter, and when the reader fails.
      const sql = `select seq as n from ${subject.server.series(50_000_000)} where seq > ?`
      yield* Effect.exit(Stream.runForEach(session.executeStream(sql, [0], undefined), () => Effect.fail("enough")))
      yield* eventually(isIdle(observer, session))
      yield* session.reset
      assert.isTrue(session.isReady)
    }), 30_000)

  it.live("let statements of the same transaction pass", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      yield* session.begin({})
      yield* Stream.runForEach(
        rows(session, 5_000),
        (row) => row.n % 1_000 === 0 ? run(session, `insert into ${name} values (?)`, [row.n]) : Effect.void
      )
      yield* session.commit
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 5)
    }))

  it.live("say so where they have too many rows for that, instead of waiting for ever", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const error = yield* sqlFailure(Stream.runForEach(rows(session, 1_000_000), () => run(session, "select 1")))
      assert.match(error.message, /a stream on the same connection has more than 65536 rows/)
      yield* session.reset
      assert.isTrue(session.isReady)
    }), 30_000)

  it.live("run without prepared statements too", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { disablePreparedStatements: true })
      assert.deepStrictEqual(
        yield* Stream.runCollect(session.executeStream("select ? as a, 'x' as b", ["it's"], undefined)),
        [{ a: "it's", b: "x" }]
      )
      yield* sqlFailure(Stream.runDrain(session.executeStream("select 1; select 2", [], undefined)))
      assert.strictEqual(yield* one(session, "select 1"), 1)
    }))

  it.live("a stream whose reader is slower than a statement may be goes on", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { statementTimeout: "50 millis" })
      // The server's own limit includes what the reader takes.
      yield* run(session, `set session ${subject.server.timeLimit.variable} = 0`)
      let read = 0
      yield* Stream.runForEach(
        rows(session, 20_000),
        () => read++ === 0 ? Effect.sleep("1300 millis") : Effect.void
      )
      assert.strictEqual(read, 20_000)
    }), 20_000)
})
