/**
 * What is known of one server of a cluster.
 */
import type { Observation } from "./Observation.ts"

/**
 * What a node may be used for.
 *
 * - `Unknown`: it has not answered yet.
 * - `Joining`: it answers, and may not be used yet: it recovers, or nobody knows yet how stale it is.
 * - `Primary`: it takes the writes. There is one at the most.
 * - `Replica`: it takes reads.
 * - `Unreachable`: it refuses connections, or has not answered twice.
 * - `Fenced`: it says that it is the primary, and is not the one of this cluster any more; or it is none of this cluster.
 *
 * @category models
 * @since 0.2.0
 */
export type Status = "Unknown" | "Joining" | "Primary" | "Replica" | "Unreachable" | "Fenced"

/** How busy a node is. Whoever performs keeps it up to date; the machine only reads it. */
export interface Load {
  /** How many calls are on the node or wait for it. */
  inFlight: number
  /** How many connections it may have. */
  max: number
  /** Whether its circuit breaker turns calls away. */
  readonly isOpen: boolean
}

/** What is configured of a node. */
export interface NodeSpec {
  /** How people and metrics call it: its address. */
  readonly name: string
  readonly zone?: string | undefined
  /** Whether it may serve reads beside the primary. Default: `true`. */
  readonly reads?: boolean | undefined
  /** What it is kept for. Only reads that ask for this go there. */
  readonly use?: string | undefined
}

export class Node {
  readonly spec: NodeSpec
  readonly load: Load

  status: Status = "Unknown"
  /** Since when it has been so. */
  since: number
  /** Why it is not in use, for people. */
  why: string | undefined = undefined

  /** What it said last. */
  observation: Observation | undefined = undefined
  /** When that question was asked. */
  observedAt = -Infinity

  /** A question is under way. */
  isAsked = false
  askedAt = -Infinity
  /** When to ask next. */
  dueAt: number
  /** How many questions in a row were not answered, and how many were. */
  misses = 0
  answers = 0
  isRefusing = false

  /** Something said that it may not be what it was: a write that was refused, a connection with another role. */
  doubtedAt = -Infinity
  /** A connection was lost: it may have been started again, and be at an earlier point than it had served. */
  suspectedAt = -Infinity
  /** When it was made the primary, of those that give no generation. */
  electedAt = -Infinity

  /** The time of the newest position of the primary that it is known to have. */
  provedAt = -Infinity
  /** It has fallen behind, and has not caught up yet. */
  isBehind = false
  /** It has been found to be gone, and must answer more than once before it serves reads again. */
  isReturning = false
  /** Since when it serves reads. */
  servesSince = Infinity

  /** How long calls take, a moving average in milliseconds, and when the last one ended. */
  latency = 0
  latencyAt = -Infinity
  /** When a call failed there because of the node. */
  failedAt = -Infinity

  constructor(spec: NodeSpec, now: number, load: Load = { inFlight: 0, max: 1, isOpen: false }) {
    this.spec = spec
    this.load = load
    this.since = now
    this.dueAt = now
  }

  /** Whether something has been said against it that it has not answered since. */
  get isDoubted(): boolean {
    return this.doubtedAt >= this.observedAt
  }

  get isSuspected(): boolean {
    return this.suspectedAt >= this.observedAt
  }

  get generation(): number | undefined {
    return this.observation?.generation
  }
}
