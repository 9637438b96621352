import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import { Transaction } from "watertight"
import { AdvisoryLock } from "watertight/postgres"
import { database } from "../clientSupport.ts"
import { failure } from "../support.ts"

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(failure(effect), (error) => (error as unknown as AdvisoryLock.AdvisoryLockError).reason)

const held = Effect.gen(function*() {
  const sql = yield* SqlClient
  const [row] = yield* sql<
    { n: number }
  >`select count(*)::int as n from pg_locks l join pg_database d on d.oid = l.database
    where l.locktype = 'advisory' and d.datname = current_database() and l.granted`
  return row!.n
})

it.layer(database({ maxConnections: 1 }), { excludeTestServices: true })("advisory locks", (it) => {
  it.effect("a lost lock interrupts the work", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const started = yield* Deferred.make<void>()
      const fiber = yield* Deferred.succeed(started, undefined).pipe(
        Effect.andThen(Effect.never),
        AdvisoryLock.withLock("lost"),
        reasonOf,
        Effect.forkChild
      )
      yield* Deferred.await(started)
      yield* sql`select pg_terminate_backend(l.pid) from pg_locks l join pg_database d on d.oid = l.database
        where l.locktype = 'advisory' and d.datname = current_database()`
      assert.strictEqual(yield* Fiber.join(fiber), "Lost")
    }))

  it.effect("of transactions", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      assert.strictEqual(yield* reasonOf(AdvisoryLock.inTransaction("t")), "NoTransaction")
      yield* Effect.gen(function*() {
        yield* AdvisoryLock.inTransaction("t")
        assert.strictEqual(yield* reasonOf(Effect.scoped(AdvisoryLock.acquire("t", { wait: false }))), "Busy")
      }).pipe(Transaction.run())
      assert.strictEqual(yield* held, 0)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* AdvisoryLock.acquire("t")
        yield* Effect.gen(function*() {
          yield* sql`set local lock_timeout = '7s'`
          assert.strictEqual(yield* reasonOf(AdvisoryLock.inTransaction("t", { wait: false })), "Busy")
          assert.strictEqual(yield* reasonOf(AdvisoryLock.inTransaction("t", { wait: "30 millis" })), "Timeout")
          yield* AdvisoryLock.inTransaction("free", { wait: "1 second" })
          // Neither has cost the transaction anything.
          assert.deepStrictEqual(yield* sql`show lock_timeout`, [{ lock_timeout: "7s" }])
        }).pipe(Transaction.run())
      }))
    }))
})

it.layer(database({ maxConnections: 2, statementTimeout: "300 millis" }), { excludeTestServices: true })(
  "waiting for an advisory lock where statements have little time",
  (it) => {
    for (const [name, wait] of [["with a limit", "20 seconds"], ["for ever", undefined]] as const) {
      it.effect(`of a session, ${name} → gets the lock when it is free`, () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Scope.provide(AdvisoryLock.acquire("slow"), scope)
          const waiting = yield* Effect.void.pipe(AdvisoryLock.withLock("slow", { wait }), Effect.forkChild)
          yield* Effect.sleep("1800 millis")
          assert.isUndefined(waiting.pollUnsafe())
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.join(waiting)
        }))

      it.effect(`of a transaction, ${name} → gets the lock when it is free`, () =>
        Effect.gen(function*() {
          const scope = yield* Scope.make()
          yield* Scope.provide(AdvisoryLock.acquire("slow in a transaction"), scope)
          const waiting = yield* AdvisoryLock.inTransaction("slow in a transaction", { wait }).pipe(
            Transaction.run(),
            Effect.forkChild
          )
          yield* Effect.sleep("1800 millis")
          assert.isUndefined(waiting.pollUnsafe())
          yield* Scope.close(scope, Exit.void)
          yield* Fiber.join(waiting)
        }))
    }
  }
)
