/**
 * What a pool has decided and what is still to be done: the only output of `PoolState`.
 *
 * @since 0.2.0
 */
import type { CloseReason, FailReason, PoolEvent } from "./PoolEvent.ts"
import type { Lease, Slot } from "./Slot.ts"

/**
 * What is to be done.
 *
 * @category models
 * @since 0.1.0
 */
export type Action<C> =
  /** Tell the owner of the lease that `lease.slot` is its, after it has waited for so long. */
  | { readonly _tag: "Lease"; readonly lease: Lease<C>; readonly waitedMillis: number }
  /** Tell the owner of the lease that there is no connection for it. */
  | { readonly _tag: "Fail"; readonly lease: Lease<C>; readonly reason: FailReason }
  /** Open a connection, then call `connected` or `connectFailed`. */
  | { readonly _tag: "Connect"; readonly slot: Slot<C> }
  /** End the attempt to connect, then call `connectFailed`. */
  | { readonly _tag: "Abandon"; readonly slot: Slot<C> }
  /** Ask the server for a sign of life, or whether its role has changed if that is suspected; then call `validated`. */
  | { readonly _tag: "Ping"; readonly slot: Slot<C> }
  /** Clean up after a borrower, then call `wasReset`. */
  | { readonly _tag: "Reset"; readonly slot: Slot<C> }
  /** Close the connection, then call `closed`. `abrupt` if it is to be destroyed, and its borrowers are cut off. */
  | { readonly _tag: "Close"; readonly slot: Slot<C>; readonly reason: CloseReason; readonly abrupt: boolean }
  /** Interrupt the owner of the lease: its connection is taken away. */
  | { readonly _tag: "Reclaim"; readonly lease: Lease<C> }
  /** Tell that this has happened, and to which lease. */
  | { readonly _tag: "Report"; readonly event: PoolEvent; readonly lease: Lease<C> | undefined }
  /** Call `tick` at this time. A later `Wake` with an earlier time replaces it. */
  | { readonly _tag: "Wake"; readonly at: number }
  /** The pool is closed, or was to be drained, and its last connection is gone. */
  | { readonly _tag: "Drained" }

/**
 * @category models
 * @since 0.2.0
 */
export class Agenda<C> {
  /** What is to be done, in this order. The caller of an event takes them out. */
  readonly actions: Array<Action<C>> = []
  /** When the `Wake` that is under way is due. */
  private wakeAt = Infinity

  /** Something must be done at this time, unless the pool is woken before. */
  wake(at: number): void {
    if (at >= this.wakeAt) return
    this.wakeAt = at
    this.actions.push({ _tag: "Wake", at })
  }

  /** The time of the last `Wake` has come. */
  woken(): void {
    this.wakeAt = Infinity
  }

  report(event: PoolEvent, lease?: Lease<C>): void {
    this.actions.push({ _tag: "Report", event, lease })
  }

  fail(lease: Lease<C>, reason: FailReason): void {
    lease.state = "Failed"
    this.actions.push({ _tag: "Fail", lease, reason })
  }
}
