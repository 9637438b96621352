/** The pool over MySQL and MariaDB: what can share a connection does, and a storm leaves nothing behind. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Pool, Transaction } from "watertight"
import { FaultProxy, seed } from "../../support/index.ts"
import { connect, describeEach, elapsed, eventually, one, run, table } from "../support.ts"

describeEach("the pool over $name", (subject) => {
  it.live("shares a connection where the driver can, and only then", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* Effect.all(Array.from({ length: 50 }, (_, n) => sql`select ${n} as n`), { concurrency: "unbounded" })
      // With one connection and a delay on the line, answers that were asked for together come together.
      const spent = yield* elapsed(
        Effect.all(Array.from({ length: 20 }, (_, n) => sql`select ${n} as n`), { concurrency: "unbounded" })
      )
      assert.strictEqual(spent < 400, subject.pipelines, `${spent} ms`)
    }).pipe(
      Effect.provide(
        Layer.unwrap(Effect.gen(function*() {
          const proxy = yield* FaultProxy.make(subject.server.url())
          yield* proxy.delay("10 millis")
          return subject.module.layer({ url: Redacted.make(proxy.url), maxConnections: 1 })
        }))
      )
    ), 20_000)

  it.live("survives a storm of interruptions, transactions and streams", () =>
    Effect.gen(function*() {
      const url = Redacted.make(yield* subject.server.fresh)
      const observer = yield* connect(subject, { url })
      const name = yield* table(observer, "id int primary key, v int")
      yield* run(observer, `insert into ${name} select seq, 0 from ${subject.server.series(50)}`)
      const random = seed(11)
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* Pool.Pool
        const manager = yield* Transaction.Manager
        let committed = 0
        const work = (): Effect.Effect<unknown, unknown> => {
          switch (random.int(0, 4)) {
            case 0:
              return sql`select sleep(${random.next() / 100})`
            case 1:
              return Effect.tap(
                Transaction.run(sql`update ${sql(name)} set v = v + 1 where id = ${random.int(1, 50)}`, {}).pipe(
                  Effect.provideService(Transaction.Manager, manager)
                ),
                () => Effect.sync(() => void committed++)
              )
            case 2:
              return Stream.runCollect(
                Stream.take(
                  sql`select seq from ${sql.literal(subject.server.series(100_000))}`.stream,
                  random.int(1, 5_000)
                )
              )
            case 3:
              return sql.withTransaction(Effect.andThen(sql`select * from ${sql(name)} for update`, Effect.fail("no")))
            default:
              return sql`select id from ${sql(name)} where id = ${random.int(1, 50)}`
          }
        }
        yield* Effect.forEach(Array.from({ length: 16 }), () =>
          Effect.gen(function*() {
            for (let round = 0; round < 25; round++) {
              const fiber = yield* Effect.forkChild(Effect.exit(work()), { startImmediately: true })
              if (random.chance(0.5)) {
                yield* Effect.sleep(random.int(0, 8))
                yield* Fiber.interrupt(fiber)
              } else yield* Fiber.await(fiber)
            }
          }), { concurrency: "unbounded" })
        assert.isAbove(committed, 0)
        yield* eventually(Effect.map(pool.stats, (stats) => stats.idle === stats.total && stats.waiting === 0))
        assert.deepStrictEqual(yield* sql.unsafe(subject.server.inTransaction).values, [[0]])
        // Interrupted after COMMIT was sent: it is there, but was not counted.
        assert.isAtLeast(Number(yield* one(observer, `select sum(v) from ${name}`)), committed)
        const open = "select count(*) from information_schema.innodb_trx join " +
          `${subject.server.processlist} ` + "on trx_mysql_thread_id = id where db = database()"
        // The server keeps the list for a tenth of a second.
        yield* eventually(Effect.map(sql.unsafe(open).values, ([row]) => row![0] === 0))
      }).pipe(Effect.provide(subject.module.layer({ url, maxConnections: 6 })))
    }), 60_000)
})
