/**
 * PostgreSQL's table of error codes, provoked on a real server: what each failure means, what may be repeated, and what
 * becomes of the connection.
 */
import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Fiber, Layer, Redacted, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Outcome, PoolError, Retry, Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import { describeWith, FaultProxy, freshDatabase, PostgresServer } from "../support/index.ts"
import { codeOf, layerAt, reasonOf, sqlFailure } from "../transaction/support.ts"

type Services = SqlClient.SqlClient | Transaction.Manager

/** One connection, so that what becomes of it can be seen, and no repetition that would hide a failure. */
const oneConnection = { pool: { max: 1 }, retry: Retry.never, breaker: false } as const

const run = (statement: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

/** Which session this is. */
const backend = Effect.flatMap(
  SqlClient.SqlClient,
  (sql) => Effect.map(sql<{ pid: number }>`select pg_backend_pid() as pid`, (rows) => rows[0]!.pid)
)

interface Expected {
  readonly code?: string
  readonly tag?: SqlError["reason"]["_tag"]
  readonly outcome: Outcome.Outcome
  readonly scope: Outcome.Scope
  readonly ladder?: Outcome.Ladder
  readonly phase?: Outcome.Phase
  readonly retryable: boolean
  readonly connection: "kept" | "gone"
}

/** Runs what must fail, and compares all that is known about the failure. */
const expectFailure = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>, expected: Expected) {
  const before = yield* backend
  const error = yield* sqlFailure(effect)
  const after = yield* Effect.retry(backend, { times: 20, schedule: Schedule.spaced("50 millis") })
  const verdict = Outcome.of(error)
  const actual = {
    ...("code" in expected && { code: codeOf(error) }),
    ...("tag" in expected && { tag: error.reason._tag }),
    outcome: verdict?.outcome,
    scope: verdict?.scope,
    ...("ladder" in expected && { ladder: verdict?.ladder }),
    ...("phase" in expected && { phase: verdict?.phase }),
    retryable: error.isRetryable,
    connection: before === after ? "kept" : "gone"
  }
  assert.deepStrictEqual(actual as typeof expected, expected, `${error.message}: ${JSON.stringify(verdict)}`)
  return error
})

const transaction = <A, E, R>(body: Effect.Effect<A, E, R>, spec: Transaction.Spec = {}) =>
  Transaction.run(body, { retry: Retry.never, ...spec })

/** Somebody else on the same database. */
class Beside extends Context.Service<
  Beside,
  {
    readonly url: string
    readonly run: <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.Effect<A, E>
  }
>()("test/Beside") {
  static readonly layer = (url: string) =>
    Layer.effect(
      Beside,
      Effect.map(Layer.build(Layer.fresh(layerAt(url, { retry: Retry.never }))), (context) => ({
        url,
        run: (effect) => Effect.provideContext(effect, context)
      }))
    )
}

const beside = <A, E>(effect: Effect.Effect<A, E, Services>) => Effect.flatMap(Beside, ({ run }) => run(effect))

/** Waits until a question has an answer. */
const until = (question: string) =>
  Effect.repeat(beside(run(question)), { schedule: Schedule.spaced("10 millis"), while: (rows) => rows.length === 0 })

/** Somebody else holds a lock as long as this runs. */
const holding = Effect.fnUntraced(function*(statement: string) {
  const held = yield* Deferred.make<void>()
  const fiber = yield* Effect.forkChild(beside(Transaction.run(Effect.gen(function*() {
    yield* run(statement)
    yield* Deferred.succeed(held, undefined)
    yield* Effect.never
  }))))
  yield* Deferred.await(held)
  return fiber
})

const definite = { outcome: "NotApplied", connection: "kept" } as const
const forGood = { ...definite, scope: "Never", retryable: false } as const

const Live = Layer.unwrap(Effect.map(freshDatabase(), (url) => {
  const tables = Layer.effectDiscard(Effect.flatMap(SqlClient.SqlClient, (sql) =>
    Effect.andThen(
      sql`create table parent (id int primary key)`,
      sql`create table t (
        id int primary key, n int not null default 0 check (n >= 0), at int4range,
        parent int references parent deferrable initially deferred,
        other int references parent,
        exclude using gist (at with &&))`
    )))
  return Layer.merge(Layer.provideMerge(tables, layerAt(url, oneConnection)), Beside.layer(url))
}))

it.layer(Live, { timeout: 30_000, excludeTestServices: true })("an answer of the server", (it) => {
  const fails = (
    name: string,
    statement: string,
    expected: Pick<Expected, "code" | "tag">,
    before: ReadonlyArray<string> = []
  ) =>
    it.effect(`${expected.code}, ${name}: for good, alone and in a transaction`, () =>
      Effect.gen(function*() {
        yield* run("truncate t, parent")
        for (const other of before) yield* run(other)
        yield* expectFailure(run(statement), { ...expected, ...forGood, phase: "Statement" })
        yield* expectFailure(transaction(run(statement)), { ...expected, ...forGood, phase: "Ended" })
      }))

  fails("not null", "insert into t values (1, null)", { code: "23502", tag: "ConstraintError" })
  fails("foreign key", "insert into t (id, other) values (1, 99)", { code: "23503", tag: "ConstraintError" })
  fails("unique", "insert into t values (1)", { code: "23505", tag: "UniqueViolation" }, ["insert into t values (1)"])
  fails("check", "insert into t values (1, -1)", { code: "23514", tag: "ConstraintError" })
  fails("exclusion", "insert into t (id, at) values (2, '[1,3)')", { code: "23P01", tag: "ConstraintError" }, [
    "insert into t (id, at) values (1, '[1,3)')"
  ])
  fails("division by zero", "select 1 / (select 0)", { code: "22012" })
  fails("malformed value", "select 'x'::text::int", { code: "22P02" })
  fails("syntax", "selekt 1", { code: "42601", tag: "SqlSyntaxError" })
  fails("no such table", "select * from nowhere", { code: "42P01", tag: "SqlSyntaxError" })
  fails("no such column", "select nothing from t", { code: "42703", tag: "SqlSyntaxError" })
  fails("no such schema", "create table nowhere.t (id int)", { code: "3F000" })

  const transient = (
    name: string,
    alone: string | undefined,
    inside: string,
    expected: Pick<Expected, "code" | "tag" | "ladder">
  ) =>
    it.effect(`${expected.code}, ${name}: the statement when it is alone, otherwise the transaction`, () =>
      Effect.gen(function*() {
        if (alone !== undefined) {
          yield* expectFailure(run(alone), {
            ...definite,
            ...expected,
            scope: "Statement",
            phase: "Statement",
            retryable: true
          })
        }
        yield* expectFailure(transaction(run(inside)), {
          ...definite,
          ...expected,
          scope: "Transaction",
          phase: "Ended",
          retryable: true
        })
      }))

  /** What cannot be provoked here can still be raised: the table is the same. */
  const raise = (code: string) => `do $$ begin raise exception using errcode = '${code}', message = 'raised'; end $$`

  transient("serialization failure", raise("40001"), raise("40001"), {
    code: "40001",
    tag: "SerializationError",
    ladder: "Conflict"
  })
  transient("deadlock", raise("40P01"), raise("40P01"), { code: "40P01", tag: "DeadlockError", ladder: "Conflict" })
  fails("rollback", raise("40000"), { code: "40000" })
  fails("integrity at COMMIT", raise("40002"), { code: "40002" })
  fails("disk full", raise("53100"), { code: "53100" })
  fails("object in use", raise("55006"), { code: "55006" })
  fails("internal error", raise("XX000"), { code: "XX000" })

  // Raised by a statement, or relayed from another server: the session has answered and goes on.
  for (
    const code of [
      ...["08000", "08001", "08003", "08004", "08006", "08007", "08P01", "40003"],
      ...["53000", "53100", "53200", "53300", "53400"],
      ...["57P01", "57P02", "57P03", "57P04", "57P05"]
    ]
  ) fails("answered on a living session", raise(code), { code })

  it.effect("53400, limit exceeded: by the server's own temp_file_limit", () =>
    Effect.gen(function*() {
      const body = Effect.gen(function*() {
        yield* run("set local temp_file_limit = '64kB'")
        yield* run("set local work_mem = '64kB'")
        yield* run("select count(*) from (select * from generate_series(1, 100000) i order by -i offset 0) x")
      })
      yield* expectFailure(transaction(body), {
        ...definite,
        code: "53400",
        scope: "Never",
        retryable: false
      })
    }))

  it.effect("57014, statement timeout: for good, and the connection lives", () =>
    Effect.gen(function*() {
      const expected = { ...forGood, code: "57014", tag: "StatementTimeoutError" } as const
      const body = Effect.andThen(run("set local statement_timeout = 50"), run("select pg_sleep(10)"))
      yield* expectFailure(transaction(body), { ...expected, phase: "Ended" })
    }))

  it.effect("55P03, lock timeout and NOWAIT", () =>
    Effect.gen(function*() {
      yield* run("truncate t, parent")
      yield* run("insert into t values (1)")
      const holder = yield* holding("select * from t where id = 1 for update")
      const expected = {
        ...definite,
        code: "55P03",
        tag: "LockTimeoutError",
        ladder: "Lock",
        retryable: true
      } as const
      yield* expectFailure(run("select * from t for update nowait"), {
        ...expected,
        scope: "Statement",
        phase: "Statement"
      })
      yield* expectFailure(
        transaction(Effect.andThen(run("set local lock_timeout = 50"), run("update t set n = 1"))),
        { ...expected, scope: "Transaction", phase: "Ended" }
      )
      yield* Fiber.interrupt(holder)
    }))

  it.effect("25006, read only: another server may do it; if it was asked for, none will", () =>
    Effect.gen(function*() {
      yield* run("truncate t, parent")
      const expected = { ...definite, code: "25006", ladder: "Instant" } as const
      const body = Effect.andThen(run("set transaction read only"), run("insert into t values (1)"))
      yield* expectFailure(transaction(body), { ...expected, scope: "OtherNode", retryable: true })
      yield* expectFailure(transaction(run("insert into t values (1)"), { access: "read only" }), {
        ...expected,
        scope: "Never",
        retryable: false
      })
    }))

  it.effect("25P02: the statement after a failure tells of that failure", () =>
    Effect.gen(function*() {
      const error = yield* expectFailure(
        transaction(Effect.andThen(Effect.ignore(run(raise("40001"))), run("select 1"))),
        { ...definite, scope: "Transaction", phase: "Ended", retryable: true }
      )
      assert.strictEqual(reasonOf(error)?._tag, "Poisoned")
    }))

  it.effect("23503 of a deferred constraint comes at COMMIT, and is final", () =>
    Effect.gen(function*() {
      yield* expectFailure(transaction(run("insert into t (id, parent) values (1, 99)")), {
        ...forGood,
        code: "23503",
        tag: "ConstraintError",
        phase: "Commit"
      })
    }))

  it.effect("26000, a prepared statement that is gone: alone nobody notices, a transaction is repeated", () =>
    Effect.gen(function*() {
      const before = yield* backend
      yield* run("select 26000 as n")
      // Not so that the session could notice.
      yield* run("do $$ begin execute 'deallocate all'; end $$")
      assert.deepStrictEqual(yield* run("select 26000 as n"), [{ n: 26000 }])
      // Another text: one that was lost once is not prepared under a name any more.
      yield* run("select 26000 as n, 1 as first")
      yield* run("do $$ begin execute 'deallocate all'; end $$")
      yield* expectFailure(transaction(run("select 26000 as n, 1 as first")), {
        ...definite,
        code: "26000",
        scope: "Transaction",
        ladder: "Instant",
        retryable: true
      })
      yield* run("select 26000 as n, 2 as second")
      yield* run("do $$ begin execute 'deallocate all'; end $$")
      assert.deepStrictEqual(
        yield* Transaction.run(run("select 26000 as n, 2 as second"), { retry: Retry.defaults }),
        [{ n: 26000, second: 2 }]
      )
      assert.strictEqual(yield* backend, before)
    }))

  it.effect("0A000, a plan that is stale: alone nobody notices, a transaction is repeated", () =>
    Effect.gen(function*() {
      yield* run("create table if not exists changing (a int)")
      yield* run("insert into changing values (1)")
      for (const column of ["b", "c", "d"]) {
        const select = run(`select * from changing as before_${column}`)
        yield* select
        yield* beside(run(`alter table changing add column ${column} int default 2`))
        if (column === "b") {
          assert.deepStrictEqual(yield* select, [{ a: 1, b: 2 }])
        } else if (column === "c") {
          yield* expectFailure(transaction(select), {
            ...definite,
            code: "0A000",
            scope: "Transaction",
            ladder: "Instant",
            retryable: true
          })
        } else {
          assert.deepStrictEqual(yield* Transaction.run(select, { retry: Retry.defaults }), [{
            a: 1,
            b: 2,
            c: 2,
            d: 2
          }])
        }
      }
    }))

  // -------------------------------------------------------------------------------------------------------------------
  // Conflicts with others
  // -------------------------------------------------------------------------------------------------------------------

  it.effect("40001 at a statement: two update the same row", () =>
    Effect.gen(function*() {
      yield* run("truncate t, parent")
      yield* run("insert into t values (1)")
      const body = Effect.gen(function*() {
        yield* run("select * from t")
        yield* beside(run("update t set n = n + 1"))
        yield* run("update t set n = n + 1")
      })
      yield* expectFailure(transaction(body, { isolation: "repeatable read" }), {
        ...definite,
        code: "40001",
        tag: "SerializationError",
        scope: "Transaction",
        ladder: "Conflict",
        phase: "Ended",
        retryable: true
      })
    }))

  it.effect("40001 at COMMIT: write skew", () =>
    Effect.gen(function*() {
      yield* run("truncate t, parent")
      yield* run("insert into t values (1), (2)")
      const skew = (id: number) =>
        Effect.andThen(run("select sum(n) from t"), run(`update t set n = 1 where id = ${id}`))
      const body = Effect.gen(function*() {
        yield* skew(1)
        yield* beside(Transaction.run(skew(2), { isolation: "serializable" }))
      })
      yield* expectFailure(transaction(body, { isolation: "serializable" }), {
        ...definite,
        code: "40001",
        scope: "Transaction",
        phase: "Commit",
        retryable: true
      })
    }))

  it.effect("40P01: a deadlock has one victim, and it may try again", () =>
    Effect.gen(function*() {
      yield* run("truncate t, parent")
      yield* run("insert into t values (1), (2)")
      const lock = (id: number) => run(`update t set n = n + 1 where id = ${id}`)
      const body = Effect.gen(function*() {
        // This one looks for deadlocks at once, the other one leaves it to it.
        yield* run("set local deadlock_timeout = '10ms'")
        yield* lock(1)
        const other = yield* Effect.forkChild(beside(Transaction.run(Effect.gen(function*() {
          yield* run("set local deadlock_timeout = '10s'")
          yield* lock(2)
          yield* lock(1)
        }))))
        yield* until("select 1 from pg_locks where not granted and locktype = 'transactionid'")
        yield* lock(2)
        yield* Fiber.join(other)
      })
      yield* expectFailure(transaction(body), {
        ...definite,
        code: "40P01",
        tag: "DeadlockError",
        scope: "Transaction",
        ladder: "Conflict",
        retryable: true
      })
    }))
})

// ---------------------------------------------------------------------------------------------------------------------
// Administrators
// ---------------------------------------------------------------------------------------------------------------------

it.layer(Live, { timeout: 30_000, excludeTestServices: true })("an administrator", (it) => {
  /** Does this to a session once it runs, or has run, what contains the marker. */
  const disturb = (how: "pg_cancel_backend" | "pg_terminate_backend", pid: number, marker: string) =>
    Effect.andThen(
      until(`select 1 from pg_stat_activity where pid = ${pid} and query like '%${marker}%'`),
      beside(run(`select ${how}(${pid})`))
    )

  const gone = (pid: number) => until(`select 1 where not exists (select from pg_stat_activity where pid = ${pid})`)

  const both = <A, E, R, A2, E2, R2>(one: Effect.Effect<A, E, R>, other: Effect.Effect<A2, E2, R2>) =>
    Effect.map(Effect.all([one, other], { concurrency: 2 }), ([value]) => value)

  it.effect("57014: cancels a statement, which was not applied; the connection lives", () =>
    Effect.gen(function*() {
      const pid = yield* backend
      const statement = run("select pg_sleep(10) /* cancel me */")
      const expected = { ...forGood, code: "57014", tag: "StatementTimeoutError" } as const
      yield* expectFailure(both(statement, disturb("pg_cancel_backend", pid, "cancel me")), {
        ...expected,
        phase: "Statement"
      })
      yield* expectFailure(both(transaction(statement), disturb("pg_cancel_backend", pid, "cancel me")), {
        ...expected,
        phase: "Ended"
      })
    }))

  it.effect("57P01: ends the session of a statement, which was undone", () =>
    Effect.gen(function*() {
      const pid = yield* backend
      const statement = run("select pg_sleep(10) /* end me */")
      yield* expectFailure(both(statement, disturb("pg_terminate_backend", pid, "end me")), {
        code: "57P01",
        tag: "ConnectionError",
        outcome: "NotApplied",
        scope: "TransactionOnNewConnection",
        ladder: "Instant",
        phase: "Statement",
        retryable: true,
        connection: "gone"
      })
    }))

  it.effect("57P01: ends the session of a transaction, of which nothing was applied", () =>
    Effect.gen(function*() {
      const pid = yield* backend
      const expected = {
        code: "57P01",
        outcome: "NotApplied",
        scope: "TransactionOnNewConnection",
        retryable: true,
        connection: "gone"
      } as const
      yield* run("truncate t, parent")
      // While a statement runs.
      yield* expectFailure(
        both(
          transaction(Effect.andThen(run("insert into t values (1)"), run("select pg_sleep(10) /* end me */"))),
          disturb("pg_terminate_backend", pid, "end me")
        ),
        { ...expected, phase: "Ended" }
      )
      // While nothing runs: the next statement hears of it.
      const idle = Effect.gen(function*() {
        const pid = yield* backend
        yield* run("insert into t values (2) /* end me */")
        yield* disturb("pg_terminate_backend", pid, "end me")
        yield* gone(pid)
      })
      yield* expectFailure(transaction(Effect.andThen(idle, run("select 1"))), { ...expected, phase: "Ended" })
      // While nothing runs: COMMIT hears of it, and was not sent.
      yield* expectFailure(transaction(idle), { ...expected, phase: "Commit" })
      assert.deepStrictEqual(yield* run("select id from t"), [])
      // And it is repeated.
      let runs = 0
      yield* Effect.gen(function*() {
        if (++runs === 1) yield* idle
        yield* run("insert into t values (3)")
      }).pipe(Transaction.run({ retry: Retry.defaults }))
      assert.deepStrictEqual(yield* run("select id from t"), [{ id: 3 }])
    }))

  it.effect("57P01: ends a session that is idle, and nobody notices", () =>
    Effect.gen(function*() {
      const { url } = yield* Beside
      yield* Effect.gen(function*() {
        for (let round = 0; round < 20; round++) {
          const before = yield* backend
          yield* beside(run(`select pg_terminate_backend(${before})`))
          assert.notStrictEqual(yield* backend, before)
        }
      }).pipe(Effect.provide(layerAt(url, { pool: { max: 1 } })))
    }))

  it.effect("25P03: the server ends a transaction that idles, for good", () =>
    Effect.gen(function*() {
      const body = Effect.gen(function*() {
        yield* run("set local idle_in_transaction_session_timeout = 50")
        yield* Effect.sleep("200 millis")
        yield* run("select 1")
      })
      yield* expectFailure(transaction(body), {
        code: "25P03",
        outcome: "NotApplied",
        scope: "Never",
        phase: "Ended",
        retryable: false,
        connection: "gone"
      })
    }))

  it.effect("57P05: the server ends a session that idles, and nobody notices", () =>
    Effect.gen(function*() {
      const { url } = yield* Beside
      yield* Effect.gen(function*() {
        const before = yield* backend
        yield* Effect.sleep("200 millis")
        assert.notStrictEqual(yield* backend, before)
      }).pipe(
        Effect.provide(layerAt(url, { pool: { max: 1 }, startupParameters: { idle_session_timeout: "50" } }))
      )
    }))
})

// ---------------------------------------------------------------------------------------------------------------------
// Connecting
// ---------------------------------------------------------------------------------------------------------------------

/** What an adapter hears when it connects. */
const connect = Effect.fnUntraced(function*(url: string) {
  const adapter = yield* Postgres.makeAdapter({ url: Redacted.make(url) })
  const error = yield* sqlFailure(adapter.connect)
  const verdict = Outcome.of(Outcome.attach(error, "Connect", adapter.ruleOf))!
  assert.strictEqual(verdict.outcome, "NotSent")
  assert.strictEqual(verdict.phase, "Connect")
  assert.strictEqual(verdict.ladder, "Overload")
  return {
    code: codeOf(error),
    tag: error.reason._tag,
    scope: verdict.scope,
    retryable: error.isRetryable,
    permanent: adapter.isPermanent(error)
  }
})

const passing = { tag: "ConnectionError", scope: "Connect", retryable: true, permanent: false } as const

describeWith("postgresql")("connecting", () => {
  it.live("28P01, a wrong password: for good", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make({ password: "right" })
      const expected = { tag: "AuthenticationError", scope: "Never", retryable: false, permanent: true } as const
      assert.deepStrictEqual(yield* connect(server.url.replace("right", "wrong")), { ...expected, code: "28P01" })
      assert.deepStrictEqual(yield* connect(server.url.replace("postgres:right", "nobody:right")), {
        ...expected,
        code: "28P01"
      })
      // The layer says so at once, and waits for nothing.
      const error = yield* sqlFailure(Effect.void.pipe(Effect.provide(layerAt(server.url.replace("right", "wrong")))))
      assert.strictEqual(error.reason._tag, "AuthenticationError")
    }), 60_000)

  it.live("3D000, an unknown database: for good", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      assert.deepStrictEqual(yield* connect(server.databaseUrl("nowhere")), {
        code: "3D000",
        tag: "ConnectionError",
        scope: "Never",
        retryable: false,
        permanent: true
      })
    }), 60_000)

  it.live("53300, too many connections: passes", () =>
    Effect.gen(function*() {
      const settings = { max_connections: 5, superuser_reserved_connections: 1 }
      const server = yield* PostgresServer.make({ settings })
      yield* server.query("create role app login")
      const url = server.url.replace("postgres@", "app@")
      const adapter = yield* Postgres.makeAdapter({ url: Redacted.make(url) })
      yield* Effect.scoped(Effect.gen(function*() {
        for (let i = 0; i < 4; i++) {
          yield* Effect.acquireRelease(adapter.connect, (connection) => connection.close)
        }
        assert.deepStrictEqual(yield* connect(url), { ...passing, code: "53300" })
        // Whoever waits is told what the server says.
        const error = yield* sqlFailure(
          run("select 1").pipe(Effect.provide(layerAt(url, { pool: { acquireTimeout: "300 millis" }, breaker: false })))
        )
        const reason = PoolError.fromSqlError(error)?.reason
        assert.isTrue(Outcome.isNotSent(error))
        assert.strictEqual(
          reason?._tag === "AcquireTimeout" && reason.connectError !== undefined
            ? codeOf(reason.connectError)
            : undefined,
          "53300"
        )
      }))
      // And it has passed.
      yield* run("select 1").pipe(Effect.provide(layerAt(url)))
    }), 60_000)

  it.live("nobody there, or a name that nobody has: passes", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make({ host: "127.0.0.1", port: 1 })
      yield* proxy.refuse
      const refused = yield* connect(`postgres://postgres@127.0.0.1:${proxy.port}/postgres`)
      assert.deepStrictEqual({ ...refused, code: undefined }, { ...passing, code: undefined })
      const unknown = yield* connect("postgres://postgres@nowhere.invalid/postgres")
      assert.deepStrictEqual({ ...unknown, code: undefined }, { ...passing, code: undefined })
    }), 60_000)
})

// ---------------------------------------------------------------------------------------------------------------------
// A standby
// ---------------------------------------------------------------------------------------------------------------------

describeWith("standby")("connecting", () => {
  it.live("57P03, a server that takes no connections yet: passes", () =>
    Effect.gen(function*() {
      const primary = yield* PostgresServer.make()
      const standby = yield* primary.standby()
      yield* standby.query("alter system set hot_standby = off")
      yield* standby.stop("fast")
      // It never gets ready.
      const starting = yield* Effect.forkScoped(Effect.exit(standby.start))
      yield* Effect.repeat(connect(standby.url), {
        schedule: Schedule.spaced("20 millis"),
        while: (refusal) => refusal.code !== "57P03"
      })
      assert.deepStrictEqual(yield* connect(standby.url), { ...passing, code: "57P03" })
      yield* Fiber.interrupt(starting)
    }), 60_000)
})

describeWith("standby")("a standby", () => {
  const setUp = Effect.gen(function*() {
    const primary = yield* PostgresServer.make()
    yield* primary.query("create table t (id int primary key, n int not null)")
    yield* primary.query("insert into t select i, 0 from generate_series(1, 1000) i")
    const standby = yield* primary.standby({ settings: { max_standby_streaming_delay: "50ms" } })
    yield* Effect.repeat(standby.query("select 1 where to_regclass('t') is not null"), {
      schedule: Schedule.spaced("20 millis"),
      while: (rows) => rows.length === 0
    })
    return { primary, standby }
  })

  it.live("will not write, nor be serializable: another server may", () =>
    Effect.gen(function*() {
      const { standby } = yield* setUp
      yield* Effect.gen(function*() {
        const elsewhere = { ...definite, scope: "OtherNode", ladder: "Instant", retryable: true } as const
        yield* expectFailure(run("insert into t values (0, 0)"), { ...elsewhere, code: "25006", phase: "Statement" })
        yield* expectFailure(transaction(run("insert into t values (0, 0)")), { ...elsewhere, code: "25006" })
        yield* expectFailure(transaction(run("select 1"), { isolation: "serializable" }), {
          ...elsewhere,
          code: "0A000"
        })
      }).pipe(Effect.provide(layerAt(standby.url, oneConnection)))
    }), 60_000)

  it.live("40001: a conflict with recovery is a conflict", () =>
    Effect.gen(function*() {
      const { primary, standby } = yield* setUp
      yield* Effect.gen(function*() {
        const body = Effect.gen(function*() {
          yield* run("select count(*) from t")
          yield* primary.query("delete from t where id > 500")
          yield* primary.query("vacuum t")
          yield* run("select count(*), pg_sleep(5) from t")
        })
        const error = yield* sqlFailure(transaction(body, { isolation: "repeatable read" }))
        const verdict = Outcome.of(error)
        assert.strictEqual(codeOf(error), "40001")
        assert.strictEqual(verdict?.outcome, "NotApplied")
        assert.include(["Transaction", "TransactionOnNewConnection"], verdict?.scope)
        assert.isTrue(error.isRetryable)
      }).pipe(Effect.provide(layerAt(standby.url, oneConnection)))
    }), 60_000)
})
