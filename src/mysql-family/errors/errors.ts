/**
 * The typed errors of a MySQL or MariaDB session.
 *
 * Effect's reason classes decide `isRetryable` by their class, so wherever repeating the call would not be safe the
 * answer is overridden on the instance: an effect that retries `while: (error) => error.isRetryable` must never run a
 * statement twice.
 */
import * as Data from "effect/Data"
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
import * as Evidence from "../../failure/Evidence.ts"
import { frameless } from "../../failure/frameless.ts"
import { withRetryable } from "../../failure/lostError.ts"
import * as SqlFailure from "../../failure/SqlFailure.ts"
import { adviceFor } from "./advice.ts"
import { isConflictAtCommit } from "./errno.ts"
import { fieldsOf } from "./fields.ts"

/**
 * What the server said. The `cause` of a `SqlError`.
 *
 * **Details**
 *
 * The text is the server's own, except where that would show a value that was sent or stored.
 *
 * @category errors
 * @since 0.1.0
 */
export class MysqlError extends Data.TaggedError("MysqlError")<{
  /** The server's number, such as 1062. */
  readonly errno: number
  /** The name of the number, such as `ER_DUP_ENTRY`. */
  readonly code: string | undefined
  readonly sqlState: string | undefined
  readonly message: string
  /** Whether statements that stood before it in the same text have been committed. */
  readonly isPartial?: boolean | undefined
  readonly constraint?: string | undefined
  readonly schema?: string | undefined
  readonly table?: string | undefined
  readonly column?: string | undefined
  /** What to do, where this library knows. */
  readonly hint?: string | undefined
}> {}

/**
 * A transaction ended before its COMMIT: the server rolled it back because of an error, or a statement committed it.
 * The `cause` of the `SqlError` that every further statement fails with; none of them reaches the server.
 *
 * @category errors
 * @since 0.1.0
 */
export class TransactionEnded extends Data.TaggedError("TransactionEnded")<{
  /** The server's number, where an error ended it. */
  readonly errno?: number | undefined
  readonly sqlState?: string | undefined
  readonly message: string
  /** The error that ended it. */
  readonly cause?: unknown
}> {}

/**
 * A statement was refused because it would have committed the transaction that it stands in. It was not sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class ImplicitCommit extends Data.TaggedError("ImplicitCommit")<{
  /** The first words of the statement. */
  readonly statement: string
  /** Whether it is about transactions: BEGIN, COMMIT or ROLLBACK. */
  readonly isControl: boolean
}> {
  override get message(): string {
    return this.isControl
      ? `${this.statement} would end the transaction that it stands in, which ends with the effect that it was begun for`
      : `${this.statement} would commit the transaction that it stands in. Run it outside of the transaction, or ` +
        "inside `allowImplicitCommit` if that is what you want"
  }
}

interface Props {
  readonly cause: unknown
  readonly message: string
  readonly operation: string
}

// ---------------------------------------------------------------------------------------------------------------------
// What a driver threw
// ---------------------------------------------------------------------------------------------------------------------

/** The fields of a driver's error that mean something. */
interface DriverError {
  readonly errno: number | undefined
  readonly code: string | undefined
  readonly sqlState: string | undefined
  readonly message: string
  readonly isFatal: boolean
}

const readField = (error: unknown, name: string): unknown =>
  typeof error === "object" && error !== null ? (error as Record<string, unknown>)[name] : undefined

const readText = (error: unknown, name: string): string | undefined => {
  const value = readField(error, name)
  return typeof value === "string" && value !== "" ? value : undefined
}

const read = (error: unknown): DriverError => {
  const errno = readField(error, "errno")
  return {
    errno: typeof errno === "number" ? errno : undefined,
    code: readText(error, "code"),
    sqlState: readText(error, "sqlState"),
    message: readText(error, "sqlMessage") ?? readText(error, "message") ?? String(error),
    isFatal: readField(error, "fatal") === true
  }
}

/**
 * Numbers of the servers and of proxies. The system's own are negative, and those of the connector begin at 45000. The
 * numbers from 2000 on are those of C's client library, which proxies use for what they have with their servers.
 */
const isServerErrno = (errno: number | undefined): errno is number =>
  errno !== undefined && errno >= 1000 && errno < 45_000

/**
 * What the server said, if it was the server that said it. `inlined` tells that the text of the statement had values in
 * it that were parameters.
 */
export const serverErrorOf = (error: unknown, inlined = false): MysqlError | undefined => {
  const { code, errno, message, sqlState } = read(error)
  if (!isServerErrno(errno)) return undefined
  const { near, ...fields } = fieldsOf(errno, message)
  const hint = adviceFor(errno)
  const shown = new MysqlError({
    errno,
    code,
    sqlState,
    message: redact(errno, message, inlined),
    ...fields,
    ...(hint === undefined ? {} : { hint })
  })
  // A part of the statement: not for logs, which print what is enumerable.
  return near === undefined ? shown : Object.defineProperty(shown, "near", { value: near })
}

/** The same error, of something of which a part may have been committed, as `what` says. */
export const partial = (error: MysqlError, what: string): MysqlError =>
  new MysqlError({
    errno: error.errno,
    code: error.code,
    sqlState: error.sqlState,
    message: `${error.message}; ${what}`,
    constraint: error.constraint,
    schema: error.schema,
    table: error.table,
    column: error.column,
    isPartial: true
  })

/** Whether a driver's error means that the connection is gone: it carries no number of the server then. */
export const isConnectionError = (error: unknown): boolean => {
  const { code, errno, isFatal, message } = read(error)
  if (isServerErrno(errno)) return false
  return isFatal || errno !== undefined && errno < 0 || code !== undefined && connectionCodes.has(code) ||
    // mysql2 reports these without any code: the second when a server asks for a file.
    message.includes("closed state") || message.startsWith("As a result of LOCAL INFILE")
}

const connectionCodes: ReadonlySet<string> = new Set([
  "PROTOCOL_CONNECTION_LOST",
  "PROTOCOL_PACKETS_OUT_OF_ORDER",
  "PROTOCOL_UNEXPECTED_PACKET",
  "PROTOCOL_ERROR",
  "ECONNRESET",
  "EPIPE",
  "ETIMEDOUT",
  "ER_SOCKET_UNEXPECTED_CLOSE",
  "ER_CMD_CONNECTION_CLOSED",
  "ER_CONNECTION_ALREADY_CLOSED",
  "ER_LOCAL_INFILE_DISABLED",
  "ER_UNEXPECTED_PACKET"
])

/** What a driver's error says, for messages. Never a part of a statement. */
export const describe = (error: unknown): string => {
  const { code, errno, message } = read(error)
  if (isServerErrno(errno)) return `${redact(errno, message, true)} (${errno})`
  const line = message.split("\n", 1)[0]!.replace(/^\(conn:[^)]*\) /, "")
  return code === undefined || line.includes(code) ? line : `${line} (${code})`
}

// ---------------------------------------------------------------------------------------------------------------------
// What must not be shown
// ---------------------------------------------------------------------------------------------------------------------

/** Texts of the server that quote values, and what is said instead. `$` is the column, where the text names it. */
const quoting: ReadonlyMap<number, string> = new Map([
  [1231, "a variable cannot be set to this value"],
  [1264, "a value is out of range$"],
  [1265, "a value would be truncated$"],
  [1292, "an incorrect value$"],
  [1298, "unknown or incorrect time zone"],
  [1300, "a string is not in its character set"],
  [1366, "an incorrect value$"],
  [1367, "an illegal value"],
  [1411, "an incorrect value for a function"],
  [1525, "an incorrect value"],
  [1526, "the table has no partition for the value"],
  [1690, "a value is out of range in an expression"],
  [1977, "a value cannot be converted$"],
  [3140, "invalid JSON text$"],
  [3141, "invalid JSON text"]
])

const duplicate = /for key\s+(?:'([^']*)'|`([^`]*)`|([^\s'`]+))\s*$/i

const keyOf = (message: string): string => {
  const match = duplicate.exec(message)
  const name = (match?.[1] ?? match?.[2] ?? match?.[3])?.trim()
  return name === undefined || name === "" ? "unknown" : name
}

/** The server's text, unless it would show a value. */
const redact = (errno: number, message: string, inlined: boolean): string => {
  switch (errno) {
    case 1062:
    case 1586:
    case 1022:
    case 1169:
      return `duplicate entry for key '${keyOf(message)}'`
    case 1064:
    case 1149: {
      // The text quotes the statement: placeholders stand where the values were, unless they were written into it.
      if (!inlined) return message
      const line = /at line (\d+)\s*$/.exec(message)
      return line === null ? "syntax error" : `syntax error at line ${line[1]}`
    }
    default: {
      const text = quoting.get(errno)
      if (text === undefined) return message
      const column = /for column (.+?)(?: at row \d+)?$/i.exec(message)
      return text.replace("$", column === null ? "" : ` for column ${column[1]}`)
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Reasons
// ---------------------------------------------------------------------------------------------------------------------

/** Classes by what the server numbers its errors with. */
const classes: ReadonlyArray<
  readonly [make: (props: Props, error: MysqlError) => SqlErrorReason, errnos: ReadonlyArray<number>]
> = [
  [(props, error) => new UniqueViolation({ ...props, constraint: constraintOf(error) }), [1062, 1586, 1022, 1169]],
  [(props) => new DeadlockError(props), [1213, 1614, 3058, 3132]],
  [(props) => new SerializationError(props), [1020, 3100, 3101]],
  [(props) => new LockTimeoutError(props), [1205, 3572]],
  [(props) => new StatementTimeoutError(props), [3024, 1969]],
  [(props) => new ConstraintError(props), [1048, 1216, 1217, 1364, 1451, 1452, 1557, 1761, 1762, 3819, 4025]],
  [(props) => new AuthenticationError(props), [1045, 1251, 1275, 1524, 1698, 1820, 3955, 1862, 3118, 4151]],
  [(props) => new AuthorizationError(props), [1044, 1095, 1130, 1142, 1143, 1227, 1370, 1419, 1873]],
  [(props) => new ConnectionError(props), [
    1040,
    2002,
    2003,
    2005,
    2006,
    2013,
    2055,
    3032,
    3168,
    3169,
    9001,
    9501,
    1042,
    1043,
    1047,
    1053,
    1077,
    1079,
    1129,
    1152,
    1153,
    1154,
    1155,
    1156,
    1157,
    1158,
    1159,
    1160,
    1161,
    1184,
    1203,
    1226,
    1927,
    4031
  ]],
  [(props) => new UnknownError(props), [1046, 1049, 1317, 1118, 1461, 1690, 3140]],
  [(props) => new SqlSyntaxError(props), [1193, 1305]]
]

const classOfErrno = new Map(classes.flatMap(([make, errnos]) => errnos.map((errno) => [errno, make] as const)))

/** The class of an error of the server. */
const reasonOf = (error: MysqlError, props: Props): SqlErrorReason => {
  if (isConflictAtCommit(error)) return new SerializationError(props)
  const make = classOfErrno.get(error.errno)
  if (make !== undefined) return make(props, error)
  switch (error.sqlState?.slice(0, 2)) {
    case "08":
      return new ConnectionError(props)
    case "23":
      return new ConstraintError(props)
    case "28":
      return new AuthenticationError(props)
    case "42":
      return new SqlSyntaxError(props)
    default:
      return new UnknownError(props)
  }
}

/** The name of the constraint as the statement that made it has it: MySQL puts the table before it. */
const constraintOf = (error: MysqlError): string => error.constraint ?? keyOf(error.message)

/** An error that the server answered about a statement. It has not been applied, unless the connection died of it. */
export const statementError = (options: {
  readonly database: string
  readonly error: MysqlError
  readonly operation: string
}): SqlError =>
  frameless(() => {
    const { database, error, operation } = options
    const reason = reasonOf(error, {
      cause: error,
      message: `${database}: ${error.message} (${error.errno})`,
      operation
    })
    // A statement that was cut off would run into the same limit, one whose connection died may have been applied, and
    // of a text that was applied in part the first part would be done twice.
    if (reason._tag === "ConnectionError" || reason._tag === "StatementTimeoutError" || error.isPartial === true) {
      withRetryable(reason, false)
    }
    return new SqlError({ reason })
  })

/** A statement was stopped at its limit, and has done nothing. */
export const timeoutError = (options: {
  readonly database: string
  readonly error: MysqlError
  readonly operation: string
  readonly limitMillis: number
}): SqlError => {
  const { database, error, limitMillis, operation } = options
  const message = `${database}: the statement was stopped, because it ran for longer than ${limitMillis} ms`
  return Evidence.attach(
    new SqlError({
      reason: withRetryable(new StatementTimeoutError({ cause: error, message, operation }), false)
    }),
    Evidence.make({
      sent: true,
      answer: "Error",
      endedBy: "Limit",
      code: error.errno,
      serverError: error,
      limitMillis
    })
  )
}

/** It is printed as shortly as the error of a statement, with what to do. */
const readable = (error: SqlError): SqlError => SqlFailure.attach(error, "")

/** The server refused a connection. */
export const refusedError = (database: string, error: MysqlError, isRetryable: boolean): SqlError => {
  const props = {
    cause: error,
    message: `${database}: the server refused the connection: ${error.message} (${error.errno})`,
    operation: "connect"
  }
  const reason = reasonOf(error, props)
  switch (reason._tag) {
    case "AuthenticationError":
    case "AuthorizationError":
      return readable(new SqlError({ reason: isRetryable ? withRetryable(reason, true) : reason }))
    default:
      return readable(new SqlError({ reason: withRetryable(new ConnectionError(props), isRetryable) }))
  }
}

/** A connection could not be opened. */
export const connectError = (
  database: string,
  what: string,
  cause: unknown,
  isRetryable = true
): SqlError =>
  readable(
    new SqlError({
      reason: withRetryable(
        new ConnectionError({ cause: cause ?? new Error(what), message: `${database}: ${what}`, operation: "connect" }),
        isRetryable
      )
    })
  )

/** A failure on our side of the wire: a parameter that cannot be sent, a result that cannot be read. */
export const unknownError = (database: string, what: string, cause: unknown, operation: string): SqlError =>
  new SqlError({
    reason: new UnknownError({ cause: cause ?? new Error(what), message: `${database}: ${what}`, operation })
  })
