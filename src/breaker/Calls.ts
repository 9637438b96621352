/**
 * How calls go through the circuit.
 *
 * **Details**
 *
 * While the circuit is closed a call is only watched. Otherwise the first call after the open time asks to be admitted.
 * With a probe, such as a ping on a connection of the pool, the probe is what answers: it takes as long as the way to
 * the database, however long the call itself takes, and the call runs when the circuit has closed. Without one the call
 * itself is the probe.
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { type BreakerErrorReason, CircuitHalfOpen, CircuitOpen, Isolated, toSqlError } from "./BreakerError.ts"
import type { Resolved } from "./BreakerOptions.ts"
import type { Call, CircuitStore } from "./CircuitStore.ts"
import type { LocalCircuit, Ticket } from "./LocalCircuit.ts"

/** The call that is being executed. Effect's circuit hands it to its store. */
const CurrentCall = Context.Reference<Call | undefined>("watertight/Breaker/Call", { defaultValue: () => undefined })

const withCall = <A, E, R>(f: (call: Call) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.withFiber((fiber) => f(fiber.getRef(CurrentCall)!))

export interface Options {
  readonly key: string
  readonly store: CircuitStore
  readonly local: LocalCircuit
  readonly circuit: CircuitBreaker.CircuitBreaker
  readonly now: () => number
  readonly probe: Effect.Effect<void, SqlError> | undefined
}

/** Effect's own circuit, over the store that a `CircuitStore` has at the moment. */
export const makeCircuit = (
  store: CircuitStore,
  { openDuration, tripPolicy }: Resolved
): Effect.Effect<CircuitBreaker.CircuitBreaker, never, Scope.Scope> =>
  Effect.provideService(
    CircuitBreaker.make({ tripPolicy, openDuration }),
    CircuitBreaker.CircuitBreakerStore,
    CircuitBreaker.CircuitBreakerStore.of({
      admit: () => withCall((call) => store.admit(call)),
      record: (options) => withCall((call) => store.record(call, options)),
      state: (key) => store.local.store.service.state(key)
    })
  )

const classifySuccess = () => CircuitBreaker.success
const classifyFailure = () => CircuitBreaker.failure()

/** Records one outcome of a call that was admitted under the ticket. */
export const recordOne = (
  circuit: CircuitBreaker.CircuitBreaker,
  key: string,
  ticket: Ticket,
  outcome: "Success" | "Failure"
): Effect.Effect<void> =>
  circuit.execute(Effect.void, { key, classify: outcome === "Success" ? classifySuccess : classifyFailure }).pipe(
    Effect.provideService(CurrentCall, { ticket, store: ticket.store }),
    Effect.ignore
  )

export class Calls {
  /** How many calls were turned away. */
  rejected = 0
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  execute<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> {
    return Effect.suspend(() => {
      const { local, now, probe } = this.options
      local.touch(now())
      if (local.closed) return this.watch(self)
      return probe === undefined ? this.ask(self) : Effect.andThen(this.ask(probe), this.afterProbe(self))
    })
  }

  /** The probe has succeeded. Without that it would have failed. */
  private afterProbe<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> {
    return Effect.suspend((): Effect.Effect<A, E | SqlError, R> => {
      if (this.options.local.closed) return this.watch(self)
      return Effect.fail(this.reject(this.rejection() ?? new CircuitHalfOpen({ key: this.options.key })))
    })
  }

  /** Why a call is turned away without asking the store. */
  private rejection(): BreakerErrorReason | undefined {
    const { key, local, now, store } = this.options
    if (local.isolated) return new Isolated({ key })
    const left = local.until - now()
    if (local.tag === "Open" && left > 0) return new CircuitOpen({ key, retryAfter: Duration.millis(left) })
    if (store.asking !== undefined || (local.tag === "HalfOpen" && left > 0)) return new CircuitHalfOpen({ key })
    return undefined
  }

  private reject(reason: BreakerErrorReason): SqlError {
    this.rejected++
    return toSqlError(reason)
  }

  /** A call while the circuit is closed. */
  private watch<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    const { local, now } = this.options
    const { permit } = local
    const startedAt = now()
    return Effect.onExitPrimitive(self, (exit) => {
      if (Exit.isFailure(exit)) {
        local.failed(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), now() - startedAt, permit)
      } else if (local.watching) {
        local.succeeded(now() - startedAt, permit)
      }
      return undefined
    })
  }

  /** A call while it is not closed, which may become the probe. */
  private ask<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> {
    const { circuit, key, local, now, store } = this.options
    let call: Call | undefined
    let startedAt: number | undefined
    const admitted = Effect.suspend(() => {
      startedAt = now()
      return self
    })
    const classify = (exit: Exit.Exit<A, E>): CircuitBreaker.Outcome => {
      const millis = now() - startedAt!
      if (Exit.isSuccess(exit)) return local.isSlow(millis) ? CircuitBreaker.failure() : CircuitBreaker.success
      return local.isCounted(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), millis)
        ? CircuitBreaker.failure()
        : CircuitBreaker.ignored
    }
    // The finalizer is registered before the call asks, so an interruption cannot leave the place of the probe taken.
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        const reason = this.rejection()
        if (reason !== undefined) return Effect.fail(this.reject(reason))
        store.asking = call = { ticket: undefined, store: local.store }
        return circuit.execute(admitted, { key, classify }).pipe(
          Effect.provideService(CurrentCall, call),
          Effect.mapError((error) => startedAt === undefined ? this.refused(error) : error as E)
        )
      }),
      () => {
        if (call !== undefined && store.asking === call) store.asking = undefined
        return undefined
      }
    )
  }

  /** The store has turned the call away. */
  private refused(error: unknown): SqlError {
    const { key, local, now } = this.options
    const { reason } = error as CircuitBreaker.CircuitBreakerError
    return this.reject(
      reason._tag === "CircuitOpen"
        ? new CircuitOpen({ key, retryAfter: Duration.millis(Math.max(0, local.until - now())) })
        : new CircuitHalfOpen({ key })
    )
  }
}
