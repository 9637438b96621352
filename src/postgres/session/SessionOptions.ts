/**
 * What all sessions of an adapter have in common.
 */
import type { SettingsReference } from "../../transaction/TransactionSettings.ts"
import type { StatementEncoderOptions } from "../statement/StatementEncoder.ts"
import type { FunctionOrigins } from "./FunctionOrigins.ts"
import type { ServerIdentity } from "./transaction/CommitEvidence.ts"

export interface SessionOptions extends StatementEncoderOptions {
  /** Which functions are the server's own. Shared by all sessions of an adapter. */
  readonly functions: FunctionOrigins
  /** Where the settings of a fiber's transactions are found. Shared with the adapter. */
  readonly settings: SettingsReference
  /** Whether nothing is run for a fiber that has said nothing about its settings. */
  readonly requiresSettings: boolean
  /** What errors call the database. */
  readonly database: string
  /** The `statement_timeout` that the server was told at the start, in milliseconds, or `Infinity`. */
  readonly statementTimeout: number
  /** How long a statement may take, in milliseconds: longer than the server allows it, if it does at all. */
  readonly statementLimit: number
  /** Whether a pooler may give each transaction another server, so that nothing may be set outside of one. */
  readonly pooled: boolean
  /** How long a control statement may take. */
  readonly controlLimit: number
  /** How many rows of a stream are fetched at a time. */
  readonly fetchSize: number
  /**
   * Asks the server to cancel what the session runs, and calls `done` when the request cannot hit anything any more;
   * `undefined` where statements cannot be cancelled.
   */
  readonly cancel: ((session: SessionKey, done: () => void) => void) | undefined
  /** Where a COMMIT without answer can be looked into: what that takes, for all sessions. */
  readonly identity?: ServerIdentity | undefined
}

/** What a cancel request has to show. */
export interface SessionKey {
  readonly processId: number
  readonly secretKey: number
  readonly encrypted: boolean
}
