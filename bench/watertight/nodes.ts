/** Three nodes that answer at once, as one cluster: what routing costs, alone. */
import * as Effect from "effect/Effect"
import type { Adapter } from "watertight"
import * as Cluster from "../../src/cluster/Cluster.ts"
import type { ClusterAdapter } from "../../src/cluster/ClusterAdapter.ts"
import * as Stub from "./stub.ts"

const names = ["a", "b", "c"]

const at = new WeakMap<Adapter.Connection, string>()

const isPrimary = (connection: Adapter.Connection): boolean => at.get(connection) === names[0]

const cluster: ClusterAdapter = {
  name: "stub://a,b,c",
  candidates: names.map((host) => ({ host })),
  target: "primary",
  zone: undefined,
  replicas: undefined,
  adapterOf: ({ host }) =>
    Effect.succeed({
      ...Stub.adapter,
      name: `stub://${host}`,
      connect: Effect.map(Stub.adapter.connect, (connection) => {
        at.set(connection, host)
        return connection
      })
    }),
  isPrimary,
  observe: (connection) =>
    Effect.succeed({
      role: isPrimary(connection) ? "primary" : "replica",
      server: at.get(connection)!,
      lineage: "stub",
      generation: 1,
      position: "1",
      has: isPrimary(connection) ? undefined : 0
    })
}

/** Takes the place of adapter and pool. */
export const layerOf = (connections: number) => Cluster.layer(cluster, { pool: { min: connections, max: connections } })
