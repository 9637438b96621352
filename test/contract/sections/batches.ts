import { assert } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import * as SqlClient from "effect/sql/SqlClient"
import { Batch, Outcome, Pool, Transaction } from "watertight"
import { reasonOf, sqlFailure } from "../../transaction/support.ts"
import { ids, type Section, table } from "../suite.ts"

const insert = (sql: SqlClient.SqlClient, name: string, id: number) => sql`insert into ${sql(name)} (id) values (${id})`

const read = (sql: SqlClient.SqlClient, name: string) => sql<{ id: number }>`select id from ${sql(name)} order by id`

const used = Effect.flatMap(Pool.Pool, (pool) => Effect.map(pool.stats, ({ used }) => used))

export const batches: Section = (test) => {
  test("give the rows of each statement, and are applied as a whole", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      // New to the server, and then known.
      for (const id of [1, 2, 3]) {
        const [none, rows, some] = yield* Batch.run([
          insert(sql, name, 10 * id),
          read(sql, name),
          sql<{ id: number }>`select id from ${sql(name)} where id = ${10 * id}`
        ], { isolation: "repeatable read" })
        assert.deepStrictEqual(none, [])
        assert.strictEqual(rows.length, id)
        assert.deepStrictEqual(some, [{ id: 10 * id }])
      }
      assert.deepStrictEqual(yield* ids(name), [10, 20, 30])
      assert.deepStrictEqual(yield* Batch.run([]), [])
      assert.deepStrictEqual(yield* Batch.each([]), [])
      assert.strictEqual(yield* used, 0)
    }))

  test("are not applied when a statement fails, and say which", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      yield* insert(sql, name, 1)
      for (const at of [0, 1, 2]) {
        for (const _ of ["new", "known"]) {
          const statements = [2, 3, 4].map((id, index) => insert(sql, name, index === at ? 1 : id))
          const error = yield* sqlFailure(Batch.run(statements))
          assert.strictEqual(error.reason._tag, "UniqueViolation")
          assert.strictEqual(Batch.indexOf(error), at)
          assert.isTrue(Outcome.isNotApplied(error))
          assert.deepStrictEqual(yield* ids(name), [1])
        }
      }
      assert.strictEqual(yield* used, 0)
    }))

  test("are a savepoint inside of a transaction, and a part of it if they are to join", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      yield* Transaction.run(Effect.gen(function*() {
        yield* Batch.run([insert(sql, name, 1), insert(sql, name, 2)])
        yield* sqlFailure(Batch.run([insert(sql, name, 3), insert(sql, name, 1)]))
        yield* Batch.run([insert(sql, name, 4)], { nesting: "join" })
      }))
      assert.deepStrictEqual(yield* ids(name), [1, 2, 4])
      yield* Effect.exit(Transaction.run(
        Effect.andThen(Batch.run([insert(sql, name, 5)], { nesting: "join" }), Effect.fail("no"))
      ))
      assert.deepStrictEqual(yield* ids(name), [1, 2, 4])
    }))

  test.needing("connections")(
    "are committed by themselves where they are to be a transaction of their own",
    () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const name = yield* table("id int primary key")
        yield* Effect.exit(Transaction.run(
          Effect.andThen(Batch.run([insert(sql, name, 1)], { nesting: "requiresNew" }), Effect.fail("no"))
        ))
        assert.deepStrictEqual(yield* ids(name), [1])
      })
  )

  test("with a key are applied once", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      yield* Batch.run([insert(sql, name, 1)], { idempotencyKey: `once ${name}` })
      const error = yield* sqlFailure(Batch.run([insert(sql, name, 2)], { idempotencyKey: `once ${name}` }))
      assert.strictEqual(reasonOf(error)?._tag, "AlreadyApplied")
      assert.deepStrictEqual(yield* ids(name), [1])
    }))

  test("run callbacks that wait for COMMIT, and none when they fail", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      const seen: Array<string> = []
      const outer = (id: number) =>
        Transaction.run(Effect.andThen(
          sql.afterCommit(Effect.sync(() => void seen.push(`${id}`))),
          Batch.run([insert(sql, name, id)], { nesting: "join" })
        ))
      yield* outer(1)
      yield* Effect.exit(outer(1))
      assert.deepStrictEqual(seen, ["1"])
    }))

  test("of statements that are each by themselves tell what became of each", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const name = yield* table("id int primary key")
      yield* insert(sql, name, 10)
      // In the second round the server knows the statements.
      for (const id of [20, 30]) {
        const results = yield* Batch.each([
          insert(sql, name, id),
          insert(sql, name, 10),
          sql<{ n: number }>`select 7 as n`,
          insert(sql, name, id + 1)
        ])
        assert.deepStrictEqual(results.map(Result.isSuccess), [true, false, true, true])
        assert.deepStrictEqual(Result.getOrThrow(results[2]), [{ n: 7 }])
        const error = yield* sqlFailure(Effect.fromResult(results[1]))
        assert.strictEqual(error.reason._tag, "UniqueViolation")
        assert.strictEqual(Batch.indexOf(error), 1)
        assert.isTrue(Outcome.isNotApplied(error))
      }
      assert.deepStrictEqual(yield* ids(name), [10, 20, 21, 30, 31])
      assert.strictEqual(yield* used, 0)
      // Inside of a transaction they are a part of it.
      const exit = yield* Effect.exit(Transaction.run(
        Effect.andThen(Batch.each([insert(sql, name, 40)]), Effect.fail("no"))
      ))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual(yield* ids(name), [10, 20, 21, 30, 31])
    }))
}
