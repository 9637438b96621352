/**
 * What borrowers leave behind in a session, so that it can be undone before the next one gets it, and only then.
 *
 * The text of a statement tells whether it may change anything that outlives its transaction, and which functions it
 * calls: one of the database's own making may have changed anything. The server's reports of changed parameters tell
 * about some settings besides. What none of them shows, such as a setting made by a trigger, is undone only where a reset
 * is wanted every time.
 */
import { Trace } from "../statement/trace.ts"
import type { Parameters } from "../wire/parameters.ts"
import type { FunctionOrigins } from "./FunctionOrigins.ts"

export { Trace, traceOf } from "../statement/trace.ts"

/** Everything but the names of statements, in one message and one transaction. */
const undo = "CLOSE ALL; SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; UNLISTEN *; " +
  "SELECT pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"

/** The parameters of a server that accepts writes, as it reports them since version 14. */
const hotStandby = "in_hot_standby"
const readOnlyByDefault = "default_transaction_read_only"

export class SessionResidue {
  private readonly functions: FunctionOrigins
  /** What the parameters were when the session began, or after the last reset. */
  private original: Parameters
  private changed: Set<string> | undefined = undefined
  private trace: number = Trace.Nothing
  /** Whether anything was run since the session was clean. */
  private ran = false
  private always = false

  constructor(parameters: Parameters, functions: FunctionOrigins) {
    this.functions = functions
    this.original = parameters
  }

  /** What a statement may leave behind, given what its text tells. */
  tracesOf(trace: number, calls: ReadonlyArray<string> | undefined): number {
    return calls !== undefined && this.functions.leaves(calls) ? trace | Trace.State : trace
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

  /** Whether settings or other state may be left behind. */
  get hasState(): boolean {
    return (this.trace & Trace.State) !== 0
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
  onClean(parameters: Parameters): void {
    this.changed = undefined
    this.original = parameters
  }
}
