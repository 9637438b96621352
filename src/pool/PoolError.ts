/**
 * Why a pool could not lend a connection.
 *
 * **Details**
 *
 * A `PoolError` is the `cause` of the `SqlError` that a statement or a transaction fails with. It carries what a
 * person asks for first during an incident: how many connections there are, who has them and for how long, how many
 * wait, and what the last attempt to connect said.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Predicate from "effect/Predicate"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Evidence from "../failure/Evidence.ts"
import { describeStall } from "../timing/StallGuard.ts"

/**
 * Somebody who has a connection.
 *
 * @category models
 * @since 0.1.0
 */
export interface Holder {
  /** The id of its fiber. */
  readonly fiberId: number
  /** The name of the span that it was in, if any. */
  readonly span: string | undefined
  /** For how long it has had the connection, in milliseconds. */
  readonly heldMillis: number
  /** What the server calls the session. */
  readonly connectionId: string
  /** Where in the code it asked for the connection, if the pool's option `captureLocation` is on. */
  readonly location?: string | undefined
  /** Whether it has had the connection for longer than the pool's option `leakThreshold`. */
  readonly isLeakSuspected?: boolean | undefined
}

/**
 * What the pool looked like when it failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Situation {
  /** The database. */
  readonly database: string
  /** The most connections that the pool may open, less than its option `max` while the server has no room for more. */
  readonly max: number
  /** All connections, also those being opened and closed. */
  readonly total: number
  /** Those that nobody has. */
  readonly idle: number
  /** Those that somebody has. */
  readonly used: number
  /** Those being opened. */
  readonly connecting: number
  /** How many others wait. */
  readonly waiting: number
  /** Who has a connection for itself, those who have had it longest first. */
  readonly holders: ReadonlyArray<Holder>
  /** Why the last attempt to connect failed, if it did. */
  readonly connectError: SqlError | undefined
}

/**
 * No connection became free in time.
 *
 * @category models
 * @since 0.1.0
 */
export class AcquireTimeout extends Data.TaggedClass("AcquireTimeout")<
  Situation & {
    /** How long it was waited for, in milliseconds. */
    readonly waitedMillis: number
    /**
     * For how much of that this process stood still, in milliseconds. That time was given to the caller in addition, and
     * it says nothing about the database.
     */
    readonly stalledMillis?: number | undefined
    /** Whether nobody else got one meanwhile either. */
    readonly isStandstill?: boolean | undefined
  }
> {
  get message(): string {
    const { connectError, database, total, waiting } = this
    const within = `within ${Math.round(this.waitedMillis)} ms${describeStall(this.stalledMillis ?? 0)}`
    return total > 0 || connectError === undefined
      ? `No connection to ${database} became free ${within}: ${describe(this)}. ${advice(this)}`
      // There is none at all, so how they are used says nothing.
      : `No connection to ${database} could be opened ${within}: ${withoutPrefix(connectError.message, database)}. ` +
        adviceOn(connectError) +
        (waiting === 0 ? "" : `. ${count(waiting, "more caller")} ${waiting === 1 ? "waits" : "wait"}`)
  }
}

/**
 * As many wait already as the option `maxWaiting` allows.
 *
 * @category models
 * @since 0.1.0
 */
export class QueueFull extends Data.TaggedClass("QueueFull")<Situation> {
  get message(): string {
    return `The queue for a connection to ${this.database} is full: ${describe(this)}. ${advice(this)}`
  }
}

/**
 * The pool is suspended, and callers are rejected meanwhile, or their time was over before it was resumed.
 *
 * @category models
 * @since 0.1.0
 */
export class Suspended extends Data.TaggedClass("Suspended")<{
  readonly database: string
  /** How long the caller waited, in milliseconds; 0 if it was rejected at once. */
  readonly waitedMillis?: number | undefined
}> {
  get message(): string {
    const waited = Math.round(this.waitedMillis ?? 0)
    return `The pool of ${this.database} is suspended, and lends no connection until it is resumed` +
      (waited === 0 ? "" : `: it was not resumed within ${waited} ms`)
  }
}

/**
 * The pool is shut down, or about to be.
 *
 * @category models
 * @since 0.1.0
 */
export class PoolClosed extends Data.TaggedClass("PoolClosed")<{ readonly database: string }> {
  get message(): string {
    return `The pool of ${this.database} is shut down: the scope of its layer has been closed`
  }
}

/**
 * A connection was used after it had been given back.
 *
 * @category models
 * @since 0.1.0
 */
export class LeaseEnded extends Data.TaggedClass("LeaseEnded")<{ readonly database: string }> {
  get message(): string {
    return `A connection to ${this.database} was used after it had been given back. Probably a fiber that was forked ` +
      "inside a transaction or a scope goes on after it: wait for it before the end, or let it use the client itself"
  }
}

/**
 * Everybody who has a connection waits for another one, so nobody would ever get one.
 *
 * @category models
 * @since 0.1.0
 */
export class NestedAcquire extends Data.TaggedClass("NestedAcquire")<Situation> {
  get message(): string {
    return `Whoever has a connection to ${this.database} waits for another one, and there is none left: ${
      describe(this)
    }. Do not ask for a second connection while holding one: let the inner work join the transaction, or do it before ` +
      "or after. Or raise `max`, and the budget of `Pools`, above the number of those who do so at the same time"
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type PoolErrorReason = AcquireTimeout | QueueFull | PoolClosed | Suspended | NestedAcquire | LeaseEnded

const TypeId = "~watertight/PoolError"

/**
 * The pool could not lend a connection, so nothing was sent to the database.
 *
 * @category errors
 * @since 0.1.0
 */
export class PoolError extends Data.TaggedError("PoolError")<{ readonly reason: PoolErrorReason }> {
  readonly [TypeId] = TypeId

  override get message(): string {
    return this.reason.message
  }
}

/**
 * Whether a value is a `PoolError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isPoolError = (u: unknown): u is PoolError => Predicate.hasProperty(u, TypeId)

/**
 * The `SqlError` that carries the reason. It is retryable where asking again can help, because nothing was sent.
 *
 * @category constructors
 * @since 0.1.0
 */
export const toSqlError = (reason: PoolErrorReason): SqlError => {
  const cause = new PoolError({ reason })
  const connectionError = new ConnectionError({ cause, message: cause.message, operation: "acquire" })
  if (isFinal(cause)) Object.defineProperty(connectionError, "isRetryable", { value: false, configurable: true })
  return Evidence.attach(new SqlError({ reason: connectionError }), Evidence.make({}))
}

/**
 * Whether asking again cannot help: the pool is gone, or the caller has to be changed.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFinal = ({ reason }: PoolError): boolean =>
  reason._tag === "PoolClosed" || reason._tag === "LeaseEnded" || reason._tag === "NestedAcquire"

/**
 * The `PoolError` inside a `SqlError`, if there is one.
 *
 * @category getters
 * @since 0.1.0
 */
export const fromSqlError = (error: SqlError): PoolError | undefined =>
  isPoolError(error.reason.cause) ? error.reason.cause : undefined

/**
 * The `PoolError` in any error, also through errors that it was wrapped into.
 *
 * @category accessors
 * @since 0.2.0
 */
export const find = (error: unknown): PoolError | undefined => {
  let current = error
  for (let depth = 0; depth < 16 && typeof current === "object" && current !== null; depth++) {
    if (isPoolError(current)) return current
    current = (current as { readonly cause?: unknown }).cause
  }
  return undefined
}

/**
 * A message without the database that errors of adapters begin with, for a sentence that names it already.
 *
 * @internal
 */
export const withoutPrefix = (message: string, database: string): string => {
  let rest = message
  while (rest.startsWith(`${database}: `)) rest = rest.slice(database.length + 2)
  return rest
}

const count = (n: number, what: string): string => `${n} ${what}${n === 1 ? "" : "s"}`

const describe = (situation: Situation): string => {
  const parts = [
    `${situation.used} of at most ${count(situation.max, "connection")} in use`,
    `${situation.idle} idle`,
    `${situation.connecting} being opened`,
    `${situation.waiting} more waiting`
  ]
  const longest = situation.holders[0]
  if (longest !== undefined) {
    parts.push(
      `the longest held for ${Math.round(longest.heldMillis)} ms by fiber #${longest.fiberId}` +
        (longest.span === undefined ? "" : ` in "${longest.span}"`) +
        (longest.location === undefined ? "" : ` at ${longest.location}`)
    )
  }
  const leaks = situation.holders.filter((holder) => holder.isLeakSuspected === true).length
  if (leaks > 0) parts.push(`${leaks} held for so long that a leak is suspected`)
  if (situation.connectError !== undefined) {
    parts.push(`the last attempt to connect failed: ${situation.connectError.message}`)
  }
  return parts.join(", ")
}

const advice = (situation: Situation): string =>
  situation.connectError !== undefined && situation.used < situation.max
    ? adviceOn(situation.connectError)
    : "Hold connections for a shorter time, or raise `max` if the database has room for more"

/** By what the system says of a connection that could not be opened. */
const adviceOn = (connectError: SqlError): string => {
  switch ((connectError.reason.cause as { readonly code?: unknown } | undefined)?.code) {
    case "ENOTFOUND":
      return "There is no host of this name. See whether the name is right, and whether DNS answers"
    case "ECONNREFUSED":
      return "Nobody listens there. See whether the database is up, and whether host and port are right"
    default:
      return "See whether the database is up and reachable, and whether it is one that listens at this address"
  }
}
