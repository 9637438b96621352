/**
 * How a statement travels: under which name, in how many cycles, and with which formats for its columns.
 *
 * | the session knows                      | is written                                         | round trips |
 * | -------------------------------------- | -------------------------------------------------- | ----------- |
 * | the statement and its columns          | Bind, Execute, Sync                                | 1           |
 * | nothing, but another session has seen it | Parse, Bind, Describe portal, Execute, Sync      | 1           |
 * | that somebody is asking for its columns | nothing until they are known                      | 1           |
 * | nothing, and neither does anybody else | Parse, Describe statement, Sync; then as in line 1 | 2           |
 *
 * The last line is the price for results that are right the first time: a type without a codec must be asked for as
 * text, and a statement must not be run twice to find that out.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Result from "effect/Result"
import type { TypeStore } from "../types/TypeStore.ts"
import * as frames from "../wire/frames.ts"
import * as parameters from "./parameters.ts"
import { Held, maxTextLength, Prepared, PreparedCache, type RowDecoderCache } from "./PreparedCache.ts"
import { describeRows, describeStatement, noColumns, type RowDecoder } from "./RowDecoder.ts"
import { Stage, type StatementPlan } from "./StatementPlan.ts"

export interface StatementEncoderOptions {
  /** Shared by all sessions of an adapter. */
  readonly types: TypeStore
  readonly encodeBind: parameters.BindEncoder
  /** Shared by all sessions of an adapter. */
  readonly catalogue: RowDecoderCache
  /** Whether statements may have names, which not every pooler allows. */
  readonly prepare: boolean
  readonly preparedStatementCacheSize: number
}

export class StatementEncoder {
  private readonly types: TypeStore
  private readonly encodeBind: parameters.BindEncoder
  private readonly catalogue: RowDecoderCache
  private readonly cache: PreparedCache | undefined

  constructor(options: StatementEncoderOptions) {
    this.types = options.types
    this.encodeBind = options.encodeBind
    this.catalogue = options.catalogue
    this.cache = options.prepare && options.preparedStatementCacheSize > 0
      ? new PreparedCache(options.preparedStatementCacheSize)
      : undefined
  }

  /** Decides how a statement travels and encodes it. Throws what the codec throws, and nothing has happened then. */
  plan(entry: StatementPlan, now: number): void {
    const inferred = parameters.infer(entry.params, this.types)
    try {
      this.planWith(entry, inferred, now)
    } finally {
      parameters.release(inferred)
    }
  }

  private planWith(entry: StatementPlan, inferred: parameters.Parameters, now: number): void {
    entry.head = undefined
    entry.parses = false
    const cache = this.cache
    if (cache === undefined || !entry.prepare || entry.sql.length >= maxTextLength) {
      return this.planOnce(entry, inferred, now)
    }
    const prepared = cache.get(entry.sql, inferred, now)
    entry.bind = this.encodeBind(entry.portalName, prepared.name, inferred)
    switch (prepared.held) {
      case Held.Statement:
        this.bindTo(entry, prepared.description!, false)
        break
      case Held.Parsing:
        // The wire is ordered, so the name will exist. The columns are a guess until somebody has seen them.
        this.bindTo(entry, prepared.description!, true)
        break
      case Held.Describing:
        entry.stage = Stage.Waiting
        break
      case Held.Nothing:
        this.parse(entry, prepared)
        break
    }
    entry.prepared = prepared
    prepared.users++
    entry.exclusive ||= prepared.copies
  }

  /** Plans a statement that is not kept: what the cache is not meant for, and everything behind a pooler. */
  private planOnce(entry: StatementPlan, inferred: parameters.Parameters, now: number): void {
    let prepared = new Prepared("", entry.sql, inferred, now)
    if (this.cache !== undefined && this.catalogue.get(prepared) === undefined) {
      // With a name it need not be parsed again for the second cycle. It is closed as soon as it has run.
      prepared = this.cache.unlisted(entry.sql, inferred, now)
      prepared.doomed = true
    }
    entry.bind = this.encodeBind(entry.portalName, prepared.name, inferred)
    this.parse(entry, prepared)
    entry.prepared = prepared
    prepared.users++
    entry.exclusive ||= prepared.copies
  }

  /** Sends the `Parse` along, and waits with the execution if the columns are not known. */
  private parse(entry: StatementPlan, prepared: Prepared): void {
    if (prepared.sql.includes("\u0000")) throw new Error("the text contains a NUL")
    const parse = PgProtocol.encodeParse({ name: prepared.name, query: prepared.sql, parameterTypes: prepared.oids })
    if (Result.isFailure(parse)) throw parse.failure
    entry.parses = true
    entry.head = parse.success
    const guess = this.catalogue.get(prepared)
    if (guess === undefined) {
      prepared.held = Held.Describing
      this.describeOnly(entry, prepared)
    } else {
      prepared.held = Held.Parsing
      prepared.description = guess
      this.bindTo(entry, guess, true)
    }
  }

  /** Reduces a cycle to the question for the columns. */
  describeOnly(entry: StatementPlan, prepared: Prepared): void {
    entry.stage = Stage.Describe
    entry.tail = frames.join(PgProtocol.encodeDescribe({ target: "statement", name: prepared.name }), frames.sync)
  }

  /** Completes a cycle for the columns that are expected. */
  private bindTo(entry: StatementPlan, description: RowDecoder, confirm: boolean): void {
    if (description.formats !== undefined) entry.bind = frames.withResultFormats(entry.bind!, description.formats)
    entry.stage = Stage.Run
    entry.description = description
    entry.tail = entry.ending(confirm)
  }

  /** The columns of a statement that has been described are known: completes an execution that waited for them. */
  run(entry: StatementPlan, prepared: Prepared): void {
    if (prepared.name === "") {
      // The unnamed statement belongs to whoever parsed last, so this one is parsed again.
      this.bindTo(entry, prepared.description!, true)
    } else {
      entry.parses = false
      entry.head = undefined
      this.bindTo(entry, prepared.description!, false)
    }
  }

  /** The server has announced the columns. Says why the rows cannot be read, if they cannot. */
  onColumns(entry: StatementPlan, columns: ReadonlyArray<PgProtocol.FieldDescription>): string | undefined {
    const prepared = entry.prepared
    if (prepared === undefined) return undefined
    if (entry.stage === Stage.Describe) {
      prepared.description = columns.length === 0 ? noColumns : describeStatement(columns, this.types)
      this.catalogue.set(prepared, prepared.description)
      return undefined
    }
    if (entry.description === undefined || !entry.description.matches(columns)) {
      // The guess was wrong: the schema has changed. The rows come in the formats that were right before.
      entry.description = describeRows(columns, this.types)
      this.catalogue.forget(prepared)
      this.cache?.evict(prepared)
    } else if (prepared.held === Held.Parsing) {
      prepared.held = Held.Statement
    }
    return entry.description.problem
  }

  /** Which types of a described statement nobody knows yet. */
  unknownTypes(prepared: Prepared): ReadonlyArray<number> {
    const { description } = prepared
    return description === undefined ? noTypes : this.types.missing(description.columns.map((c) => c.dataTypeOid))
  }

  /** The types of a described statement have been looked up. */
  describeAgain(prepared: Prepared): void {
    prepared.description = describeStatement(prepared.description!.columns, this.types)
    this.catalogue.set(prepared, prepared.description)
  }

  /** A value could not be read, perhaps because its type has changed: next time the columns are looked at again. */
  onUnreadable(entry: StatementPlan): void {
    if (entry.prepared === undefined) return
    this.catalogue.forget(entry.prepared)
    this.cache?.evict(entry.prepared)
  }

  /** The question for the columns was refused or answered. */
  onDescribed(prepared: Prepared, exists: boolean): void {
    if (exists) prepared.held = Held.Statement
    else this.cache?.evict(prepared)
  }

  /** The server rejected a name or the plan behind it. */
  onStale(prepared: Prepared): void {
    this.catalogue.forget(prepared)
    this.cache?.evict(prepared)
  }

  /** A cycle failed that would have established a name: whether it exists now is not known. */
  onFailed(entry: StatementPlan, prepared: Prepared): void {
    if (entry.parses && prepared.held === Held.Parsing) this.cache?.evict(prepared)
  }

  /** Nobody waits any more for a statement that has not been written. Leaves of it what others need. */
  withdraw(entry: StatementPlan): void {
    const { prepared } = entry
    if (!entry.parses || prepared === undefined || entry.stage === Stage.Waiting) return
    if (prepared.users > 1) {
      // They are bound to the name that this one was to establish, so that much is still done.
      if (entry.stage === Stage.Run) this.describeOnly(entry, prepared)
      return
    }
    // The server has never heard of the name.
    prepared.held = Held.Nothing
    prepared.doomed = false
    this.cache?.evict(prepared)
    entry.parses = false
  }

  /** An execution has ended, or will never be written. */
  release(entry: StatementPlan): void {
    const prepared = entry.prepared
    if (prepared === undefined) return
    entry.prepared = undefined
    this.cache?.release(prepared)
  }

  /** Takes note of commands that make what is known of statements out of date. */
  onCommand(tag: string): void {
    // Most tags are told apart by their first letter.
    switch (tag.charCodeAt(0)) {
      case 0x41: // ALTER
        if (changesTypes.test(tag)) this.types.forget()
        return this.catalogue.clear()
      case 0x43: // CREATE
        if (!tag.startsWith("CREATE")) return
        if (changesTypes.test(tag)) this.types.forget()
        this.catalogue.clear()
        return
      case 0x44: // DROP, DISCARD, DEALLOCATE; but DELETE is the common one
        if (tag.startsWith("DROP")) {
          this.types.forget()
          this.catalogue.clear()
        } else if (tag === "DISCARD ALL" || tag === "DEALLOCATE ALL") this.forgetNames()
        return
    }
  }

  /** The server forgets every name. */
  forgetNames(): void {
    this.cache?.clear()
  }

  /** The `Close` messages that wait for a ride. */
  takeCloses(): Array<Uint8Array> | undefined {
    return this.cache?.takeCloses()
  }
}

const noTypes: ReadonlyArray<number> = []

/** Commands after which a type may be another one, or one that was not there may be. */
const changesTypes = /^(?:ALTER (?:TYPE|DOMAIN|TABLE|VIEW|EXTENSION)|CREATE (?:TYPE|DOMAIN|EXTENSION))/

/** Whether the server reports that a name or the plan behind it is of no use any more. */
export const isStale = (fields: PgProtocol.ErrorFields): boolean =>
  fields.code === "26000" ||
  // Other features that are not supported have the same code, and the text may be in any language.
  fields.code === "0A000" && fields.routine === "RevalidateCachedQuery" ||
  // `Bind` asked for other columns than there are.
  fields.code === "08P01" && fields.routine === "PortalSetResultFormat"
