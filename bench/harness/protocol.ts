/** What the benchmark and the processes that it measures say to each other. */
import type { Metrics, Pace, Servers } from "./model.ts"

export interface Order {
  readonly scenario: string
  readonly case: string
  readonly candidate: string
  readonly servers: Servers
  readonly pace: Pace
  readonly round: number
  /** Where to leave a CPU profile of the measured time. */
  readonly profile?: string | undefined
}

export type Answer =
  | { readonly metrics: Metrics }
  | { readonly failure: string }
