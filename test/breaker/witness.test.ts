/** What tells less than a new connection is not believed: a connection beside the pool is asked. */
import { assert, describe, it } from "@effect/vitest"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { SqlError } from "effect/sql/SqlError"
import * as TestClock from "effect/testing/TestClock"
import type { Breaker } from "watertight"
import * as Outcome from "../../src/failure/Outcome.ts"
import * as PoolError from "../../src/pool/PoolError.ts"
import { healthy, sick } from "./failures.ts"
import { make, settle } from "./support.ts"

const situation: PoolError.Situation = {
  database: "fake",
  max: 2,
  total: 2,
  idle: 0,
  used: 2,
  connecting: 0,
  waiting: 3,
  holders: [],
  connectError: undefined
}

const inVain = (known: { readonly isStandstill?: boolean; readonly stalledMillis?: number }) => () =>
  Outcome.attach(
    PoolError.toSqlError(new PoolError.AcquireTimeout({ ...situation, ...known, waitedMillis: 1_000 })),
    "Statement",
    () => undefined
  )

/** A breaker that opens with the third failure, and a witness that says what it is told to. */
const setUp = Effect.gen(function*() {
  let isAway = false
  let asked = 0
  const witness = Effect.suspend(() => {
    asked++
    return isAway ? Effect.fail(sick.connect()) : Effect.void
  })
  const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(3) }, { witness })
  return {
    breaker,
    asked: () => asked,
    leave: () => {
      isAway = true
    }
  }
})

const fail = (breaker: Breaker.Breaker, error: SqlError) =>
  Effect.andThen(Effect.sync(() => breaker.failed(error, 1, breaker.permit)), settle)

const doubtful = {
  "nobody gets a connection": inVain({ isStandstill: true }),
  "a session is lost": sick.lostAfterSending,
  "a session is lost in a transaction": sick.lostInTransaction,
  "a session is lost at COMMIT": sick.lostAtCommit,
  "a server has crashed": sick.serverCrashed
}

describe("a failure that tells less than a new connection", () => {
  for (const [name, error] of Object.entries(doubtful)) {
    it.effect(`${name}: does not count while others can be opened, and does when they cannot`, () =>
      Effect.gen(function*() {
        const { asked, breaker, leave } = yield* setUp
        for (let call = 0; call < 30; call++) yield* fail(breaker, error())
        assert.strictEqual(asked(), 1, "the answer holds for a second")
        assert.isTrue(breaker.closed)
        leave()
        yield* TestClock.adjust("1 second")
        for (let call = 0; call < 3; call++) {
          assert.isTrue(breaker.closed)
          yield* fail(breaker, error())
        }
        assert.isFalse(breaker.closed)
        assert.strictEqual(asked(), 2)
      }))
  }

  it.effect("all who doubt while the witness is asked count, if it fails", () =>
    Effect.gen(function*() {
      const answer = yield* Deferred.make<void, SqlError>()
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(3) }, { witness: Deferred.await(answer) })
      for (let call = 0; call < 3; call++) yield* fail(breaker, inVain({ isStandstill: true })())
      assert.isTrue(breaker.closed)
      yield* Deferred.fail(answer, sick.connect())
      yield* settle
      assert.isFalse(breaker.closed)
    }))

  it.effect("what is asked when the breaker ends is not waited for", () =>
    Effect.gen(function*() {
      let isInterrupted = false
      yield* Effect.scoped(Effect.gen(function*() {
        const witness = Effect.onInterrupt(Effect.never, () =>
          Effect.sync(() => {
            isInterrupted = true
          }))
        const breaker = yield* make({}, { witness })
        yield* fail(breaker, sick.lostAfterSending())
      }))
      yield* settle
      assert.isTrue(isInterrupted)
    }))
})

describe("what needs no witness", () => {
  const clear = {
    "connecting failed": sick.connect,
    "none can be opened": sick.acquireTimeout,
    "a proxy has not reached a server": sick.answerOfAMiddleman
  }
  for (const [name, error] of Object.entries(clear)) {
    it.effect(`${name}: counts`, () =>
      Effect.gen(function*() {
        const { asked, breaker } = yield* setUp
        for (let call = 0; call < 3; call++) yield* fail(breaker, error())
        assert.isFalse(breaker.closed)
        assert.strictEqual(asked(), 0)
      }))
  }

  const nothing: Readonly<Record<string, () => SqlError>> = {
    ...healthy,
    "others get connections": inVain({ isStandstill: false }),
    "this process stood still": inVain({ isStandstill: true, stalledMillis: 500 })
  }
  it.effect("what says nothing asks nobody", () =>
    Effect.gen(function*() {
      const { asked, breaker, leave } = yield* setUp
      leave()
      for (const [name, error] of Object.entries(nothing)) {
        for (let call = 0; call < 5; call++) yield* fail(breaker, error())
        assert.strictEqual(asked(), 0, name)
      }
      assert.isTrue(breaker.closed)
    }))

  it.effect("without one, a loss counts once per event", () =>
    Effect.gen(function*() {
      const breaker = yield* make({ tripPolicy: CircuitBreaker.consecutive(3) })
      for (let call = 0; call < 3; call++) yield* fail(breaker, sick.lostAfterSending())
      assert.isFalse(breaker.closed)
      const other = yield* make({ tripPolicy: CircuitBreaker.consecutive(1) })
      for (let call = 0; call < 3; call++) yield* fail(other, inVain({ isStandstill: true })())
      assert.isTrue(other.closed)
    }))
})
