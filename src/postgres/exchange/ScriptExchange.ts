/**
 * A simple query: any number of statements in one message, whose results come in text format.
 */
import type { Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { toResult } from "../statement/results.ts"
import { noColumns } from "../statement/RowDecoder.ts"
import { statementStarts } from "../statement/scripts.ts"
import { type Traces, tracesOf } from "../statement/trace.ts"
import * as frames from "../wire/frames.ts"
import { Exchange, type Settle } from "./Exchange.ts"

export class ScriptExchange extends Exchange {
  /** The results so far. */
  readonly results: Array<Result> = []
  private rows: Array<any> = []

  constructor(sql: string, limit: number, resume: Settle, operation = "execute", ownLimit?: number | undefined) {
    super(operation, limit, resume, ownLimit)
    this.head = frames.simpleQuery(sql)
  }

  override onRow(values: ReadonlyArray<unknown>): void {
    this.rows.push(this.description!.row(values))
  }

  override onComplete(tag: string): void {
    super.onComplete(tag)
    this.results.push(toResult(tag, this.rows, this.description ?? noColumns))
    this.rows = []
    this.description = undefined
  }

  override onCopyIn(_response: PgProtocol.CopyInResponse): Uint8Array | undefined {
    return frames.copyFail
  }

  override onAbandon(): void {
    this.rows = []
  }

  onReady(): Effect.Effect<any, SqlError> | undefined {
    return Effect.succeed(this.results)
  }
}

/** A script of the caller's. */
export class UserScript extends ScriptExchange {
  private readonly sql: string
  private readonly traces: Traces

  constructor(sql: string, ownLimit: number | undefined, resume: Settle) {
    super(sql, Infinity, resume, "execute", ownLimit)
    this.sql = sql
    this.traces = tracesOf(sql)
    this.exclusive = true
  }

  override get text(): string {
    return this.sql
  }

  override get isStatement(): boolean {
    return true
  }

  override get statements(): number {
    return Math.max(1, statementStarts(this.sql).length)
  }

  override get trace(): number {
    return this.traces.trace
  }

  override get calls(): ReadonlyArray<string> | undefined {
    return this.traces.calls
  }
}

/** What sets the time limit on the server, or asks for it, ahead of a statement. */
export class LimitExchange extends ScriptExchange {
  override get canBeCancelled(): boolean {
    return false
  }
}

/** A question to the catalogue, without which what waits cannot go on. */
export class LookUp extends ScriptExchange {
  override get overtakes(): boolean {
    return true
  }
}
