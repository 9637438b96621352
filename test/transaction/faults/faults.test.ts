/** Silence and sudden death in each phase: everybody hears of it in time, and is told what it means. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Deferred, Effect, Fiber } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Outcome, Pool, PoolError, Retry, Transaction } from "watertight"
import { describeWith, FaultProxy, freshDatabase, PostgresServer } from "../../support/index.ts"
import { layerAt, reasonOf, sqlFailure } from "../support.ts"

const limits = {
  statementTimeout: "300 millis",
  controlTimeout: "300 millis",
  connectTimeout: "300 millis",
  resolveTimeout: "2 seconds",
  retry: Retry.never,
  breaker: false,
  pool: { max: 1, acquireTimeout: "500 millis" }
} as const

const insert = (id: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t (id) values (${id})`)

/** Longer than all of them together, and for one that has no limit at all too short. */
const inTime = 4_500

/** For what must not depend on them. */
const patient = { ...limits, statementTimeout: "10 seconds", controlTimeout: "10 seconds" } as const

/** How long something takes, in milliseconds. */
const timed = Effect.fnUntraced(function*<A, E, R>(effect: Effect.Effect<A, E, R>) {
  const start = yield* Clock.monotonicTimeNanos
  const value = yield* effect
  return [value, Number((yield* Clock.monotonicTimeNanos) - start) / 1e6] as const
})

describe("a black hole", () => {
  const swallow = (
    name: string,
    pattern: FaultProxy.Pattern,
    work: Effect.Effect<unknown, unknown, SqlClient.SqlClient | Transaction.Manager>,
    check: (error: SqlError) => void
  ) =>
    it.live(`${name}: returns in time, and the next one is served`, () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* freshDatabase())
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table t (id int not null)`
          const rule = yield* proxy.when(pattern, "blackholeRequest")
          const [error, millis] = yield* timed(sqlFailure(work))
          assert.strictEqual(rule.count(), 1)
          assert.isBelow(millis, inTime)
          check(error)
          // The lost connection is gone, and a new one serves.
          assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
          const { used } = yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)
          assert.strictEqual(used, 0)
        }).pipe(Effect.provide(layerAt(proxy.url, limits)))
      }))

  const outcome = (outcome: Outcome.Outcome, retryable: boolean, tag: string) => (error: SqlError) => {
    assert.strictEqual(Outcome.of(error)?.outcome, outcome, error.message)
    assert.strictEqual(error.isRetryable, retryable, error.message)
    assert.strictEqual(error.reason._tag, tag, error.message)
  }

  // The statement's limit on our side is a second above the server's own.
  const binds = (chunk: Buffer) => chunk[0] === 0x42
  swallow(
    "the question for a statement's columns",
    "insert into",
    insert(1),
    outcome("NotSent", false, "StatementTimeoutError")
  )
  swallow("a statement", binds, insert(1), outcome("Unknown", false, "StatementTimeoutError"))
  swallow(
    "BEGIN",
    "BEGIN",
    Transaction.run(insert(1), { retry: Retry.never }),
    outcome("NotApplied", true, "ConnectionError")
  )
  swallow(
    "a statement in a transaction",
    binds,
    Transaction.run(insert(1), { retry: Retry.never }),
    outcome("NotApplied", false, "StatementTimeoutError")
  )
  swallow(
    "a savepoint",
    // Not the one behind which a statement is described.
    (chunk) => /SAVEPOINT watertight_\d/.test(chunk.toString("latin1")),
    Transaction.run(Effect.andThen(insert(1), Transaction.run(insert(2))), { retry: Retry.never }),
    outcome("NotApplied", true, "ConnectionError")
  )
  swallow(
    "COMMIT that is not resolved",
    "COMMIT",
    Transaction.run(insert(1), { retry: Retry.never, resolve: "never" }),
    (error) => {
      outcome("Unknown", false, "ConnectionError")(error)
      assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
    }
  )
  swallow(
    "COMMIT that is resolved",
    "COMMIT",
    Transaction.run(insert(1), { retry: Retry.never }),
    outcome("NotApplied", true, "ConnectionError")
  )

  it.live("ROLLBACK: the failure of the body comes through, in time", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* proxy.when("ROLLBACK", "blackholeRequest")
        const [exit, millis] = yield* timed(Effect.exit(
          Transaction.run(Effect.andThen(sql`select 1`, Effect.fail("the body's own")))
        ))
        assert.deepStrictEqual(exit, yield* Effect.exit(Effect.fail("the body's own")))
        assert.isBelow(millis, inTime)
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
      }).pipe(Effect.provide(layerAt(proxy.url, limits)))
    }))

  it.live("connecting, and so waiting for a connection", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* proxy.blackhole
      yield* Effect.gen(function*() {
        const [error, millis] = yield* timed(sqlFailure(Transaction.run(insert(1))))
        assert.isBelow(millis, inTime)
        const reason = PoolError.fromSqlError(error)?.reason
        assert.strictEqual(reason?._tag, "AcquireTimeout")
        assert.isTrue(Outcome.isNotSent(error))
        assert.include(error.message, "no connection within 300 ms")
      }).pipe(Effect.provide(layerAt(proxy.url, { ...limits, pool: { ...limits.pool, startup: "lazy" } })))
    }))

  for (
    const [phase, pattern, outcome] of [
      ["acquire", undefined, "NotSent"],
      ["begin", "BEGIN", "NotApplied"],
      ["body", "insert into", "NotApplied"]
    ] as const
  ) {
    it.live(`a transaction's own deadline holds while it is in "${phase}"`, () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* freshDatabase())
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql`create table t (id int not null)`
          const work = Transaction.run(insert(1), { deadline: "150 millis" })
          if (pattern === undefined) yield* sql.reserve
          else yield* proxy.when(pattern, "blackholeRequest")
          const [error, millis] = yield* timed(sqlFailure(work))
          assert.isBelow(millis, inTime)
          const reason = reasonOf(error)
          assert.strictEqual(reason?._tag === "DeadlineExceeded" ? reason.during : undefined, phase)
          assert.strictEqual(Outcome.of(error)?.outcome, outcome)
          // So that the pool need not wait for the answer that never comes.
          yield* proxy.cutAll
        }).pipe(
          Effect.scoped,
          Effect.provide(layerAt(proxy.url, { ...patient, pool: { max: 1, acquireTimeout: "10 seconds" } }))
        )
      }))
  }

  it.live("COMMIT is not cut short by a deadline: what is told is what was done", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id int not null)`
        const rule = yield* proxy.when("COMMIT", "holdReply")
        const fiber = yield* Effect.forkChild(Transaction.run(Effect.as(insert(1), "done"), { deadline: "100 millis" }))
        yield* rule.fired
        yield* Effect.sleep("150 millis")
        yield* rule.release
        assert.strictEqual(yield* Fiber.join(fiber), "done")
        assert.deepStrictEqual(yield* sql`select id from t`, [{ id: 1 }])
      }).pipe(Effect.provide(layerAt(proxy.url, patient)))
    }))

  it.live("whoever is interrupted in a nested transaction does not wait for the server", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id int not null)`
        const reached = yield* Deferred.make<void>()
        const fiber = yield* Effect.forkChild(Transaction.run(Effect.andThen(
          insert(1),
          Transaction.run(Effect.andThen(Deferred.succeed(reached, undefined), Effect.never))
        )))
        yield* Deferred.await(reached)
        yield* proxy.blackhole
        const [, millis] = yield* timed(Fiber.interrupt(fiber))
        assert.isBelow(millis, inTime)
        yield* proxy.cutAll
      }).pipe(Effect.provide(layerAt(proxy.url, patient)))
    }))

  it.live("the same statement without a limit hangs", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table t (id int not null)`
        yield* proxy.when("insert into", "blackholeRequest")
        const hung = yield* Effect.timeoutOption(Transaction.run(insert(1)), inTime)
        assert.strictEqual(hung._tag, "None")
      }).pipe(Effect.provide(layerAt(proxy.url, { ...limits, statementTimeout: "1 minute" })))
    }))
})

describeWith("postgresql")("a server that is killed and comes back", () => {
  const setUp = Effect.gen(function*() {
    const server = yield* PostgresServer.make()
    yield* server.query("create table t (id int not null)")
    const restart = Effect.andThen(server.kill, server.start)
    return { server, restart, layer: layerAt(server.url, { pool: { max: 3, backoffCap: "250 millis" } }) }
  })

  it.live("while connections are idle: nobody notices", () =>
    Effect.gen(function*() {
      const { layer, restart } = yield* setUp
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* Effect.forEach([1, 2, 3], () => sql`select pg_sleep(0.05)`, { concurrency: "unbounded" })
        yield* restart
        assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
        yield* Transaction.run(insert(1))
      }).pipe(Effect.provide(layer))
    }), 60_000)

  it.live("while a connection is lent: its statement was not sent", () =>
    Effect.gen(function*() {
      const { layer, restart } = yield* setUp
      yield* Effect.scoped(Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const connection = yield* sql.reserve
        yield* connection.executeUnprepared("select 1", [], undefined)
        yield* restart
        const error = yield* sqlFailure(connection.executeUnprepared("select 1", [], undefined))
        assert.isTrue(Outcome.isNotSent(error), error.message)
        assert.isTrue(error.isRetryable)
      })).pipe(Effect.provide(layer))
    }), 60_000)

  /** Something sleeps on the server. */
  const asleep = Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* Effect.repeat(sql`select 1 from pg_stat_activity where wait_event = 'PgSleep'`, {
      until: (rows) => rows.length > 0
    })
  })

  it.live("while a statement runs: nobody knows, unless it may be repeated", () =>
    Effect.gen(function*() {
      const { layer, restart } = yield* setUp
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const running = yield* Effect.forkChild(sqlFailure(sql`select pg_sleep(30)`))
        yield* asleep
        yield* restart
        const error = yield* Fiber.join(running)
        assert.isTrue(Outcome.isUnknown(error), error.message)
        const idempotent = yield* Effect.forkChild(Retry.idempotent(sql`select pg_sleep(0.5), 1 as one`))
        yield* asleep
        yield* restart
        assert.strictEqual((yield* Fiber.join(idempotent))[0]!["one"], 1)
      }).pipe(Effect.provide(layer))
    }), 60_000)

  it.live("while a transaction is open: it is repeated, and its value returned", () =>
    Effect.gen(function*() {
      const { layer, restart, server } = yield* setUp
      yield* Effect.gen(function*() {
        let runs = 0
        const value = yield* Transaction.run(Effect.gen(function*() {
          runs++
          yield* insert(runs)
          if (runs === 1) yield* restart
          yield* insert(runs + 10)
          return "done"
        }))
        assert.strictEqual(value, "done")
        assert.deepStrictEqual(yield* server.query("select id from t order by id"), [{ id: 2 }, { id: 12 }])
      }).pipe(Effect.provide(layer))
    }), 60_000)
})
