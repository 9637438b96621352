/** A lost COMMIT behind PgBouncer, where each transaction may meet another connection to the server. */
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Outcome, Retry, Transaction } from "watertight"
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
})
