/**
 * A control statement: one that begins or ends a transaction, or asks for a sign of life.
 *
 * It is never planned, so a name that the server has lost cannot make it fail, and never cancelled.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as frames from "../wire/frames.ts"
import { Exchange, Progress, type Settle } from "./Exchange.ts"

/** What a control statement does to the transaction. */
export const Control = {
  Begin: "Begin",
  Commit: "Commit",
  Rollback: "Rollback",
  /** A ROLLBACK of whatever is open when everything else has been answered. */
  Reset: "Reset",
  /** It has no answer but that the server is ready: a sign of life, the end of a portal. */
  Sync: "Sync",
  /** It neither begins nor ends one. */
  Other: "Other"
} as const
export type Control = typeof Control[keyof typeof Control]

export class ControlExchange extends Exchange {
  readonly kind: Control

  constructor(kind: Control, frame: Uint8Array, operation: string, resume: Settle) {
    super(operation, Infinity, resume)
    this.kind = kind
    this.head = frame
    this.exclusive = kind === Control.Reset
  }

  override get endsTransaction(): boolean {
    return this.kind === Control.Commit || this.kind === Control.Rollback || this.kind === Control.Reset
  }

  override get onlyInTransaction(): boolean {
    return this.kind === Control.Reset
  }

  override get isComplete(): boolean {
    // Whether BEGIN was answered is known where the transaction begins.
    return this.kind === Control.Sync || this.kind === Control.Begin || this.tag !== undefined
  }

  override get canBeCancelled(): boolean {
    return false
  }

  override onCopyIn(_response: PgProtocol.CopyInResponse): Uint8Array | undefined {
    return frames.copyFail
  }

  onReady(): Effect.Effect<any, SqlError> | undefined {
    return Effect.succeed(this.tag)
  }

  /** A COMMIT is answered after it was made. Other answers are only good once the server is ready for more. */
  override get lastWord(): Effect.Effect<any, SqlError> | undefined {
    return this.isCommit && this.tag !== undefined ? Effect.succeed(this.tag) : undefined
  }

  get isCommit(): boolean {
    return this.kind === Control.Commit
  }

  /** Whether COMMIT was written and not answered. */
  get isUndecided(): boolean {
    return this.isCommit && this.progress !== Progress.Unsent && this.tag === undefined
  }
}
