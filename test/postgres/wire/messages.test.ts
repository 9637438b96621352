/**
 * Every message that the server sends is dropped, doubled, truncated, replaced or cut, under every operation of a pool:
 * each run ends typed and in time, with an outcome that is true, the pool is unharmed, and the process lives.
 *
 * `messageLoss.test.ts` does the same to a session alone, from a script.
 */
import { PgClient } from "@effect/sql-pg"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Batch, Bulk, Transaction } from "watertight"
import { AdvisoryLock, Copy, Notifications, Postgres, Script, Types } from "watertight/postgres"
import { freshDatabase } from "../../support/index.ts"
import { isWhole, type Operation, type Plan, problemsOf } from "../../support/messageLoss.ts"
import * as MessageProxy from "../../support/messageProxy.ts"
import { connect, one, run } from "../support.ts"

const layerOf = (url: string) =>
  Layer.provideMerge(
    Postgres.layer({
      url: Redacted.make(url),
      sslmode: "disable",
      statementTimeout: "200 millis",
      controlTimeout: "400 millis",
      connectTimeout: "400 millis",
      resolveTimeout: "2 seconds",
      breaker: false,
      pool: { max: 1, acquireTimeout: "3 seconds" }
    }),
    Logger.layer([])
  )

type Services = Layer.Success<ReturnType<typeof layerOf>>

const withSql = <A, E, R>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, R>) =>
  Effect.flatMap(SqlClient.SqlClient, f)

const raiseWith = (name: string, sql: SqlClient.SqlClient) => sql`update ${sql(name)} set n = n + 1 where id = 1`
const raise = (name: string) => withSql((sql) => raiseWith(name, sql))

let fresh = 0

const operations: { readonly [name: string]: Operation<Services> } = {
  "a prepared select": {
    run: (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`)
  },
  "a select of a new text": {
    run: (name) => withSql((sql) => sql.unsafe(`select *, ${fresh++} as fresh from ${name} where id > $1`, [0]))
  },
  "a select as text": {
    run: (name) => withSql((sql) => sql`select * from ${sql(name)} where id > ${0}`.unprepared)
  },
  "a value of a type that has to be asked for": {
    run: () =>
      withSql((sql) =>
        Effect.gen(function*() {
          const type = `mood_${process.pid}_${fresh++}`
          yield* sql.unsafe(`create type ${type} as enum ('good')`)
          return yield* sql`select ${Types.value(type, "good")} as mood`
        })
      )
  },
  "a write": { run: raise, writes: true },
  "a write with a result": {
    run: (name) => withSql((sql) => sql`update ${sql(name)} set n = n + ${1} where id = 1 returning *`),
    writes: true
  },
  "a stream": {
    run: (name) => withSql((sql) => Stream.runDrain(sql`select * from ${sql(name)} where id > ${0}`.stream))
  },
  "a stream of several fetches": {
    run: () => withSql((sql) => Stream.runDrain(sql`select * from generate_series(1, 1000) i`.stream))
  },
  "a script": { run: (name) => Script.run(`select 1; update ${name} set n = n + 1 where id = 1`), writes: true },
  "statements at once": {
    run: (name) =>
      withSql((sql) =>
        Effect.all([sql`select 1`, sql`select * from ${sql(name)}`, sql`select 2`], { concurrency: "unbounded" })
      )
  },
  "a statement that is left": {
    run: () => withSql((sql) => Effect.timeoutOption(sql`select pg_sleep(0.15)`, "30 millis"))
  },
  "a transaction": { run: (name) => Transaction.run(raise(name)), writes: true },
  "a transaction of several statements at once": {
    run: (name) =>
      withSql((sql) =>
        Transaction.run(Effect.all([sql`select * from ${sql(name)}`, raise(name), sql`select 2`], {
          concurrency: "unbounded"
        }))
      ),
    writes: true
  },
  "a batch": {
    run: (name) => withSql((sql) => Batch.run([sql`select * from ${sql(name)}`, raiseWith(name, sql), sql`select 2`])),
    writes: true
  },
  "a batch of which each statement is by itself": {
    run: (name) =>
      withSql((sql) =>
        Effect.flatMap(Batch.each([sql`select 1`, raiseWith(name, sql)]), ([, one]) => Effect.fromResult(one))
      ),
    writes: true
  },
  "a serializable transaction": {
    run: (name) => Transaction.run(raise(name), { isolation: "serializable" }),
    writes: true
  },
  "a transaction with a key": {
    run: (name) => Transaction.run(raise(name), { idempotencyKey: `${name} ${fresh++}` }),
    writes: true
  },
  "a transaction that is given up": {
    run: (name) => Effect.ignore(Transaction.run(Effect.andThen(raise(name), Effect.fail("no"))))
  },
  "a savepoint": {
    run: (name) => Transaction.run(Transaction.run(raise(name), { nesting: "savepoint" })),
    writes: true
  },
  "COPY in": { run: (name) => Stream.run(Stream.make("11\t1\n", "12\t2\n"), Copy.sink({ table: name })) },
  "COPY in, first in a transaction": {
    run: (name) => Transaction.run(Stream.run(Stream.make("11\t1\n", "12\t2\n"), Copy.sink({ table: name })))
  },
  "COPY out": { run: (name) => Stream.runDrain(Copy.stream({ table: name })) },
  "a bulk insert": { run: (name) => Bulk.insert(name, [{ id: 11, n: 1 }, { id: 12, n: 2 }]) },
  "a bulk upsert": { run: (name) => Bulk.upsert(name, [{ id: 2, n: 1 }, { id: 12, n: 2 }], { key: ["id"] }) },
  "listening": { run: (name) => Effect.scoped(Notifications.subscribe(`channel_${name}`)) },
  "a notification": { run: (name) => Notifications.notify(`channel_${name}`, "news") },
  "an advisory lock": { run: (name) => AdvisoryLock.withLock(name, { wait: "1 second" })(Effect.void) }
}

const planOf = Effect.fnUntraced(function*<R>(layer: Plan<R>["layer"]) {
  const url = yield* freshDatabase()
  const observer = yield* connect({ url: Redacted.make(url) })
  yield* run(observer, "create table t (id int primary key, n int)")
  const plan: Plan<R> = {
    url,
    framing: MessageProxy.postgresMessages,
    layer,
    table: Effect.succeed("t"),
    refill: (name) =>
      Effect.andThen(
        run(observer, `delete from ${name}`),
        run(observer, `insert into ${name} values (1, 1), (2, 2), (3, 3)`)
      ),
    look: (name) => one(observer, `select n from ${name} where id = 1`)
  }
  return plan
})

describe("messages of the server", () => {
  it.live.each(Object.entries(operations))(
    "%s: a message spoiled → typed, in time, with a true outcome, and the pool goes on",
    ([, operation]) =>
      Effect.gen(function*() {
        const plan = yield* planOf<Services>(layerOf)
        assert.deepStrictEqual(yield* problemsOf(plan, operation, 4), [])
      }),
    isWhole ? 1_200_000 : 60_000
  )

  it.live("a client without limits is found by the same check", () =>
    Effect.gen(function*() {
      const plan = yield* planOf<SqlClient.SqlClient>((url) =>
        PgClient.layer({ url: Redacted.make(url), maxConnections: 1 })
      )
      const operation: Operation<SqlClient.SqlClient> = { run: raise, writes: true }
      assert.isNotEmpty(yield* problemsOf(plan, operation, 4))
    }), 120_000)
})
