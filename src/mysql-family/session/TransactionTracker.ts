/**
 * What a session knows of its transaction. Pure: events come in, the state is what follows from them.
 *
 * **Details**
 *
 * The server says with every answer, but with no error, whether a transaction is open:
 *
 * | state      | means                                                                                     |
 * | ---------- | ----------------------------------------------------------------------------------------- |
 * | `None`     | no transaction is open                                                                    |
 * | `Open`     | a statement of the caller began one, or autocommit is off                                 |
 * | `Managed`  | `begin` began one, and the server has it, or gets it together with the first statement    |
 * | `Released` | `begin` began one, and a statement committed it, which the caller had allowed             |
 * | `Unknown`  | an error came, and errors carry no status: `before` says what was known last              |
 * | `Ended`    | the transaction is over before its COMMIT; nothing is sent until that is acknowledged     |
 *
 * | event after which it is `Ended`                                    | why                                        |
 * | ------------------------------------------------------------------ | ------------------------------------------ |
 * | an error that ends the whole transaction, such as 1213             | the server rolled it back                  |
 * | an answer without an open transaction in `Managed`                 | the statement has committed it             |
 * | 1305 for the savepoint ahead of a statement that runs others       | it was ended, and another one begun        |
 * | a probe without an open transaction after an error                 | the server rolled it back                  |
 * | 1305 in answer to ROLLBACK TO or RELEASE                           | the savepoint went with its transaction    |
 */
import { Status } from "../driver/Driver.ts"
import { TransactionEnded } from "../errors/errors.ts"

/**
 * What a statement that ends transactions was let through for: not at all, because nothing is in the transaction, which
 * is begun anew after it, or because the caller allows it, so that what comes after it is in no transaction.
 */
export type Leave = "none" | "lapse" | "release"

/** What was known before an error. */
type Known = "None" | "Open" | "Managed" | "Released"

export type State =
  | { readonly _tag: Known }
  | { readonly _tag: "Unknown"; readonly before: Known }
  | { readonly _tag: "Ended"; readonly before: Known; readonly reason: TransactionEnded }

/** A statement, as far as the transaction is concerned. */
export interface StatementEffect {
  /** Its first words, for messages. */
  readonly words: string
  /** Whether it only reads or writes rows. */
  readonly plain: boolean
  /** Whether it ends an open transaction. */
  readonly ends: "no" | "commits" | "control"
}

/** What the server refused a statement with. */
export interface Refusal {
  readonly errno: number
  readonly sqlState: string | undefined
  readonly message: string
}

const states: { readonly [K in Known]: State } = {
  None: { _tag: "None" },
  Open: { _tag: "Open" },
  Managed: { _tag: "Managed" },
  Released: { _tag: "Released" }
}

const unknowns: { readonly [K in Known]: State } = {
  None: { _tag: "Unknown", before: "None" },
  Open: { _tag: "Unknown", before: "Open" },
  Managed: { _tag: "Unknown", before: "Managed" },
  Released: { _tag: "Unknown", before: "Released" }
}

export class TransactionTracker {
  state: State = states.None
  /** The flags of the last answer. */
  flags: number = Status.Autocommit
  /** Whether the managed transaction was asked not to write. */
  isReadOnly = false
  /** Whether it is the one in which a layer of Effect runs its migrations: their DDL may commit it. */
  isMigration = false
  /** How it is begun anew after DDL has committed it while nothing was in it. `undefined` where that takes two steps. */
  beginSql: string | undefined = undefined
  /** Whether something is in it that would be committed, or a lock that would be lost. */
  private hasWork = false
  private hasMade = false
  private isLapsed = false
  /** Autocommit has been switched off by us, so that nothing is applied without a COMMIT. */
  isGuarded = false
  /** How many transactions there have been without a statement by itself between them. */
  inARow = 0
  /** What begins the managed transaction on the server, as long as it waits for the first statement. */
  heldBegin: string | undefined = undefined

  // -------------------------------------------------------------------------------------------------------------------
  // Questions
  // -------------------------------------------------------------------------------------------------------------------

  /** Whether the next statement would be on its own, beyond doubt. */
  get isClean(): boolean {
    return this.state === states.None
  }

  /** Whether a transaction is open, as far as is known. */
  get isInside(): boolean {
    return this.state !== states.None && this.state._tag !== "Ended"
  }

  /** Whether the transaction that `begin` began is open, beyond doubt. */
  get isManagedNow(): boolean {
    return this.state === states.Managed
  }

  /** Whether `begin` began the transaction, and neither COMMIT nor ROLLBACK has ended it. */
  get isManaged(): boolean {
    const known = this.known
    return known === "Managed" || known === "Released"
  }

  /** Why nothing may be sent. */
  get ended(): TransactionEnded | undefined {
    return this.state._tag === "Ended" ? this.state.reason : undefined
  }

  /** Whether the server has to be asked whether the transaction is still open, before anything is sent. */
  get needsProbe(): boolean {
    return this.state._tag === "Unknown" && this.state.before !== "None"
  }

  /** Whether the last answer came from a session without autocommit, in which each statement opens a transaction. */
  get lacksAutocommit(): boolean {
    return !this.isGuarded && this.state._tag !== "Unknown" && (this.flags & Status.Autocommit) === 0
  }

  /** Whether the flags of the last answer say that a transaction is open. */
  get hasOpenFlags(): boolean {
    return this.isGuarded
      ? (this.flags & Status.InTransaction) !== 0
      : (this.flags & (Status.InTransaction | Status.Autocommit)) !== Status.Autocommit
  }

  /**
   * Whether DDL would commit nothing, and what comes after it can be in a transaction again: DDL that makes a table which
   * is not there, and the indexes that follow it.
   */
  mayLapseFor({ isIdempotent, words }: { readonly isIdempotent: boolean; readonly words: string }): boolean {
    return this.known === "Managed" && !this.hasWork && this.beginSql !== undefined &&
      (isIdempotent || this.hasMade && (words === "CREATE INDEX" || words === "CREATE UNIQUE"))
  }

  /** What finds out whether the transaction is open, or begins it anew. */
  get probeSql(): string {
    return this.isLapsed ? this.beginSql! : "DO 0"
  }

  private get known(): Known {
    const { state } = this
    return state._tag === "Unknown" || state._tag === "Ended" ? state.before : state._tag
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Events
  // -------------------------------------------------------------------------------------------------------------------

  /** A statement was answered. `leave` tells what it was let through for, if it ends transactions. */
  answered(flags: number, statement: StatementEffect, leave: Leave): void {
    this.acknowledged(flags)
    if (this.state._tag !== "Managed" || this.hasOpenFlags) return
    if (statement.ends !== "no" && leave === "lapse") {
      this.isLapsed = true
      this.hasMade = true
      this.state = unknowns.Managed
    } else if (statement.ends !== "no" && leave === "release") this.state = states.Released
    else this.end(`${statement.words} has ended it, and what was done before cannot be undone`)
  }

  /** A statement of ours was answered, which by itself ends no managed transaction. */
  acknowledged(flags: number): void {
    this.flags = flags
    if ((flags & Status.Autocommit) !== 0) this.isGuarded = false
    const { state } = this
    if (state._tag === "Ended") return
    const known = this.known
    this.state = known === "None" || known === "Open"
      ? this.hasOpenFlags ? states.Open : states.None
      : states[known]
  }

  /** A statement was refused. `endsTransaction` tells whether that error always ends the whole transaction. */
  refused(error: Refusal, statement: StatementEffect, endsTransaction: boolean): void {
    if (this.state._tag === "Ended") return
    const known = this.known
    if (known === "None") {
      // A plain statement cannot have begun a transaction.
      if (!statement.plain) this.state = unknowns.None
      return
    }
    this.state = unknowns[known]
    if (endsTransaction && known !== "Released") {
      this.end(`the server rolled it back when ${statement.words} failed: ${error.message} (${error.errno})`, error)
    }
  }

  /** A savepoint that was set ahead of a statement is gone behind it: there is another transaction now, or none. */
  replaced(statement: StatementEffect): void {
    this.end(`${statement.words} has ended it, and what was done before cannot be undone`)
  }

  /** The answer to the question whether the transaction is still open. */
  probed(flags: number): void {
    const wasOpen = this.known === "Managed" || this.hasOpenFlags
    this.isLapsed = false
    this.acknowledged(flags)
    if (wasOpen && !this.hasOpenFlags) this.vanished()
  }

  /** The transaction is not there any more, and nothing that the server said explains it. */
  vanished(): void {
    if (this.known !== "Released") this.end("the server rolled it back after an error")
  }

  /** A control statement failed: what is open now is not known. */
  doubted(): void {
    if (this.state._tag !== "Ended") this.state = unknowns[this.known]
  }

  /** A statement goes out that begins anew or rolls back, and so acknowledges the end. */
  acknowledgedEnd(): void {
    if (this.state._tag === "Ended") this.state = unknowns[this.state.before]
  }

  /** A migration begins in the managed transaction. */
  noteMigration(): void {
    if (this.isManaged) this.isMigration = true
  }

  /** Something goes into the transaction that DDL would commit, or a lock that it would release. */
  noteWork(): void {
    this.hasWork = true
  }

  /** BEGIN waits for the first statement. */
  hold(isReadOnly: boolean, beginSql: string): void {
    this.begun(isReadOnly, beginSql)
    this.heldBegin = beginSql
  }

  /** BEGIN goes out with the first statement. */
  takeBegin(): string {
    const sql = this.heldBegin!
    this.heldBegin = undefined
    return sql
  }

  /** BEGIN was refused after all. */
  neverBegun(error: Refusal): void {
    this.end(`it was never begun: ${error.message} (${error.errno})`, error)
  }

  /** BEGIN was answered. */
  begun(isReadOnly: boolean, beginSql: string | undefined): void {
    this.beginSql = beginSql
    this.hasWork = false
    this.hasMade = false
    this.isLapsed = false
    this.state = states.Managed
    this.isReadOnly = isReadOnly
    this.isMigration = false
  }

  /** COMMIT or ROLLBACK was answered: what is open now, the flags say. */
  finished(): void {
    this.isReadOnly = false
    this.isMigration = false
    this.isLapsed = false
    this.heldBegin = undefined
    this.state = this.hasOpenFlags ? states.Open : states.None
  }

  /** COMMIT or ROLLBACK was refused. */
  finishRefused(): void {
    this.finished()
    this.doubted()
  }

  /** The session is as it was after the handshake. */
  reset(): void {
    this.flags = Status.Autocommit
    this.isGuarded = false
    this.finished()
  }

  private end(message: string, error?: Refusal): void {
    if (this.state._tag === "Ended") return
    this.state = {
      _tag: "Ended",
      before: this.known,
      reason: new TransactionEnded({
        message,
        ...(error === undefined ? undefined : { errno: error.errno, sqlState: error.sqlState, cause: error })
      })
    }
  }
}
