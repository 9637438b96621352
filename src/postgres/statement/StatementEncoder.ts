/**
 * How a statement travels: under which name, in how many cycles, and with which formats for its columns.
 *
 * | the session knows                      | is written                                         | round trips |
 * | -------------------------------------- | -------------------------------------------------- | ----------- |
 * | the statement                          | Bind, Execute, Sync                                | 1           |
 * | nothing, but another session has seen it | Parse, Describe, Bind, Execute, Sync             | 1           |
 * | that another statement asks for its description | nothing until that is there               | 1           |
 * | nothing, and no other session does     | Parse, Describe, Sync; then as in line 1           | 2           |
 *
 * The last line is the price for results that are right the first time: a type without a codec must be asked for as
 * text, and a statement must not be run twice to find that out.
 *
 * A description says of which types the parameters are. Those whose values are none of them, or where the server can
 * derive no type, are of types of their own, and with those the statement is another one. A value that a type holds
 * only in part goes with a `Parse` of its own: what the server has derived under a name some time ago must not decide
 * what is lost.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { UnfitValue } from "../../values/UnfitValue.ts"
import type { TypeNames } from "../types/TypeStore.ts"
import * as frames from "../wire/frames.ts"
import type { Description, DescriptionCache } from "./DescriptionCache.ts"
import { Fit } from "./fit.ts"
import * as messages from "./messages.ts"
import * as parameters from "./parameters.ts"
import { countPlaceholders } from "./placeholders.ts"
import { Held, keyOf, maxTextLength, Prepared, PreparedCache } from "./PreparedCache.ts"
import { describeRows, describeStatement, noColumns, type RowDecoder } from "./RowDecoder.ts"
import { Stage, type StatementPlan } from "./StatementPlan.ts"

export interface StatementEncoderOptions extends parameters.ParameterOptions {
  /** Shared by all sessions of an adapter. */
  readonly descriptions: DescriptionCache
  /** Whether statements may have names, which not every pooler allows. */
  readonly prepare: boolean
  readonly preparedStatementCacheSize: number
}

/** When a statement is planned, and what is known then. */
export interface Moment {
  /** The session's clock. */
  readonly now: number
  readonly inTransaction: boolean
  /** The statement that has just been described for this execution. */
  readonly described?: Prepared | undefined
}

export class StatementEncoder {
  private readonly options: StatementEncoderOptions
  private readonly descriptions: DescriptionCache
  private readonly cache: PreparedCache | undefined
  /**
   * What decides what names mean, where that is not what the session began with: a `search_path` of the transaction. A
   * statement has no name then, which would be another statement in the next transaction.
   */
  scope = ""
  /** What names of types mean while the caller has a `search_path` of its own making. */
  private ownNames: TypeNames | undefined = undefined

  constructor(options: StatementEncoderOptions) {
    this.options = options
    this.descriptions = options.descriptions
    this.cache = options.prepare && options.preparedStatementCacheSize > 0
      ? new PreparedCache(options.preparedStatementCacheSize)
      : undefined
  }

  /** What names of types mean now. */
  get names(): TypeNames {
    return this.ownNames ?? this.options.types.namesIn(this.scope)
  }

  /** The caller may have changed what names mean, or they mean again what they did. */
  onPath(isChanged: boolean): void {
    this.ownNames = isChanged ? new Map() : undefined
  }

  /** Decides how a statement travels and encodes it. Throws what the codec throws, and nothing has happened then. */
  plan(entry: StatementPlan, moment: Moment): void {
    this.options.types.use(this.names)
    const slots = parameters.classify(entry.params, this.options)
    try {
      this.planWith(entry, slots, moment)
    } finally {
      parameters.release(slots)
    }
  }

  /** Plans a statement once more; `described` is what has just been learned for it. */
  planAgain(entry: StatementPlan, { inTransaction, now }: Moment, described: Prepared | undefined): void {
    const before = entry.prepared
    entry.prepared = undefined
    try {
      this.plan(entry, { now, inTransaction, described })
    } finally {
      if (before !== undefined) this.cache?.release(before)
    }
  }

  private planWith(entry: StatementPlan, slots: parameters.Parameters, moment: Moment): void {
    entry.head = undefined
    entry.parses = false
    entry.guarded = false
    if (slots.length > maxDescribed) return this.planBlindly(entry, slots, moment)
    // Each turn gives at least one more parameter a type of its own.
    for (;;) {
      const found = this.find(entry, slots, moment)
      this.checkCount(entry, slots, found)
      if (found?.held === Held.Describing) {
        entry.stage = Stage.Waiting
        return this.use(entry, found)
      }
      const known = found?.held === Held.Statement
        ? found
        : this.descriptions.get(found?.key ?? keyOf(entry.sql, slots, this.scope), moment.now)
      if (known === undefined) return this.describe(entry, slots, moment)
      if (known.types === undefined) {
        if (!parameters.isOpen(slots)) return this.describe(entry, slots, moment)
        parameters.settleAlone(slots, this.options)
        continue
      }
      if (known.types.length !== slots.length) parameters.checkCount(known.types.length, slots.length)
      const key = found?.held === Held.Statement ? undefined : found?.key ?? keyOf(entry.sql, slots, this.scope)
      let fit: Fit
      // What was described some time ago may be another type by now, and take what this one refuses.
      try {
        fit = parameters.settle(slots, known.types, writesOf(known, entry.sql), this.options)
      } catch (cause) {
        if (!(cause instanceof UnfitValue) || moment.described !== undefined || !isOld(known, moment.now)) throw cause
        if (key === undefined) this.onStale(found!, moment.now)
        else this.descriptions.forget({ key, sql: entry.sql }, moment.now)
        return this.plan(entry, moment)
      }
      if (fit === Fit.Unfit) continue
      if (found?.held === Held.Statement && fit === Fit.Exact) return this.bindKnown(entry, found, slots)
      const columns = known instanceof Prepared ? known.description : known.columns
      return this.parseAndBind(entry, slots, moment, fit === Fit.Exact ? found : undefined, columns!)
    }
  }

  /**
   * The driver reads no description of so many parameters. They go as texts, whose types the server derives and checks,
   * and the results come as texts.
   */
  private planBlindly(entry: StatementPlan, slots: parameters.Parameters, { now }: Moment): void {
    this.checkCount(entry, slots, undefined)
    parameters.settleBlindly(slots, this.options)
    const prepared = new Prepared("", entry.sql, slots, now, this.descriptions.epoch, this.scope)
    this.parse(entry, prepared)
    entry.bind = messages.encodeBind(entry.portalName, "", slots, allText)
    entry.stage = Stage.Run
    entry.description = undefined
    entry.tail = entry.ending(true)
    this.use(entry, prepared)
  }

  /** The statement under a name of this session. */
  private find(entry: StatementPlan, slots: parameters.Parameters, moment: Moment): Prepared | undefined {
    const { described, now } = moment
    if (described?.held === Held.Statement && described.name !== "" && described.takes(slots)) return described
    return this.isKept(entry, now) ? this.cache!.find(entry.sql, slots, now, this.descriptions.epoch) : undefined
  }

  private isKept(entry: StatementPlan, now: number): boolean {
    return this.cache !== undefined && entry.prepare && this.scope === "" && entry.sql.length < maxTextLength &&
      !this.descriptions.isFickle(entry.sql, now)
  }

  private checkCount(entry: StatementPlan, slots: parameters.Parameters, found: Prepared | undefined): void {
    const wanted = found === undefined ? countPlaceholders(entry.sql) : found.placeholders
    if (wanted !== undefined && wanted !== slots.length) parameters.checkCount(wanted, slots.length)
  }

  private use(entry: StatementPlan, prepared: Prepared): void {
    entry.prepared = prepared
    prepared.users++
    entry.exclusive ||= prepared.copies
  }

  private bindKnown(entry: StatementPlan, prepared: Prepared, slots: parameters.Parameters): void {
    this.bind(entry, prepared.name, slots, prepared.description!, false)
    this.use(entry, prepared)
  }

  /** The statement is parsed and run in one cycle, for columns that are a guess until the server has confirmed them. */
  private parseAndBind(
    entry: StatementPlan,
    slots: parameters.Parameters,
    { now }: Moment,
    found: Prepared | undefined,
    columns: RowDecoder
  ): void {
    const { epoch } = this.descriptions
    if (found?.held === Held.Parsing) {
      // The wire is ordered, so the name will exist.
      this.bind(entry, found.name, slots, found.description!, true)
      return this.use(entry, found)
    }
    const isNew = found === undefined && this.isKept(entry, now) &&
      this.cache!.find(entry.sql, slots, now, epoch) === undefined
    const prepared = found ??
      (isNew
        ? this.cache!.add(entry.sql, slots, now, epoch)
        : new Prepared("", entry.sql, slots, now, epoch, this.scope))
    this.parse(entry, prepared)
    if (slots.length > 0) entry.head = frames.join(entry.head!, describeOf(prepared.name))
    else prepared.types = noTypes
    prepared.held = Held.Parsing
    prepared.description = columns
    this.bind(entry, prepared.name, slots, columns, true)
    this.use(entry, prepared)
  }

  /** The statement is parsed and described, and waits with the execution. */
  private describe(entry: StatementPlan, slots: parameters.Parameters, { inTransaction, now }: Moment): void {
    const { epoch } = this.descriptions
    let prepared: Prepared
    if (this.isKept(entry, now)) {
      prepared = this.cache!.find(entry.sql, slots, now, epoch) ?? this.cache!.add(entry.sql, slots, now, epoch)
    } else if (this.cache === undefined) {
      prepared = new Prepared("", entry.sql, slots, now, epoch, this.scope)
    } else {
      // With a name it need not be parsed again for the second cycle. It is closed as soon as it has run.
      prepared = this.cache.unlisted(entry.sql, slots, now, epoch, this.scope)
      prepared.doomed = true
    }
    this.parse(entry, prepared)
    prepared.held = Held.Describing
    prepared.types = noTypes
    entry.guarded = inTransaction && parameters.isOpen(slots)
    this.describeOnly(entry, prepared)
    this.use(entry, prepared)
  }

  private parse(entry: StatementPlan, prepared: Prepared): void {
    entry.head = messages.encodeParse(prepared.name, prepared.sql, prepared.oids)
    entry.parses = true
  }

  /** Reduces a cycle to the question for the description. */
  describeOnly(entry: StatementPlan, prepared: Prepared): void {
    entry.stage = Stage.Describe
    if (entry.guarded) {
      entry.head = frames.join(savepoint, entry.head!)
      entry.tail = frames.join(describeOf(prepared.name), releaseSavepoint, frames.sync)
    } else {
      entry.tail = frames.join(describeOf(prepared.name), frames.sync)
    }
  }

  private bind(
    entry: StatementPlan,
    name: string,
    slots: parameters.Parameters,
    description: RowDecoder,
    confirm: boolean
  ): void {
    entry.bind = messages.encodeBind(entry.portalName, name, slots, description.formats)
    entry.stage = Stage.Run
    entry.description = description
    entry.tail = entry.ending(confirm)
  }

  /** The server has announced the types of the parameters. */
  onParameters(entry: StatementPlan, types: ReadonlyArray<number>): void {
    const { prepared } = entry
    if (prepared === undefined) return
    prepared.types = types
    entry.skipsColumns = entry.stage === Stage.Run
  }

  /** The server has announced the columns. Says why the rows cannot be read, if they cannot. */
  onColumns(
    entry: StatementPlan,
    columns: ReadonlyArray<PgProtocol.FieldDescription>,
    now: number
  ): string | undefined {
    const prepared = entry.prepared
    if (prepared === undefined) return undefined
    if (entry.skipsColumns) {
      entry.skipsColumns = false
      return undefined
    }
    if (entry.stage === Stage.Describe) {
      prepared.description = columns.length === 0 ? noColumns : describeStatement(columns, this.options.types)
      return undefined
    }
    if (entry.description === undefined || !entry.description.matches(columns)) {
      // The guess was wrong: the schema has changed. The rows come in the formats that were right before.
      entry.description = describeRows(columns, this.options.types)
      this.onStale(prepared, now)
    } else if (prepared.held === Held.Parsing) {
      prepared.held = Held.Statement
      this.learn(prepared)
    }
    return entry.description.problem
  }

  private learn(prepared: Prepared): void {
    const { description, since, types } = prepared
    this.descriptions.set(prepared, { columns: description, types, since })
  }

  /** Which types of a described statement are not known yet: those of columns, and those of open parameters. */
  unknownTypes(entry: StatementPlan, prepared: Prepared): ReadonlyArray<number> {
    const wanted = prepared.description!.columns.map((column) => column.dataTypeOid)
    prepared.types!.forEach((oid, index) => {
      if (parameters.needsType(entry.params[index])) wanted.push(oid)
    })
    return this.options.types.missing(wanted)
  }

  /** The types of a described statement have been looked up. */
  describeAgain(prepared: Prepared): void {
    prepared.description = describeStatement(prepared.description!.columns, this.options.types)
  }

  /** A value could not be read, perhaps because its type has changed: next time the columns are looked at again. */
  onUnreadable(entry: StatementPlan, now: number): void {
    if (entry.prepared !== undefined) this.onStale(entry.prepared, now)
  }

  /** The question for the description was refused or answered. */
  onDescribed(prepared: Prepared, exists: boolean): void {
    if (!exists) return this.cache?.evict(prepared)
    prepared.held = Held.Statement
    this.learn(prepared)
  }

  /**
   * The question for the description was refused. Answers whether that may be because the server cannot derive the
   * types of values that have types of their own.
   */
  isUndecided(entry: StatementPlan, prepared: Prepared, error: PgProtocol.ErrorFields): boolean {
    if (!underivable.has(error.code ?? "")) return false
    if (!entry.params.some((value, index) => prepared.oids[index] === 0 && parameters.needsType(value))) return false
    this.descriptions.set(prepared, { columns: undefined, types: undefined, since: prepared.since })
    return true
  }

  /** The server rejected a name or the plan behind it. */
  onStale(prepared: Prepared, now: number): void {
    this.descriptions.forget(prepared, now)
    this.cache?.evict(prepared)
  }

  /** The server has skipped a statement, and its `Parse` with it. */
  onSkipped({ parses, prepared }: StatementPlan, now: number): void {
    if (parses && prepared !== undefined) this.onStale(prepared, now)
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
  onCommand(tag: string, sql: string): void {
    // Most tags are told apart by their first letter.
    switch (tag.charCodeAt(0)) {
      case 0x41: // ALTER
      case 0x43: // CREATE
        if (changesTypes.test(tag)) this.options.types.forget()
        if (changesMeaning.test(tag) && !isTemporary.test(sql)) this.descriptions.clear()
        return
      case 0x44: // DROP, DISCARD, DEALLOCATE; but DELETE is the common one
        if (tag.startsWith("DROP")) {
          if (isTemporary.test(sql)) return
          this.options.types.forget()
          this.descriptions.clear()
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

/** How many parameters the driver can read a description of. */
const maxDescribed = 32_767

/** The result formats at the end of a `Bind`: text for all columns. */
const allText = new Uint8Array([0, 1, 0, 0])

const savepoint = messages.runWithin("SAVEPOINT watertight_describe")
const releaseSavepoint = messages.runWithin("RELEASE SAVEPOINT watertight_describe")

/** Takes a transaction back to where it was before a question that was refused. */
export const forgetQuestion = "ROLLBACK TO SAVEPOINT watertight_describe; RELEASE SAVEPOINT watertight_describe"

const describeOf = (name: string): Uint8Array => frames.join(PgProtocol.encodeDescribe({ target: "statement", name }))

/** Whether a value of the statement may get into a table. */
const writesOf = (known: Prepared | Description, sql: string): boolean =>
  known instanceof Prepared ? known.writes : new Prepared("", sql, [], 0).writes

/** What the server says that cannot derive a type, or derives one for which there is no function or operator. */
const underivable = new Set(["42P18", "42P08", "42725", "42883", "42804", "42846", "42P38"])

/** Commands after which a type may be another one, or one that was not there may be. */
const changesTypes = /^(?:ALTER (?:TYPE|DOMAIN|TABLE|VIEW|EXTENSION)|CREATE (?:TYPE|DOMAIN|EXTENSION))/

/** Commands after which a statement may mean something else. A new table or index is no reason by itself. */
const changesMeaning =
  /^(?:ALTER|CREATE (?:TYPE|DOMAIN|EXTENSION|VIEW|FUNCTION|PROCEDURE|AGGREGATE|CAST|OPERATOR|RULE|SCHEMA))/

/** What is done to a temporary table of one session is no concern of the others. */
const isTemporary = /^\s*(?:create|alter|drop)\s+(?:table\s+(?:if\s+exists\s+)?pg_temp\.|temp)/i

/** Whether the server reports that a name or the plan behind it is of no use any more. */
export const isStale = (fields: PgProtocol.ErrorFields): boolean =>
  fields.code === "26000" ||
  // Other features that are not supported have the same code, and the text may be in any language.
  fields.code === "0A000" && fields.routine === "RevalidateCachedQuery" ||
  // `Bind` asked for other columns than there are.
  fields.code === "08P01" && fields.routine === "PortalSetResultFormat"

/**
 * Whether a statement that was parsed under a name before is refused as it is bound: then it means something else by
 * now. A value that is refused may simply be wrong, so that counts at most once a second.
 */
export const hasChanged = (
  entry: StatementPlan & { readonly wasBound: boolean },
  fields: PgProtocol.ErrorFields,
  now: number
): boolean => {
  const { prepared } = entry
  if (prepared === undefined || prepared.name === "" || entry.parses || entry.wasBound) return false
  const code = fields.code ?? ""
  return code.startsWith("42") || refusedValue.has(code) && isOld(prepared, now)
}

/** A value that is refused may simply be wrong, so a description is doubted at most once a second. */
const isOld = ({ since }: { readonly since: number }, now: number): boolean => now - since > 1_000

const refusedValue = new Set(["22P02", "22P03", "22003", "22007", "22008"])
