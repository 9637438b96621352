/**
 * What a session remembers of its transaction, so that a COMMIT whose answer was lost can be looked into afterwards.
 *
 * The id of the transaction is what the server can be asked about, and a transaction has one from its first write on.
 * The question for it rides with that write: behind it in the same cycle, so that it costs no round trip, that the
 * answer is there before anybody can ask for COMMIT, and that it is skipped when the write fails.
 *
 * An id means something only where it was given out. So the session also learns, once and ahead of its first BEGIN, who
 * the server is: which system, on which timeline, and started when. If that cannot be had, the session never asks: a
 * question that fails would take the user's transaction along.
 */
import type { Result as QueryResult } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Cause from "effect/Cause"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import { Buffer } from "node:buffer"
import type { Begin } from "../../../transaction/TransactionSpec.ts"
import type { Exchange } from "../../exchange/Exchange.ts"

/** Where a transaction id means something. */
export interface Incarnation {
  readonly system: string
  readonly timeline: string
  /** When the server process was started. */
  readonly started: string
  /** When it last recovered from a crash, also from one that it survived itself. */
  readonly recovered: string
}

/** What identifies a transaction to `resolveCommit`. */
export interface CommitToken {
  /** `undefined` if it has written nothing. */
  readonly xid: string | undefined
  readonly processId: number
  readonly incarnation: Incarnation
}

/** What the sessions of an adapter know together. */
export class ServerIdentity {
  /** Whether the server can tell who it is. It is asked until it has refused once. */
  tells = true
  /** Whether a session may meet another server with each transaction, so that each has to ask who it is. */
  readonly pooled: boolean

  constructor(pooled: boolean) {
    this.pooled = pooled
  }
}

export class CommitEvidence {
  private readonly knowledge: ServerIdentity | undefined
  /** How the server is asked for the id. */
  private readonly ask: string | undefined
  private readonly processId: number
  private incarnation: Incarnation | undefined = undefined
  /** Whether the server has been asked who it is. */
  private isIntroduced = false
  /** Whether this transaction is to be resolvable, as far as that costs nothing. */
  private watching = false
  /** Whether it is to be so at any cost. */
  private insists = false
  /** The question is on its way. */
  private asking = false
  private xid: string | undefined = undefined
  /** It had no id last thing before COMMIT: it has written nothing. */
  private hasNone = false

  constructor(knowledge: ServerIdentity | undefined, version: string | undefined, processId: number) {
    this.knowledge = knowledge
    this.ask = knowledge === undefined ? undefined : askOf(version, knowledge.pooled)
    this.processId = processId
  }

  /** A transaction begins. Returns what to ask before it, if the server has not said yet who it is. */
  begins(how: Begin): string | undefined {
    this.xid = undefined
    this.hasNone = false
    this.asking = false
    this.watching = this.ask !== undefined && how.access !== "read only" && how.resolvable !== "never"
    this.insists = how.resolvable === "always"
    if (!this.watching || this.isIntroduced || !this.knowledge!.tells) return undefined
    this.isIntroduced = true
    return whoAreYou
  }

  /** What the server has said of itself. */
  introduced(exit: Exit.Exit<ReadonlyArray<QueryResult>, SqlError>): void {
    if (Exit.isFailure(exit)) {
      // Not if the connection was lost meanwhile.
      if (exit.cause.reasons.some(isAnswer)) this.knowledge!.tells = false
      return
    }
    const [system, timeline, started, recovered] = Object.values(exit.value[0]?.rows[0] ?? {}) as Array<string | null>
    // A standby has no timeline of its own.
    if (timeline) this.incarnation = { system: system!, timeline, started: started!, recovered: recovered! }
  }

  /** What to write at the end of a cycle instead of its own end, if the question is to ride with it. */
  rides(exchange: Exchange): Uint8Array | undefined {
    if (!this.watching || this.xid !== undefined || this.asking || this.incarnation === undefined) return undefined
    const tail = exchange.withXidQuery(this.ask!)
    if (tail !== undefined) {
      this.asking = true
      exchange.carriesXidQuery = true
    }
    return tail
  }

  /** The answer. */
  answered(answer: unknown): void {
    if (typeof answer !== "string") return
    const [xid, system, timeline, started, recovered] = answer.split("|")
    this.xid = xid
    if (recovered !== undefined) {
      this.incarnation = { system: system!, timeline: timeline!, started: started!, recovered }
    }
  }

  /** The answer to the question that came last thing before COMMIT. */
  confirmed(exit: Exit.Exit<ReadonlyArray<QueryResult>, SqlError>): void {
    if (Exit.isFailure(exit)) return
    const [answer] = Object.values(exit.value[0]?.rows[0] ?? {})
    if (answer === null || answer === undefined) this.hasNone = true
    else this.answered(answer)
  }

  /** The cycle with the question is over, answered or not. */
  asked(exchange: Exchange): void {
    this.asking = false
    exchange.onXidAnswered()
  }

  /** Whether the question for the id is on its way. */
  get isAsking(): boolean {
    return this.asking
  }

  /** Whether COMMIT may be sent before the id of the transaction is known. */
  get mayStayOpen(): boolean {
    return !this.insists
  }

  /** What has to be asked before COMMIT. */
  get question(): string | undefined {
    return this.insists && this.watching && this.xid === undefined && this.incarnation !== undefined
      ? this.ask
      : undefined
  }

  get token(): CommitToken | undefined {
    if (!this.watching || this.incarnation === undefined) return undefined
    if (this.xid === undefined && !this.hasNone) return undefined
    return { xid: this.xid, processId: this.processId, incarnation: this.incarnation }
  }
}

const isAnswer = (reason: Cause.Reason<SqlError>): boolean =>
  Cause.isFailReason(reason) && "severity" in Object(reason.error.reason.cause)

const askOf = (version: string | undefined, pooled: boolean): string | undefined => {
  const major = Number.parseInt(version ?? "", 10)
  if (!(major >= 10)) return undefined
  const xid = major >= 13 ? "pg_catalog.pg_current_xact_id_if_assigned()" : "pg_catalog.txid_current_if_assigned()"
  return pooled
    ? "select concat_ws('|', xid, system, timeline, started, recovered) " +
      `from (select ${xid} as xid, ${incarnation}) s where xid is not null`
    : `select ${xid}::text`
}

/** Reads the answer, which is text or nothing. */
export const readAnswer: PgProtocol.FieldReader<string | undefined> = (bytes, offset, size) =>
  size < 0 ? undefined : Buffer.from(bytes.buffer, bytes.byteOffset + offset, size).toString()

/** The same for all sessions, whatever their settings are. */
const inUtc = (time: string): string => `to_char(${time} at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')`

/**
 * Who the server is. The timeline is that of the log which is being written: the control file learns of a promotion
 * only with the next checkpoint. Statistics begin anew when the server recovers from a crash, also from one that left
 * the server process alive.
 */
export const incarnation = `(select system_identifier from pg_catalog.pg_control_system())::text as system, ` +
  `case when not pg_catalog.pg_is_in_recovery() ` +
  `then substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) end as timeline, ` +
  `${inUtc("pg_catalog.pg_postmaster_start_time()")} as started, ` +
  `coalesce(${inUtc("pg_catalog.pg_stat_get_bgwriter_stat_reset_time()")}, '') as recovered`

const whoAreYou = `select ${incarnation}`
