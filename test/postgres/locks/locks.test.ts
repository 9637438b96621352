import { assert, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import { Pool, Transaction } from "watertight"
import { AdvisoryLock } from "watertight/postgres"
import { database } from "../clientSupport.ts"
import { eventually, failure } from "../support.ts"

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
  it.effect("exclude each other, and end with their scope", () =>
    Effect.gen(function*() {
      for (const key of ["a text", 7, -1n, [1, 2]] as const) {
        const scope = yield* Scope.make()
        yield* Scope.provide(AdvisoryLock.acquire(key), scope)
        assert.strictEqual(yield* reasonOf(Effect.scoped(AdvisoryLock.acquire(key, { wait: false }))), "Busy")
        assert.strictEqual(yield* reasonOf(Effect.scoped(AdvisoryLock.acquire(key, { wait: "50 millis" }))), "Timeout")
        const waiting = yield* Effect.void.pipe(AdvisoryLock.withLock(key, { wait: "20 seconds" }), Effect.forkChild)
        yield* Scope.close(scope, Exit.void)
        yield* Fiber.join(waiting)
      }
      assert.strictEqual(yield* held, 0)
    }))

  it.effect("shared ones do not exclude each other", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* AdvisoryLock.acquire("s", { shared: true })
      yield* AdvisoryLock.acquire("s", { shared: true, wait: false })
      assert.strictEqual(yield* reasonOf(AdvisoryLock.acquire("s", { wait: false })), "Busy")
    })))

  it.effect("keep no connection from the work that they guard", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      let inside = 0
      yield* Effect.forEach(Array.from({ length: 10 }), () =>
        Effect.gen(function*() {
          assert.strictEqual(++inside, 1)
          yield* sql`select 1`.pipe(sql.withTransaction)
          inside--
        }).pipe(AdvisoryLock.withLock("one at a time")), { concurrency: "unbounded", discard: true })
      assert.strictEqual((yield* (yield* Pool.Pool).stats).used, 0)
    }))

  it.effect("interruption while waiting leaves nothing", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* AdvisoryLock.acquire("i")
      const fiber = yield* Effect.void.pipe(AdvisoryLock.withLock("i"), Effect.forkChild)
      const sql = yield* SqlClient
      const waiting = sql`select 1 from pg_locks l join pg_database d on d.oid = l.database
        where l.locktype = 'advisory' and d.datname = current_database() and not l.granted`
      yield* eventually(Effect.map(waiting, (rows) => rows.length === 1))
      yield* Fiber.interrupt(fiber)
      yield* eventually(Effect.map(waiting, (rows) => rows.length === 0))
      assert.strictEqual(yield* held, 1)
    })))

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
