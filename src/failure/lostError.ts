import type { SqlErrorReason } from "effect/sql/SqlError"
import { ConnectionError, SqlError, StatementTimeoutError } from "effect/sql/SqlError"
import { ConnectionLost } from "./ConnectionLost.ts"

/** Fixes the answer of `isRetryable`, which the reason's class would otherwise give. */
export const withRetryable = <A extends SqlErrorReason>(reason: A, isRetryable: boolean): A =>
  Object.defineProperty(reason, "isRetryable", { value: isRetryable, configurable: true })

/** The session ended under a statement. Only one that was never sent may be repeated. */
export const lostError = (options: {
  readonly database: string
  readonly operation: string
  readonly sent: boolean
  readonly what: string
  /** The last thing that the server said. */
  readonly serverError?: unknown
  readonly cause?: unknown
  /** A typed timeout instead of a connection error. */
  readonly timedOut?: boolean | undefined
}): SqlError => {
  const props = {
    cause: new ConnectionLost({
      sent: options.sent,
      ...(options.serverError === undefined ? undefined : { serverError: options.serverError }),
      ...(options.cause === undefined ? undefined : { cause: options.cause })
    }),
    message: `${options.database}: ${options.what}`,
    operation: options.operation
  }
  return new SqlError({
    reason: withRetryable(
      options.timedOut === true ? new StatementTimeoutError(props) : new ConnectionError(props),
      !options.sent
    )
  })
}
