/**
 * The pool, as its parts see it: `PoolRuntime` is the one that there is.
 *
 * @since 0.2.0
 */
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import type { LeaseRequest } from "./LeaseRequest.ts"
import type * as PoolError from "./PoolError.ts"
import type { Resolved } from "./PoolOptions.ts"
import type { FailReason } from "./state/PoolEvent.ts"
import type { PoolState } from "./state/PoolState.ts"
import type { Slot } from "./state/Slot.ts"

/**
 * @category models
 * @since 0.2.0
 */
export interface PoolHost {
  readonly adapter: Adapter
  readonly options: Resolved
  readonly state: PoolState<Connection>
  /** The monotonic time in milliseconds. */
  readonly now: () => number
  /** The connections for which there is no room in the quota yet. */
  readonly account: { readonly asked: ReadonlyMap<Slot<Connection>, unknown> } | undefined
  /** Why no caller can connect until a person changes something. */
  readonly refusal: SqlError | undefined
  /** When somebody last got a connection. */
  readonly servedAt: number
  readonly situation: () => PoolError.Situation
  /** Performs what the state has decided. */
  readonly perform: () => void
  readonly open: (slot: Slot<Connection>) => void
  /** Fails a request that waits. */
  readonly refuse: (request: LeaseRequest, reason: FailReason) => void
}
