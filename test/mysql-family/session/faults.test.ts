import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Outcome, Retry, Transaction } from "watertight"
import { FaultProxy } from "../../support/index.ts"
import { connect, describeEach, eventually, lost, one, run, sqlFailure, table, working } from "../support.ts"

/** Without TLS, which MySQL has by default: a proxy cannot look for words in what it cannot read. */
const clear = (url: string) => Redacted.make(`${url}?sslmode=disable&allowPublicKeyRetrieval=true`)

describeEach("faults under $name", (subject) => {
  it.live("a killed session fails what runs with what the server said, and tells who listens", () =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      for (const phase of ["idle", "statement", "transaction", "stream"] as const) {
        const session = yield* connect(subject)
        const heard: Array<string> = []
        session.onLost((error) => heard.push(error.reason._tag))
        const kill = run(observer, `kill connection ${session.threadId}`)
        if (phase === "statement") {
          const fiber = yield* Effect.forkChild(sqlFailure(run(session, subject.server.endless)), {
            startImmediately: true
          })
          yield* working(observer, session)
          yield* kill
          const error = yield* Fiber.join(fiber)
          assert.isTrue(lost(error).sent)
          assert.isFalse(error.isRetryable)
        } else if (phase === "transaction") {
          yield* session.begin({})
          yield* run(session, "select 1")
          yield* kill
          yield* sqlFailure(run(session, "select 1"))
          const error = yield* sqlFailure(session.commit)
          assert.isFalse(lost(error).sent)
        } else if (phase === "stream") {
          const error = yield* sqlFailure(
            Stream.runForEachArray(
              session.executeStream(
                `select seq, repeat('x', 100) as x from ${subject.server.series(50_000_000)}`,
                [],
                undefined
              ),
              () => Effect.exit(kill)
            )
          )
          assert.isTrue(lost(error).sent)
        } else {
          yield* kill
          yield* eventually(Effect.sync(() => session.isClosed))
          const error = yield* sqlFailure(run(session, "select 1"))
          assert.isFalse(lost(error).sent)
          assert.isTrue(error.isRetryable)
        }
        assert.isTrue(session.isClosed)
        assert.isFalse(session.isReady)
        assert.deepStrictEqual(heard, ["ConnectionError"], phase)
        // Whoever comes late hears it too.
        session.onLost((error) => heard.push(error.reason._tag))
        assert.strictEqual(heard.length, 2)
      }
    }))

  it.live("a cut connection says whether a statement had been sent", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const url = clear(proxy.url)
      for (const fault of ["before", "after", "afterFin", { middle: 3 }] as const) {
        for (let warm = 0; warm < 3; warm++) {
          const session = yield* connect(subject, { url })
          const sql = "select 'needle', ?"
          for (let round = 0; round < warm; round++) yield* run(session, sql, [1])
          // A prepared statement is known by its parameter.
          yield* proxy.when("a very long parameter", fault)
          const error = yield* sqlFailure(run(session, sql, ["a very long parameter"]))
          assert.strictEqual(error.reason._tag, "ConnectionError")
          assert.isTrue(lost(error).sent)
          assert.isFalse(error.isRetryable)
          assert.isTrue(session.isClosed)
        }
      }
    }))

  it.live("a statement behind another one that was lost has not been sent", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const session = yield* connect(subject, { url: clear(proxy.url) })
      const observer = yield* connect(subject)
      yield* session.begin({})
      const [first, second] = yield* Effect.all([
        sqlFailure(run(session, "select sleep(10)")),
        sqlFailure(run(session, "select 2")),
        Effect.andThen(working(observer, session), proxy.cutAll)
      ], { concurrency: "unbounded" })
      assert.isTrue(lost(first).sent)
      assert.isFalse(lost(second).sent)
    }))

  it.live("COMMIT without answer is what it is, before and after the server has seen it", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const url = clear(proxy.url)
      const observer = yield* connect(subject)
      const name = yield* table(observer, "id int primary key")
      let id = 0
      for (const fault of ["before", "after", "afterFin", "blackholeRequest", "blackholeReply"] as const) {
        const session = yield* connect(subject, { url, controlTimeout: "300 millis" })
        yield* session.begin({})
        yield* run(session, `insert into ${name} values (?)`, [++id])
        yield* proxy.when("COMMIT", fault)
        const started = performance.now()
        const error = yield* sqlFailure(session.commit)
        assert.isBelow(performance.now() - started, 4_000, String(fault))
        assert.strictEqual(error.reason._tag, "ConnectionError")
        assert.isTrue(lost(error).sent)
        assert.isFalse(error.isRetryable)
        assert.isTrue(session.isClosed)
        yield* proxy.heal
        const applied = fault.startsWith("after") || fault === "blackholeReply"
        yield* eventually(
          Effect.map(one(observer, `select count(*) from ${name} where id = ?`, [id]), (n) => n === (applied ? 1 : 0))
        )
      }
    }), 30_000)

  it.live("a transaction through the whole client is there once, not there, or unknown", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const observer = yield* connect(subject)
      const name = yield* table(observer, "id int")
      const layer = subject.module.layer({
        url: clear(proxy.url),
        controlTimeout: "300 millis",
        maxConnections: 2
      })
      const count = (id: number) => one(observer, `select count(*) from ${name} where id = ?`, [id])
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const insert = (id: number) => sql`insert into ${sql(name)} values (${id})`
        yield* Transaction.run(insert(1), {})
        assert.strictEqual(yield* count(1), 1)

        // Lost before COMMIT was sent: repeated.
        yield* proxy.when("needle", "after")
        yield* Transaction.run(Effect.andThen(insert(2), sql`select 'needle'`.unprepared), {})
        assert.strictEqual(yield* count(2), 1)

        // COMMIT lost: unknown, and not repeated.
        for (const [id, fault] of [[3, "before"], [4, "after"], [5, "blackholeReply"]] as const) {
          yield* proxy.when("COMMIT", fault)
          const error = yield* sqlFailure(Transaction.run(insert(id), {}))
          assert.isTrue(Outcome.isUnknown(error), `${id}`)
          assert.isFalse(error.isRetryable)
          yield* proxy.heal
          yield* eventually(Effect.map(count(id), (n) => n === (id === 3 ? 0 : 1)))
        }

        // With a key it is known.
        for (const [id, fault] of [[6, "before"], [7, "after"], [8, "blackholeReply"]] as const) {
          yield* Effect.andThen(
            proxy.when("COMMIT", fault),
            Transaction.run(insert(id), { idempotencyKey: `key of ${id} ${"x".repeat(300)}` })
          )
          yield* proxy.heal
          assert.strictEqual(yield* count(id), 1, String(id))
          const again = yield* sqlFailure(
            Transaction.run(insert(id), { idempotencyKey: `key of ${id} ${"x".repeat(300)}` })
          )
          assert.isTrue(Outcome.isApplied(again))
          assert.strictEqual(yield* count(id), 1, String(id))
        }
      }).pipe(Effect.provide(layer))
      yield* run(observer, "drop table if exists watertight_transaction")
    }), 60_000)

  it.live("a deadlock is repeated as a whole", () =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      const name = yield* table(observer, "id int primary key, v int")
      yield* run(observer, `insert into ${name} values (1, 0), (2, 0)`)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        let attempts = 0
        const add = (first: number, second: number) =>
          Transaction.run(
            Effect.gen(function*() {
              attempts++
              yield* sql`update ${sql(name)} set v = v + 1 where id = ${first}`
              yield* Effect.sleep("30 millis")
              yield* sql`update ${sql(name)} set v = v + 1 where id = ${second}`
            }),
            {}
          )
        yield* Effect.all([add(1, 2), add(2, 1), add(1, 2), add(2, 1)], { concurrency: "unbounded" })
        assert.isAbove(attempts, 4)
        assert.deepStrictEqual(yield* sql`select v from ${sql(name)}`.values, [[4], [4]])
      }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(subject.server.url()) })))
    }), 30_000)

  it.live("a swallowed deadlock makes the transaction fail, not lie", () =>
    Effect.gen(function*() {
      const observer = yield* connect(subject)
      const name = yield* table(observer, "id int primary key, v int")
      yield* run(observer, `insert into ${name} values (1, 0), (2, 0), (3, 0), (4, 0)`)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const other = yield* connect(subject)
        yield* other.begin({})
        for (const id of [2, 3, 4]) yield* run(other, `update ${name} set v = 9 where id = ?`, [id])
        const error = yield* sqlFailure(Transaction.run(
          Effect.gen(function*() {
            yield* sql`update ${sql(name)} set v = 1 where id = 1`
            const waiting = yield* Effect.forkChild(run(other, `update ${name} set v = 9 where id = 1`))
            yield* working(observer, other)
            yield* Effect.ignore(sql`update ${sql(name)} set v = 1 where id = 2`)
            yield* Effect.ignore(sql`insert into ${sql(name)} values (5, 5)`)
            yield* Fiber.join(waiting)
          }),
          { retry: Retry.never }
        ))
        assert.isTrue(Outcome.isNotApplied(error))
        assert.isTrue(error.isRetryable)
        yield* other.rollback
        assert.deepStrictEqual(yield* sql`select v from ${sql(name)} where v <> 0`.values, [])
      }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(subject.server.url()) })))
    }), 30_000)

  it.live("a black hole ends everything in time", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(subject.server.url())
      const url = clear(proxy.url)
      const options = { url, controlTimeout: "300 millis", connectTimeout: "300 millis" } as const
      for (
        const operation of [
          "ping",
          "begin",
          "rollback",
          "savepoint",
          "reset",
          "statement",
          "stream",
          "connect",
          "close"
        ] as const
      ) {
        const session = yield* connect(subject, {
          ...options,
          ...(operation === "statement" || operation === "stream" ? { statementTimeout: "200 millis" } : undefined)
        })
        if (operation !== "begin") yield* session.begin({})
        yield* proxy.blackhole
        const effects = {
          ping: session.ping,
          begin: session.begin({}),
          rollback: session.rollback,
          savepoint: session.savepoint("a"),
          reset: session.reset,
          statement: run(session, "select 1"),
          stream: Stream.runDrain(session.executeStream("select 1", [], undefined)),
          connect: Effect.asVoid(connect(subject, options)),
          close: Effect.andThen(session.close, session.ping)
        }
        const started = performance.now()
        const error = yield* sqlFailure(effects[operation])
        assert.isBelow(
          performance.now() - started,
          operation === "statement" || operation === "stream" || operation === "close" ? 2_000 : 800,
          operation
        )
        assert.match(error.message, /not answered within|no connection within|was closed/, operation)
        if (operation !== "connect") assert.isTrue(session.isClosed, operation)
        yield* proxy.heal
      }
    }), 30_000)

  it.live("a server that is stopped, started, paused and killed is lived through", () =>
    Effect.gen(function*() {
      const server = yield* subject.server.make()
      const layer = subject.module.layer({
        url: Redacted.make(server.url),
        controlTimeout: "500 millis",
        connectTimeout: "500 millis",
        pool: { max: 3, acquireTimeout: "60 seconds", validateAfter: "100 millis" }
      })
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id int)`
        for (const blow of [server.restart, Effect.andThen(server.kill, server.start)]) {
          yield* sql`insert into t values (1)`
          yield* blow
          yield* sql`insert into t values (1)`
        }
        yield* server.pause
        const fiber = yield* Effect.forkChild(sql`insert into t values (1)`)
        yield* Effect.sleep("1 second")
        yield* server.resume
        yield* Fiber.await(fiber)
        assert.deepStrictEqual(yield* sql`select 1 as a`, [{ a: 1 }])
        const down = yield* Effect.forkChild(sql`insert into t values (2)`)
        yield* server.stop
        const waiting = yield* Effect.forkChild(sql`select 2 as a`)
        yield* Effect.sleep("300 millis")
        yield* server.start
        assert.deepStrictEqual(yield* Fiber.join(waiting), [{ a: 2 }])
        yield* Fiber.await(down)
      }).pipe(Effect.provide(layer))
    }), 180_000)

  it.live("an idle session that the server ends is known to be gone", () =>
    Effect.gen(function*() {
      const session = yield* connect(subject, { sessionVariables: { wait_timeout: 1 } })
      const heard = yield* Effect.callback<string>((resume) =>
        session.onLost((error) => resume(Effect.succeed(error.message)))
      )
      assert.match(heard, /closed|ended|lost|ECONNRESET|inactivity/i)
      assert.isTrue(session.isClosed)
    }))
})
