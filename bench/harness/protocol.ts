/** What the benchmark and the processes that it measures say to each other. */
import type { Metrics, NetworkCommand, Pace, Servers } from "./model.ts"

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

/** From the process that is measured. */
export type Answer =
  | { readonly metrics: Metrics }
  | { readonly failure: string }
  | { readonly network: NetworkCommand }

/** To it: the network is as it was asked for. */
export interface Done {
  readonly done: true
}
