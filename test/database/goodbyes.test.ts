/**
 * A server that ends all sessions and takes new ones at once: no call fails but those that it had begun with, and no
 * call because of them.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Breaker, Outcome } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import * as Evidence from "../../src/failure/Evidence.ts"
import { freshDatabase } from "../support/index.ts"

const databases = {
  PostgreSQL: {
    dialect: "postgresql",
    layer: (url: Redacted.Redacted) => Postgres.layer({ url }),
    others: "select pid as id from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    end: (id: unknown) => `select pg_terminate_backend(${id})`
  },
  mariadb: {
    dialect: "mariadb",
    layer: (url: Redacted.Redacted) => Mariadb.layer({ url }),
    others: "select id from information_schema.processlist where db = database() and id <> connection_id()",
    end: (id: unknown) => `kill connection ${id}`
  },
  mysql2: {
    dialect: "mariadb",
    layer: (url: Redacted.Redacted) => Mysql.layer({ url }),
    others: "select id from information_schema.processlist where db = database() and id <> connection_id()",
    end: (id: unknown) => `kill connection ${id}`
  }
} as const

/** The process has no time for its sockets. */
const busy = (millis: number) =>
  Effect.map(Clock.currentTimeMillis, () => {
    const until = performance.now() + millis
    while (performance.now() < until);
  })

describe.each(Object.entries(databases))("%s", (_, database) => {
  for (const [callers, pause] of [[20, 2], [60, 10]] as const) {
    for (const loop of [false, true]) {
      it.live(
        `${callers} callers, pauses of ${pause} ms, all sessions ended${
          loop ? " while the process is busy" : ""
        }: only what was under way can fail`,
        () =>
          Effect.gen(function*() {
            const url = Redacted.make(yield* freshDatabase(database.dialect))
            const sql = yield* Effect.map(
              Layer.build(Layer.fresh(Layer.merge(database.layer(url), Logger.layer([])))),
              (context) => Effect.provideContext(SqlClient.SqlClient, context)
            )
            const own = yield* sql
            const outsider = yield* yield* Effect.map(
              Layer.build(Layer.fresh(Layer.merge(database.layer(url), Logger.layer([])))),
              (context) => Effect.provideContext(SqlClient.SqlClient, context)
            )
            const failures: Array<SqlError> = []
            let calls = 0
            const caller = Effect.forever(Effect.andThen(
              Effect.suspend(() => {
                calls++
                return Effect.catch(own`select 1`, (error) => Effect.sync(() => failures.push(error)))
              }),
              Effect.sleep(pause)
            ))
            const fibers = yield* Effect.replicateEffect(Effect.forkChild(caller), callers)
            for (let round = 0; round < 5; round++) {
              yield* Effect.sleep("100 millis")
              yield* outsider.reserve.pipe(
                Effect.flatMap((connection) =>
                  Effect.flatMap(connection.executeUnprepared(database.others, [], undefined), (rows) =>
                    Effect.forEach(rows as ReadonlyArray<{ readonly id: unknown }>, ({ id }) =>
                      Effect.exit(connection.executeUnprepared(database.end(id), [], undefined)), { discard: true }))
                ),
                Effect.scoped
              )
              if (loop) {
                yield* busy(100)
              }
            }
            yield* Effect.sleep("200 millis")
            for (const fiber of fibers) {
              yield* Fiber.interrupt(fiber)
            }
            assert.deepStrictEqual(
              failures.filter((error) =>
                Breaker.find(error) !== undefined
              ),
              [],
              "by the breaker"
            )
            // Losses are one event only where the time of each is known.
            for (const error of failures) {
              const session = Evidence.of(error).session
              if (session !== undefined) assert.isAtLeast(session.endedAt, session.openedAt)
            }
            // What the server had begun with when it ended the session may have been run.
            const avoidable = failures.filter((error) => !Outcome.isUnknown(error))
            assert.deepStrictEqual(avoidable.map((error) => error.message), [])
            assert.isAbove(calls, callers)
          }),
        30_000
      )
    }
  }
})
