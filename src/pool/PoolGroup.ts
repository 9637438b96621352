import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type { Connection } from "../Adapter.ts"
import type { DeadlockDetector } from "./DeadlockDetector.ts"
import type { ShutdownReport, Stats } from "./PoolStats.ts"
import type { ConnectionQuota } from "./state/ConnectionQuota.ts"
import type { PoolTelemetry } from "./telemetry/PoolTelemetry.ts"

/** A pool, as the group that it belongs to sees it. */
export interface Member {
  readonly stats: () => Stats
  readonly telemetry: PoolTelemetry
  readonly shutdown: Effect.Effect<ShutdownReport>
}

/** Pools that share a budget, tell about themselves together and end together. */
export interface PoolGroup {
  readonly budget: ConnectionQuota | undefined
  /** Who waits for a connection of one of them while it has others. */
  readonly nesting: DeadlockDetector<Connection>
  /** How long shutting a member down may take, in milliseconds, whatever it would take by itself. */
  readonly shutdownMillis: number
  /** A pool is part of the group from now on. Returns what ends that. */
  readonly join: (member: Member) => () => void
}

/** The group that pools belong to which are made here. */
export const PoolGroup = Context.Reference<PoolGroup | undefined>("watertight/internal/PoolGroup", {
  defaultValue: () => undefined
})
