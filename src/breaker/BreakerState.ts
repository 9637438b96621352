/**
 * The states of a circuit, as people and the parts of the breaker see them.
 *
 * @since 0.1.0
 */
import type * as Duration from "effect/Duration"
import type * as CircuitBreaker from "effect/persistence/CircuitBreaker"

/**
 * The state of a circuit.
 *
 * @category models
 * @since 0.1.0
 */
export type State = CircuitBreaker.State | { readonly _tag: "Isolated"; readonly key: string }

/**
 * The circuit has changed its state, as this process sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly key: string
  readonly from: State["_tag"]
  readonly to: State["_tag"]
  /**
   * What did it: the outcomes of calls of this process, what was read from a shared store or followed from its
   * failure, or `isolate` and `reset`.
   */
  readonly by: "Calls" | "Store" | "Manual"
  /** For how long it is open. */
  readonly retryAfter: Duration.Duration | undefined
}

/**
 * What a call that found the circuit closed was admitted under. It tells late outcomes from current ones.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permit {
  /** Rises whenever the circuit has left the state in which it admitted the call. */
  readonly epoch: number
}
