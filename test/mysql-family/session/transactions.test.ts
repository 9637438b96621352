import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import { Pool } from "watertight"
import { RolledBack } from "../../../src/failure/RolledBack.ts"
import { ImplicitCommit, TransactionEnded } from "../../../src/mysql-family/errors/errors.ts"
import { AllowImplicitCommit } from "../../../src/mysql-family/session/AllowImplicitCommit.ts"
import { beginStatement, planBegin } from "../../../src/mysql-family/session/begin.ts"
import type { Session } from "../../../src/mysql-family/session/Session.ts"
import type { Begin, Isolation } from "../../../src/transaction/TransactionSpec.ts"
import { FaultProxy } from "../../support/index.ts"
import {
  connect,
  describeEach,
  eventually,
  liveWith,
  one,
  onFresh,
  run,
  serverError,
  sqlFailure,
  table,
  working
} from "../support.ts"

const allow = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.provideService(effect, AllowImplicitCommit, true)

const levels: ReadonlyArray<Isolation> = ["read uncommitted", "read committed", "repeatable read", "serializable"]

/** The level of the transaction that is open on a session. The server keeps the list for a tenth of a second. */
const levelOf = (session: Session, observer: Session, name: string) =>
  Effect.gen(function*() {
    yield* run(session, `select * from ${name} for update`)
    yield* Effect.sleep("150 millis")
    const level = yield* one(
      observer,
      "select trx_isolation_level from information_schema.innodb_trx where trx_mysql_thread_id = ?",
      [session.threadId]
    )
    return (level as string).toLowerCase()
  })

/** Two sessions wait for each other; the one that is chosen by the server fails. */
const deadlock = (victim: Session, other: Session, name: string) =>
  Effect.gen(function*() {
    // The victim is the one that has changed less.
    for (let id = 2; id <= 8; id++) yield* run(other, `update ${name} set v = v + 1 where id = ?`, [id])
    yield* run(victim, `update ${name} set v = v + 1 where id = 1`)
    const waiting = yield* Effect.forkChild(run(other, `update ${name} set v = v + 1 where id = 1`))
    yield* Effect.sleep("50 millis")
    const error = yield* sqlFailure(run(victim, `update ${name} set v = v + 1 where id = 2`))
    return { error, waiting }
  })

const eight = "(1, 0), (2, 0), (3, 0), (4, 0), (5, 0), (6, 0), (7, 0), (8, 0)"

describe("how a transaction begins", () => {
  const plan = (how: Begin, isMariadb: boolean) => {
    const result = planBegin(how, isMariadb)
    return result._tag === "Success" ? result.success.statements : result.failure
  }
  it("is one packet on MariaDB, and two at most elsewhere", () => {
    assert.deepStrictEqual(plan({}, false), ["START TRANSACTION"])
    assert.deepStrictEqual(plan({ access: "read only" }, true), ["START TRANSACTION READ ONLY"])
    assert.deepStrictEqual(plan({ isolation: "serializable", access: "read write" }, false), [
      "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
      "START TRANSACTION READ WRITE"
    ])
    assert.deepStrictEqual(plan({ isolation: "serializable" }, true), [
      "BEGIN NOT ATOMIC SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION; END"
    ])
  })
  it("can be said in full", () => {
    const statement = beginStatement({ isolation: "repeatable read", access: "read only", consistentSnapshot: true })
    assert.deepStrictEqual(plan({ statement }, false), [
      "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
      "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"
    ])
    assert.deepStrictEqual(plan({ statement: "begin;" }, true), ["begin"])
    assert.match(plan({ statement: "select 1" }, true) as string, /must end with START TRANSACTION/)
    assert.match(plan({ statement: "set global x = 1; begin" }, true) as string, /only SET TRANSACTION/)
  })
})

describeEach("transactions over $name", (subject) => {
  it.live("have the level that was asked for, and the next one has not", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      const name = yield* table(session, "id int")
      for (const isolation of levels) {
        for (const end of [session.commit, session.rollback]) {
          yield* session.begin({ isolation })
          assert.isTrue(session.inTransaction)
          assert.strictEqual(yield* levelOf(session, observer, name), isolation)
          yield* end
          assert.isTrue(session.isReady)
        }
        yield* session.begin({})
        assert.strictEqual(yield* levelOf(session, observer, name), "repeatable read")
        yield* session.commit
      }
    }), 30_000)

  it.live("leave no level pending when BEGIN was interrupted or failed half way", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const observer = yield* connect(subject)
      const name = yield* table(session, "id int")
      for (let round = 0; round < 20; round++) {
        const fiber = yield* Effect.forkChild(session.begin({ isolation: "serializable" }), { startImmediately: true })
        if (round % 2 === 1) yield* Effect.yieldNow
        yield* Fiber.interrupt(fiber)
        if (!session.isReady) yield* session.reset
      }
      assert.isTrue(session.isReady)
      yield* session.begin({})
      assert.strictEqual(yield* levelOf(session, observer, name), "repeatable read")
      yield* session.rollback
    }))

  it.live("leave no level pending where the server refuses what comes after the level", () =>
    Effect.gen(function*() {
      const pool = yield* Pool.Pool
      const [, read, level] = subject.server.levelOfTransaction
      yield* pool.use((connection) => connection.executeUnprepared("create table t (id int)", [], undefined))
      const statement = "set transaction isolation level serializable; start transaction with nonsense"
      const error = yield* sqlFailure(pool.use((connection) => connection.begin({ statement })))
      assert.strictEqual(error.reason._tag, "SqlSyntaxError")
      let found: ReadonlyArray<unknown> = []
      yield* pool.use((connection) =>
        connection.begin({}).pipe(
          Effect.andThen(connection.executeUnprepared(read!, [], undefined)),
          // The server makes its list of transactions anew when nobody has read it for a tenth of a second.
          Effect.andThen(eventually(Effect.delay(
            Effect.map(connection.executeValuesUnprepared(level!, []), (rows) => {
              found = rows
              return rows.length > 0
            }),
            "150 millis"
          )))
        )
      )
      assert.deepStrictEqual(found, [["REPEATABLE READ"]])
    }).pipe(Effect.provide(onFresh(subject, { pool: { max: 1 } }))))

  it.live("read only refuse to write", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int")
      yield* session.begin({ isolation: "read committed", access: "read only" })
      const error = yield* sqlFailure(run(session, `insert into ${name} values (1)`))
      assert.strictEqual(serverError(error).errno, 1792)
      assert.isTrue(session.inTransaction)
      yield* session.commit
      yield* run(session, `insert into ${name} values (1)`)
    }))

  it.live("see the snapshot that was asked for", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const other = yield* connect(subject)
      const name = yield* table(session, "id int")
      yield* session.begin({ statement: beginStatement({ consistentSnapshot: true }) })
      yield* run(other, `insert into ${name} values (1)`)
      assert.deepStrictEqual(yield* run(session, `select * from ${name}`), [])
      yield* session.commit
      yield* session.begin({})
      yield* run(other, `insert into ${name} values (2)`)
      assert.strictEqual((yield* run(session, `select * from ${name}`)).length, 2)
      yield* session.commit
    }))

  it.live("nest by savepoints", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      const insert = (id: number) => run(session, `insert into ${name} values (?)`, [id])
      yield* session.begin({})
      yield* insert(1)
      yield* session.savepoint("a")
      yield* insert(2)
      yield* session.savepoint("b")
      yield* insert(3)
      yield* session.rollbackSavepoint("b")
      yield* session.releaseSavepoint("b")
      yield* sqlFailure(insert(2))
      yield* session.releaseSavepoint("a")
      yield* session.savepoint("c")
      yield* insert(4)
      yield* session.rollbackSavepoint("c")
      yield* session.commit
      assert.deepStrictEqual(yield* session.executeValues(`select id from ${name} order by id`, []), [[1], [2]])
      assert.isTrue(session.isReady)
    }))

  it.live("go on after an error that only undid its statement, and the server is asked first", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      yield* session.begin({})
      yield* run(session, `insert into ${name} values (1)`)
      for (const sql of [`insert into ${name} values (1)`, "select * from nowhere", "selec 1"]) {
        yield* sqlFailure(run(session, sql))
        assert.isTrue(session.inTransaction)
      }
      yield* run(session, `insert into ${name} values (2)`)
      yield* sqlFailure(run(session, `insert into ${name} values (2)`))
      yield* session.commit
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 2)
    }))

  it.live("are over after a deadlock: nothing more reaches the server, and COMMIT says so", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const other = yield* connect(subject)
      const name = yield* table(session, "id int primary key, v int")
      yield* run(session, `insert into ${name} values ${eight}`)
      for (const goOn of [true, false]) {
        yield* session.begin({})
        yield* other.begin({})
        yield* run(session, `insert into ${name} values (9, 0)`)
        const { error, waiting } = yield* deadlock(session, other, name)
        assert.strictEqual(error.reason._tag, "DeadlockError")
        assert.strictEqual(serverError(error).errno, 1213)
        assert.isFalse(session.inTransaction)
        assert.isFalse(session.isReady)
        if (goOn) {
          for (
            const effect of [
              run(session, `insert into ${name} values (10, 0)`),
              session.savepoint("a"),
              run(session, "select 1")
            ]
          ) {
            const blocked = yield* sqlFailure(effect)
            assert.instanceOf(blocked.reason.cause, TransactionEnded)
            assert.isFalse(blocked.isRetryable)
            assert.match(blocked.message, /was not sent, because its transaction has ended: .*deadlock/i)
          }
          yield* session.rollbackSavepoint("a")
          assert.instanceOf((yield* sqlFailure(session.commit)).reason.cause, RolledBack)
        } else yield* session.rollback
        if (!session.isReady) yield* session.reset
        assert.isTrue(session.isReady)
        yield* Fiber.join(waiting)
        yield* other.rollback
        assert.strictEqual(yield* one(session, `select count(*) from ${name} where id > 8`), 0)
      }
    }))

  it.live("are over for statements that were already waiting behind the deadlock", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const other = yield* connect(subject)
      const name = yield* table(session, "id int primary key, v int")
      yield* run(session, `insert into ${name} values ${eight}`)
      yield* session.begin({})
      yield* other.begin({})
      for (let id = 2; id <= 8; id++) yield* run(other, `update ${name} set v = v + 1 where id = ?`, [id])
      yield* run(session, `update ${name} set v = v + 1 where id = 1`)
      const waiting = yield* Effect.forkChild(run(other, `update ${name} set v = v + 1 where id = 1`))
      yield* working(yield* connect(subject), other)
      const [first, second] = yield* Effect.all([
        sqlFailure(run(session, `update ${name} set v = v + 1 where id = 2`)),
        sqlFailure(run(session, `insert into ${name} values (9, 0)`))
      ], { concurrency: 2 })
      assert.strictEqual(first.reason._tag, "DeadlockError")
      assert.instanceOf(second.reason.cause, TransactionEnded)
      yield* Fiber.join(waiting)
      yield* other.rollback
      yield* session.reset
      assert.strictEqual(yield* one(session, `select count(*) from ${name} where id = 9`), 0)
    }))

  liveWith(subject, "snapshot isolation")(
    "are over after a changed row, where the server's snapshots are isolated",
    () =>
      Effect.gen(function*() {
        const session = yield* connect(subject, { sessionVariables: { innodb_snapshot_isolation: true } })
        const other = yield* connect(subject)
        const name = yield* table(session, "id int primary key, v int")
        yield* run(session, `insert into ${name} values (1, 0)`)
        yield* session.begin({ isolation: "repeatable read" })
        yield* run(session, `select * from ${name}`)
        yield* run(other, `update ${name} set v = 7`)
        const error = yield* sqlFailure(run(session, `update ${name} set v = v + 1`))
        assert.strictEqual(serverError(error).errno, 1020)
        assert.strictEqual(error.reason._tag, "SerializationError")
        assert.instanceOf(
          (yield* sqlFailure(run(session, `update ${name} set v = 100`))).reason.cause,
          TransactionEnded
        )
        assert.instanceOf((yield* sqlFailure(session.commit)).reason.cause, RolledBack)
        yield* session.reset
        assert.strictEqual(yield* one(session, `select v from ${name}`), 7)
      })
  )

  it.live("survive a lock timeout, which undoes the statement only", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { lockTimeout: "1 second" })
      const other = yield* connect(subject)
      const name = yield* table(session, "id int primary key, v int")
      yield* run(session, `insert into ${name} values (1, 0), (2, 0)`)
      yield* other.begin({})
      yield* run(other, `update ${name} set v = 1 where id = 1`)
      yield* session.begin({})
      yield* run(session, `update ${name} set v = 5 where id = 2`)
      const error = yield* sqlFailure(run(session, `update ${name} set v = 5 where id = 1`))
      assert.strictEqual(serverError(error).errno, 1205)
      assert.strictEqual(error.reason._tag, "LockTimeoutError")
      assert.isTrue(session.inTransaction)
      yield* other.rollback
      yield* run(session, `update ${name} set v = 5 where id = 1`)
      yield* session.commit
      assert.strictEqual(yield* one(session, `select sum(v) from ${name}`), "10")
    }))

  it.live("do not survive it where the server rolls everything back", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make({ settings: { innodb_rollback_on_timeout: true } })
      const url = Redacted.make(server.url)
      const session = yield* connect(subject, { url, lockTimeout: "1 second" })
      const other = yield* connect(subject, { url })
      const name = yield* table(session, "id int primary key, v int")
      yield* run(session, `insert into ${name} values (1, 0), (2, 0)`)
      yield* other.begin({})
      yield* run(other, `update ${name} set v = 1 where id = 1`)
      yield* session.begin({})
      yield* run(session, `update ${name} set v = 5 where id = 2`)
      const error = yield* sqlFailure(run(session, `update ${name} set v = 5 where id = 1`))
      assert.strictEqual(serverError(error).errno, 1205)
      assert.isFalse(session.inTransaction)
      yield* other.rollback
      assert.instanceOf((yield* sqlFailure(run(session, `update ${name} set v = 9`))).reason.cause, TransactionEnded)
      yield* sqlFailure(session.commit)
      yield* session.reset
      assert.strictEqual(yield* one(session, `select sum(v) from ${name}`), "0")
    }), 30_000)

  it.live("refuse what would commit them, before it is sent", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      yield* session.begin({})
      yield* run(session, `insert into ${name} values (1)`)
      const refused = [
        `create table ${name}_x (id int)`,
        `/* hidden */ /*!50000 alter table ${name} add x int */`,
        `truncate table ${name}`,
        `lock tables ${name} write`,
        "commit",
        "start transaction",
        "rollback"
      ]
      for (const sql of refused) {
        for (const effect of [run(session, sql), session.executeUnprepared(sql, [], undefined)]) {
          const error = yield* sqlFailure(effect)
          assert.instanceOf(error.reason.cause, ImplicitCommit, sql)
          assert.isFalse(error.isRetryable)
          assert.isTrue(session.inTransaction)
        }
      }
      const hidden = yield* sqlFailure(session.executeUnprepared(`select 1; drop table ${name}`, [], undefined))
      assert.instanceOf(hidden.reason.cause, ImplicitCommit)
      yield* run(session, "create temporary table scratch (id int)")
      yield* run(session, "drop temporary table scratch")
      yield* session.rollback
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 0)
    }))

  it.live("let it pass where that was asked for", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      yield* session.begin({})
      yield* run(session, `insert into ${name} values (1)`)
      yield* allow(run(session, `alter table ${name} add x int`))
      assert.isTrue(session.inTransaction)
      yield* run(session, `insert into ${name} values (2, 2)`)
      yield* allow(run(session, `alter table ${name} add y int`))
      yield* session.rollback
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 2)
      assert.isTrue(session.isReady)
    }))

  it.live("are over when a procedure has ended them, and nobody is told otherwise", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      const procedure = `end_${process.pid}_${subject.key}`
      yield* session.executeUnprepared(`create procedure ${procedure}() begin commit; end`, [], undefined)
      yield* session.begin({})
      yield* run(session, `insert into ${name} values (1)`)
      yield* run(session, `call ${procedure}()`)
      assert.isFalse(session.inTransaction)
      const error = yield* sqlFailure(run(session, `insert into ${name} values (2)`))
      assert.instanceOf(error.reason.cause, TransactionEnded)
      assert.match(error.message, /CALL .* has ended it/)
      yield* sqlFailure(session.commit)
      yield* session.reset
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 1)
      yield* run(session, `drop procedure ${procedure}`)
    }))

  it.live("begun by hand are kept apart from each other as well", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const other = yield* connect(subject)
      const name = yield* table(session, "id int primary key, v int")
      yield* run(session, `insert into ${name} values ${eight}`)
      yield* run(session, "begin")
      assert.isTrue(session.inTransaction)
      yield* run(other, "start transaction")
      const { waiting } = yield* deadlock(session, other, name)
      assert.instanceOf(
        (yield* sqlFailure(run(session, `insert into ${name} values (9, 0)`))).reason.cause,
        TransactionEnded
      )
      yield* run(session, "rollback")
      yield* run(session, `insert into ${name} values (10, 0)`)
      yield* Fiber.join(waiting)
      yield* run(other, "commit")
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* one(session, `select count(*) from ${name} where id > 8`), 1)
    }))

  it.live("of which the rest was interrupted are rolled back by a reset", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject)
      const name = yield* table(session, "id int primary key")
      yield* session.begin({ isolation: "serializable" })
      yield* run(session, `insert into ${name} values (1)`)
      const fiber = yield* Effect.forkChild(run(session, "select sleep(10)"), { startImmediately: true })
      yield* working(yield* connect(subject), session)
      yield* Fiber.interrupt(fiber)
      yield* session.reset
      assert.isTrue(session.isReady)
      assert.strictEqual(yield* one(session, `select count(*) from ${name}`), 0)
    }))

  it.live("end in time when COMMIT or ROLLBACK is not answered", () =>
    Effect.gen(function*() {
      for (const end of ["commit", "rollback"] as const) {
        const proxy = yield* FaultProxy.make(subject.server.url())
        const session = yield* connect(subject, { url: Redacted.make(proxy.url), controlTimeout: "300 millis" })
        yield* session.begin({})
        yield* run(session, "select 1")
        yield* proxy.blackhole
        const started = performance.now()
        const error = yield* sqlFailure(session[end])
        assert.isBelow(performance.now() - started, 4_000)
        assert.isFalse(error.isRetryable)
        assert.match(error.message, /not answered within 300 ms/)
        assert.isTrue(session.isClosed)
      }
    }))
})
