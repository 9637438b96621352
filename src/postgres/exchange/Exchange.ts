/**
 * One exchange with the server: what is written, what comes back, and who waits for it.
 *
 * Each kind of exchange is a class: a statement, the fetches of a portal, a script, a COPY, a control statement. The
 * session knows them by what is declared here.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { type RowDecoder, skipField } from "../statement/RowDecoder.ts"
import { Stage } from "../statement/StatementPlan.ts"

/** Where an exchange is. */
export const Progress = {
  /** No byte of it was written. */
  Unsent: "Unsent",
  /** It was written. */
  Written: "Written",
  /** The server has bound it, and may be running it. */
  Bound: "Bound",
  /** The server has answered in full. */
  Answered: "Answered"
} as const
export type Progress = typeof Progress[keyof typeof Progress]

/** Whether the BEGIN of the transaction goes ahead of an exchange, in the same cycle. */
export const Carries = {
  /** No BEGIN is written with it. */
  Nothing: "Nothing",
  /** BEGIN goes ahead of it, and is not answered yet. */
  Begin: "Begin",
  /** The server has begun the transaction: what comes now is about the exchange itself. */
  Begun: "Begun"
} as const
export type Carries = typeof Carries[keyof typeof Carries]

export type Settle = (effect: Effect.Effect<any, SqlError>) => void

export abstract class Exchange {
  /** What errors call the exchange. Nothing is decided by it. */
  readonly operation: string
  /** Called once, with the result. */
  protected resume: Settle
  /** Whether the caller has been told. */
  isSettled = false

  stage: Stage = Stage.Run
  progress: Progress = Progress.Unsent
  carries: Carries = Carries.Nothing
  /** The server has bound it: what it reports after that is about the run. */
  wasBound = false
  /** How its rows are read. */
  description: RowDecoder | undefined = undefined

  /** Up to three parts of what is written. */
  head: Uint8Array | undefined = undefined
  bind: Uint8Array | undefined = undefined
  tail: Uint8Array | undefined = undefined
  /** Where it ends among the bytes that the session has written. */
  writtenTo = 0
  /** Nothing else may be on the wire with it, except what belongs to the same cycle. */
  exclusive = false
  /** Its cycle goes on with the exchange behind it: the server says only after that one that it is ready for more. */
  goesOn = false
  /** The question for the id of the transaction rides with it: its answer comes after the command tag. */
  carriesXidQuery = false
  /** The caller has left. */
  abandoned = false

  /** The command tag, as soon as the server has sent it. */
  tag: string | undefined = undefined
  /** The server had nothing to run. */
  private isEmpty = false
  error: PgProtocol.ErrorFields | undefined = undefined
  /** Why the answer cannot be given although the server had no objection. */
  failure: { readonly what: string; readonly cause: unknown } | undefined = undefined

  /** How long it may take once it is its turn, in milliseconds. */
  limit: number
  /** The limit that its piece of work has, in milliseconds, if it is not that of the session. */
  readonly ownLimit: number | undefined
  /** Our own limit has cut it off, and the server has been asked to cancel it. */
  expired = false
  /** A cancel request for another exchange may hit it. */
  endangered = false
  /** When its time began, and when the session gives it up, on the session's clock. */
  startedAt = 0
  deadline = Infinity

  constructor(operation: string, limit: number, resume: Settle, ownLimit?: number | undefined) {
    this.operation = operation
    this.limit = limit
    this.resume = resume
    this.ownLimit = ownLimit
  }

  /** Gives the caller the result. Only the first result counts. */
  settle(effect: Effect.Effect<any, SqlError>): void {
    if (this.isSettled) return
    this.isSettled = true
    if (!this.abandoned) this.resume(effect)
  }

  // ---------------------------------------------------------------------------
  // what kind of exchange it is
  // ---------------------------------------------------------------------------

  /** The text of the caller's statement; empty for what the session asks by itself. */
  get text(): string {
    return ""
  }

  /** Whether it is work of the caller's, for which the limit of statements holds. */
  get isStatement(): boolean {
    return this.text !== ""
  }

  /** How many statements it consists of: the server gives each of them the time of one. */
  get statements(): number {
    return 1
  }

  /** What it may leave behind in the session, as bits of `Trace`. */
  get trace(): number {
    return 0
  }

  /** The functions that it calls and that are not known to leave nothing behind. */
  get calls(): ReadonlyArray<string> | undefined {
    return undefined
  }

  /** Whether it has to be written although its caller has left. */
  get isNeeded(): boolean {
    return this.carries !== Carries.Nothing
  }

  /** Whether BEGIN may be written with it, in one cycle. */
  get canCarryBegin(): boolean {
    return false
  }

  /** Whether it may share the cycle of the one ahead of it, and let another one share its own. */
  get canJoin(): boolean {
    return false
  }

  /** Whether it still makes sense now that its turn to be written has come. */
  get mayBeSent(): boolean {
    return true
  }

  /** Whether it ends the transaction, so that one that was not begun need not be. */
  get endsTransaction(): boolean {
    return false
  }

  /** Whether there is nothing to do for it outside a transaction. */
  get onlyInTransaction(): boolean {
    return false
  }

  /** Whether it goes ahead of what waits for the columns of a statement. */
  get overtakes(): boolean {
    return false
  }

  /** Whether a cancel request may be sent to end it. What is short or decides about a transaction must not be. */
  get canBeCancelled(): boolean {
    return this.stage === Stage.Run
  }

  /** Whether the server may have run it. */
  get isSent(): boolean {
    return this.progress !== Progress.Unsent && this.stage === Stage.Run
  }

  /** Whether the server runs nothing of it before it has answered that it is bound. */
  get isBoundFirst(): boolean {
    return false
  }

  /** Whether it takes its own time, so that exceeding it is a timeout of a statement and not a lost connection. */
  get hasOwnLimit(): boolean {
    return this.limit !== Infinity
  }

  /** The end of its cycle together with the question for the id of the transaction, if that can ride with it. */
  withXidQuery(_query: string): Uint8Array | undefined {
    return undefined
  }

  // ---------------------------------------------------------------------------
  // what the server says
  // ---------------------------------------------------------------------------

  /**
   * Whether the server has said how it has ended, before it said that it is ready for more. Otherwise its own answer is
   * still to come, and would be taken for that to the next exchange.
   */
  get isComplete(): boolean {
    return this.tag !== undefined || this.isEmpty
  }

  /** Reads the fields of the rows to come. */
  get reader(): PgProtocol.FieldReader<unknown> | undefined {
    return this.abandoned || this.failure !== undefined ? skipField : this.description?.readField
  }

  /** A row in the shape of its description. */
  onRow(_values: ReadonlyArray<unknown>): void {}

  /** The server has completed a command of it. */
  onComplete(tag: string): void {
    this.tag = tag
  }

  /** The server had nothing to run. */
  onEmpty(): void {
    this.isEmpty = true
  }

  /** The server has sent as many rows as were asked for. Returns whether more are asked for already. */
  onSuspended(): boolean {
    return false
  }

  /** The server has reported an error about it. */
  onError(fields: PgProtocol.ErrorFields): void {
    this.error = fields
  }

  /** The server asks for data. Returns what refuses to send any. */
  abstract onCopyIn(response: PgProtocol.CopyInResponse): Uint8Array | undefined

  /** The server is about to send data. */
  onCopyOut(_response: PgProtocol.CopyOutResponse): void {
    this.failure ??= { what: "COPY TO STDOUT is not possible here, its data was discarded", cause: undefined }
  }

  onCopyData(_data: Uint8Array): void {}

  /** The answer to the question for the id of the transaction has come, or never will. */
  onXidAnswered(): void {}

  /** The caller has left while it was under way. */
  onAbandon(): void {}

  // ---------------------------------------------------------------------------
  // how it ends
  // ---------------------------------------------------------------------------

  /** The server had no objection: the result, or `undefined` if the exchange hands out its results itself. */
  abstract onReady(): Effect.Effect<any, SqlError> | undefined

  /** What is known of the result although the session ended before the exchange did. */
  get lastWord(): Effect.Effect<any, SqlError> | undefined {
    return undefined
  }
}
