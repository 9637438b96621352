/**
 * What a failure means: whether the work was applied, and what may be repeated.
 *
 * **Details**
 *
 * What a failure means is decided by phase and evidence, never by an error code alone:
 *
 * | when it failed                          | what was seen                                          | outcome      |
 * | --------------------------------------- | ------------------------------------------------------ | ------------ |
 * | waiting for a connection, or connecting | anything                                               | `NotSent`    |
 * | before a byte of it was written         | anything                                               | `NotSent`    |
 * | in a transaction, before COMMIT         | anything                                               | `NotApplied` |
 * | statement of its own, or COMMIT         | an error that the server answered about it             | `NotApplied` |
 * | COMMIT                                  | the answer says ROLLBACK                               | `NotApplied` |
 * | statement of its own, or COMMIT         | connection lost, deadline passed, server shutting down | `Unknown`    |
 * | COMMIT                                  | success                                                | `Applied`    |
 *
 * The error codes of each database only say in which scope a repetition is right. The tables stand with the databases.
 *
 * **Example** (Telling a person what happened)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Outcome } from "watertight"
 *
 * declare const transfer: Effect.Effect<void, import("effect/sql/SqlError").SqlError>
 *
 * const program = transfer.pipe(
 *   Effect.catchIf(Outcome.isUnknown, () => Effect.log("The transfer may have been made. Look before you repeat it."))
 * )
 * ```
 *
 * @since 0.1.0
 */
import type { SqlError } from "effect/sql/SqlError"
import { isSqlError } from "effect/sql/SqlError"
import { isFinal, isPoolError } from "../pool/PoolError.ts"
import { ConnectionLost } from "./ConnectionLost.ts"
import { ResultUnreadable } from "./ResultUnreadable.ts"

/**
 * What became of the work.
 *
 * - `NotSent`: the server has not seen it.
 * - `NotApplied`: the server saw it, and it left no trace.
 * - `Applied`: it is there, although something failed.
 * - `Unknown`: it may be there or not. Repeating it may do it twice.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = "NotSent" | "NotApplied" | "Applied" | "Unknown"

/**
 * What may be repeated.
 *
 * - `Statement`: the statement alone, where it stands.
 * - `Transaction`: the whole transaction, with the logic that chose its statements; the connection is good.
 * - `TransactionOnNewConnection`: the same, but the connection is gone.
 * - `Connect`: only getting a connection has failed.
 * - `OtherNode`: this server will not do it, another one may.
 * - `Never`: it would fail again, or might be done twice.
 *
 * @category models
 * @since 0.1.0
 */
export type Scope = "Statement" | "Transaction" | "TransactionOnNewConnection" | "Connect" | "OtherNode" | "Never"

/**
 * How long to wait before a repetition: not at all, milliseconds because somebody else held a row, or longer because
 * the server has too much to do.
 *
 * @category models
 * @since 0.1.0
 */
export type Ladder = "Instant" | "Conflict" | "Overload"

/**
 * Where the work was when it failed. `Statement` is one outside a transaction; `Ended` is a transaction that failed
 * before COMMIT was sent, seen from outside.
 *
 * @category models
 * @since 0.1.0
 */
export type Phase = "Acquire" | "Connect" | "Statement" | "InTransaction" | "Commit" | "Ended"

/**
 * What a database's table says about an error code: a row of `docs/transactions.md`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rule {
  /** What the code is about, in a word or two. */
  readonly about: string
  /** What may be repeated. */
  readonly scope: Scope
  /** How long to wait before. Default: `"Conflict"`. */
  readonly ladder?: Ladder | undefined
  /** Whether the server may have applied a statement or a COMMIT that it answered with this code. */
  readonly unknown?: boolean | undefined
  /** Whether the server only says that an earlier statement of the transaction had failed. */
  readonly poisoned?: boolean | undefined
}

/**
 * What is known about a failure.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verdict {
  readonly outcome: Outcome
  readonly scope: Scope
  readonly ladder: Ladder
  readonly phase: Phase
  /** What the error code is about, if there was one that the table knows. */
  readonly about: string | undefined
}

/**
 * What was seen of a failure.
 *
 * @category models
 * @since 0.1.0
 */
export interface Evidence {
  /** Set when the connection ended while the work was under way: whether it was sent before. */
  readonly lost?: { readonly sent: boolean } | undefined
  /** What the table says of the server's answer. */
  readonly rule?: Rule | undefined
  /** Whether the server answered at all. */
  readonly answered: boolean
}

/**
 * Decides what a failure means.
 *
 * @category constructors
 * @since 0.1.0
 */
export const judge = (phase: Phase, evidence: Evidence): Verdict => {
  const { answered, lost, rule } = evidence
  const verdict = (outcome: Outcome, scope: Scope, ladder: Ladder = rule?.ladder ?? "Conflict"): Verdict => ({
    outcome,
    scope,
    ladder,
    phase,
    about: rule?.about
  })
  if (phase === "Acquire" || phase === "Connect") {
    return verdict(
      "NotSent",
      rule?.scope === "Never" || rule?.scope === "OtherNode" ? rule.scope : "Connect",
      "Overload"
    )
  }
  const gone = lost !== undefined || rule?.scope === "TransactionOnNewConnection"
  // The server may have ended the connection for a reason that will be there the next time as well.
  const renewed = rule?.scope === "Never" ? "Never" : "TransactionOnNewConnection"
  if (phase === "InTransaction" || phase === "Ended") {
    if (gone) return verdict("NotApplied", renewed, rule?.ladder ?? "Instant")
    return verdict(answered ? "NotApplied" : "NotSent", rule?.scope ?? "Never")
  }
  if (lost !== undefined && !lost.sent) {
    return phase === "Commit" ? verdict("NotApplied", renewed, "Instant") : verdict("NotSent", "Statement", "Instant")
  }
  if (rule?.unknown === true || lost !== undefined) return verdict("Unknown", "Never", rule?.ladder ?? "Overload")
  if (!answered) return verdict("NotSent", "Never")
  if (rule === undefined) return verdict("NotApplied", "Never")
  // A statement of its own is a transaction of its own.
  const alone = phase === "Statement" && (rule.scope === "Transaction" || rule.scope === "TransactionOnNewConnection")
  return verdict("NotApplied", alone ? "Statement" : rule.scope)
}

/**
 * Whether repeating the same call can help and cannot do the work twice. Effect's `isRetryable` says the same.
 *
 * @category guards
 * @since 0.1.0
 */
export const isSafe = (verdict: Verdict): boolean => {
  if (verdict.outcome === "Unknown" || verdict.outcome === "Applied" || verdict.scope === "Never") return false
  // Inside a transaction only the statement can be repeated. The transaction itself is judged when it has ended.
  return verdict.phase !== "InTransaction" || verdict.scope === "Statement"
}

const verdicts = new WeakMap<SqlError, Verdict>()

/**
 * Writes down what a failure means, where `of` finds it, and makes Effect's `isRetryable` agree.
 *
 * @category combinators
 * @since 0.1.0
 */
export const mark = (error: SqlError, verdict: Verdict): SqlError => {
  verdicts.set(error, verdict)
  Object.defineProperty(error.reason, "isRetryable", { value: isSafe(verdict), configurable: true })
  return error
}

/**
 * Judges a failure of a database, with what its table says about the error, and writes it down.
 *
 * @category combinators
 * @since 0.1.0
 */
export const attach = (
  error: SqlError,
  phase: Phase,
  ruleOf: (error: SqlError) => Rule | undefined
): SqlError => {
  // The first judgement was made closest to what happened; only the end of a transaction may revise it.
  if (verdicts.has(error)) return error
  const cause = error.reason.cause
  if (isPoolError(cause)) {
    const verdict = judge("Acquire", { answered: false })
    return mark(error, isFinal(cause) ? { ...verdict, scope: "Never" } : verdict)
  }
  if (error.reason.operation === "connect") {
    return mark(error, judge("Connect", { answered: false, rule: ruleOf(error) }))
  }
  if (cause instanceof ResultUnreadable) {
    const outcome = phase === "InTransaction" ? "NotApplied" : "Applied"
    return mark(error, { ...judge(phase, { answered: false }), outcome, scope: "Never" })
  }
  const answered = isAnswer(cause)
  return mark(
    error,
    judge(phase, {
      lost: cause instanceof ConnectionLost
        ? cause
        // A connection that failed without saying how: assume the worst.
        : error.reason._tag === "ConnectionError" && !answered
        ? { sent: true }
        : undefined,
      rule: ruleOf(error),
      answered
    })
  )
}

/** An error of the server carries more than a code, which those of sockets do as well. */
const isAnswer = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && ("severity" in cause || "sqlState" in cause)

/**
 * A transaction has ended without COMMIT because of this failure: what could not be repeated inside it may be
 * repeated with it now.
 *
 * @category combinators
 * @since 0.1.0
 */
export const ended = (error: SqlError): void => {
  const verdict = verdicts.get(error)
  if (verdict?.phase === "InTransaction") mark(error, { ...verdict, outcome: "NotApplied", phase: "Ended" })
}

/**
 * What is known about a failure. Looks for a `SqlError` along the causes of whatever it is given.
 *
 * **Details**
 *
 * Returns `undefined` for what is not a `SqlError`, has none as a cause, or did not come from this library.
 *
 * @category getters
 * @since 0.1.0
 */
export const of = (error: unknown): Verdict | undefined => {
  const found = find(error)
  return found === undefined ? undefined : verdicts.get(found)
}

/**
 * The `SqlError` of this library along the causes of a failure.
 *
 * @category getters
 * @since 0.1.0
 */
export const find = (error: unknown): SqlError | undefined => {
  let current = error
  for (let depth = 0; depth < 16 && typeof current === "object" && current !== null; depth++) {
    if (isSqlError(current) && verdicts.has(current)) return current
    current = (current as { readonly cause?: unknown }).cause
  }
  return undefined
}

const is = (outcome: Outcome) => (error: unknown): boolean => of(error)?.outcome === outcome

/**
 * Whether nobody knows if the work was applied. It must not be repeated blindly.
 *
 * @category guards
 * @since 0.1.0
 */
export const isUnknown: (error: unknown) => boolean = is("Unknown")

/**
 * Whether the server has not seen the work.
 *
 * @category guards
 * @since 0.1.0
 */
export const isNotSent: (error: unknown) => boolean = is("NotSent")

/**
 * Whether the server saw the work, and it left no trace.
 *
 * @category guards
 * @since 0.1.0
 */
export const isNotApplied: (error: unknown) => boolean = is("NotApplied")

/**
 * Whether the work is there, although something failed.
 *
 * @category guards
 * @since 0.1.0
 */
export const isApplied: (error: unknown) => boolean = is("Applied")
