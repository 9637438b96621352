/**
 * The layer of a database that is a cluster. Imported when several nodes are named.
 */
import * as Layer from "effect/Layer"
import * as Database from "../Database.ts"
import * as Cluster from "./Cluster.ts"
import type { ClusterAdapter } from "./ClusterAdapter.ts"

/** Provides the database of a cluster. Each node has its own breaker, so there is none in front of all. */
export const layerOf = (cluster: ClusterAdapter, options: Database.LayerOptions) =>
  Database.layer({ ...options, breaker: false }).pipe(
    Layer.provideMerge(Cluster.layer(cluster, { pool: options.pool, breaker: options.breaker }))
  )
