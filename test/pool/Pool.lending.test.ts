import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import type * as Adapter from "../../src/Adapter.ts"
import * as Pool from "../../src/pool/Pool.ts"
import { FakeAdapter, type FakeConnection, refused } from "../../src/testing/FakeAdapter.ts"
import { fork, hold, reasonOf, select, setUp } from "./support.ts"

describe("Pool: lending", () => {
  it.effect("gives the connection back after a failure, a defect, a thrown error and an interruption", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      assert.strictEqual(yield* Effect.flip(pool.use(() => Effect.fail("failed"))), "failed")
      assert.isTrue(Exit.hasDies(yield* Effect.exit(pool.use(() => Effect.die("died")))))
      assert.isTrue(Exit.hasDies(
        yield* Effect.exit(pool.use((): Effect.Effect<void> => {
          throw new Error("thrown")
        }))
      ))
      assert.isTrue(Exit.hasDies(
        yield* Effect.exit(pool.share(undefined, (): Effect.Effect<void> => {
          throw new Error("thrown")
        }))
      ))
      assert.isTrue(Exit.hasInterrupts(yield* Effect.exit(pool.use(() => Effect.interrupt))))
      const held = yield* hold(pool)
      yield* Fiber.interrupt(held.fiber)
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1, used: 0, waiting: 0 })
    }))

  it.effect("gives the connection back when BEGIN fails, and destroys what cannot be cleaned up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      yield* Effect.exit(pool.use((connection) => connection.begin({ statement: "fail to begin" })))
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1 })
      yield* pool.use((connection) => connection.begin({}))
      assert.strictEqual(fake.connections[0]!.resets, 1)
      assert.isFalse(fake.connections[0]!.inTransaction)
      fake.onReset = () => Effect.fail(refused)
      yield* pool.use((connection) => connection.begin({}))
      assert.deepStrictEqual(fake.connections[0]!.end, { destroyed: "closed by the pool: ResetFailed" })
      assert.strictEqual((yield* pool.stats).closed.ResetFailed, 1)
    }))

  it.effect("lends nothing that is being cleaned up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      fake.onReset = () => Effect.sleep("50 millis")
      yield* pool.use((connection) => connection.execute("set role admin", [], undefined))
      const next = yield* fork(pool.use((connection) => Effect.sync(() => connection.isReady)))
      yield* TestClock.adjust("49 millis")
      assert.isUndefined(next.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isTrue(yield* Fiber.join(next))
      assert.strictEqual(fake.connections.length, 1)
    }))

  it.effect("fails what a forked fiber runs after the connection was given back", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const gate = yield* Deferred.make<void>()
      const late = yield* pool.use((connection) =>
        Effect.forkDetach(Effect.andThen(Deferred.await(gate), Effect.exit(connection.execute("late", [], undefined))))
      )
      const other = yield* hold(pool)
      yield* Deferred.succeed(gate, undefined)
      const reason = reasonOf(yield* Fiber.join(late))
      assert.strictEqual(reason._tag, "LeaseEnded")
      assert.include(reason.message, "used after it had been given back")
      assert.deepStrictEqual(fake.connections[0]!.ran, [])
      yield* other.release
    }))

  it.effect("fails every method of a connection that was given back, and harms the next borrower by none", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const old = yield* pool.use(Effect.succeed)
      const next = yield* hold(pool)
      const lent = yield* next.connection
      const effects: ReadonlyArray<Effect.Effect<unknown, SqlError>> = [
        old.execute("x", [], undefined),
        old.executeRaw("x", []),
        old.executeValues("x", []),
        old.executeValuesUnprepared("x", []),
        old.executeUnprepared("x", [], undefined),
        Stream.runDrain(old.executeStream("3", [], undefined)),
        old.ping,
        old.reset,
        old.begin({}),
        old.commit,
        old.rollback,
        old.savepoint("a"),
        old.releaseSavepoint("a"),
        old.rollbackSavepoint("a")
      ]
      for (const effect of effects) assert.strictEqual(reasonOf(yield* Effect.exit(effect))._tag, "LeaseEnded")
      old.destroy("by mistake")
      yield* old.close
      yield* old.cancel
      assert.deepInclude({ ...old, isClosed: old.isClosed, isReady: old.isReady, inTransaction: old.inTransaction }, {
        isClosed: true,
        isReady: false,
        inTransaction: false
      })
      assert.isFalse(lent.isClosed)
      assert.deepStrictEqual(fake.connections[0]!.ran, [])
      assert.strictEqual(fake.connections[0]!.cancels, 0)
    }))

  it.effect("stops a stream that is pulled after the connection was given back", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const rows: Array<unknown> = []
      const gate = yield* Deferred.make<void>()
      const reader = yield* pool.use((connection) =>
        Effect.gen(function*() {
          const reader = yield* Effect.forkDetach(
            connection.executeStream("5 rows", [], undefined).pipe(
              Stream.runForEach((row) => Effect.andThen(Effect.sync(() => rows.push(row)), Deferred.await(gate))),
              Effect.exit
            ),
            { startImmediately: true }
          )
          return reader
        })
      )
      assert.strictEqual(rows.length, 1)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(reasonOf(yield* Fiber.join(reader))._tag, "LeaseEnded")
      assert.deepStrictEqual(fake.connections[0]!.ran, ["fetch 1"])
    }))

  it.effect("streams all rows while the connection is lent", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp()
      const rows = yield* Stream.unwrap(
        Effect.map(pool.reserve, (connection) => connection.executeStream("3 rows", [], undefined))
      ).pipe(Stream.runCollect)
      assert.deepStrictEqual(rows, [{ row: 1 }, { row: 2 }, { row: 3 }])
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1 })
    }))

  it.effect("reserves a connection until the scope closes", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const scope = yield* Scope.make()
      const connection = yield* Scope.provide(pool.reserve, scope)
      yield* select(connection)
      assert.strictEqual((yield* pool.stats).used, 1)
      yield* Scope.close(scope, Exit.void)
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1 })
      assert.strictEqual(reasonOf(yield* Effect.exit(select(connection)))._tag, "LeaseEnded")
      // Closing it again is harmless.
      const next = yield* hold(pool)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* pool.stats).used, 1)
      yield* select(yield* next.connection)
    }))

  it.effect("reserves nothing in a scope that is closed", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const scope = yield* Scope.make()
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(reasonOf(yield* Effect.exit(Scope.provide(pool.reserve, scope)))._tag, "LeaseEnded")
      assert.strictEqual((yield* pool.stats).used, 0)
      assert.strictEqual(fake.attempts.length, 0)
    }))

  it.effect("fails whoever waits in a scope that somebody else closes", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const scope = yield* Scope.make()
      const waiter = yield* fork(Effect.exit(Scope.provide(pool.reserve, scope)))
      assert.strictEqual((yield* pool.stats).waiting, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(reasonOf(yield* Fiber.join(waiter))._tag, "LeaseEnded")
      yield* first.release
      assert.deepInclude(yield* pool.stats, { used: 0, waiting: 0, idle: 1 })
    }))

  it.effect("takes whoever is interrupted while it waits to reserve out of the queue at once", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const scope = yield* Scope.make()
      const waiter = yield* fork(Scope.provide(pool.reserve, scope))
      yield* Fiber.interrupt(waiter)
      assert.strictEqual((yield* pool.stats).waiting, 0)
      yield* first.release
      assert.strictEqual((yield* pool.stats).idle, 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* pool.stats).idle, 1)
    }))

  it.effect("lets an attempt to connect finish when whoever waited for it is interrupted", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp()
      fake.onConnect = () => Effect.sleep("1 second")
      const waiter = yield* fork(pool.use(select))
      yield* TestClock.adjust("500 millis")
      yield* Fiber.interrupt(waiter)
      yield* TestClock.adjust("500 millis")
      assert.strictEqual(fake.interrupted, 0)
      assert.deepInclude(yield* pool.stats, { total: 1, idle: 1 })
      assert.deepStrictEqual(yield* pool.use(select), [{ connection: "1" }])
    }))

  it.effect("gives up the place of a lost connection at once, while its borrower still runs", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const second = yield* hold(pool)
      fake.connections[0]!.lose()
      assert.strictEqual((yield* second.connection).id, "2")
      yield* first.release
      assert.deepInclude(yield* pool.stats, { total: 1, used: 1 })
      assert.strictEqual((yield* pool.stats).closed.Lost, 1)
    }))

  it.effect("counts a connection that its borrower destroyed as lost, without cleaning it up", () =>
    Effect.gen(function*() {
      const { fake, pool } = yield* setUp({ max: 1 })
      yield* pool.use((connection) => Effect.sync(() => connection.destroy("it is broken")))
      assert.strictEqual(fake.connections[0]!.resets, 0)
      assert.strictEqual((yield* pool.stats).closed.Lost, 1)
      assert.deepStrictEqual(yield* pool.use(select), [{ connection: "2" }])
    }))

  it.effect("takes a connection that is lost by the time it is open for a failed attempt", () =>
    Effect.gen(function*() {
      const fake = new FakeAdapter()
      let storm = true
      const adapter: Adapter.Adapter = Object.assign(Object.create(fake), {
        connect: Effect.tap(fake.connect, (connection) =>
          Effect.sync(() => {
            if (storm) (connection as FakeConnection).lose()
          }))
      })
      const pool = yield* Pool.make(adapter, { max: 4, shutdownTimeout: 0 })
      assert.strictEqual((yield* pool.stats).connectFailures, 1)
      const fiber = yield* fork(pool.use(select))
      yield* TestClock.adjust("2 seconds")
      assert.isBelow(fake.attempts.length, 40)
      storm = false
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isSuccess(yield* Fiber.await(fiber)))
      assert.strictEqual((yield* pool.stats).created, 1)
    }))

  it.effect("keeps going when an observer of a fiber that it resumes throws", () =>
    Effect.gen(function*() {
      const { pool } = yield* setUp({ max: 1 })
      const first = yield* hold(pool)
      const second = yield* fork(pool.use(() => Effect.void))
      second.addObserver(() => {
        throw new Error("an observer")
      })
      const third = yield* hold(pool)
      yield* Effect.exit(first.release)
      assert.strictEqual((yield* third.connection).id, "1")
      yield* third.release
      assert.deepInclude(yield* pool.stats, { used: 0, idle: 1, waiting: 0 })
    }))
})
