/**
 * What the machine asks to be done, and what it tells.
 */
import type { Node, Status } from "./Node.ts"

/**
 * Why a token, or what a region of `Causal` has noted, proves nothing, so that its reads go to the primary.
 *
 * - `Unreadable`: it says nothing that could be a place.
 * - `Foreign`: it is of a database that this program knows by another name.
 * - `OtherGeneration`: it is from before a failover. What was acknowledged then may be gone.
 * - `Ahead`: the primary has not got it. It was lost in a failover, or made up.
 *
 * @category models
 * @since 0.2.0
 */
export type TokenProblem = "Unreadable" | "Foreign" | "OtherGeneration" | "Ahead"

/**
 * Something has changed in a cluster, or a token proves nothing in it. `node` is its address.
 *
 * @category models
 * @since 0.2.0
 */
export type TopologyEvent =
  /** A node has become something else. `why` is for people. */
  | {
    readonly _tag: "RoleChanged"
    readonly node: string
    readonly from: Status
    readonly to: Status
    readonly why: string | undefined
  }
  /** There is a primary. `afterMillis` is how long there was none. */
  | {
    readonly _tag: "PrimaryFound"
    readonly node: string
    readonly generation: number | undefined
    readonly afterMillis: number
  }
  /** The primary is not one any more, or cannot be reached. */
  | { readonly _tag: "PrimaryLost"; readonly node: string; readonly why: string | undefined }
  /** A server takes writes that is not the primary any more. Nothing is written to it. */
  | { readonly _tag: "Fenced"; readonly node: string; readonly why: string | undefined }
  /** Several servers say that they are the primary, and nothing tells which of them is. Writes are held. */
  | { readonly _tag: "SplitBrain"; readonly nodes: ReadonlyArray<string> }
  /** A replica takes no reads for now. */
  | {
    readonly _tag: "NodeEjected"
    readonly node: string
    readonly reason: "Behind" | "Unreachable" | "Unfit"
    readonly staleMillis: number
  }
  /** It takes reads again. */
  | { readonly _tag: "NodeReturned"; readonly node: string }
  /** What a region of `Causal` must see proves nothing here, so the primary serves its reads. Told once a region. */
  | { readonly _tag: "TokenUnusable"; readonly reason: TokenProblem }

/** What is to be done. */
export type Action =
  /** Ask the node what it is. */
  | { readonly _tag: "Probe"; readonly node: Node }
  /** The node has another status: its connections may have to go. */
  | { readonly _tag: "Become"; readonly node: Node; readonly from: Status }
  /** Writers may go on, or have to wait. */
  | { readonly _tag: "Writer"; readonly node: Node | undefined }
  | { readonly _tag: "Report"; readonly event: TopologyEvent }
  /** Call `tick` at this time. Only the last one counts. */
  | { readonly _tag: "Wake"; readonly at: number }
