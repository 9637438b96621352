/**
 * One exchange with the server: what is written, what comes back, and who waits for it.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Prepared } from "../statement/PreparedCache.ts"
import type { RowDecoder } from "../statement/RowDecoder.ts"
import type { CopyHandler } from "./CopyExchange.ts"
import type { Portal } from "./Portal.ts"

/** What is made of the answer. */
export const Mode = {
  /** Rows as objects. */
  Rows: 0,
  /** Rows as arrays. */
  Values: 1,
  /** The driver's `Result`. */
  Raw: 2,
  /** The `Result` of each statement of a script, in text format. */
  Script: 3,
  /** A control statement: its command tag. */
  Control: 4,
  /** Some rows of a portal. */
  Portal: 5,
  /** Data in either direction: the command tag. */
  Copy: 6
} as const
export type Mode = typeof Mode[keyof typeof Mode]

/** Where an exchange is. */
export const Stage = {
  /** It waits for another one to learn the columns. */
  Waiting: 0,
  /** It asks for the columns. Nothing has run. */
  Describe: 1,
  /** It runs. */
  Run: 2
} as const
export type Stage = typeof Stage[keyof typeof Stage]

export class Exchange {
  readonly mode: Mode
  readonly sql: string
  readonly params: ReadonlyArray<unknown>
  /** What errors call the exchange. */
  readonly operation: string
  resume: (effect: Effect.Effect<any, SqlError>) => void

  /** Whether the statement may be kept under a name. */
  prepare: boolean
  stage: Stage = Stage.Run
  prepared: Prepared | undefined = undefined
  description: RowDecoder | undefined = undefined
  /** The portal whose rows are fetched. */
  portal: Portal | undefined = undefined
  portalName = ""
  /** What the data of a COPY goes to or comes from. */
  copy: CopyHandler | undefined = undefined

  /** Up to three parts of what is written. */
  head: Uint8Array | undefined = undefined
  bind: Uint8Array | undefined = undefined
  tail: Uint8Array | undefined = undefined
  /** Whether the `Parse` of `prepared` is among them. */
  parses = false
  /** Nothing else may be on the wire with it. */
  exclusive = false
  /** The question of the witness rides with it: its answer comes after the command tag. */
  asks = false
  /** BEGIN goes ahead of it in the same cycle. */
  begins = false
  /** The server has begun the transaction. */
  hasBegun = false
  /** It goes ahead of whatever waits for the columns of a statement. */
  first = false
  /** There is nothing to do for it outside a transaction. */
  onlyInTransaction = false

  written = false
  /** What was written has been answered in full. */
  answered = false
  /** The server has bound it, and may be running it. */
  begun = false
  /** Nobody waits any more. */
  abandoned = false
  /** It has been repeated because the server had lost the statement. */
  repeated = false

  rows: Array<any> = []
  /** The results of a script so far. */
  results: Array<Result> = []
  /** The command tag, as soon as the server has sent it. */
  tag: string | undefined = undefined
  error: PgProtocol.ErrorFields | undefined = undefined
  /** Why the answer cannot be given although the server had no objection. */
  failure: { readonly what: string; readonly cause: unknown } | undefined = undefined

  /** How long it may take once it is its turn, in milliseconds. */
  limit: number
  /** When the session gives it up, on the session's clock. */
  deadline = Infinity

  constructor(
    mode: Mode,
    sql: string,
    params: ReadonlyArray<unknown>,
    prepare: boolean,
    limit: number,
    operation: string,
    resume: (effect: Effect.Effect<any, SqlError>) => void
  ) {
    this.mode = mode
    this.sql = sql
    this.params = params
    this.prepare = prepare
    this.limit = limit
    this.operation = operation
    this.resume = resume
  }

  /** Whether the server may have run it. The rows of a COPY are nothing before the end of the data was sent. */
  get sent(): boolean {
    return this.written && this.stage === Stage.Run && this.copy?.committing !== false
  }
}

/** A queue of exchanges that is cheap at both ends. */
export class ExchangeQueue {
  private entries: Array<Exchange> = []
  private start = 0

  get size(): number {
    return this.entries.length - this.start
  }

  get head(): Exchange | undefined {
    return this.entries[this.start]
  }

  push(entry: Exchange): void {
    this.entries.push(entry)
  }

  unshift(entry: Exchange): void {
    if (this.start > 0) this.entries[--this.start] = entry
    else this.entries.unshift(entry)
  }

  shift(): Exchange | undefined {
    const entries = this.entries
    const entry = entries[this.start]
    if (entry === undefined) return undefined
    // The slot would keep the rows alive until the queue runs empty.
    entries[this.start++] = undefined as never
    if (this.start === entries.length) {
      entries.length = 0
      this.start = 0
    } else if (this.start > 1_024) {
      this.entries = entries.slice(this.start)
      this.start = 0
    }
    return entry
  }

  /** Takes everything. */
  drain(): Array<Exchange> {
    const all = this.entries.slice(this.start)
    this.entries = []
    this.start = 0
    return all
  }

  /** The one that is given up first. */
  get soonest(): Exchange | undefined {
    let soonest: Exchange | undefined
    for (let index = this.start; index < this.entries.length; index++) {
      const entry = this.entries[index]!
      if (entry.deadline !== Infinity && (soonest === undefined || entry.deadline < soonest.deadline)) soonest = entry
    }
    return soonest
  }
}
