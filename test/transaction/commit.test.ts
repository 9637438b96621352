/** COMMIT without an answer: what is told to the caller, against what the server did. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Metric, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import { Database, Outcome, Retry, Transaction } from "watertight"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { layerAt, reasonOf, sqlFailure } from "./support.ts"

const commit = "Q\u0000\u0000\u0000\u000bCOMMIT\u0000"

/** A database, a client of it through a proxy, and one past it. */
const setUp = Effect.gen(function*() {
  const url = yield* freshDatabase()
  const proxy = yield* FaultProxy.make(url)
  const direct = yield* Effect.map(
    Layer.build(layerAt(url)),
    (context) => SqlClient.SqlClient.pipe(Effect.provide(context))
  )
  const sql = yield* direct
  yield* sql`create table t (id int not null)`
  /** What has become of a transaction. A server takes a moment to notice that a client is gone. */
  const truth = (xid: string) =>
    Effect.repeat(
      Effect.map(
        sql<{ status: string }>`select pg_xact_status(${xid}::text::xid8) as status`,
        (rows) => rows[0]!.status
      ),
      { while: (status) => status === "in progress" }
    )
  return { proxy, sql, truth, url }
})

const insert = (id: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<
      { xid: string }
    >`insert into t (id) values (${id}) returning pg_current_xact_id()::text as xid`
    return rows[0]!.xid
  })

const faults = [
  ["cut before the server has seen it", "before", "aborted"],
  ["cut after the server has done it", "after", "committed"],
  ["closed after the server has done it", "afterFin", "committed"]
] as const

const modes: ReadonlyArray<readonly [string, (id: number) => Transaction.Spec]> = [
  ["never resolved", () => ({ resolve: "never" })],
  ["resolved where it is free", () => ({ resolve: "free" })],
  ["always resolved", () => ({ resolve: "always" })],
  ["with an idempotency key", (id) => ({ resolve: "never", idempotencyKey: `key ${id}` })]
]

for (const [what, fault, status] of faults) {
  for (const [mode, spec] of modes) {
    it.live(`COMMIT ${what}, ${mode}`, () =>
      Effect.gen(function*() {
        const { proxy, sql, truth } = yield* setUp
        yield* Effect.gen(function*() {
          for (let id = 1; id <= 40; id++) {
            const rule = yield* proxy.when(commit, fault)
            let xid = ""
            const body = Effect.map(insert(id), (assigned) => xid = assigned)
            const exit = yield* Effect.exit(Transaction.run(body, { ...spec(id), retry: Retry.never }))
            assert.strictEqual(rule.count(), 1)
            assert.strictEqual(yield* truth(xid), status)
            if (mode === "never resolved") {
              const error = yield* sqlFailure(exit)
              assert.strictEqual(reasonOf(error)?._tag, "CommitUnknown")
              assert.isTrue(Outcome.isUnknown(error))
              assert.isFalse(error.isRetryable)
            } else if (status === "committed") {
              assert.deepStrictEqual(exit, Exit.succeed(xid))
            } else {
              const error = yield* sqlFailure(exit)
              assert.isTrue(Outcome.isNotApplied(error), error.message)
              assert.isTrue(error.isRetryable)
            }
          }
          const rows = yield* sql`select count(distinct id)::int as distinct, count(*)::int as all from t`
          const expected = status === "committed" ? 40 : 0
          assert.deepStrictEqual(rows, [{ distinct: expected, all: expected }])
        }).pipe(Effect.provide(layerAt(proxy.url)))
      }), 60_000)
  }
}

it.live("a transaction whose COMMIT was found missing is repeated, and its value returned", () =>
  Effect.gen(function*() {
    const { proxy, sql } = yield* setUp
    yield* Effect.gen(function*() {
      yield* proxy.when(commit, "before")
      let runs = 0
      const value = yield* Transaction.run(Effect.andThen(insert(1), Effect.sync(() => ++runs)))
      assert.strictEqual(value, 2)
      assert.deepStrictEqual(yield* sql`select id from t`, [{ id: 1 }])
    }).pipe(Effect.provide(layerAt(proxy.url)))
  }))

it.live("a lost COMMIT of a read only transaction is no secret: it has written nothing, and is repeated", () =>
  Effect.gen(function*() {
    const { proxy } = yield* setUp
    yield* Effect.gen(function*() {
      for (const fault of ["before", "after"] as const) {
        yield* proxy.when(commit, fault)
        const sql = yield* SqlClient.SqlClient
        const spec = { access: "read only", resolve: "never" } as const
        assert.deepStrictEqual(yield* Transaction.run(sql`select 1 as one`, spec), [{ one: 1 }])
      }
    }).pipe(Effect.provide(layerAt(proxy.url)))
  }))

it.live("a transaction that is always resolved and has written nothing was not applied", () =>
  Effect.gen(function*() {
    const { proxy } = yield* setUp
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* proxy.when(commit, "after")
      const error = yield* sqlFailure(Transaction.run(sql`select 1`, { resolve: "always", retry: Retry.never }))
      assert.isTrue(Outcome.isNotApplied(error))
      yield* proxy.when(commit, "after")
      // Where it costs nothing nobody has asked.
      const unknown = yield* sqlFailure(Transaction.run(sql`select 1`, { resolve: "free", retry: Retry.never }))
      assert.isTrue(Outcome.isUnknown(unknown))
    }).pipe(Effect.provide(layerAt(proxy.url)))
  }))

it.live("what is known of one transaction is not taken for the next one on the same session", () =>
  Effect.gen(function*() {
    const { proxy, sql: direct } = yield* setUp
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      // The server says that this one has no id, for it has written nothing.
      yield* Transaction.run(sql`select 1`, { resolve: "always" })
      yield* proxy.when(commit, "after")
      yield* Transaction.run(insert(1), { resolve: "free" })
      assert.deepStrictEqual(yield* direct`select id from t`, [{ id: 1 }])
    }).pipe(Effect.provide(layerAt(proxy.url, { pool: { max: 1 } })))
  }))

it.live("a write that hides in a function is resolvable only always", () =>
  Effect.gen(function*() {
    const { proxy, sql } = yield* setUp
    yield* sql`create function hidden(n int) returns int language sql as 'insert into t values (n) returning 1'`
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* proxy.when(commit, "after")
      yield* Transaction.run(sql`select hidden(1)`, { resolve: "always", retry: Retry.never })
      yield* proxy.when(commit, "after")
      const unknown = yield* sqlFailure(Transaction.run(sql`select hidden(2)`, { retry: Retry.never }))
      assert.strictEqual(reasonOf(unknown)?._tag, "CommitUnknown")
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from t`, [{ n: 2 }])
    }).pipe(Effect.provide(layerAt(proxy.url)))
  }))

it.live("a COMMIT that fell into a black hole: the session that idles on the server is ended, and the answer is sure", () =>
  Effect.gen(function*() {
    const { proxy, sql } = yield* setUp
    yield* Effect.gen(function*() {
      // Something open on another connection, so that only this one is lost.
      yield* proxy.when(commit, "blackholeRequest")
      const error = yield* sqlFailure(Transaction.run(insert(1), { retry: Retry.never }))
      assert.isTrue(Outcome.isNotApplied(error), error.message)
      assert.deepStrictEqual(yield* sql`select id from t`, [])
      const idle = yield* sql`
        select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`
      assert.deepStrictEqual(idle, [])
    }).pipe(Effect.provide(layerAt(proxy.url, { controlTimeout: "300 millis" })))
  }))

it.live("the same checks fail on a client that repeats whatever calls itself retryable", () =>
  Effect.gen(function*() {
    const { proxy, sql } = yield* setUp
    yield* Effect.gen(function*() {
      const naive = yield* PgClient.PgClient
      yield* proxy.when("COMMIT", "after")
      yield* naive.withTransaction(insert(1)).pipe(
        Effect.provideService(SqlClient.SqlClient, naive),
        Effect.retry({ times: 3, while: (error) => error.isRetryable })
      )
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from t`, [{ n: 2 }])
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(proxy.url) })))
  }))

it.live("what a database says is for the transactions that say nothing", () =>
  Effect.gen(function*() {
    const { proxy } = yield* setUp
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      for (const work of [Transaction.run(insert(1)), sql.withTransaction(insert(1))]) {
        yield* proxy.when(commit, "after")
        assert.strictEqual(reasonOf(yield* sqlFailure(work))?._tag, "CommitUnknown")
      }
      yield* proxy.when(commit, "after")
      yield* Transaction.run(insert(1), { resolve: "free" })
      let runs = 0
      const failing = Effect.andThen(
        Effect.sync(() => runs++),
        sql`do $$ begin raise exception using errcode = '40001'; end $$`
      )
      yield* sqlFailure(Transaction.run(failing))
      assert.strictEqual(runs, 1)
      yield* sqlFailure(Transaction.run(failing, { retry: Retry.defaults }))
      assert.isAbove(runs, 2)
    }).pipe(Effect.provide(layerAt(proxy.url, { resolve: "never", retry: Retry.never })))
  }))

it.live("a lost COMMIT is an event and counted, with what was found out, and so is the repetition", () =>
  Effect.gen(function*() {
    const { proxy } = yield* setUp
    yield* Effect.gen(function*() {
      const database = yield* Database.Database
      const events = yield* Effect.forkChild(Stream.runCollect(Stream.take(database.events, 4)), {
        startImmediately: true
      })
      yield* Effect.yieldNow
      yield* proxy.when(commit, "after")
      yield* Transaction.run(insert(1))
      yield* proxy.when(commit, "before")
      yield* Transaction.run(insert(2))
      yield* proxy.when(commit, "after")
      yield* Effect.ignore(Transaction.run(insert(3), { resolve: "never" }))
      assert.deepStrictEqual(
        (yield* Fiber.join(events)).map((event) =>
          event._tag === "CommitLost" ? event.outcome : `${event._tag} after ${event.verdict.about}`
        ),
        ["Applied", "NotApplied", "Repeated after COMMIT was lost, and found not to be applied", "Unknown"]
      )
      const count = (metric: Metric.Counter<number>, attributes: Record<string, string>) =>
        Effect.map(
          Metric.value(Metric.withAttributes(metric, { "watertight.database": database.name, ...attributes })),
          (state) => state.count
        )
      for (const outcome of ["applied", "not_applied", "unknown"]) {
        assert.strictEqual(yield* count(Transaction.lostCommits, { "watertight.commit.outcome": outcome }), 1)
      }
      assert.strictEqual(yield* count(Retry.repetitions, { "watertight.retry.ladder": "overload" }), 1)
    }).pipe(Effect.provide(layerAt(proxy.url)))
  }))

for (const [what, fault, runs] of [["applied", "after", 1], ["not applied", "before", 0]] as const) {
  it.live(`COMMIT without an answer that was ${what}: what waits for the commit runs ${runs} times`, () =>
    Effect.gen(function*() {
      const { proxy } = yield* setUp
      let ran = 0
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* proxy.when(commit, fault)
        const body = Effect.andThen(sql.afterCommit(Effect.sync(() => ran++)), insert(1))
        const exit = yield* Effect.exit(Transaction.run(body, { resolve: "always", retry: Retry.never }))
        assert.strictEqual(Exit.isSuccess(exit), runs === 1)
      }).pipe(Effect.provide(layerAt(proxy.url)))
      assert.strictEqual(ran, runs)
    }))
}
