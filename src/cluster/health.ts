/**
 * Whether a cluster does its work: critical without a primary, degraded without a replica that should be there.
 */
import * as Health from "../pool/Health.ts"
import type * as Pool from "../pool/Pool.ts"
import type { ClusterRuntime } from "./ClusterRuntime.ts"
import { describe } from "./describe.ts"

export const clusterHealth = (runtime: ClusterRuntime, all: ReadonlyArray<Pool.Stats>): Health.Health => {
  const { cluster, state } = runtime
  const pool = cluster.name
  const reason = (tag: "NoPrimary" | "NoReplica", message: string): Health.Reason => ({
    _tag: tag,
    pool,
    value: 1,
    threshold: 0,
    message: `${pool}: ${message}: ${describe(runtime)}`
  })
  const own: Array<Health.Health> = []
  if (state.primary === undefined) {
    own.push(Health.make({ critical: [reason("NoPrimary", "there is no primary")] }))
  }
  const away = state.nodes.filter(({ status }) => status !== "Primary" && status !== "Replica")
  if (state.primary !== undefined && away.length > 0) {
    own.push(
      Health.make({ degraded: [reason("NoReplica", `${away.length} of ${state.nodes.length} nodes are not in use`)] })
    )
  }
  // What the pool of a node says that is not in use is no news; of a replica it is no more than a nuisance.
  const pools = state.nodes.flatMap((node, i) => {
    const stats = all[i]
    if (stats === undefined || (node.status !== "Primary" && node.status !== "Replica")) return []
    const health = Health.decide(stats)
    return [
      node.status === "Replica" && health._tag === "Critical" ? Health.make({ degraded: health.reasons }) : health
    ]
  })
  return Health.combine([...own, ...pools])
}
