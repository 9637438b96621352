import type { SqlErrorReason } from "effect/sql/SqlError"
import { ConnectionError, SqlError, StatementTimeoutError } from "effect/sql/SqlError"
import { ConnectionLost } from "./ConnectionLost.ts"
import * as Evidence from "./Evidence.ts"

/** Fixes the answer of `isRetryable`, which the reason's class would otherwise give. */
export const withRetryable = <A extends SqlErrorReason>(reason: A, isRetryable: boolean): A =>
  Object.defineProperty(reason, "isRetryable", { value: isRetryable, configurable: true })

/** The session ended under a statement. Only one that was never sent may be repeated. */
export const lostError = (options: {
  readonly database: string
  readonly operation: string
  readonly sent: boolean
  readonly what: string
  /** Who ended it. Default: what can be told from the rest. */
  readonly endedBy?: Evidence.EndedBy | undefined
  /** The last thing that the server said. */
  readonly serverError?: unknown
  /** What the server has answered about the statement. Default: nothing. */
  readonly answer?: Evidence.Evidence["answer"] | undefined
  readonly cause?: unknown
  /** A typed timeout instead of a connection error. */
  readonly timedOut?: boolean | undefined
  /** The limit of ours that was reached, in milliseconds. */
  readonly limitMillis?: number | undefined
  /** When the session was open. */
  readonly session?: Evidence.SessionTimes | undefined
  /** For how long this process had no time to look. */
  readonly stalledMillis?: number | undefined
}): SqlError => {
  const endedBy = options.endedBy ??
    (options.timedOut === true ? "Limit" : options.serverError !== undefined ? "Server" : "Network")
  const props = {
    cause: new ConnectionLost({
      sent: options.sent,
      ...(options.answer === "Undone" ? { undone: true } : undefined),
      ...(options.serverError === undefined ? undefined : { serverError: options.serverError }),
      ...(options.cause === undefined ? undefined : { cause: options.cause })
    }),
    message: `${options.database}: ${options.what}`,
    operation: options.operation
  }
  const error = new SqlError({
    reason: withRetryable(
      endedBy === "Limit" ? new StatementTimeoutError(props) : new ConnectionError(props),
      !options.sent && Evidence.consequences[endedBy].mayRepeat
    )
  })
  return Evidence.attach(
    error,
    Evidence.lost(endedBy, {
      sent: options.sent,
      serverError: options.serverError,
      answer: options.answer ?? "None",
      limitMillis: options.limitMillis,
      session: options.session,
      stalledMillis: options.stalledMillis ?? 0
    })
  )
}
