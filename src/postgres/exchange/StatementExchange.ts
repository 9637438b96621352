/**
 * A statement of the extended query protocol.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Prepared } from "../statement/PreparedCache.ts"
import { toResult } from "../statement/results.ts"
import { noColumns } from "../statement/RowDecoder.ts"
import { Stage, type StatementPlan } from "../statement/StatementPlan.ts"
import * as frames from "../wire/frames.ts"
import { Exchange, Progress, type Settle } from "./Exchange.ts"
import { XidQuery } from "./XidQuery.ts"

/** What is made of the rows. */
export const Shape = {
  /** Rows as objects. */
  Objects: "Objects",
  /** Rows as arrays. */
  Arrays: "Arrays",
  /** The driver's `Result`, with rows as objects. */
  Result: "Result"
} as const
export type Shape = typeof Shape[keyof typeof Shape]

export class StatementExchange extends Exchange implements StatementPlan {
  readonly shape: Shape
  readonly sql: string
  readonly params: ReadonlyArray<unknown>
  prepare: boolean
  readonly portalName: string
  prepared: Prepared | undefined = undefined
  parses = false
  skipsColumns = false
  guarded = false
  /** It has been repeated because the server had lost the statement, or was asked to cancel another one. */
  repeated = false
  /** How often the catalogue has been asked for the names of its types. */
  lookUps = 0
  rows: Array<any> = []

  constructor(
    shape: Shape,
    sql: string,
    params: ReadonlyArray<unknown>,
    prepare: boolean,
    ownLimit: number | undefined,
    resume: Settle,
    portalName = ""
  ) {
    super("execute", Infinity, resume, ownLimit)
    this.shape = shape
    this.sql = sql
    this.params = params
    this.prepare = prepare
    this.portalName = portalName
  }

  override get text(): string {
    return this.sql
  }

  override get isStatement(): boolean {
    return true
  }

  override get trace(): number {
    return this.prepared?.trace ?? 0
  }

  override get calls(): ReadonlyArray<string> | undefined {
    return this.prepared?.calls
  }

  /** Others are bound to the name that its `Parse` establishes. */
  override get isNeeded(): boolean {
    return this.parses || super.isNeeded
  }

  override get canCarryBegin(): boolean {
    return true
  }

  override get canJoin(): boolean {
    return this.stage === Stage.Run && (this.tail === frames.executeSync || this.tail === frames.describeExecuteSync)
  }

  override get isBoundFirst(): boolean {
    return true
  }

  ending(confirm: boolean): Uint8Array {
    return confirm ? frames.describeExecuteSync : frames.executeSync
  }

  override withXidQuery(query: string): Uint8Array | undefined {
    const { prepared, tail } = this
    if (this.stage !== Stage.Run || prepared?.writes !== true) return undefined
    const isKnown = tail === frames.executeSync
    if (!isKnown && tail !== frames.describeExecuteSync) return undefined
    prepared.xidQuery ??= new XidQuery(query, prepared.listed ? prepared.name : undefined, prepared.sql)
    return prepared.xidQuery.behind(isKnown)
  }

  override onXidAnswered(): void {
    const { prepared } = this
    if (prepared?.xidQuery === undefined) return
    if (this.error === undefined) prepared.xidQuery.isHeld = prepared.xidQuery.name !== ""
    // Whether the server got as far as to its name is not known.
    else if (!prepared.xidQuery.isHeld) prepared.xidQuery = undefined
  }

  override onRow(values: ReadonlyArray<unknown>): void {
    this.rows.push(this.shape === Shape.Arrays ? values : this.description!.row(values))
  }

  override onCopyIn(_response: PgProtocol.CopyInResponse): Uint8Array | undefined {
    // In a cycle the server took its `Sync` for a part of the data, so there has to be another one.
    return copyRefusedSync
  }

  override onAbandon(): void {
    this.rows = []
  }

  /** It is to be planned once more, and written once more. */
  again(): void {
    this.progress = Progress.Unsent
    this.deadline = Infinity
    this.error = undefined
    this.skipsColumns = false
    this.wasBound = false
    this.goesOn = false
    this.rows = []
  }

  onReady(): Effect.Effect<any, SqlError> | undefined {
    return Effect.succeed(
      this.shape === Shape.Result ? toResult(this.tag ?? "", this.rows, this.description ?? noColumns) : this.rows
    )
  }
}

const copyRefusedSync = frames.join(frames.copyFail, frames.sync)
