import * as PgConnection from "@effect/sql-pg/PgConnection"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Pool } from "watertight"
import { Postgres } from "watertight/postgres"
import { live, PostgresServer } from "../support/index.ts"

const pause = (millis: number) => Effect.promise(() => new Promise<void>((resolve) => setTimeout(resolve, millis)))

describe("A PostgreSQL server that accepts no writes any more", () => {
  it.live("costs the pool its connections to it, without one more failed write for each", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      const admin = yield* PgConnection.make({ url: Redacted.make(server.url) }).pipe(live)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* Pool.Pool
        yield* sql`create table t (a int)`
        // As many connections as there are borrowers at a time.
        yield* Effect.all(
          Array.from({ length: 3 }, () =>
            pool.use((connection) => connection.execute("select pg_sleep(0.2)", [], undefined))),
          { concurrency: "unbounded" }
        )
        assert.strictEqual((yield* pool.stats).idle, 3)

        yield* admin.query("alter system set default_transaction_read_only = on")
        yield* admin.query("select pg_reload_conf()")
        yield* pause(200)
        const error = yield* Effect.flip(sql`insert into t values (1)`)
        assert.match(error.message, /25006/)
        yield* pause(300)
        assert.strictEqual((yield* pool.stats).closed.Retired, 3)

        yield* admin.query("alter system reset default_transaction_read_only")
        yield* admin.query("select pg_reload_conf()")
        yield* pause(200)
        yield* sql`insert into t values (1)`
      }).pipe(
        Effect.provide(Postgres.layer({ url: Redacted.make(server.url), pool: { max: 3, validateAfter: "1 minute" } }))
      )
    }), 60_000)

  it.live("is not suspected because of a transaction that was to be read-only", () =>
    Effect.gen(function*() {
      const server = yield* PostgresServer.make()
      yield* Effect.gen(function*() {
        const pool = yield* Pool.Pool
        yield* pool.use((connection) =>
          connection.execute("create table t (a int)", [], undefined).pipe(
            Effect.andThen(connection.begin({ access: "read only" })),
            Effect.andThen(Effect.flip(connection.execute("insert into t values (1)", [], undefined))),
            Effect.andThen(connection.rollback)
          )
        )
        yield* pool.use((connection) =>
          connection.executeUnprepared("begin", [], undefined).pipe(
            Effect.andThen(connection.executeUnprepared("set transaction read only", [], undefined)),
            Effect.andThen(Effect.flip(connection.execute("insert into t values (1)", [], undefined)))
          )
        )
        yield* pool.use((connection) =>
          connection.executeUnprepared("set default_transaction_read_only = on", [], undefined).pipe(
            Effect.andThen(Effect.flip(connection.execute("insert into t values (1)", [], undefined)))
          )
        )
        yield* pool.use((connection) => connection.execute("insert into t values (1)", [], undefined))
        assert.deepStrictEqual([(yield* pool.stats).closed.Retired, (yield* pool.stats).created], [0, 1])
      }).pipe(Effect.provide(Postgres.layer({ url: Redacted.make(server.url), pool: { max: 1 } })))
    }), 60_000)
})
