/**
 * A statement on its way to the server, as the encoder sees it.
 */
import type { Prepared } from "./PreparedCache.ts"
import type { RowDecoder } from "./RowDecoder.ts"

/** How far a statement is. */
export const Stage = {
  /** It waits for another exchange to learn the columns. */
  Waiting: "Waiting",
  /** It asks for the columns. Nothing has run. */
  Describe: "Describe",
  /** It runs. */
  Run: "Run"
} as const
export type Stage = typeof Stage[keyof typeof Stage]

export interface StatementPlan {
  readonly sql: string
  readonly params: ReadonlyArray<unknown>
  /** Whether the statement may be kept under a name. */
  readonly prepare: boolean
  readonly portalName: string
  stage: Stage
  prepared: Prepared | undefined
  description: RowDecoder | undefined
  /** Up to three parts of what is written. */
  head: Uint8Array | undefined
  bind: Uint8Array | undefined
  tail: Uint8Array | undefined
  /** Whether the `Parse` of `prepared` is among them. */
  parses: boolean
  /** Nothing else may be on the wire with it. */
  exclusive: boolean
  /** The answer to the question for the types of its parameters has the columns as well, in no format. */
  skipsColumns: boolean
  /** The question for its types stands behind a savepoint, because the server may refuse it. */
  guarded: boolean
  /** The end of the cycle that runs it, with the question for its columns if they are to be confirmed. */
  readonly ending: (confirm: boolean) => Uint8Array
}
