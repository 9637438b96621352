/**
 * What each entry point must do on each runtime: connect, ask, write in a transaction, undo one, stream, fail with a
 * type, and end. It runs from the built package, as a user has it: `smoke.mjs postgres URL`.
 */
import { Effect, Redacted, Stream } from "effect"
import { SqlClient } from "effect/sql"
import assert from "node:assert"
import { Outcome, Pool, Transaction } from "watertight"

const [entry, url] = process.argv.slice(2)
const options = { url: Redacted.make(url), pool: { max: 3 } }
const layers = {
  pglite: async () => (await import("watertight/pglite")).Pglite.layer(),
  postgres: async () => (await import("watertight/postgres")).Postgres.layer(options),
  mysql: async () => (await import("watertight/mysql")).Mysql.layer(options),
  mariadb: async () => (await import("watertight/mariadb")).Mariadb.layer(options)
}

const table = `smoke_${process.pid}`

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  // A database of MariaDB does not hold every character by default.
  const text = sql.onDialectOrElse({ mysql: () => " character set utf8mb4", orElse: () => "" })
  yield* sql.unsafe(`create table ${table} (id int primary key, name varchar(20))${text}`)
  const insert = (id, name) => sql`insert into ${sql(table)} ${sql.insert({ id, name })}`
  yield* Transaction.run(Effect.andThen(insert(1, "é 😀"), insert(2, null)))
  const undone = yield* Effect.exit(Transaction.run(Effect.andThen(insert(3, "no"), Effect.fail("no"))))
  assert.strictEqual(undone._tag, "Failure")
  assert.deepStrictEqual(yield* sql`select id, name from ${sql(table)} order by id`, [
    { id: 1, name: "é 😀" },
    { id: 2, name: null }
  ])
  const streamed = yield* Stream.runCollect(sql`select id from ${sql(table)} order by id`.stream)
  assert.deepStrictEqual(streamed.map(({ id }) => id), [1, 2])
  const error = yield* Effect.flip(insert(1, "again"))
  assert.strictEqual(error.reason._tag, "UniqueViolation")
  assert.strictEqual(Outcome.of(error).outcome, "NotApplied")
  const answers = yield* Effect.all(Array.from({ length: 20 }, (_, n) => sql`select ${n + 1} as n`.values), {
    concurrency: "unbounded"
  })
  assert.deepStrictEqual(answers.map(([[n]]) => Number(n)), Array.from({ length: 20 }, (_, n) => n + 1))
  yield* sql.unsafe(`drop table ${table}`)
  const { used } = yield* (yield* Pool.Pool).stats
  assert.strictEqual(used, 0)
})

await Effect.runPromise(Effect.provide(program, await layers[entry]()))
console.log("ok")
