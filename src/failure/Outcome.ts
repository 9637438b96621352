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
 * | statement of its own                    | the server ended the session instead of completing it  | `NotApplied` |
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
import * as Evidence from "./Evidence.ts"
import { field } from "./record.ts"

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
 * How long to wait before a repetition: not at all, milliseconds because another transaction held a row, or longer
 * because the server has too much to do. `Lock` is for waits for a lock that have had their time: by default there is
 * no repetition, because it would wait as long again.
 *
 * @category models
 * @since 0.1.0
 */
export type Ladder = "Instant" | "Conflict" | "Lock" | "Overload"

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
  /** What the code is about, in a word or two. For people: nothing is decided by it. */
  readonly about: string
  /** What may be repeated. */
  readonly scope: Scope
  /** How long to wait before. Default: `"Conflict"`. */
  readonly ladder?: Ladder | undefined
  /**
   * Whether the server may have done a COMMIT that it answered with this code, or a statement with which the session
   * ended. On a session that goes on, an answered error has undone a statement, whatever its code.
   */
  readonly unknown?: boolean | undefined
  /** Whether some of the work, or all of it, may have been applied although the session goes on. */
  readonly partial?: boolean | undefined
  /** Whether that is so also where the work stood in a transaction, because it had ended that before it failed. */
  readonly escaped?: boolean | undefined
  /** Whether the server only says that an earlier statement of the transaction had failed. */
  readonly poisoned?: boolean | undefined
  /**
   * Whether a middleman or a node says that it has not reached a server that works: a pooler, a proxy, a node that has
   * left its cluster. Nothing was run then, and it counts like a failure to connect, although the session goes on.
   */
  readonly unreachable?: boolean | undefined
  /** Whether the server has no room for one more connection, or for one more of this account. */
  readonly full?: boolean | undefined
  /** Who has ended the session if the server says this as its last word. Default: the server. */
  readonly endedBy?: Evidence.EndedBy | undefined
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
 * Decides what a failure means.
 *
 * **Details**
 *
 * `rule` is what the database's table says about the code of the server's error, if there was one.
 *
 * @category constructors
 * @since 0.1.0
 */
export const judge = (phase: Phase, evidence: Evidence.Evidence, rule?: Rule): Verdict => {
  const { answer, endedBy, ready, sent } = evidence
  const inside = phase === "InTransaction" || phase === "Ended"
  const verdict = (outcome: Outcome, scope: Scope, ladder: Ladder = rule?.ladder ?? "Conflict"): Verdict => ({
    outcome,
    scope,
    ladder,
    phase,
    about: rule?.about
  })
  if (phase === "Acquire" || phase === "Connect") return verdict("NotSent", connectScope(rule), "Overload")
  if (rule?.unreachable === true) {
    return inside || phase === "Commit"
      ? verdict("NotApplied", "TransactionOnNewConnection", "Overload")
      : { ...verdict("NotSent", "Connect", "Overload"), phase: "Connect" }
  }
  if (answer === "Done") return verdict(inside ? "NotApplied" : "Applied", "Never")
  if (answer === "RolledBack") return verdict("NotApplied", "Never")
  if (answer === "Error" && ready) {
    if (rule?.escaped === true || !inside && isUnclear(phase, rule)) return verdict("Unknown", "Never", "Overload")
    const scope = endedBy === undefined ? answeredScope(rule) : "Never"
    // A statement outside a transaction is a transaction of its own.
    return verdict("NotApplied", phase === "Statement" && scope === "Transaction" ? "Statement" : scope)
  }
  if (endedBy === undefined) return verdict("NotSent", "Never")
  // What ended the session may do so the next time as well.
  const mayRepeat = Evidence.consequences[endedBy].mayRepeat
  const renewed = mayRepeat && rule?.scope !== "Never" ? "TransactionOnNewConnection" : "Never"
  if (answer === "Undone") return verdict("NotApplied", renewed, rule?.ladder ?? "Instant")
  if (inside) return verdict(ready && !sent ? "NotSent" : "NotApplied", renewed, rule?.ladder ?? "Instant")
  if (!sent) {
    return phase === "Commit"
      ? verdict("NotApplied", renewed, "Instant")
      : verdict("NotSent", mayRepeat ? "Statement" : "Never", "Instant")
  }
  if (answer === "Error" && rule?.unknown !== true) return verdict("NotApplied", renewed)
  return verdict("Unknown", "Never", rule?.ladder ?? "Overload")
}

/** Whether an answered error leaves open what became of the work, although the session goes on. */
const isUnclear = (phase: Phase, rule: Rule | undefined): boolean =>
  rule?.partial === true || (phase === "Commit" && rule?.unknown === true && rule.scope === "Never")

const connectScope = (rule: Rule | undefined): Scope =>
  rule?.scope === "Never" || rule?.scope === "OtherNode" ? rule.scope : "Connect"

/**
 * What an answered error allows on a session that goes on. Codes about connections, rooms and resources come from other
 * servers then, or were raised by the statement: the way to this server is open, and waiting changes nothing.
 */
const answeredScope = (rule: Rule | undefined): Scope => {
  switch (rule?.scope) {
    case undefined:
    case "Connect":
    case "TransactionOnNewConnection":
      return "Never"
    case "Statement":
    case "Transaction":
      return rule!.ladder === "Overload" ? "Never" : rule!.scope
    default:
      return rule!.scope
  }
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

const verdictOf = field<Verdict>("verdict")

/**
 * Writes down what a failure means, where `of` finds it, and makes Effect's `isRetryable` agree.
 *
 * @category combinators
 * @since 0.1.0
 */
export const mark = (error: SqlError, verdict: Verdict): SqlError => {
  verdictOf.set(error, verdict)
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
  if (verdictOf.get(error) !== undefined) return error
  const { cause } = error.reason
  let evidence = Evidence.of(error)
  if (isPoolError(cause)) {
    const verdict = judge("Acquire", evidence)
    return mark(error, isFinal(cause) ? { ...verdict, scope: "Never" } : verdict)
  }
  const rule = ruleOf(error)
  if (evidence.endedBy === "Server" && rule?.endedBy !== undefined) evidence = Evidence.refine(error, rule.endedBy)
  return mark(error, judge(evidence.connecting ? "Connect" : phase, evidence, rule))
}

/**
 * A transaction has ended without COMMIT because of this failure: what could not be repeated inside it may be
 * repeated with it now.
 *
 * @category combinators
 * @since 0.1.0
 */
export const ended = (error: SqlError): void => {
  const verdict = verdictOf.get(error)
  if (verdict?.phase !== "InTransaction") return
  mark(error, { ...verdict, outcome: verdict.outcome === "Unknown" ? "Unknown" : "NotApplied", phase: "Ended" })
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
  return found === undefined ? undefined : verdictOf.get(found)
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
    if (isSqlError(current) && verdictOf.get(current) !== undefined) return current
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

/**
 * Does something for each outcome of an error. An error that is none of this library is `orElse`.
 *
 * **Example** (What to tell the caller of a service)
 *
 * ```ts
 * import { Outcome } from "watertight"
 *
 * const status = (error: unknown) =>
 *   Outcome.match(error, {
 *     NotSent: () => 503,
 *     NotApplied: () => 409,
 *     Applied: () => 200,
 *     Unknown: () => 202,
 *     orElse: () => 500
 *   })
 * ```
 *
 * @category accessors
 * @since 0.2.0
 */
export const match = <A>(
  error: unknown,
  cases: { readonly [outcome in Outcome]: (verdict: Verdict) => A } & { readonly orElse: (error: unknown) => A }
): A => {
  const verdict = of(error)
  return verdict === undefined ? cases.orElse(error) : cases[verdict.outcome](verdict)
}
