/**
 * What is known about a failure before anyone decides what it means: who ended it, and what is proved.
 *
 * **Details**
 *
 * The part of the library that sees a session or a statement end writes one record on the error: the socket, the
 * parser, the time limit, the statement itself. `Outcome`, `Retry`, `Breaker`, `Pool` and `Health` read this record. An
 * error code is one field of it and never decides alone: a server relays codes of other servers, and a statement can
 * raise any code.
 *
 * What follows from who ended it:
 *
 * | `endedBy`       | who or what ended the session or the statement                          | repeated | breaker        | pool asks the neighbours |
 * | --------------- | ----------------------------------------------------------------------- | -------- | -------------- | ------------------------ |
 * | `Server`        | the server, and it said so: it shuts down or has crashed                | yes      | once per event | no                       |
 * | `Administrator` | a person or a policy, for this session: `pg_terminate_backend`, `KILL`  | yes      | no             | no                       |
 * | `Idle`          | a limit for sessions that do nothing                                    | yes      | no             | no                       |
 * | `Silence`       | the other side closed without a word, or did not answer a control question | yes   | once per event | yes                      |
 * | `Network`       | the network: a reset, a timeout of the socket                           | yes      | once per event | yes                      |
 * | `Client`        | this process: the pool closed the session, or it was cut off at shutdown | yes     | no             | no                       |
 * | `Limit`         | our own limit of time for this statement                                | no       | no             | no                       |
 * | `Statement`     | the statement: a packet too large, a value or a result that cannot travel | no     | no             | no                       |
 * | `Reader`        | the reader of the rows, who paused for too long                         | no       | no             | no                       |
 *
 * "Repeated" says that it may help. Whether it is done depends on the outcome as well, see `Outcome`.
 *
 * An error that the server answered on a session that is ready afterwards was ended by nobody (`endedBy` is
 * `undefined`). It says nothing about the way to the database.
 *
 * @since 0.2.0
 */
import type { SqlError } from "effect/sql/SqlError"
import { ConnectionLost } from "./ConnectionLost.ts"
import { field } from "./record.ts"
import { ResultUnreadable } from "./ResultUnreadable.ts"
import { RolledBack } from "./RolledBack.ts"

/**
 * Who or what ended a session, or a statement before its answer. The table is at the head of this module.
 *
 * @category models
 * @since 0.2.0
 */
export type EndedBy =
  | "Server"
  | "Administrator"
  | "Idle"
  | "Silence"
  | "Network"
  | "Client"
  | "Limit"
  | "Statement"
  | "Reader"

/**
 * When the session of a failure was open, in milliseconds of the monotonic clock.
 *
 * **Details**
 *
 * Sessions that were open at the same time and ended together are one event, however many statements met it.
 *
 * @category models
 * @since 0.2.0
 */
export interface SessionTimes {
  readonly openedAt: number
  readonly endedAt: number
}

/**
 * What is known about a failure.
 *
 * @category models
 * @since 0.2.0
 */
export interface Evidence {
  /** Whether a session was being opened, so that nothing else can have been sent. */
  readonly connecting: boolean
  /** Who ended the session or the statement. `undefined`: the server answered, or nothing was sent at all. */
  readonly endedBy: EndedBy | undefined
  /** Whether the server may have begun with the statement. */
  readonly sent: boolean
  /**
   * What the server answered: nothing, an error, that it rolled back, or success whose result cannot be given. `Undone`
   * is a last word that came instead of an answer, and that proves that the work was undone with the session.
   */
  readonly answer: "None" | "Error" | "RolledBack" | "Undone" | "Done"
  /** Whether the session can run the next statement. */
  readonly ready: boolean
  /** What the server calls the error: a SQLSTATE, or an errno of MySQL and MariaDB. */
  readonly code: string | number | undefined
  /** The last thing that the server said, as the driver reports it. */
  readonly serverError: unknown
  /** The limit of ours that was reached, in milliseconds. */
  readonly limitMillis: number | undefined
  /** When the session was open, if it has ended. */
  readonly session: SessionTimes | undefined
  /** For how long this process had no time for its timers and sockets when the failure was found, in milliseconds. */
  readonly stalledMillis: number
}

const nothingSent: Evidence = {
  connecting: false,
  endedBy: undefined,
  sent: false,
  answer: "None",
  ready: true,
  code: undefined,
  serverError: undefined,
  limitMillis: undefined,
  session: undefined,
  stalledMillis: 0
}

/**
 * Evidence from what is known. The default of every field is that of a statement which was refused before it was sent.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (known: Partial<Evidence>): Evidence => ({ ...nothingSent, ...known })

/**
 * The server answered with an error, and the session goes on.
 *
 * @category constructors
 * @since 0.2.0
 */
export const answered = (serverError: unknown): Evidence =>
  make({ sent: true, answer: "Error", code: codeOf(serverError), serverError })

/**
 * The session ended before the statement was answered.
 *
 * @category constructors
 * @since 0.2.0
 */
export const lost = (
  endedBy: EndedBy,
  known: { readonly sent: boolean } & Partial<Evidence>
): Evidence => make({ endedBy, ready: false, code: codeOf(known.serverError), ...known })

/**
 * What follows from who ended it, besides the outcome. The table is at the head of this module.
 *
 * @category models
 * @since 0.2.0
 */
export interface Consequences {
  /** Whether a repetition may help, where the outcome allows one. */
  readonly mayRepeat: boolean
  /** Whether the event counts for the circuit breaker. */
  readonly counts: boolean
  /** Whether the pool asks older connections for a sign of life before it lends them again. */
  readonly suspects: boolean
}

const passing: Consequences = { mayRepeat: true, counts: false, suspects: false }
const final: Consequences = { mayRepeat: false, counts: false, suspects: false }

/**
 * The table at the head of this module, as data.
 *
 * @category constants
 * @since 0.2.0
 */
export const consequences: { readonly [endedBy in EndedBy]: Consequences } = {
  Server: { mayRepeat: true, counts: true, suspects: false },
  Administrator: passing,
  Idle: passing,
  Silence: { mayRepeat: true, counts: true, suspects: true },
  Network: { mayRepeat: true, counts: true, suspects: true },
  Client: passing,
  Limit: final,
  Statement: final,
  Reader: final
}

const evidence = field<Evidence>("evidence")

/**
 * Writes evidence on an error, where `of` finds it. The first record stands: it was made closest to what happened.
 *
 * @category combinators
 * @since 0.2.0
 */
export const attach = (error: SqlError, known: Evidence): SqlError => {
  if (evidence.get(error) === undefined) evidence.set(error, known)
  return error
}

/**
 * Whether there is evidence on an error, so that it comes from a session of this library.
 *
 * @category guards
 * @since 0.2.0
 */
export const isKnown = (error: SqlError): boolean => evidence.get(error) !== undefined

/**
 * Replaces who ended it, for one who knows better than the session did: the server's last word may name the cause.
 *
 * @category combinators
 * @since 0.2.0
 */
export const refine = (error: SqlError, endedBy: EndedBy): Evidence => {
  const refined = { ...of(error), endedBy }
  evidence.set(error, refined)
  return refined
}

/**
 * The evidence on an error. An error without a record is read with care: a connection that failed without saying how
 * may have sent the statement.
 *
 * @category getters
 * @since 0.2.0
 */
export const of = (error: SqlError): Evidence => {
  const known = evidence.get(error)
  if (known !== undefined) return known
  const { cause, operation } = error.reason
  if (operation === "connect") {
    return make({ connecting: true, code: codeOf(cause), serverError: isAnswer(cause) ? cause : undefined })
  }
  if (cause instanceof RolledBack) return make({ sent: true, answer: "RolledBack" })
  if (cause instanceof ResultUnreadable) return make({ endedBy: "Statement", sent: true, answer: "Done" })
  if (cause instanceof ConnectionLost) {
    const { sent, serverError } = cause
    return lost(serverError === undefined ? "Network" : "Server", { sent, serverError })
  }
  if (isAnswer(cause)) return answered(cause)
  return error.reason._tag === "ConnectionError" ? lost("Network", { sent: true }) : nothingSent
}

/** An error of a server carries more than a code, which errors of sockets have as well. */
const isAnswer = (cause: unknown): boolean =>
  typeof cause === "object" && cause !== null && ("severity" in cause || "sqlState" in cause)

const codeOf = (serverError: unknown): string | number | undefined => {
  if (!isAnswer(serverError)) return undefined
  const { code, errno } = serverError as { readonly code?: unknown; readonly errno?: unknown }
  return typeof errno === "number" ? errno : typeof code === "string" ? code : undefined
}
