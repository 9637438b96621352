/**
 * What borrowers leave behind in a session, so that it can be undone before the next one gets it, and only then.
 *
 * The text of a statement tells, once for each text, whether it may change anything that outlives its transaction. The
 * server's reports of changed parameters tell about those that a function has changed. What neither shows, such as an
 * advisory lock taken inside a function of the database, is undone only where a reset is wanted every time.
 */
import { boundaries } from "../statement/boundaries.ts"

/** What a statement may leave behind, as bits. */
export const Trace = {
  Nothing: 0,
  /** Settings, roles, temporary tables, advisory locks, listens, cursors: the reset undoes them. */
  State: 1,
  /** A name given to a statement by SQL. To take it away takes all names away. */
  Name: 2,
  /** A library that was loaded: nothing undoes that. */
  Library: 4,
  /** Not left behind, but worth to be known: the transaction is to be read-only. */
  ReadOnly: 8,
  /** The time limit of statements may be another one afterwards. */
  Limit: 16,
  /** The server may forget names of statements. */
  Forgets: 32
} as const

/** One pass for most statements: without any of these words there is no need to look closer. */
const suspicious =
  /\b(?:set|set_config|setseed|reset|statement_timeout|discard|deallocate|temp|temporary|pg_temp\w*|pg_(?:try_)?advisory_lock\w*|listen|load|prepare|hold|do|call|read\s+only|dblink_connect\w*)\b/i

const leaving = new RegExp(
  `${boundaries}(?:set\\s+(?!local\\b|transaction\\b|constraints\\b)|listen\\b|do\\b|call\\b|declare\\b[^;]*\\bwith\\s+hold\\b|create\\s+(?:or\\s+replace\\s+)?(?:global\\s+|local\\s+)?temp(?:orary)?\\b)`,
  "i"
)
const calling =
  /\b(?:setseed|dblink_connect\w*|pg_(?:try_)?advisory_lock(?:_shared)?)\s*\(|\bpg_temp\w*\s*\.|\binto\s+(?:local\s+|global\s+)?temp(?:orary)?\b/i
const configuring = /\bset_config\s*\(/gi
const locally = /\bset_config\s*\([^()]*,\s*true\s*\)/gi
const naming = new RegExp(`${boundaries}prepare\\s+(?!transaction\\b)`, "i")
const loading = new RegExp(`${boundaries}load\\b`, "i")
const readOnly = /\bread\s+only\b/i
/** A call of `set_config` counts unless the name of another setting can be read in it. */
const limiting =
  /\b(?:set|reset)\b[^;]*\bstatement_timeout\b|\bset_config\s*\(\s*(?:[^'\s]|'statement_timeout')|\b(?:reset|discard)\s+all\b/i
const forgetting = new RegExp(`${boundaries}(?:deallocate|discard)\\b`, "i")

/** What a statement may leave behind, as its text tells. */
export const traceOf = (sql: string): number => {
  if (!suspicious.test(sql)) return Trace.Nothing
  let trace: number = Trace.Nothing
  if (
    leaving.test(sql) || calling.test(sql) ||
    (sql.match(configuring)?.length ?? 0) > (sql.match(locally)?.length ?? 0)
  ) trace |= Trace.State
  if (naming.test(sql)) trace |= Trace.Name
  if (loading.test(sql)) trace |= Trace.Library
  if (readOnly.test(sql)) trace |= Trace.ReadOnly
  if (limiting.test(sql)) trace |= Trace.Limit
  if (forgetting.test(sql)) trace |= Trace.Forgets
  return trace
}

/** Everything but the names of statements, in one message and one transaction. */
const undo = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; " +
  "SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"

/** The parameters of a server that accepts writes, as it reports them since version 14. */
const hotStandby = "in_hot_standby"
const readOnlyByDefault = "default_transaction_read_only"

export class SessionResidue {
  private readonly parameters: ReadonlyMap<string, string>
  /** What the parameters were when the session began, or after the last reset. */
  private original: ReadonlyMap<string, string>
  private changed: Set<string> | undefined = undefined
  private trace: number = Trace.Nothing
  /** Whether anything was run since the session was clean. */
  private ran = false
  private always = false

  constructor(parameters: ReadonlyMap<string, string>) {
    this.parameters = parameters
    this.original = new Map(parameters)
  }

  /** A statement is written. */
  onStatement(trace: number): void {
    this.ran = true
    this.trace |= trace
  }

  /** No transaction is open any more. */
  onIdle(): void {
    this.trace &= ~Trace.ReadOnly
  }

  /** The server reports the value of a parameter. Returns whether it accepts no writes any more, by its own decision. */
  onParameter(name: string, value: string, statement: string): boolean {
    const original = this.original.get(name)
    if (name === hotStandby) return original === "off" && value === "on"
    if (value !== original) (this.changed ??= new Set()).add(name)
    else this.changed?.delete(name)
    return name === readOnlyByDefault && original === "off" && value === "on" && (this.trace & Trace.State) === 0 &&
      !/read_only/i.test(statement)
  }

  /** Whether a write that was refused because of `read only` says that the server has changed its role. */
  get wasReadWrite(): boolean {
    return this.expected === "off" && (this.trace & Trace.ReadOnly) === 0 &&
      this.changed?.has(readOnlyByDefault) !== true
  }

  /** What `SHOW transaction_read_only` has to answer outside of transactions, if that is known. */
  get expected(): "on" | "off" | undefined {
    const standby = this.original.get(hotStandby)
    const byDefault = this.original.get(readOnlyByDefault)
    if (standby === undefined || byDefault === undefined) return undefined
    return standby === "on" || byDefault === "on" ? "on" : "off"
  }

  /** How much is to be undone from now on. */
  resetAlways(always: boolean): void {
    this.always = always
  }

  /** What undoes everything that may have been left behind; `undefined` if there is nothing. */
  get resetSql(): string | undefined {
    if (this.always ? !this.ran : (this.trace & (Trace.State | Trace.Name)) === 0 && (this.changed?.size ?? 0) === 0) {
      return undefined
    }
    return (this.trace & Trace.Name) === 0 ? undo : `${undo}; DEALLOCATE ALL`
  }

  /** Whether the reset takes away the names of all statements. */
  get forgetsNames(): boolean {
    return (this.trace & Trace.Name) !== 0
  }

  /** Whether something was left behind that nothing undoes. */
  get cannotBeReset(): boolean {
    return (this.trace & Trace.Library) !== 0
  }

  /** The remedy is on its way; whatever comes after it comes to a clean session. */
  onReset(): void {
    this.ran = false
    this.trace &= Trace.Library
  }

  /** The remedy was applied. What a parameter has now is what the server gives everybody. */
  onClean(): void {
    this.changed = undefined
    this.original = new Map(this.parameters)
  }
}
