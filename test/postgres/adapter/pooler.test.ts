import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk, InvalidOptions, Pool, Transaction } from "watertight"
import { AdvisoryLock, Copy, Notifications, Script, Types } from "watertight/postgres"
import { describeWith, freshDatabase, PgBouncer } from "../../support/index.ts"
import { databaseAt } from "../clientSupport.ts"
import { failure, sqlFailure } from "../support.ts"

const through = (mode: "session" | "transaction") =>
  Layer.unwrap(Effect.gen(function*() {
    const url = yield* PgBouncer.make(yield* freshDatabase(), mode)
    // More clients than the pooler has connections, so that they take turns on them.
    return databaseAt(url, {
      maxConnections: mode === "transaction" ? 20 : 2,
      pooler: mode === "transaction" ? "transaction" : undefined
    })
  }))

for (const mode of ["transaction", "session"] as const) {
  describeWith("pgbouncer")(`PgBouncer in ${mode} mode`, () => {
    it.layer(through(mode), { excludeTestServices: true, timeout: "60 seconds" })("works", (it) => {
      it.effect("300 of 300 transactions", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`create table account (id int primary key, n int not null)`
          yield* sql`insert into account select i, 0 from generate_series(1, 10) i`
          yield* Effect.forEach(
            Array.from({ length: 300 }, (_, i) => i),
            (i) =>
              Effect.gen(function*() {
                const id = i % 10 + 1
                const [row] = yield* sql<{ n: number }>`select n from account where id = ${id} for update`
                yield* sql`update account set n = ${row!.n + 1} where id = ${id}`
                yield* sql`select 1`.pipe(sql.withTransaction)
              }).pipe(Transaction.run()),
            { concurrency: 30, discard: true }
          )
          assert.deepStrictEqual(yield* sql`select sum(n)::int as n, min(n) as least from account`, [
            { n: 300, least: 30 }
          ])
        }), 60_000)

      it.effect("statements, new and known, side by side", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql.unsafe("create type color as enum ('red')")
          const results = yield* Effect.forEach(
            Array.from({ length: 400 }, (_, i) => i),
            (i) => sql`select ${i}::int as i, ${Types.value("color[]", ["red"])} as c, ${`é${i}`}::text as t`,
            { concurrency: 50 }
          )
          assert.deepStrictEqual(
            results.map(([row]) => row),
            Array.from({ length: 400 }, (_, i) => ({
              i,
              c: ["red"],
              t: `é${i}`
            })) as never
          )
          const error = yield* sqlFailure(sql`select 1/${0}::int`)
          assert.strictEqual((error.reason.cause as any).code, "22012")
        }))

      it.effect("streams, COPY, bulk and scripts", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* Script.run("create table bulk (id int primary key, name text); select 1")
          const rows = Array.from({ length: 5_000 }, (_, id) => ({ id, name: `n${id}` }))
          assert.strictEqual((yield* Bulk.insert("bulk", rows)).rows, 5_000)
          assert.deepStrictEqual(yield* Bulk.upsert("bulk", [{ id: 1, name: "x" }, { id: 9_999, name: "y" }]), {
            inserted: 1,
            updated: 1,
            bad: []
          })
          const taken = yield* sql`select id from bulk order by id`.stream.pipe(Stream.take(1_500), Stream.runCollect)
          assert.strictEqual(taken.length, 1_500)
          const copied = yield* Stream.runCollect(Copy.rows({ table: "bulk" }))
          assert.strictEqual(copied.length, 5_001)
        }))

      it.effect("interruption cancels, and nothing is left behind", () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          const pool = yield* Pool.Pool
          for (let i = 0; i < 3; i++) {
            yield* sql`select pg_sleep(30)`.pipe(Effect.timeoutOption("100 millis"))
            assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
          }
          assert.strictEqual((yield* pool.stats).used, 0)
        }))

      it.effect("locks and listening: of a session where there is one", () =>
        Effect.gen(function*() {
          yield* AdvisoryLock.inTransaction("k").pipe(Transaction.run())
          if (mode === "transaction") {
            const listening = yield* sqlFailure(Effect.scoped(Notifications.subscribe("a")))
            assert.include(listening.message, "transaction pooler")
            yield* sqlFailure(Effect.scoped(AdvisoryLock.acquire("k")))
          } else {
            yield* Effect.void.pipe(AdvisoryLock.withLock("k"))
          }
        }))
    })
  })
}

it.effect("what a pooler cannot keep is refused", () =>
  Effect.gen(function*() {
    for (
      const options of [
        { statementTimeout: "1 second" },
        { startupOptions: "-c geqo=off" },
        { startupParameters: { search_path: "x" } },
        { pooler: "sessions" as never }
      ] as const
    ) {
      const error = yield* failure(
        Effect.scoped(Layer.build(databaseAt("postgres://nobody@127.0.0.1:1/x", { pooler: "transaction", ...options })))
      )
      assert.instanceOf(error, InvalidOptions)
    }
  }))
