import * as Effect from "effect/Effect"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, Connection } from "../Adapter.ts"
import { ClassifyingConnection, endsTransaction } from "../database/ClassifyingConnection.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import { LeaseEnded, toSqlError as poolError } from "../pool/PoolError.ts"
import * as TransactionError from "./TransactionError.ts"
import type { Begin } from "./TransactionSpec.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** The moment by which a transaction must be done. */
export interface Deadline {
  /** In milliseconds of the clock. */
  readonly at: number
  readonly millis: number
}

/**
 * Is told about the end of a transaction, see `Transaction.observe`.
 *
 * @category models
 * @since 0.2.0
 */
export interface EndObserver {
  /** COMMIT is about to be sent. From here until `onEnd` the transaction may be applied at any moment. */
  readonly onCommit?: (() => void) | undefined
  /** The transaction has ended. Called exactly once. `"Unknown"`: COMMIT was sent, and its answer was lost. */
  readonly onEnd: (outcome: "Applied" | "NotApplied" | "Unknown") => void
}

/** How a transaction begins, and what must be known when it ends. */
export interface Beginning {
  readonly begin: Begin
  readonly resolve: "free" | "always" | "never"
  readonly key: string | undefined
  readonly deadline: Deadline | undefined
}

/**
 * The connection of a transaction. It knows what has failed in it, and lets no statement through that would run outside
 * of it: after a failure that took the whole transaction along, or after its end.
 */
export class TransactionConnection extends ClassifyingConnection {
  readonly beginning: Beginning
  /** What failed in this transaction. */
  readonly failures = new WeakSet<SqlError>()
  /** The first failure, not counting what was undone with a savepoint. */
  failure: SqlError | undefined = undefined
  /** The failure with which the whole transaction has come to its end, savepoints and all. */
  gone: SqlError | undefined = undefined
  /** COMMIT or ROLLBACK is all that may come. */
  private closed = false
  /** For each savepoint, the first failure before it, and whether nobody waits for its end. */
  private readonly levels = new Map<number, { readonly failure: SqlError | undefined; hurry: boolean }>()

  private observers: Array<EndObserver> | undefined = undefined

  constructor(base: Connection, adapter: Adapter, beginning: Beginning) {
    super(base, adapter)
    this.beginning = beginning
  }

  observe(observer: EndObserver): void {
    this.observers ??= []
    this.observers.push(observer)
  }

  /** COMMIT is about to be sent. */
  tellCommit(): void {
    for (const observer of this.observers ?? []) observer.onCommit?.()
  }

  /** The transaction has ended. A second call does nothing, so each observer is told once. */
  tellEnd(outcome: "Applied" | "NotApplied" | "Unknown"): void {
    const { observers } = this
    this.observers = undefined
    for (const observer of observers ?? []) observer.onEnd(outcome)
  }

  get isObserved(): boolean {
    return this.observers !== undefined
  }

  /** Whatever a forked fiber still sends from now on would be no part of the transaction. */
  close(): void {
    this.closed = true
  }

  /** Whether a statement has ended the transaction that was not meant to. */
  get isEndedInside(): boolean {
    return !this.base.isClosed && !this.base.inTransaction
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Savepoints
  // -------------------------------------------------------------------------------------------------------------------

  /** A savepoint was set. */
  enter(id: number): void {
    this.levels.set(id, { failure: this.failure, hurry: false })
  }

  /** Nobody will wait until the savepoint is rolled back to. */
  hurry(id: number): void {
    const level = this.levels.get(id)
    if (level !== undefined) level.hurry = true
  }

  /** A savepoint is gone, and with it what failed since it was set. Returns whether nobody waits for that. */
  leave(id: number): boolean {
    const level = this.levels.get(id)
    this.levels.delete(id)
    this.failure = level?.failure
    return level?.hurry ?? false
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements
  // -------------------------------------------------------------------------------------------------------------------

  /** Runs BEGIN. */
  begin(how: Begin): Effect.Effect<void, SqlError> {
    return Effect.mapError(this.base.begin(how), (error) => this.judge(error, ""))
  }

  /** Runs a statement that sets a savepoint or releases it. */
  control(f: () => Effect.Effect<void, SqlError>): Effect.Effect<void, SqlError> {
    return this.run("", f)
  }

  protected override run<A>(sql: string, f: () => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => {
      const refusal = this.refusal()
      return refusal === undefined
        ? Effect.mapError(f(), (error) => this.judge(error, sql))
        : Effect.fail(refusal)
    })
  }

  override executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.suspend(() => {
      const refusal = this.refusal()
      return refusal === undefined ? super.executeStream(sql, params, transformRows) : Stream.fail(refusal)
    })
  }

  /** Why a statement cannot run. Nothing of it reaches the server. */
  refusal(): SqlError | undefined {
    if (this.closed) {
      return Outcome.attach(
        poolError(new LeaseEnded({ database: this.adapter.name })),
        "InTransaction",
        this.adapter.ruleOf
      )
    }
    if (this.gone !== undefined) return this.poisoned(this.gone)
    if (this.isEndedInside) return transactionError(new TransactionError.EndedInside({ database: this.adapter.name }))
    return undefined
  }

  /** Says what a failure means, and remembers it, also that of something that went past this connection. */
  override judge(error: SqlError, sql: string): SqlError {
    const rule = this.adapter.ruleOf(error)
    Outcome.attach(error, endsTransaction(sql) ? "Commit" : "InTransaction", this.adapter.ruleOf)
    SqlFailure.attach(error, sql)
    const verdict = Outcome.of(error)!
    // Not a failure of the transaction.
    if (verdict.phase === "Acquire") return error
    // A server that may not write is not the wrong one for somebody who asked not to.
    if (verdict.scope === "OtherNode" && this.beginning.begin.access === "read only") {
      Outcome.mark(error, { ...verdict, scope: "Never" })
    }
    const judged = rule?.poisoned === true ? this.poisoned(this.failure ?? error) : error
    this.failures.add(judged)
    this.failure ??= judged
    if (this.base.isClosed || !this.base.inTransaction) this.gone ??= judged
    return judged
  }

  /** A statement after the failure that the transaction will not survive: it may be repeated if that may. */
  private poisoned(cause: SqlError): SqlError {
    const error = toSqlError(new TransactionError.Poisoned({ database: this.adapter.name, cause }), "execute")
    this.failures.add(error)
    return Outcome.mark(error, verdictAfter(cause, "InTransaction"))
  }
}

/** What it means for a transaction that this failure in it was swallowed. */
export const verdictAfter = (failure: SqlError | undefined, phase: "InTransaction" | "Ended"): Outcome.Verdict => {
  const verdict = failure === undefined ? undefined : Outcome.of(failure)
  return {
    outcome: verdict?.outcome === "Unknown" ? "Unknown" : "NotApplied",
    scope: verdict?.scope ?? "Never",
    ladder: verdict?.ladder ?? "Conflict",
    phase,
    about: verdict?.about
  }
}

/** The `SqlError` of a transaction that cannot do what was asked for, with what that means. */
export const transactionError = (reason: TransactionError.TransactionErrorReason): SqlError =>
  Outcome.mark(toSqlError(reason, "transaction"), {
    outcome: outcomeOf(reason),
    scope: "Never",
    ladder: "Conflict",
    phase: "Ended",
    about: undefined
  })

const outcomeOf = (reason: TransactionError.TransactionErrorReason): Outcome.Outcome => {
  switch (reason._tag) {
    case "AlreadyApplied":
      return "Applied"
    case "DeadlineExceeded":
      return reason.during === "acquire" ? "NotSent" : "NotApplied"
    case "EndedInside":
      return "Unknown"
    default:
      return "NotSent"
  }
}

export const toSqlError = (reason: TransactionError.TransactionErrorReason, operation: string): SqlError => {
  const cause = new TransactionError.TransactionError({ reason })
  const props = { cause, message: cause.message, operation }
  return new SqlError({
    reason: reason._tag === "CommitUnknown" ? new ConnectionError(props) : new UnknownError(props)
  })
}
