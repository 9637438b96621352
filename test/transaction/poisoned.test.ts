/**
 * A database that ends the whole transaction because of one failure, as MySQL does after a deadlock: whatever came next
 * would commit by itself. Here it is a fake, so that what reaches the wire can be seen.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { DeadlockError, SqlError } from "effect/sql/SqlError"
import { TestClock } from "effect/testing"
import { Database, Outcome, Retry, Transaction } from "watertight"
import { Adapter } from "../../src/Adapter.ts"
import { FakeAdapter, type FakeConnection } from "../../src/testing/FakeAdapter.ts"
import { reasonOf, sqlFailure } from "./support.ts"

const deadlock = (): SqlError =>
  new SqlError({
    reason: new DeadlockError({
      cause: Object.assign(new Error("1213"), { sqlState: "40001" }),
      message: "deadlock",
      operation: "execute"
    })
  })

/** A fake where `deadlock` fails and ends the transaction, and `create …` succeeds and commits it. */
const makeDatabase = () => {
  const fake = new FakeAdapter()
  const connect = Effect.map(fake.connect, (connection) => {
    const patched = connection as FakeConnection
    const execute = patched.execute.bind(patched)
    patched.execute = (sql: string) =>
      sql === "deadlock" || sql.startsWith("create")
        ? Effect.tap(execute(sql), () => {
          patched.inTransaction = false
          return sql === "deadlock" ? Effect.fail(deadlock()) : Effect.void
        })
        : execute(sql)
    return patched
  })
  const ruleOf: Adapter["ruleOf"] = (error) =>
    error.reason._tag === "DeadlockError" ? { about: "deadlock", scope: "Transaction" } : undefined
  const adapter: Adapter = { ...fake, connect, ruleOf }
  return { fake, layer: Database.layerOf(Layer.succeed(Adapter, adapter), { pool: { max: 1 }, breaker: false }) }
}

const run = (statement: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(statement))

/** What the server has seen when the body is over, and how that ended. */
const transact = Effect.fnUntraced(function*<E>(
  body: Effect.Effect<void, E, SqlClient.SqlClient | Transaction.Manager>,
  spec: Transaction.Spec = { retry: Retry.never }
) {
  const { fake, layer } = makeDatabase()
  const fiber = yield* Effect.forkChild(Effect.exit(Transaction.run(body, spec)).pipe(Effect.provide(layer)))
  yield* TestClock.adjust("10 seconds")
  const exit = yield* Fiber.join(fiber)
  return { exit, seen: fake.connections.flatMap(({ ran }) => ran) }
})

describe("after a failure that took the whole transaction along", () => {
  it.effect("no statement reaches the server, and no COMMIT", () =>
    Effect.gen(function*() {
      const { exit, seen } = yield* transact(Effect.gen(function*() {
        yield* run("insert 1")
        yield* Effect.ignore(run("deadlock"))
        const error = yield* sqlFailure(run("insert 2"))
        const reason = reasonOf(error)
        assert.strictEqual(reason?._tag === "Poisoned" ? reason.cause?.reason._tag : undefined, "DeadlockError")
      }))
      assert.deepStrictEqual(seen, ["begin", "insert 1", "deadlock"])
      const error = yield* sqlFailure(exit)
      const reason = reasonOf(error)
      assert.strictEqual(reason?._tag === "Aborted" ? reason.cause?.reason._tag : undefined, "DeadlockError")
      assert.strictEqual(Outcome.of(error)?.scope, "Transaction")
      assert.isTrue(error.isRetryable)
    }))

  it.effect("nor a savepoint or the way back to one", () =>
    Effect.gen(function*() {
      const { exit, seen } = yield* transact(Effect.gen(function*() {
        yield* Effect.ignore(Transaction.run(run("deadlock")))
        yield* Effect.ignore(Transaction.run(run("insert 1")))
      }))
      assert.deepStrictEqual(seen, ["begin", "savepoint watertight_1", "deadlock"])
      assert.strictEqual(reasonOf(yield* sqlFailure(exit))?._tag, "Aborted")
    }))

  it.effect("and the whole is repeated, whether the failure was swallowed or not", () =>
    Effect.gen(function*() {
      for (const swallow of [true, false]) {
        let runs = 0
        const body = Effect.gen(function*() {
          yield* run("insert 1")
          if (++runs < 3) yield* swallow ? Effect.ignore(run("deadlock")) : run("deadlock")
        })
        const { exit, seen } = yield* transact(body, {})
        assert.strictEqual(exit._tag, "Success")
        const attempt = ["begin", "insert 1", "deadlock"]
        assert.deepStrictEqual(seen, [...attempt, ...attempt, "begin", "insert 1", "commit"])
      }
    }))

  it.effect("a failure that only undid its own statement takes nothing along", () =>
    Effect.gen(function*() {
      const { exit, seen } = yield* transact(Effect.gen(function*() {
        yield* Effect.ignore(run("fail"))
        yield* run("insert 1")
      }))
      assert.strictEqual(exit._tag, "Success")
      assert.deepStrictEqual(seen, ["begin", "fail", "insert 1", "commit"])
    }))
})

describe("after a statement that commits by itself", () => {
  it.effect("nothing more is sent, and nobody is told that all went well", () =>
    Effect.gen(function*() {
      const { exit, seen } = yield* transact(Effect.gen(function*() {
        yield* run("insert 1")
        yield* run("create table t")
        yield* run("insert 2")
      }))
      assert.deepStrictEqual(seen, ["begin", "insert 1", "create table t"])
      const error = yield* sqlFailure(exit)
      assert.strictEqual(reasonOf(error)?._tag, "EndedInside")
      assert.isTrue(Outcome.isUnknown(error))
      assert.isFalse(error.isRetryable)
    }))
})
