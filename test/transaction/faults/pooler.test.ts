/** A lost COMMIT behind PgBouncer, where each transaction may meet another connection to the server. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Layer, Schedule } from "effect"
import { SqlClient } from "effect/sql"
import { Database, Outcome, Retry, Transaction } from "watertight"
import { describeWith, FaultProxy, freshDatabase, PgBouncer } from "../../support/index.ts"
import { layerAt, sqlFailure } from "../support.ts"

const commit = "Q\u0000\u0000\u0000\u000bCOMMIT\u0000"

const insert = (id: number) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t (id) values (${id})`)

describeWith("pgbouncer")("behind PgBouncer", () => {
  for (const mode of ["session", "transaction"] as const) {
    it.live(`in ${mode} mode a lost COMMIT is resolved`, () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase()
        yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table t (id int not null)`).pipe(
          Effect.provide(layerAt(url))
        )
        // Between us and the pooler.
        const proxy = yield* FaultProxy.make(yield* PgBouncer.make(url, mode))
        yield* Effect.gen(function*() {
          for (let id = 1; id <= 20; id++) {
            const fault = id % 2 === 0 ? "after" : "before"
            yield* proxy.when(commit, fault)
            const exit = yield* Effect.exit(Transaction.run(insert(id), { retry: Retry.never }))
            if (fault === "after") assert.isTrue(Exit.isSuccess(exit), JSON.stringify(exit))
            else assert.isTrue(Outcome.isNotApplied(yield* sqlFailure(exit)))
          }
        }).pipe(
          Effect.provide(layerAt(proxy.url, { pooler: mode === "transaction" ? mode : undefined, pool: { max: 3 } }))
        )
        const rows = yield* Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select count(*)::int as n from t`).pipe(
          Effect.provide(Layer.fresh(layerAt(url)))
        )
        assert.deepStrictEqual(rows, [{ n: 10 }])
      }), 60_000)
  }

  describe("a server that ends behind the pooler, which calls each end a protocol violation", () => {
    it.live("under a transaction: it is repeated; under a statement: unknown", () =>
      Effect.gen(function*() {
        // Between the pooler and the server.
        const proxy = yield* FaultProxy.make(yield* freshDatabase())
        const url = yield* PgBouncer.make(proxy.url, "transaction")
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          let bodies = 0
          yield* Transaction.run(Effect.gen(function*() {
            yield* sql`select 1`
            if (bodies++ === 0) yield* proxy.cutAll
            yield* sql`select 1`
          }))
          assert.strictEqual(bodies, 2)
          const rule = yield* proxy.when("cut here", "after")
          const error = yield* sqlFailure(sql`select ${"cut here"}::text`)
          assert.strictEqual(rule.count(), 1)
          assert.isTrue(Outcome.isUnknown(error))
          assert.isFalse(error.isRetryable)
        }).pipe(Effect.provide(layerAt(url, { pooler: "transaction" })))
      }), 60_000)

    it.live("no connection is free in time: nothing was forwarded", () =>
      Effect.gen(function*() {
        const url = yield* PgBouncer.make(yield* freshDatabase(), "transaction", {
          default_pool_size: 1,
          query_wait_timeout: 1
        })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const begun = yield* Latch.make()
          const holder = yield* Effect.forkChild(
            Transaction.run(Effect.andThen(sql`select 1`, Effect.andThen(begun.open, Effect.never)))
          )
          yield* begun.await
          const alone = yield* sqlFailure(sql`select 1`)
          assert.include(alone.message, "query_wait_timeout")
          assert.deepInclude(Outcome.of(alone), { outcome: "NotSent", scope: "Connect", ladder: "Overload" })
          const inside = yield* sqlFailure(Transaction.run(sql`select 1`))
          assert.deepInclude(Outcome.of(inside), { outcome: "NotApplied", scope: "TransactionOnNewConnection" })
          yield* Fiber.interrupt(holder)
        }).pipe(Effect.provide(layerAt(url, { pooler: "transaction", retry: Retry.never })))
      }), 60_000)

    it.live("the server is away: the circuit opens, as if there were no pooler", () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* freshDatabase())
        const url = yield* PgBouncer.make(proxy.url, "transaction", { server_login_retry: 1, query_wait_timeout: 1 })
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const breaker = (yield* Database.Database).breaker!
          yield* sql`select 1`
          yield* proxy.refuse
          yield* proxy.cutAll
          yield* Effect.repeat(Effect.exit(sql`select 1`), { until: () => breaker.stateUnsafe() === "Open" })
          yield* proxy.heal
          yield* Effect.retry(sql`select 1`, { schedule: Schedule.spaced("50 millis") })
          assert.strictEqual(breaker.stateUnsafe(), "Closed")
        }).pipe(Effect.provide(layerAt(url, { pooler: "transaction" })))
      }), 60_000)
  })
})
