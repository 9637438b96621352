/** START TRANSACTION goes out with the first statement: when, and that nothing is ever applied outside of its transaction. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import * as Stream from "effect/Stream"
import { Transaction } from "watertight"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import { FaultProxy } from "../../support/index.ts"
import { connect, describeEach, one, run, serverError, sqlFailure, subjects, table } from "../support.ts"
import { make, outside, start } from "./scriptedDriver.ts"

const lazy = { lazy: true } as const
/** A BEGIN that the server refuses. */
const refused = { lazy: true, statement: "START TRANSACTION NONSENSE" } as const

/** Has a session be lent for transactions again and again. */
const accustom = (session: Session) =>
  Effect.repeat(
    Effect.andThen(session.begin(lazy), Effect.andThen(run(session, "select 1"), session.commit)),
    { times: 4 }
  )

const watched = Effect.fnUntraced(function*(subject: (typeof subjects)[number]) {
  const proxy = yield* FaultProxy.make(subject.server.url())
  const session = yield* connect(subject, {
    url: Redacted.make(proxy.url),
    sslmode: "disable",
    allowPublicKeyRetrieval: true
  })
  const name = yield* table(session, "a int")
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
  const insert = (a: number) => run(session, `insert into ${name} values (?)`, [a])
  yield* insert(0)
  yield* insert(0)
  return { session, writes, name, insert, rows: one(session, `select group_concat(a order by a) from ${name}`) }
})

describeEach("a BEGIN that waits for the first statement, over $name", (subject) => {
  it.live("is written with it, and answered with it", () =>
    Effect.gen(function*() {
      const { insert, rows, session, writes } = yield* watched(subject)
      yield* accustom(session)
      writes()
      yield* session.begin(lazy)
      assert.isTrue(session.inTransaction)
      assert.isFalse(session.isReady)
      yield* insert(1)
      yield* insert(2)
      yield* session.commit
      const pieces = writes()
      assert.lengthOf(pieces, 3)
      assert.match(pieces[0]!, /START TRANSACTION[^]+/)
      assert.include(pieces[2], "COMMIT")
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* rows, "0,0,1,2")
    }))

  it.live("is not written if there is no statement, and does not outlive its transaction", () =>
    Effect.gen(function*() {
      const { insert, rows, session, writes } = yield* watched(subject)
      yield* accustom(session)
      writes()
      for (const end of [session.commit, session.rollback]) {
        yield* session.begin(lazy)
        yield* end
        assert.isTrue(session.isReady)
        assert.isFalse(session.inTransaction)
      }
      assert.deepStrictEqual(writes(), [])
      yield* session.begin(lazy)
      yield* session.reset
      assert.isTrue(session.isReady)
      // By itself, and at once.
      yield* insert(1)
      yield* session.rollback
      assert.strictEqual(yield* rows, "0,0,1")
    }))

  it.live("that is refused takes everything along that was meant for its transaction", () =>
    Effect.gen(function*() {
      const { insert, name, rows, session } = yield* watched(subject)
      const first: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
        insert(1),
        // Of a new text, as a text, several, what it cannot be behind, and a stream.
        run(session, `insert into ${name} values (1) /* new */`),
        session.executeUnprepared(`insert into ${name} values (1)`, [], undefined),
        session.executeUnprepared(`insert into ${name} values (1); insert into ${name} values (2)`, [], undefined),
        Stream.runDrain(session.executeStream(`select * from ${name}`, [], undefined)),
        run(session, `set @a = 1`),
        session.savepoint("a")
      ]
      for (const work of first) {
        yield* session.reset
        yield* accustom(session)
        yield* session.begin(refused)
        const error = yield* sqlFailure(work as Effect.Effect<unknown, never>)
        assert.strictEqual(serverError(error).errno, 1064)
        // Whatever comes behind it is not sent.
        assert.isTrue(Exit.isFailure(yield* Effect.exit(insert(2))))
        assert.isFalse(session.inTransaction)
        assert.isFalse(session.isReady)
        yield* session.reset
        assert.isTrue(session.isReady)
        assert.strictEqual(yield* rows, "0,0")
      }
      // All at once.
      yield* accustom(session)
      yield* session.begin(refused)
      const exits = yield* Effect.all([insert(1), insert(2), insert(3)].map(Effect.exit), { concurrency: "unbounded" })
      assert.isTrue(exits.every(Exit.isFailure))
      yield* session.reset
      assert.strictEqual(yield* rows, "0,0")
      // Nothing is left of it.
      yield* session.begin(lazy)
      yield* insert(3)
      yield* session.commit
      assert.strictEqual(yield* rows, "0,0,3")
    }))

  it.live("both in one write would apply the statement by itself: the naive way", () =>
    Effect.gen(function*() {
      const { name, rows, session } = yield* watched(subject)
      // With autocommit, as the session is at first.
      const both = ["START TRANSACTION NONSENSE", `insert into ${name} values (1)`].map((sql) =>
        Effect.callback<boolean>((resume) => {
          const done = (failed: boolean) => resume(Effect.succeed(failed))
          session.driver.query(sql, {
            isWanted: true,
            onRows: () => done(false),
            onOk: () => done(false),
            onMany: () => done(false),
            onError: () => done(true)
          })
        })
      )
      assert.deepStrictEqual(yield* Effect.all(both, { concurrency: "unbounded" }), [true, false])
      assert.strictEqual(yield* rows, "0,0,1")
    }))

  it.live("whose statement is interrupted leaves a session that reset cleans", () =>
    Effect.gen(function*() {
      const { insert, rows, session } = yield* watched(subject)
      yield* accustom(session)
      yield* session.begin(lazy)
      yield* Effect.timeoutOption(run(session, "select sleep(5)"), "50 millis")
      yield* session.reset
      assert.isTrue(session.isReady)
      yield* accustom(session)
      yield* session.begin(lazy)
      const fiber = yield* Effect.forkChild(insert(1), { startImmediately: true })
      yield* Fiber.interrupt(fiber)
      yield* session.reset
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* rows, "0,0")
    }))

  it.live("ends as every transaction does with a deadlock, and nothing behind it is applied", () =>
    Effect.gen(function*() {
      const { name, rows, session } = yield* watched(subject)
      const other = yield* connect(subject)
      yield* run(session, `create table ${name}_d (id int primary key, v int) engine = innodb`)
      yield* run(session, `insert into ${name}_d values (1, 0), (2, 0), (3, 0), (4, 0)`)
      yield* accustom(session)
      yield* session.begin(lazy)
      yield* other.begin({})
      for (const id of [2, 3, 4]) yield* run(other, `update ${name}_d set v = 1 where id = ?`, [id])
      yield* run(session, `update ${name}_d set v = 1 where id = 1`)
      const waiting = yield* Effect.forkChild(run(other, `update ${name}_d set v = 1 where id = 1`))
      yield* Effect.sleep("50 millis")
      const error = yield* sqlFailure(run(session, `update ${name}_d set v = 1 where id = 2`))
      assert.strictEqual(serverError(error).errno, 1213)
      assert.isFalse(session.inTransaction)
      assert.isTrue(Exit.isFailure(yield* Effect.exit(run(session, `insert into ${name} values (1)`))))
      yield* Fiber.join(waiting)
      yield* other.rollback
      yield* session.reset
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* rows, "0,0")
      yield* run(session, `drop table ${name}_d`)
    }))

  it.live("keeps the sessions of a pool apart from statements that are by themselves", () =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      const name = yield* table(observer, "a int")
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const put = (a: number) => sql`insert into ${sql(name)} values (${a})`
        let a = 0
        for (let round = 0; round < 3; round++) {
          for (let n = 0; n < 6; n++) yield* Transaction.run(put(++a))
          for (let n = 0; n < 2; n++) {
            yield* put(++a)
            // It is applied, and not only in the session that has asked for it.
            assert.strictEqual(Number(yield* one(observer, `select max(a) from ${name}`)), a)
          }
          yield* Effect.all([put(++a), put(++a), Transaction.run(put(++a)), put(++a)], { concurrency: "unbounded" })
          yield* Effect.exit(Transaction.run(Effect.andThen(put(-1), Effect.fail("no"))))
          assert.strictEqual(Number(yield* one(observer, `select count(*) from ${name}`)), a)
        }
      }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(subject.server.url()), pool: { max: 1 } })))
    }))
}, subjects.filter((subject) => subject.pipelines))

describeEach("a BEGIN over $name", (subject) => {
  it.live("is always waited for, because one statement is on the wire at a time", () =>
    Effect.gen(function*() {
      const { insert, session, writes } = yield* watched(subject)
      yield* accustom(session)
      writes()
      yield* session.begin(lazy)
      yield* insert(1)
      yield* session.commit
      assert.lengthOf(writes().filter((piece) => !piece.includes("DO 0")), 3)
      assert.strictEqual(String(yield* one(session, "select @@autocommit")), "1")
    }))
}, subjects.filter((subject) => !subject.pipelines))

describe("a BEGIN that waits, step by step", () => {
  const guarded = 0
  const inside = 1

  const ready = () => {
    const scripted = make({ canPipeline: true })
    const { sent, session } = scripted
    for (let n = 0; n < 4; n++) {
      start(session.begin(lazy))
      sent[0]!.ok(n < 3 ? outside | inside : guarded)
      if (n === 3) {
        start(session.execute("select 1", [], undefined))
        sent[0]!.ok(inside)
        sent[0]!.ok(inside)
      }
      start(session.commit)
      sent[0]!.ok(n < 3 ? outside : guarded)
    }
    assert.isTrue(session.isReady)
    scripted.log.length = 0
    return scripted
  }
  const insert = (session: Session) => start(session.execute("insert into t values (1)", [], undefined))

  it("a server that keeps autocommit is not believed to have none", () => {
    const { log, sent, session } = make({ canPipeline: true })
    for (let n = 0; n < 5; n++) {
      start(session.begin(lazy))
      if (log.at(-1) === "SET autocommit=0") sent[0]!.ok(outside)
      assert.strictEqual(log.at(-1), "START TRANSACTION")
      sent[0]!.ok(outside | inside)
      start(session.commit)
      sent[0]!.ok(outside)
    }
    assert.include(log, "SET autocommit=0")
  })

  it("what is refused is not what the statement behind it has done", () => {
    const { log, sent, session } = ready()
    start(session.begin(lazy))
    const run = insert(session)
    assert.deepStrictEqual(log, ["START TRANSACTION", "insert into t values (1)"])
    sent[0]!.fail(1317)
    // The server has begun a transaction for it, which nobody commits.
    sent[0]!.ok(inside)
    assert.isTrue(Exit.isFailure(run.exit as never))
    const commit = start(session.commit)
    assert.isTrue(Exit.isFailure(commit.exit as never))
    assert.notInclude(log, "COMMIT")
    assert.isFalse(session.isReady)
    start(session.reset)
    assert.strictEqual(log.at(-1), "RESET")
  })

  it("an answer that says nothing of a transaction is none to BEGIN", () => {
    const { log, sent, session } = ready()
    start(session.begin(lazy))
    const run = insert(session)
    sent[0]!.ok(guarded)
    sent[0]!.ok(inside)
    assert.isTrue(Exit.isFailure(run.exit as never))
    start(session.commit)
    assert.notInclude(log, "COMMIT")
  })

  it("an answer that comes without that to BEGIN ends the session", () => {
    const { sent, session } = ready()
    start(session.begin(lazy))
    const run = insert(session)
    sent[1]!.ok(inside)
    assert.isTrue(Exit.isFailure(run.exit as never))
    assert.isTrue(session.isClosed)
  })

  it("a statement by itself waits until autocommit is on again", () => {
    const { log, sent, session } = ready()
    const first = insert(session)
    const second = insert(session)
    assert.deepStrictEqual(log, ["SET autocommit=1"])
    sent[0]!.ok(outside)
    sent[0]!.ok(outside)
    sent[0]!.ok(outside)
    assert.isTrue(Exit.isSuccess(first.exit as never))
    assert.isTrue(Exit.isSuccess(second.exit as never))
    assert.deepStrictEqual(log, ["SET autocommit=1", "insert into t values (1)", "insert into t values (1)"])
    assert.isTrue(session.isReady)
  })

  for (
    const [what, answer] of [
      ["refused", (sent: ReturnType<typeof make>["sent"]) => sent[0]!.fail(1193)],
      ["said to be done, and is not", (sent) => sent[0]!.ok(guarded)]
    ] as ReadonlyArray<[string, (sent: ReturnType<typeof make>["sent"]) => void]>
  ) {
    it(`a statement by itself is not sent if that is ${what}`, () => {
      const { log, sent, session } = ready()
      const run = insert(session)
      answer(sent)
      assert.isTrue(Exit.isFailure(run.exit as never))
      assert.isTrue(session.isClosed)
      assert.deepStrictEqual(log, ["SET autocommit=1"])
    })
  }

  it("a statement that commits by itself ends the transaction here too", () => {
    const { log, sent, session } = ready()
    start(session.begin(lazy))
    const run = start(session.execute("call p()", [], undefined))
    // It is no statement that only reads or writes rows, so BEGIN goes ahead.
    assert.deepStrictEqual(log, ["START TRANSACTION"])
    sent[0]!.ok(inside)
    // It runs what is not to be seen, so a savepoint tells whether the transaction is still the same.
    assert.match(log[1]!, /^SAVEPOINT /)
    sent[0]!.ok(inside)
    sent[0]!.ok(guarded)
    assert.isTrue(Exit.isSuccess(run.exit as never))
    assert.isFalse(session.inTransaction)
    assert.isTrue(Exit.isFailure(insert(session).exit as never))
  })
})
