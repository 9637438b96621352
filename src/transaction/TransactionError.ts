/**
 * Why a transaction did not do what was asked for.
 *
 * **Details**
 *
 * A `TransactionError` is the `cause` of the `SqlError` that a transaction fails with.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import type { SqlError } from "effect/sql/SqlError"

/**
 * COMMIT was sent, and nobody knows whether it was applied.
 *
 * @category models
 * @since 0.1.0
 */
export class CommitUnknown extends Data.TaggedClass("CommitUnknown")<{
  readonly database: string
  /** Why there was no answer. */
  readonly cause: SqlError
}> {
  get message(): string {
    return `COMMIT was sent to ${this.database}, and its answer was lost: the transaction may have been applied or not. ` +
      "Look before you repeat it, or give the transaction an `idempotencyKey`"
  }
}

/**
 * COMMIT was sent, its answer was lost, and then it was found that the transaction has not been applied.
 *
 * @category models
 * @since 0.2.0
 */
export class CommitNotApplied extends Data.TaggedClass("CommitNotApplied")<{
  readonly database: string
  /** Why there was no answer. */
  readonly cause: SqlError
}> {
  get message(): string {
    return `COMMIT was lost on its way to ${this.database} or back, and the transaction has been found not to be applied`
  }
}

/**
 * A statement failed, the failure was swallowed, and so the server answered COMMIT by rolling back.
 *
 * @category models
 * @since 0.1.0
 */
export class Aborted extends Data.TaggedClass("Aborted")<{
  readonly database: string
  /** The failure that was swallowed. */
  readonly cause: SqlError | undefined
}> {
  get message(): string {
    return `${this.database} rolled the transaction back when it was to commit, because a statement in it had failed` +
      ". To go on after a failure, run what may fail in a nested transaction" + first(this.cause)
  }
}

/** The failure that came first, at the end: it may take several lines. */
const first = (cause: SqlError | undefined): string => cause === undefined ? "" : `. It failed with: ${cause.message}`

/**
 * A statement was run in a transaction that had failed already. It did not do anything.
 *
 * @category models
 * @since 0.1.0
 */
export class Poisoned extends Data.TaggedClass("Poisoned")<{
  readonly database: string
  /** The failure that ended the transaction. */
  readonly cause: SqlError | undefined
}> {
  get message(): string {
    return `The transaction on ${this.database} had failed before this statement` +
      ". To go on after a failure, run what may fail in a nested transaction" + first(this.cause)
  }
}

/**
 * A transaction that had joined another one has failed. The other one cannot be kept without the part that failed, so it
 * was rolled back as a whole.
 *
 * @category models
 * @since 0.2.0
 */
export class JoinFailed extends Data.TaggedClass("JoinFailed")<{
  readonly database: string
  /** What the joined transaction failed with. */
  readonly cause: unknown
}> {
  get message(): string {
    return `A transaction on ${this.database} that had joined this one has failed, so nothing of it can be kept. ` +
      "To go on after such a failure, nest with \"savepoint\""
  }
}

/**
 * A statement of an outer level was to run while a nested transaction is open. It would be undone if that one is.
 *
 * @category models
 * @since 0.2.0
 */
export class NestedOpen extends Data.TaggedClass("NestedOpen")<{
  readonly database: string
  /** The savepoint of the nested transaction. */
  readonly savepoint: string
  /** How long the statement has waited for its end, in milliseconds. */
  readonly waitedMillis: number
}> {
  get message(): string {
    return `A statement was not sent to ${this.database}, because a nested transaction (savepoint ${this.savepoint}) is ` +
      `open beside it, ${Math.round(this.waitedMillis)} ms after it was to run: it would be undone with that one. ` +
      "Probably the nested transaction waits for the statement: run it before or inside of the nested transaction"
  }
}

/**
 * A statement of a nested transaction was to run after that one had ended.
 *
 * @category models
 * @since 0.2.0
 */
export class NestedEnded extends Data.TaggedClass("NestedEnded")<{ readonly database: string }> {
  get message(): string {
    return `A statement was not sent to ${this.database}, because the nested transaction that it belongs to has ended. ` +
      "Probably a fiber that was forked inside of it goes on after it: wait for it before the end"
  }
}

/**
 * The work was to run inside a transaction, and there is none.
 *
 * @category models
 * @since 0.1.0
 */
export class NotInTransaction extends Data.TaggedClass("NotInTransaction")<{ readonly database: string }> {
  get message(): string {
    return `A transaction with nesting "mandatory" was run on ${this.database} outside any transaction`
  }
}

/**
 * The work was to run outside any transaction, and there is one.
 *
 * @category models
 * @since 0.1.0
 */
export class AlreadyInTransaction extends Data.TaggedClass("AlreadyInTransaction")<{ readonly database: string }> {
  get message(): string {
    return `A transaction with nesting "never" was run on ${this.database} inside another one`
  }
}

/**
 * A nested transaction asks for more than the one around it gives.
 *
 * @category models
 * @since 0.1.0
 */
export class Incompatible extends Data.TaggedClass("Incompatible")<{
  readonly database: string
  /** What it asks for, and what the outer one has. */
  readonly problem: string
}> {
  get message(): string {
    return `A nested transaction on ${this.database} ${this.problem}. ` +
      "Ask for it at the outermost transaction, or nest with \"requiresNew\""
  }
}

/**
 * A statement other than ours has ended the transaction: a COMMIT or ROLLBACK by hand, or one that commits implicitly.
 *
 * @category models
 * @since 0.1.0
 */
export class EndedInside extends Data.TaggedClass("EndedInside")<{ readonly database: string }> {
  get message(): string {
    return `The transaction on ${this.database} was ended by a statement inside it. What came before may have been ` +
      "committed, and nothing more was sent. Probably a COMMIT or ROLLBACK was run by hand, or, on MySQL and MariaDB, a " +
      "statement that commits by itself, such as CREATE TABLE: run it outside the transaction"
  }
}

/**
 * The transaction was not done when its deadline came. Nothing was applied.
 *
 * @category models
 * @since 0.1.0
 */
export class DeadlineExceeded extends Data.TaggedClass("DeadlineExceeded")<{
  readonly database: string
  readonly deadlineMillis: number
  /** What it was doing: waiting for a connection, waiting for the answer to BEGIN, or running its body. */
  readonly during: "acquire" | "begin" | "body"
}> {
  get message(): string {
    return `The transaction on ${this.database} was not done within ${this.deadlineMillis} ms, ` + (
      this.during === "acquire"
        ? "which it spent waiting for a connection"
        : this.during === "begin"
        ? "because the server did not answer BEGIN"
        : "and was rolled back"
    )
  }
}

/**
 * A transaction with this idempotency key has been applied before. Nothing was done now.
 *
 * @category models
 * @since 0.1.0
 */
export class AlreadyApplied extends Data.TaggedClass("AlreadyApplied")<{
  readonly database: string
  readonly idempotencyKey: string
}> {
  get message(): string {
    return `A transaction with the idempotency key "${this.idempotencyKey}" has been applied to ${this.database} before`
  }
}

/**
 * The statements of a batch have been applied together with its COMMIT, whose answer was lost; and with it rows that they
 * returned.
 *
 * @category models
 * @since 0.2.0
 */
export class ResultsLost extends Data.TaggedClass("ResultsLost")<{
  readonly database: string
  /** Why they were lost. */
  readonly cause: SqlError
}> {
  get message(): string {
    return `The batch has been applied to ${this.database}, but the connection was lost before its results arrived. ` +
      "Read again what you need, and do not repeat it"
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type TransactionErrorReason =
  | CommitUnknown
  | CommitNotApplied
  | Aborted
  | JoinFailed
  | NestedOpen
  | NestedEnded
  | Poisoned
  | NotInTransaction
  | AlreadyInTransaction
  | Incompatible
  | EndedInside
  | DeadlineExceeded
  | AlreadyApplied
  | ResultsLost

const TypeId = "~watertight/TransactionError"

/**
 * A transaction did not do what was asked for.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransactionError extends Data.TaggedError("TransactionError")<{
  readonly reason: TransactionErrorReason
}> {
  readonly [TypeId] = TypeId

  override get message(): string {
    return this.reason.message
  }
}

/**
 * Whether a value is a `TransactionError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTransactionError = (u: unknown): u is TransactionError => Predicate.hasProperty(u, TypeId)

/**
 * The `TransactionError` inside a `SqlError`, if there is one.
 *
 * @category getters
 * @since 0.1.0
 */
export const fromSqlError = (error: SqlError): TransactionError | undefined =>
  isTransactionError(error.reason.cause) ? error.reason.cause : undefined

/**
 * The `TransactionError` in any error, also through errors that it was wrapped into.
 *
 * @category accessors
 * @since 0.2.0
 */
export const find = (error: unknown): TransactionError | undefined => {
  let current = error
  for (let depth = 0; depth < 16 && typeof current === "object" && current !== null; depth++) {
    if (isTransactionError(current)) return current
    current = (current as { readonly cause?: unknown }).cause
  }
  return undefined
}
