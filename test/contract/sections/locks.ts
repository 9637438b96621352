import { assert } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { AdvisoryLock, Pool, StatementTimeout, Transaction } from "watertight"
import { FaultProxy } from "../../support/index.ts"
import { failure } from "../../transaction/support.ts"
import { Place, type Section, whenRunning, whenStopped } from "../suite.ts"

const reasonOf = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.map(failure(effect), (error) => (error as unknown as AdvisoryLock.AdvisoryLockError).reason)

const held = (key: AdvisoryLock.Key, options?: AdvisoryLock.Options) =>
  Effect.gen(function*() {
    const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
    yield* Scope.provide(AdvisoryLock.acquire(key, options), scope)
    return Scope.close(scope, Exit.void)
  })

const isFree = (key: AdvisoryLock.Key) => AdvisoryLock.withLock(Effect.void, key, { wait: false })

/** What a text of SQL contains that waits for a lock. */
const waiting = "lock("

const long = "x".repeat(1_000)

const keys: ReadonlyArray<AdvisoryLock.Key> = [
  "a text",
  "",
  "it's \\ \" ` 漢字 😀",
  long,
  7,
  -1n,
  2n ** 63n - 1n,
  Number.MAX_SAFE_INTEGER,
  [1, 2],
  [-(2 ** 31), 2 ** 31 - 1]
]

/** What must not exclude each other, although it looks alike. */
const different: ReadonlyArray<AdvisoryLock.Key> = [
  "a",
  "A",
  "a ",
  `${long}a`,
  `${long}b`,
  "7",
  7,
  [0, 7],
  [7, 0],
  "[0,7]"
]

const invalid: ReadonlyArray<unknown> = [
  1.5,
  NaN,
  Infinity,
  2 ** 53,
  2n ** 63n,
  [1],
  [1, 2, 3],
  [2 ** 31, 0],
  [0.5, 0],
  ["1", "2"],
  undefined,
  null,
  true,
  {},
  { toString: () => "1" },
  new String("a")
]

export const locks: Section = (test, dialect) => {
  test.needing("locks of sessions")(
    "exclude each other by their key, and end with their scope",
    () =>
      Effect.scoped(Effect.forEach(keys, (key) =>
        Effect.gen(function*() {
          const release = yield* held(key)
          assert.strictEqual(yield* reasonOf(isFree(key)), "Busy")
          assert.strictEqual(yield* reasonOf(AdvisoryLock.withLock(Effect.void, key, { wait: "40 millis" })), "Timeout")
          const next = yield* Effect.forkChild(AdvisoryLock.withLock(Effect.void, key, { wait: "20 seconds" }))
          const patient = yield* Effect.forkChild(AdvisoryLock.withLock(Effect.void, key))
          yield* release
          yield* Fiber.join(next)
          yield* Fiber.join(patient)
          yield* isFree(key)
        }), { discard: true }))
  )

  test.needing("locks of sessions")(
    "of keys that look alike are different locks, and 7 is 7n",
    () =>
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.forEach(different, (key) => held(key, { wait: false }), { discard: true })
        for (const key of [...different, 7n]) assert.strictEqual(yield* reasonOf(isFree(key)), "Busy")
      }))
  )

  test.needing("locks of sessions", "clients")("are those of one database", () =>
    Effect.scoped(Effect.gen(function*() {
      yield* held("mine")
      const other = dialect.at(yield* dialect.database, { pool: { max: 1 } })
      yield* Effect.provide(isFree("mine"), Layer.fresh(other))
    })))

  test.needing("locks of sessions")("keep no connection from the work that they guard", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      let inside = 0
      yield* Effect.forEach(Array.from({ length: 10 }), () =>
        Effect.gen(function*() {
          assert.strictEqual(++inside, 1)
          yield* Transaction.run(sql`select 1 as one`)
          inside--
        }).pipe(AdvisoryLock.withLock("one at a time")), { concurrency: "unbounded", discard: true })
      assert.strictEqual((yield* (yield* Pool.Pool).stats).used, 0)
    }))

  test.needing("locks of sessions")(
    "of who is interrupted while waiting leave nothing on the server",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const release = yield* held("i")
        const fiber = yield* Effect.forkChild(AdvisoryLock.withLock(Effect.void, "i"))
        yield* whenRunning(dialect, waiting)
        yield* Fiber.interrupt(fiber)
        yield* whenStopped(dialect, waiting)
        yield* release
        yield* isFree("i")
      }))
  )

  test.needing("locks of sessions")(
    "are waited for longer than a statement may take",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const release = yield* held("slow")
        const fibers = yield* Effect.forEach([undefined, "20 seconds"] as const, (wait) =>
          AdvisoryLock.withLock(Effect.void, "slow", { wait }).pipe(
            StatementTimeout.within("50 millis"),
            Effect.forkChild
          ))
        // Longer than the limit and what a server has to keep it.
        yield* Effect.sleep("1300 millis")
        for (const fiber of fibers) {
          assert.isUndefined(fiber.pollUnsafe())
        }
        yield* release
        yield* Fiber.joinAll(fibers)
      }))
  )

  test.needing("locks of sessions", "wire")("that are lost interrupt the work", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* Place)
      const started = yield* Deferred.make<void>()
      const fiber = yield* Deferred.succeed(started, undefined).pipe(
        Effect.andThen(Effect.never),
        AdvisoryLock.withLock("lost"),
        reasonOf,
        Effect.provide(Layer.fresh(dialect.at(proxy.url, { pool: { max: 1 } }))),
        Effect.forkChild
      )
      yield* Deferred.await(started)
      yield* proxy.cutAll
      assert.strictEqual(yield* Fiber.join(fiber), "Lost")
      yield* AdvisoryLock.withLock(Effect.void, "lost", { wait: "10 seconds" })
    }))

  test("of a key that is none are refused", () =>
    Effect.forEach(invalid, (key) =>
      Effect.gen(function*() {
        assert.strictEqual(yield* reasonOf(isFree(key as AdvisoryLock.Key)), "InvalidKey", String(key))
        const inside = Transaction.run(AdvisoryLock.inTransaction(key as AdvisoryLock.Key))
        const expected = dialect.lacks["shared locks and those of transactions"] === undefined
          ? "InvalidKey"
          : "Unsupported"
        assert.strictEqual(yield* reasonOf(inside), expected, String(key))
      }), { discard: true }))

  test.needing("locks of sessions", "shared locks and those of transactions")(
    "do not exclude who shares them",
    () =>
      Effect.scoped(Effect.gen(function*() {
        yield* held("s", { shared: true })
        yield* held("s", { shared: true, wait: false })
        assert.strictEqual(yield* reasonOf(isFree("s")), "Busy")
      }))
  )

  test.needing("shared locks and those of transactions")("of a transaction end with it", () =>
    Effect.gen(function*() {
      assert.strictEqual(yield* reasonOf(AdvisoryLock.inTransaction("t")), "NoTransaction")
      yield* Transaction.run(AdvisoryLock.inTransaction("t"))
      yield* Transaction.run(AdvisoryLock.inTransaction("t", { wait: false }))
      yield* Transaction.run(AdvisoryLock.inTransaction("t", { wait: "1 second" }))
    }))

  if (dialect.lacks["shared locks and those of transactions"] !== undefined) {
    test("that the database does not know are refused, and say what to take instead", () =>
      Effect.gen(function*() {
        for (
          const effect of [
            AdvisoryLock.withLock(Effect.void, "s", { shared: true }),
            AdvisoryLock.inTransaction("t")
          ]
        ) {
          const error = (yield* failure(effect)) as unknown as AdvisoryLock.AdvisoryLockError
          assert.strictEqual(error.reason, "Unsupported")
          assert.include(error.message, "instead", error.message)
        }
      }))
  }
}
