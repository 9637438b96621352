/**
 * What a failed statement looks like: to a person who reads a log, and to a program that asks for fields.
 *
 * **Details**
 *
 * The message of a `SqlError` of this library says what happened, shows the statement with a mark under the place that
 * the server named, the server's hint, how often the statement was tried, and what to do. `of` gives the same as fields,
 * under the same names for all databases.
 *
 * Parameters are never shown. The server's `detail` and `where` quote values: they are fields that can be asked for, and
 * are not enumerable, so no log shows them by accident. String literals are part of the text of a statement and are shown,
 * unless the statement is about a password.
 *
 * All of this is computed when it is asked for. A statement that succeeds pays nothing.
 *
 * **Example** (Which constraint was it?)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { SqlFailure } from "watertight"
 *
 * const signUp = (email: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`insert into person ${sql.insert({ email })}`
 *   }).pipe(
 *     Effect.catchIf(
 *       (error) => SqlFailure.of(error).constraint === "person_email_key",
 *       () => Effect.fail("this address is taken")
 *     )
 *   )
 * ```
 *
 * @since 0.2.0
 */
import * as Equal from "effect/Equal"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { programFrames } from "../options/frames.ts"
import * as callSite from "./callSite.ts"
import { excerpt } from "./excerpt.ts"
import * as Outcome from "./Outcome.ts"
import { field } from "./record.ts"
import * as Retry from "./Retry.ts"

/**
 * What is known about a failed statement. A field that the database does not tell is `undefined`.
 *
 * @category models
 * @since 0.2.0
 */
export interface SqlFailure {
  /** The text of the statement, with placeholders instead of parameters. */
  readonly sql: string | undefined
  /** The character of the text that the server points to, counted from 1. */
  readonly position: number | undefined
  /** What the server suggests, or this library where the server suggests nothing. */
  readonly hint: string | undefined
  /** The SQLSTATE on PostgreSQL, the errno on MySQL and MariaDB. */
  readonly code: string | number | undefined
  readonly constraint: string | undefined
  readonly schema: string | undefined
  readonly table: string | undefined
  readonly column: string | undefined
  /** How often the statement, or the transaction that it stands in, was tried. */
  readonly attempts: number
  /** What the server says about the values. Not enumerable. */
  readonly detail: string | undefined
  /** Where in functions of the server it happened. May quote values. Not enumerable. */
  readonly where: string | undefined
}

const statement = field<string>("statement")

/** Whether an error prints itself by now. */
const tidied = field<true>("tidied")

/**
 * Remembers the statement of an error, and lets its message show it. The first statement stays: what fails later fails
 * because of it. An error that is about no statement is given an empty one, and prints itself as shortly as the others.
 *
 * @internal
 */
export const attach = (error: SqlError, sql: string): SqlError => {
  if (sql !== "" && statement.get(error) === undefined) statement.set(error, sql)
  if (tidied.get(error) !== undefined) return error
  tidied.set(error, true)
  // A failure is what happened once. Effect compares causes by what is in them wherever it puts two together.
  Equal.byReferenceUnsafe(error)
  const frames = programFrames(error.stack)
  Object.defineProperties(error, {
    // A printer takes the name and the message away from the stack, and finds them only if they begin it.
    name: { configurable: true, writable: true, value: "SqlError" },
    message: { configurable: true, get: () => describe(error) },
    stack: {
      configurable: true,
      get: () =>
        [`SqlError: ${describe(error)}`, ...callSite.framesOf(statement.get(error) ?? ""), ...frames].join("\n")
    },
    // It is the cause as well: who prints the error should see it once.
    reason: { value: error.reason, enumerable: false },
    [inspect]: { configurable: true, value: () => (error as Error).stack }
  })
  for (const inner of causes(error)) withoutFrames(inner, error.reason.message)
  return error
}

const inspect = Symbol.for("nodejs.util.inspect.custom")

/** The errors inside another one, outermost first. */
const causes = (error: SqlError): ReadonlyArray<unknown> => {
  const all: Array<unknown> = []
  let current: unknown = error.reason
  while (typeof current === "object" && current !== null && all.length < 8) {
    all.push(current)
    current = (current as { readonly cause?: unknown }).cause
  }
  return all
}

/** An error inside another one: where it was made is of no use to the program, nor what the outer one has said. */
const withoutFrames = (error: unknown, said: string): void => {
  if (!(error instanceof Error)) return
  const isSaid = said.includes(error.message)
  Object.defineProperty(error, "stack", {
    configurable: true,
    writable: true,
    value: isSaid ? error.name : `${error.name}: ${error.message}`
  })
  // The property may be there to be shown. A getter of its class is not.
  if (isSaid && Object.hasOwn(error, "message")) Object.defineProperty(error, "message", { enumerable: false })
}

/**
 * The fields of a failure. All are `undefined` for an error that is no `SqlError`, `attempts` is 1.
 *
 * @category accessors
 * @since 0.2.0
 */
export const of = (error: unknown): SqlFailure => {
  const failure = Outcome.find(error) ?? (isSqlError(error) ? error : undefined)
  const report = failure === undefined ? {} : reportOf(failure)
  const fields = {
    sql: failure === undefined ? undefined : statement.get(failure),
    position: positive(report["position"]) ?? positionOf(report["near"], failure),
    hint: text(report["hint"]),
    code: codeOf(report),
    constraint: text(report["constraint"]) ?? text((failure?.reason as { constraint?: unknown })?.constraint),
    schema: text(report["schema"]),
    table: text(report["table"]),
    column: text(report["column"]),
    attempts: Math.max(1, Retry.attempts(failure).length)
  }
  return Object.defineProperties(fields, {
    detail: { value: text(report["detail"]) },
    where: { value: text(report["where"]) }
  }) as SqlFailure
}

/**
 * What a person should read: what happened, the statement, the server's hint, the attempts.
 *
 * @category accessors
 * @since 0.2.0
 */
export const describe = (error: SqlError): string => {
  const { hint, position, sql } = of(error)
  const lines = [error.reason.message || error.reason._tag]
  if (sql !== undefined) lines.push(...excerpt(sql, position))
  if (hint !== undefined) lines.push(`  hint: ${hint}`)
  const tried = attemptsOf(error)
  if (tried !== undefined) lines.push(`  ${tried}`)
  return lines.join("\n")
}

/** "tried 11 times". */
const attemptsOf = (error: SqlError): string | undefined => {
  const attempts = Retry.attempts(error)
  if (attempts.length < 2) return undefined
  const pauses = attempts.reduce((sum, { pauseMillis }) => sum + (pauseMillis ?? 0), 0)
  return `tried ${attempts.length} times, with pauses of ${Math.round(pauses)} ms together`
}

type Report = Readonly<Record<string, unknown>>

/** The innermost cause that carries a code: what the server said. */
const reportOf = (error: SqlError): Report => {
  let current: unknown = error.reason.cause
  for (let depth = 0; depth < 8 && typeof current === "object" && current !== null; depth++) {
    const report = current as Report
    if (typeof report["errno"] === "number" || typeof report["code"] === "string") return report
    current = report["serverError"] ?? (report["reason"] as Report | undefined)?.["cause"] ?? report["cause"]
  }
  return {}
}

/** Where the part of the statement begins at which the parser stopped, if it stands there once. */
const positionOf = (near: unknown, failure: SqlError | undefined): number | undefined => {
  const sql = failure === undefined ? undefined : statement.get(failure)
  if (sql === undefined || typeof near !== "string" || near === "") return undefined
  const at = sql.indexOf(near)
  return at < 0 || sql.indexOf(near, at + 1) >= 0 ? undefined : Array.from(sql.slice(0, at)).length + 1
}

const codeOf = (report: Report): string | number | undefined => {
  const { code, errno } = report
  return typeof errno === "number" ? errno : text(code)
}

const text = (value: unknown): string | undefined =>
  typeof value === "string" && value.trim() !== "" ? value : undefined

const positive = (value: unknown): number | undefined => {
  const number = Number(value)
  return value !== undefined && Number.isInteger(number) && number > 0 ? number : undefined
}
