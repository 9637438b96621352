/** The interruptions of `interruption.ts`, on PostgreSQL. */
import { PgClient } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { freshDatabase } from "../../support/index.ts"
import { layerAt } from "../support.ts"
import * as Interruption from "./interruption.ts"

it.live(
  "10,000 interruptions at random leave no connection, no transaction, no waiter and no half transaction",
  () => Interruption.run(Interruption.postgres, 10_000),
  120_000
)

it.live("the same check finds a transaction that is only rolled back when it fails", () =>
  Effect.gen(function*() {
    const url = yield* freshDatabase()
    yield* Effect.gen(function*() {
      const sql = yield* PgClient.PgClient
      yield* sql`create table t (id int not null)`
      const naive = Effect.scoped(Effect.gen(function*() {
        const connection = yield* sql.reserve
        const run = (statement: string) => connection.executeUnprepared(statement, [], undefined)
        yield* run("begin")
        yield* Effect.matchEffect(run("insert into t (id) values (1)"), {
          onFailure: () => run("rollback"),
          onSuccess: () => run("commit")
        })
      }))
      const watch = Effect.flatMap(SqlClient.SqlClient, (watcher) =>
        watcher`select 1 from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'`)
        .pipe(Effect.provide(layerAt(url)))
      let open: ReadonlyArray<unknown> = []
      for (let i = 0; i < 2000 && open.length === 0; i++) {
        const fiber = yield* Effect.forkChild(naive, { startImmediately: true })
        yield* Interruption.ticks(i % 10)
        yield* Fiber.interrupt(fiber)
        // The next one on the same connection may end what this one has left open.
        if (i % 20 === 19) {
          open = yield* watch
        }
      }
      assert.isNotEmpty(open)
    }).pipe(Effect.provide(PgClient.layer({ url: Redacted.make(url), maxConnections: Interruption.connections })))
  }), 60_000)
