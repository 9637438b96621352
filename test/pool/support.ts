/** What tests of the pool over a fake database are written with. */
import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Adapter from "../../src/Adapter.ts"
import * as Pool from "../../src/pool/Pool.ts"
import * as PoolError from "../../src/pool/PoolError.ts"
import { FakeAdapter } from "../../src/testing/FakeAdapter.ts"

export { quick } from "./state/steps.ts"

export const fork = Effect.forkChild({ startImmediately: true })

/** A pool over a fake database. Unless it says otherwise, it is lazy, and does not wait for borrowers at the end. */
export const setUp = Effect.fnUntraced(function*(options: Pool.Options = {}, fake: FakeAdapter = new FakeAdapter()) {
  const pool = yield* Pool.make(fake, { startup: "lazy", shutdownTimeout: 0, ...options })
  return { fake, pool }
})

/** All that a pool tells from now on. */
export const listen = Effect.fnUntraced(function*(pool: Pool.Pool) {
  const events: Array<Pool.PoolEvent> = []
  yield* fork(Stream.runForEach(pool.events, (event) => Effect.sync(() => events.push(event))))
  return events
})

/** Somebody who has a connection until it is told to give it back. */
export const hold = Effect.fnUntraced(function*(pool: Pool.Pool, name = "holder") {
  const lent = yield* Deferred.make<Adapter.Connection>()
  const done = yield* Deferred.make<void>()
  const fiber = yield* fork(Effect.withSpan(
    pool.use((connection) => Effect.andThen(Deferred.succeed(lent, connection), Deferred.await(done))),
    name
  ))
  return {
    fiber,
    connection: Deferred.await(lent),
    release: Effect.andThen(Deferred.succeed(done, undefined), Fiber.await(fiber))
  }
})

export const select = (connection: Adapter.Connection) => connection.execute("select 1", [], undefined)

export const sleep = (millis: number) => (connection: Adapter.Connection) =>
  connection.execute(`sleep ${millis}`, [], undefined)

/** The reason of a `PoolError` inside what an effect failed with. */
export const reasonOf = <A>(exit: Exit.Exit<A, SqlError>): PoolError.PoolErrorReason => {
  if (Exit.isSuccess(exit)) return assert.fail("it succeeded")
  const error = Cause.findErrorOption(exit.cause)
  if (error._tag === "None") return assert.fail(Cause.pretty(exit.cause))
  return PoolError.fromSqlError(error.value)?.reason ?? assert.fail(error.value.message)
}
