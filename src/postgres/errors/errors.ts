/**
 * The typed errors of a PostgreSQL session.
 *
 * A failure means what the phase and the evidence say, not what its code says alone. Effect's reason classes decide
 * `isRetryable` by their class, so wherever repeating the call would not be safe the answer is overridden on the
 * instance: an effect that retries `while: (error) => error.isRetryable` must never run a statement twice.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type { SqlErrorReason } from "effect/sql/SqlError"
import {
  AuthenticationError,
  AuthorizationError,
  ConnectionError,
  ConstraintError,
  DeadlockError,
  LockTimeoutError,
  SerializationError,
  SqlError,
  SqlSyntaxError,
  StatementTimeoutError,
  UniqueViolation,
  UnknownError
} from "effect/sql/SqlError"
import { frameless } from "../../failure/frameless.ts"
import { withRetryable } from "../../failure/lostError.ts"
import * as SqlFailure from "../../failure/SqlFailure.ts"
import { adviceFor, describeUnfit } from "./advice.ts"

/** What the server said: an `Error` with the fields of its report, under the names that the driver uses. */
export type PgError = Error & PgProtocol.ErrorFields

export const pgError = (fields: PgProtocol.ErrorFields): PgError => {
  const error: Error & { hint?: string | undefined } = Object.assign(
    new Error(fields.message ?? "Unknown PostgreSQL error"),
    fields
  )
  if (fields.hint === undefined) {
    const advice = adviceFor(fields)
    if (advice !== undefined) error.hint = advice
  }
  // They quote values. Who asks for them gets them; a log that prints what is enumerable does not.
  for (const name of ["detail", "where", "internalQuery"] as const) {
    if (name in error) Object.defineProperty(error, name, { enumerable: false })
  }
  return error as PgError
}

interface Props {
  readonly cause: unknown
  readonly message: string
  readonly operation: string
}

const constraintName = (name: string | undefined): string => {
  const trimmed = name?.trim()
  return trimmed === undefined || trimmed === "" ? "unknown" : trimmed
}

const reasonOf = (code: string | undefined, constraint: string | undefined, props: Props): SqlErrorReason => {
  if (code === undefined) return new UnknownError(props)
  switch (code) {
    case "42501":
      return new AuthorizationError(props)
    case "23505":
      return new UniqueViolation({ ...props, constraint: constraintName(constraint) })
    case "40P01":
      return new DeadlockError(props)
    case "40001":
      return new SerializationError(props)
    case "55P03":
      return new LockTimeoutError(props)
    case "57014":
      return new StatementTimeoutError(props)
  }
  switch (code.slice(0, 2)) {
    case "08":
      return new ConnectionError(props)
    case "28":
      return new AuthenticationError(props)
    case "42":
      return new SqlSyntaxError(props)
    case "23":
      return new ConstraintError(props)
  }
  return new UnknownError(props)
}

/** The names of data exceptions: the server's own text about them quotes the offending value. */
const dataExceptions: Record<string, string> = {
  "22001": "a string is too long for its column",
  "22003": "a number is out of range",
  "22007": "invalid date or time format",
  "22008": "a date or time is out of range",
  "22012": "division by zero",
  "22021": "a character is not in the database's encoding",
  "22023": "invalid parameter value",
  "22030": "duplicate key in a JSON object",
  "22032": "invalid JSON text",
  "22P02": "a value does not have the form that its type requires",
  "22P03": "invalid binary representation",
  "22P05": "a character cannot be converted"
}

/** The server's text, unless it would show a parameter's value. The cause keeps the original. */
const describeFields = (fields: PgProtocol.ErrorFields): string => {
  const code = fields.code
  if (code !== undefined && code.startsWith("22")) {
    return `${describeUnfit(fields) ?? dataExceptions[code] ?? "data exception"} (${code})`
  }
  return code === undefined ? fields.message ?? "unknown error" : `${fields.message ?? "error"} (${code})`
}

/**
 * An error that the server reported about a statement: it has not been applied. A lock timeout inside a transaction
 * has aborted it, and repeating a cancelled statement would run into the same limit.
 */
export const statementError = (
  database: string,
  fields: PgProtocol.ErrorFields,
  inTransaction: boolean,
  operation: string
): SqlError =>
  frameless(() => {
    const reason = reasonOf(fields.code, fields.constraint, {
      cause: pgError(fields),
      message: `${database}: ${describeFields(fields)}`,
      operation
    })
    switch (reason._tag) {
      case "LockTimeoutError":
        if (inTransaction) withRetryable(reason, false)
        break
      case "ConnectionError":
      case "StatementTimeoutError":
        withRetryable(reason, false)
        break
    }
    return new SqlError({ reason })
  })

/** What the server says to a statement in a transaction that had failed before. */
export const transactionFailed: PgProtocol.ErrorFields = {
  severity: "ERROR",
  severityUnlocalized: "ERROR",
  code: "25P02",
  message: "current transaction is aborted, commands ignored until end of transaction block"
}

/** It is printed as shortly as the error of a statement, with what to do. */
const readable = (error: SqlError): SqlError => SqlFailure.attach(error, "")

/** Refusals of the server that pass by themselves: it is full, starting, stopping or recovering. */
const isTransientRefusal = (code: string | undefined): boolean =>
  code !== undefined &&
  (code.startsWith("53") || code.startsWith("57P") && code !== "57P04" || code === "08006" || code === "08001" ||
    code === "08004")

/** The server refused a connection. Nothing was sent that could have had an effect. */
export const refusedError = (database: string, fields: PgProtocol.ErrorFields): SqlError => {
  const code = fields.code
  const props = {
    cause: pgError(fields),
    message: `${database}: the server refused the connection: ${fields.message ?? "unknown error"} (${code ?? "?"})`,
    operation: "connect"
  }
  if (code !== undefined && code.startsWith("28")) {
    return readable(new SqlError({ reason: new AuthenticationError(props) }))
  }
  if (code === "42501") return readable(new SqlError({ reason: new AuthorizationError(props) }))
  return readable(new SqlError({ reason: withRetryable(new ConnectionError(props), isTransientRefusal(code)) }))
}

/** A connection could not be opened. `permanent` is set where only a person can change that. */
export const connectError = (database: string, what: string, cause: unknown, permanent = false): SqlError =>
  readable(
    new SqlError({
      reason: withRetryable(
        new ConnectionError({ cause: toError(cause, what), message: `${database}: ${what}`, operation: "connect" }),
        !permanent
      )
    })
  )

/** The password is missing or the server did not prove that it knows it. */
export const authenticationError = (database: string, what: string, cause: unknown): SqlError =>
  readable(
    new SqlError({
      reason: new AuthenticationError({
        cause: toError(cause, what),
        message: `${database}: ${what}`,
        operation: "connect"
      })
    })
  )

/** A failure on our side of the wire: a parameter that cannot be encoded, a result that cannot be decoded. */
export const unknownError = (database: string, what: string, cause: unknown, operation: string): SqlError =>
  new SqlError({
    reason: new UnknownError({ cause: toError(cause, what), message: `${database}: ${what}`, operation })
  })

const toError = (cause: unknown, what: string): unknown => cause === undefined ? new Error(what) : cause
