/**
 * Why a cluster could not give a connection.
 *
 * A `ClusterError` is the `cause` of the `SqlError` that a statement or a transaction fails with. Nothing was sent, but
 * for `WriteInReads`, which the server has refused.
 *
 * @since 0.2.0
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { TaggedError } from "../options/TaggedError.ts"

/**
 * There was no primary within the time that a caller waits for a connection.
 *
 * @category models
 * @since 0.2.0
 */
export class NoPrimary extends Data.TaggedClass("NoPrimary")<{
  /** The cluster. */
  readonly database: string
  /** How long the caller waited, in milliseconds. */
  readonly waitedMillis: number
  /** What each node is, and why. */
  readonly topology: string
}> {
  get message(): string {
    return `${this.database} had no primary within ${Math.round(this.waitedMillis)} ms: ${this.topology}. ` +
      "A failover may take longer than `acquireTimeout`: raise it, or repeat the call later"
  }
}

/**
 * No replica was fit for the read.
 *
 * @category models
 * @since 0.2.0
 */
export class NoReplica extends Data.TaggedClass("NoReplica")<{
  /** The cluster. */
  readonly database: string
  /** How old the data might be, in milliseconds; `Infinity` for no bound. */
  readonly boundMillis: number
  /** What each node is, and why. */
  readonly topology: string
}> {
  get message(): string {
    const fresh = this.boundMillis === Infinity ? "" : ` that is at most ${Math.round(this.boundMillis)} ms behind`
    return `${this.database} had no replica${fresh}: ${this.topology}. ` +
      "`Reads.prefer` goes to the primary then"
  }
}

/**
 * A write was asked for where only reads are allowed.
 *
 * @category models
 * @since 0.2.0
 */
export class WriteInReads extends Data.TaggedClass("WriteInReads")<{
  /** The cluster. */
  readonly database: string
  /** What the server has answered, if it was asked. */
  readonly cause: SqlError | undefined
}> {
  get message(): string {
    return `A write to ${this.database} inside \`Reads\`: only reads may go to a replica. ` +
      "Take it out of there, or put `Reads.primary` around it"
  }
}

/**
 * @category models
 * @since 0.2.0
 */
export type ClusterErrorReason = NoPrimary | NoReplica | WriteInReads

/**
 * The runtime type identifier of `ClusterError`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export const TypeId: TypeId = "~watertight/ClusterError"

/**
 * The type-level identifier of `ClusterError`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export type TypeId = "~watertight/ClusterError"

/**
 * Why a cluster could not give a connection.
 *
 * @category models
 * @since 0.2.0
 */
export class ClusterError extends TaggedError("ClusterError")<{ readonly reason: ClusterErrorReason }> {
  readonly [TypeId]: TypeId = TypeId
  override get message(): string {
    return this.reason.message
  }
}

/**
 * Whether a value is a `ClusterError`.
 *
 * @category guards
 * @since 0.2.0
 */
export const isClusterError = (u: unknown): u is ClusterError => Predicate.hasProperty(u, TypeId)

/**
 * The `SqlError` that carries the reason. It is final: whoever got it has waited, or must change the program.
 *
 * @category constructors
 * @since 0.2.0
 */
export const toSqlError = (reason: ClusterErrorReason): SqlError => {
  const cause = new ClusterError({ reason })
  const props = { cause, message: cause.message, operation: "acquire" }
  const isWrite = reason._tag === "WriteInReads"
  const error = new SqlError({ reason: isWrite ? new UnknownError(props) : new ConnectionError(props) })
  return Outcome.mark(Evidence.attach(error, Evidence.make({})), {
    outcome: isWrite && reason.cause !== undefined ? "NotApplied" : "NotSent",
    scope: "Never",
    ladder: "Overload",
    phase: isWrite ? "Ended" : "Acquire",
    about: reason._tag
  })
}

/** What a statement inside `Reads` fails with: a server that may not write has been asked to. */
export const inReads = (error: SqlError, database: string): SqlError =>
  Outcome.of(error)?.scope === "OtherNode" ? toSqlError(new WriteInReads({ database, cause: error })) : error

/**
 * The `ClusterError` in any error, also through errors that it was wrapped into.
 *
 * @category accessors
 * @since 0.2.0
 */
export const find = (error: unknown): ClusterError | undefined => {
  let current = error
  for (let depth = 0; depth < 16 && typeof current === "object" && current !== null; depth++) {
    if (isClusterError(current)) return current
    current = (current as { readonly cause?: unknown; readonly reason?: unknown }).cause ??
      (current as { readonly reason?: { readonly cause?: unknown } }).reason?.cause
  }
  return undefined
}
