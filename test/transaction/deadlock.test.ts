/** Asking for a second connection while holding one: a typed failure where nobody would ever get one, never a hang. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Database, Outcome, Pool, PoolError, Transaction } from "watertight"
import { Adapter } from "../../src/Adapter.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"
import { sqlFailure } from "./support.ts"

/** Under the test's clock nobody's time to wait is ever over. */
const layer = (max: number) =>
  Layer.suspend(() => Database.layerOf(Layer.succeed(Adapter, new FakeAdapter()), { pool: { max }, breaker: false }))

const reasonOf = (error: unknown) => PoolError.fromSqlError(Outcome.find(error)!)?.reason._tag

describe("with one connection", () => {
  const one = <A, E>(
    name: string,
    effect: Effect.Effect<A, E, SqlClient.SqlClient | Transaction.Manager | Pool.Pool>
  ) =>
    it.effect(name, () =>
      Effect.gen(function*() {
        const error = yield* sqlFailure(effect)
        assert.strictEqual(reasonOf(error), "NestedAcquire")
        assert.isTrue(Outcome.isNotSent(error))
        // It is back.
        const sql = yield* SqlClient.SqlClient
        yield* Transaction.run(sql`select 1`)
        const { waiting } = yield* Effect.flatMap(Pool.Pool, (pool) => pool.stats)
        assert.strictEqual(waiting, 0)
      }).pipe(Effect.provide(layer(1))))

  const requiresNew = Effect.flatMap(
    SqlClient.SqlClient,
    (sql) => Transaction.run(sql`select 2`, { nesting: "requiresNew" })
  )
  const reserve = Effect.scoped(Effect.flatMap(SqlClient.SqlClient, (sql) => sql.reserve))

  one("a transaction that requires a new one inside of it", Transaction.run(requiresNew))
  one("a connection reserved inside a transaction", Transaction.run(reserve))
  one(
    "a connection reserved inside another one",
    Effect.scoped(Effect.andThen(
      Effect.flatMap(SqlClient.SqlClient, (sql) => sql.reserve),
      reserve
    ))
  )
  one("also in a fiber that the body waits for", Transaction.run(Effect.all([requiresNew], { concurrency: 2 })))
  one("also inside a timeout", Transaction.run(Effect.timeout(requiresNew, "1 minute")))
  one(
    "also with an idempotency key",
    Transaction.run(
      Effect.flatMap(
        SqlClient.SqlClient,
        (sql) => Transaction.run(sql`select 2`, { nesting: "requiresNew", idempotencyKey: "k" })
      )
    )
  )
})

describe("with two connections", () => {
  it.effect("two that want another one: one is told, the other gets it", () =>
    Effect.gen(function*() {
      const both = yield* Effect.forkChild(Effect.all(
        [1, 2].map(() =>
          Effect.exit(Transaction.run(Effect.andThen(
            Effect.yieldNow,
            Effect.flatMap(SqlClient.SqlClient, (sql) => Transaction.run(sql`select 2`, { nesting: "requiresNew" }))
          )))
        ),
        { concurrency: "unbounded" }
      ))
      const exits = yield* Fiber.join(both)
      assert.deepStrictEqual(exits.map((exit) => exit._tag).sort(), ["Failure", "Success"])
    }).pipe(Effect.provide(layer(2))))

  it.effect("one that wants another one waits as long as somebody else will give one back", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const busy = yield* Effect.forkChild(Transaction.run(sql`sleep 1000`))
      yield* Effect.yieldNow
      const nested = yield* Effect.forkChild(
        Transaction.run(Transaction.run(sql`select 2`, { nesting: "requiresNew" }))
      )
      yield* Effect.yieldNow
      yield* Effect.sleep(0)
      assert.isUndefined(nested.pollUnsafe())
      yield* Fiber.interrupt(busy)
      yield* Fiber.join(nested)
    }).pipe(Effect.provide(layer(2))))
})

it.effect("those who hold nothing wait, however many they are", () =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const all = yield* Effect.forkChild(
      Effect.forEach([1, 2, 3, 4, 5], () => Transaction.run(sql`select 1`), { concurrency: "unbounded" })
    )
    assert.strictEqual((yield* Fiber.join(all)).length, 5)
  }).pipe(Effect.provide(layer(1))))
