/** Faults by name, through a proxy and around an adapter: each does what its name says, and no more. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as TestClock from "effect/testing/TestClock"
import { Adapter, Database, Outcome, Retry, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { FakeAdapter, Faults } from "watertight/testing"
import { describeWith, freshDatabase } from "../support/index.ts"

const options = { controlTimeout: "500 millis", statementTimeout: "2 seconds" } as const

const subjects = [
  [
    "PostgreSQL, proxy",
    "postgresql",
    (url: string) =>
      Faults.layerProxy({ url: Redacted.make(url), database: (url) => Postgres.layer({ url, ...options }) })
  ],
  [
    "PostgreSQL, adapter",
    "postgresql",
    (url: string) => Faults.layerAdapter(Postgres.adapter({ url: Redacted.make(url), ...options }))
  ],
  [
    "MariaDB, proxy",
    "mariadb",
    (url: string) =>
      Faults.layerProxy({ url: Redacted.make(url), database: (url) => Mariadb.layer({ url, ...options }) })
  ],
  [
    "MySQL, proxy",
    "mysql",
    (url: string) =>
      Faults.layerProxy({
        url: Redacted.make(url),
        database: (url) => Mysql.layer({ url, ...options, sslmode: "disable", allowPublicKeyRetrieval: true })
      })
  ],
  [
    "MySQL, adapter",
    "mysql",
    (url: string) => Faults.layerAdapter(Mysql.adapter({ url: Redacted.make(url), ...options }))
  ]
] as const

const entries = Effect.flatMap(SqlClient, (sql) => Effect.map(sql`select id from entry`, (rows) => rows.length))

/** A transaction as a program has it, and the naive one: again when it fails, whatever that means. */
const insert = Effect.flatMap(SqlClient, (sql) => sql`insert into entry (at) values (1)`)
let keys = 0
const careful = Effect.suspend(() => Transaction.run(insert, { idempotencyKey: `key-${++keys}` }))
const naive = Transaction.run(insert, { retry: Retry.never, resolve: "never" }).pipe(Effect.retry({ times: 1 }))

for (const [name, server, layerOf] of subjects) {
  describeWith(`url-${server}`)(name, () => {
    const live = Layer.unwrap(Effect.map(freshDatabase(server), (url): Layer.Layer<any, any> => layerOf(url))).pipe(
      Layer.provideMerge(Logger.layer([]))
    )
    it.layer(live as Layer.Layer<SqlClient | Transaction.Manager | Faults.Faults>, { excludeTestServices: true })(
      (it) => {
        const fresh = Effect.gen(function*() {
          const sql = yield* SqlClient
          yield* sql`drop table if exists entry`
          yield* sql.onDialectOrElse({
            mysql: () => sql`create table entry (id int primary key auto_increment, at int)`,
            orElse: () => sql`create table entry (id serial primary key, at int)`
          })
        })

        for (const applied of [true, false]) {
          it.effect(`loseCommit, ${applied ? "applied" : "not applied"}: once, and a naive repetition shows the fault`, () =>
            Effect.gen(function*() {
              yield* fresh
              const before = yield* (yield* Faults.Faults).lostCommits
              yield* Faults.loseCommit({ applied })
              yield* careful
              assert.strictEqual(yield* entries, 1)
              yield* fresh
              yield* Faults.loseCommit({ applied })
              yield* naive
              assert.strictEqual(yield* entries, applied ? 2 : 1)
              assert.strictEqual(yield* (yield* Faults.Faults).lostCommits, before + 2)
            }))
        }

        it.effect("cut: a transaction is repeated as a whole", () =>
          Effect.gen(function*() {
            yield* fresh
            let attempts = 0
            yield* Transaction.run(
              Effect.gen(function*() {
                attempts++
                yield* insert
                if (attempts === 1) yield* Faults.cut
                yield* insert
              }),
              {}
            )
            assert.strictEqual(attempts, 2)
            assert.strictEqual(yield* entries, 2)
          }))

        it.effect("slow: an exchange takes longer, until heal", () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* Faults.slow("300 millis")
            const started = performance.now()
            yield* sql`select 1`
            assert.isAtLeast(performance.now() - started, 290)
            yield* Faults.heal
          }))

        it.effect("blackHole: what is under way ends at its limit, and nobody knows of a COMMIT", () =>
          Effect.gen(function*() {
            yield* fresh
            const failure = yield* Transaction.run(Effect.andThen(insert, Faults.blackHole), { retry: Retry.never })
              .pipe(Effect.flip)
            assert.isTrue(Outcome.isUnknown(failure) || Outcome.isNotApplied(failure), String(failure))
            yield* Faults.heal
            yield* Effect.retry(entries, {
              schedule: Retry.fullJitter({ base: "50 millis", cap: "200 millis", times: 20 })
            })
          }))

        it.effect("serverRestart: a statement waits for the server", () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`select 1`
            const restart = yield* Effect.forkChild(Faults.serverRestart({ down: "400 millis" }))
            yield* Effect.sleep("50 millis")
            yield* sql`select 1`
            yield* Fiber.join(restart)
          }))
      }
    )
  })
}

describeWith("url-mysql")("an encrypted connection", () => {
  it.live("loseCommit is refused, because nothing would be lost", () =>
    Effect.gen(function*() {
      const url = Redacted.make(yield* freshDatabase("mysql"))
      const used = Effect.andThen(Effect.flatMap(SqlClient, (sql) => sql`select 1`), Faults.loseCommit())
      const failure = yield* Effect.flip(used).pipe(
        Effect.provide(Faults.layerProxy({ url, database: (url) => Mysql.layer({ url }) }))
      )
      assert.include(String(failure), "sslmode")
    }))
})

describe("a fake database", () => {
  it.effect("answers what the test says, on the clock of the test", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter.FakeAdapter()
      fake.onConnect = () => Effect.sleep("1 second")
      fake.onStatement = (text, params) => Effect.succeed(text.startsWith("select") ? [{ id: params[0] }] : [])
      const program = Effect.flatMap(SqlClient, (sql) => sql`select id from account where id = ${"ann"}`).pipe(
        Effect.provide(Database.layerOf(Layer.succeed(Adapter.Adapter, fake)))
      )
      const fiber = yield* Effect.forkChild(program)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(fiber), [{ id: "ann" }])
      assert.deepStrictEqual(fake.connections[0]!.ran, ["select id from account where id = ?"])
    }))
})
