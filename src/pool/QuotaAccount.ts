/**
 * A pool's part in the quota of connections that several pools have together.
 *
 * @since 0.2.0
 */
import type { Connection } from "../Adapter.ts"
import type { PoolHost } from "./PoolHost.ts"
import type { Account, ConnectionQuota, Request } from "./state/ConnectionQuota.ts"
import type { Slot } from "./state/Slot.ts"

/**
 * @category models
 * @since 0.2.0
 */
export class QuotaAccount {
  private readonly runtime: PoolHost
  private readonly quota: ConnectionQuota
  private readonly account: Account
  /** The connections that may be open by the quota. */
  private readonly permitted = new Set<Slot<Connection>>()
  /** Those that the quota was asked for. */
  readonly asked = new Map<Slot<Connection>, Request>()

  constructor(runtime: PoolHost, quota: ConnectionQuota) {
    this.runtime = runtime
    this.quota = quota
    const { state } = runtime
    this.account = quota.join({
      isStarving: () => state.waiting > 0 && !state.closing,
      idle: () => state.counts.idle,
      giveUpIdle: () => {
        const had = state.giveUpIdle(runtime.now())
        if (had) runtime.perform()
        return had
      },
      giveUpNext: () => {
        state.closeForOthers++
      }
    })
  }

  /** Asks for room for a connection. Returns whether it may be opened now; otherwise it is when there is room. */
  ask(slot: Slot<Connection>): boolean {
    const request: Request = { account: this.account, grant: () => this.granted(slot) }
    this.asked.set(slot, request)
    if (!this.quota.ask(request)) return false
    this.permit(slot)
    return true
  }

  private permit(slot: Slot<Connection>): void {
    this.asked.delete(slot)
    this.permitted.add(slot)
  }

  /** There is room for the connection now, if it is still needed. */
  private granted(slot: Slot<Connection>): void {
    const { runtime } = this
    this.permit(slot)
    if (slot.phase === "Connecting" && runtime.state.wantsMore(runtime.now())) runtime.open(slot)
    else runtime.state.closed(slot, runtime.now())
    runtime.perform()
  }

  /** What was asked for is not wanted any more. */
  withdrawAll(): void {
    for (const slot of Array.from(this.asked.keys())) this.runtime.state.closed(slot, this.runtime.now())
  }

  /** How many more connections there is room for that no pool has asked for. */
  get room(): number {
    return this.quota.spare
  }

  /** Tells the quota which connections are gone, and whether another pool could have one of ours. */
  settle(): void {
    const { account, asked, permitted, quota, runtime } = this
    const { state } = runtime
    if (asked.size > 0 && !state.wantsMore(runtime.now())) this.withdrawAll()
    if (permitted.size + asked.size > state.slots.size) {
      for (const [slot, request] of asked) {
        if (slot.phase !== "Gone") continue
        asked.delete(slot)
        quota.cancel(request)
      }
      for (const slot of permitted) {
        if (slot.phase !== "Gone") continue
        permitted.delete(slot)
        quota.release(account)
      }
      state.closeForOthers = Math.min(state.closeForOthers, account.owed)
    }
    if (quota.waiting > 0) quota.relieve()
  }

  leave(): void {
    this.quota.leave(this.account)
  }
}
