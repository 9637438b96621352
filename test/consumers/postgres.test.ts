/** What Effect itself builds on PostgreSQL alone, unchanged, on our client. The rest is in the contract. */
import { PgMigrator } from "@effect/sql-pg"
import { assert, it } from "@effect/vitest"
import { Effect, FileSystem, Layer, Path } from "effect"
import { ChildProcessSpawner } from "effect/process"
import { SqlClient } from "effect/sql"
import { Retry, Transaction } from "watertight"
import { FaultProxy, freshDatabase } from "../support/index.ts"
import { freshLayer, layerAt, numbers } from "../transaction/support.ts"

// It asks for them in case that it is to write the schema down.
const nodeServices = Layer.mergeAll(
  FileSystem.layerNoop({}),
  Path.layer,
  Layer.succeed(ChildProcessSpawner.ChildProcessSpawner, undefined as never)
)

it.live("PgMigrator runs what is new, once", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const make = (table: string) =>
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql`create table ${sql(table)} (id int)`)
    const loader = PgMigrator.fromRecord({ "1_people": make("people"), "2_pets": make("pets") })
    assert.deepStrictEqual(yield* Effect.orDie(PgMigrator.run({ loader })), [[1, "people"], [2, "pets"]])
    assert.deepStrictEqual(yield* Effect.orDie(PgMigrator.run({ loader })), [])
    yield* sql`select * from people, pets`
  }).pipe(Effect.provide([nodeServices, freshLayer()])))

for (
  const [what, fault, spec, expected] of [
    ["once when a COMMIT without answer is found", "after", {}, 1],
    ["once when it is found missing, and the transaction repeated", "before", {}, 1],
    ["never when it is found missing, and nothing is repeated", "before", { retry: Retry.never }, 0]
  ] as const
) {
  it.live(`afterCommit runs ${what}, without a key`, () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table account (id int)`
        yield* proxy.when("Q\u0000\u0000\u0000\u000bCOMMIT\u0000", fault)
        let ran = 0
        const exit = yield* Effect.exit(Transaction.run(
          Effect.andThen(sql.afterCommit(Effect.sync(() => void ran++)), sql`insert into account values (1)`),
          spec
        ))
        assert.strictEqual(exit._tag, expected === 1 ? "Success" : "Failure")
        assert.strictEqual(ran, expected)
        assert.strictEqual((yield* numbers("select id from account")).length, expected)
      }).pipe(Effect.provide(layerAt(proxy.url)))
    }))
}
