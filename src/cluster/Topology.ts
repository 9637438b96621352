/**
 * What a cluster tells of itself.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type * as Breaker from "../breaker/Breaker.ts"
import type * as Pool from "../pool/Pool.ts"
import type { Status } from "./state/Node.ts"
import type { TokenProblem, TopologyEvent } from "./state/TopologyEvent.ts"

/**
 * A node of a cluster, at one moment.
 *
 * @category models
 * @since 0.2.0
 */
export interface NodeState {
  /** Its address. */
  readonly name: string
  readonly status: Status
  /** For how long it has been so, in milliseconds. */
  readonly forMillis: number
  /** Why it is not in use, for people. */
  readonly why: string | undefined
  readonly zone: string | undefined
  readonly generation: number | undefined
  /** How stale it is at the most, in milliseconds; `Infinity` if nobody knows. 0 for the primary. */
  readonly staleMillis: number
  /** How many reads are there or wait for it. */
  readonly inFlight: number
  readonly pool: Pool.Stats
}

/**
 * A cluster, at one moment.
 *
 * @category models
 * @since 0.2.0
 */
export interface Topology {
  readonly name: string
  /** The address of the node that takes writes; `undefined` if there is none. */
  readonly primary: string | undefined
  readonly generation: number | undefined
  readonly nodes: ReadonlyArray<NodeState>
  /** How often reads went to a replica, to the primary instead, or nowhere. */
  readonly reads: { readonly replica: number; readonly overflow: number; readonly refused: number }
  /** How often what a region of `Causal` must see proved nothing, so that the primary served its reads. */
  readonly unusableTokens: { readonly [problem in TokenProblem]: number }
}

/**
 * Several servers of one database that are used as one.
 *
 * @category models
 * @since 0.2.0
 */
export interface Cluster {
  readonly name: string
  /** What each node is. */
  readonly topology: Effect.Effect<Topology>
  /** The same in words, a sentence for each node. */
  readonly describe: Effect.Effect<string>
  /** What happens to the nodes from now on. */
  readonly events: Stream.Stream<TopologyEvent & { readonly database: string }>
  /** The pool and the breaker of a node, by its address. */
  readonly node: (
    name: string
  ) => { readonly pool: Pool.Pool; readonly breaker: Breaker.Breaker | undefined } | undefined
  /**
   * Says which node is the primary among several that say so, so that writes go on after a split brain; `undefined` takes
   * it back.
   */
  readonly pin: (name: string | undefined) => Effect.Effect<void>
  /** Asks all nodes what they are, now. */
  readonly refresh: Effect.Effect<void>
}

/**
 * The service of `Cluster`: where several nodes were named.
 *
 * @category services
 * @since 0.2.0
 */
export const Cluster = Context.Service<Cluster>("watertight/Cluster")

export type { TokenProblem, TopologyEvent }
