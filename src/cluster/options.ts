/**
 * The options of a cluster and how they are checked.
 */
import * as Options from "../options/Options.ts"
import type { NodeOptions, ReplicaOptions } from "./ClusterAdapter.ts"

export const replicas = Options.make<ReplicaOptions>()("replicas", {
  maxStaleness: Options.duration({ default: "10 seconds", positive: true }),
  otherwise: Options.oneOf(["primary", "fail"], { default: "primary" }),
  overflow: Options.number({ default: 0.25, min: 0, max: 1 }),
  probe: Options.duration({ default: "1 second", positive: true }),
  wait: Options.duration({ default: "200 millis" }),
  warmUp: Options.duration({ default: "10 seconds" })
})

export type Resolved = Options.Resolved<typeof replicas.table>

/** A row for each option of a node. */
export const node = Options.make<NodeOptions>()("nodes", {
  host: Options.text(),
  port: Options.count({ min: 1, max: 65_535 }),
  zone: Options.text(),
  reads: Options.boolean({ default: true }),
  use: Options.text()
})
