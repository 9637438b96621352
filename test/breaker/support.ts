/** What tests of the breaker are written with. */
import * as Effect from "effect/Effect"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type { SqlError } from "effect/sql/SqlError"
import * as Breaker from "../../src/breaker/Breaker.ts"
import { sick } from "./failures.ts"

export const make = (options?: Breaker.Options, surroundings?: Breaker.Surroundings) =>
  Breaker.make({ name: "fake" }, options, surroundings)

/** Opens with the first failure, for ten seconds. */
export const touchy = {
  tripPolicy: CircuitBreaker.consecutive(1),
  openDuration: "10 seconds"
} satisfies Breaker.Options

export const fail = (breaker: Breaker.Breaker, error: SqlError = sick.connect()) =>
  Effect.flip(breaker.execute(Effect.fail(error)))

export const succeed = (breaker: Breaker.Breaker) => breaker.execute(Effect.void)

export const tagOf = (error: unknown) => Breaker.find(error)?.reason._tag

export const stateOf = (breaker: Breaker.Breaker) => Effect.map(breaker.state, (state) => state._tag)

/** Whether a call is let through. */
export const isAdmitted = (breaker: Breaker.Breaker) => Effect.isSuccess(breaker.execute(Effect.void))

export const settle = Effect.repeat(Effect.yieldNow, { times: 20 })
