/**
 * Parameters: what may be sent, and how it is written into a text where there are no prepared statements.
 *
 * Both drivers guess what a value is meant to be, and each guesses differently: an object with a `type` becomes a
 * geometry, bytes that are not a `Buffer` become text, an object with `toSqlString` becomes whatever that returns. So
 * they are only ever given what leaves nothing to guess.
 */
import * as Result from "effect/Result"
import type { Pieces } from "./statements.ts"

/** A value after the check: what it says is what is sent. */
export type Parameter = null | string | number | bigint | boolean | Date | Buffer

/** Why a value cannot be sent. Never shows it. */
export interface Refused {
  /** Counted from 1. */
  readonly position: number
  readonly problem: string
}

/** Checks parameters. Returns what it is given where nothing has to be changed. */
export const check = (params: ReadonlyArray<unknown>): Result.Result<ReadonlyArray<Parameter>, Refused> => {
  let changed: Array<Parameter> | undefined
  for (let index = 0; index < params.length; index++) {
    const value = params[index]
    switch (typeof value) {
      case "string":
      case "boolean":
        continue
      case "number":
        if (value - value === 0) continue
        return refuse(index, "is not a finite number")
      case "bigint":
        if (value >= minBigint && value <= maxBigint) continue
        ;(changed ??= params.slice() as Array<Parameter>)[index] = value.toString()
        continue
      case "undefined":
        ;(changed ??= params.slice() as Array<Parameter>)[index] = null
        continue
      case "object": {
        if (value === null) continue
        const encoded = checkObject(value, index)
        if (Result.isFailure(encoded)) return Result.fail(encoded.failure)
        if (encoded.success !== value) (changed ??= params.slice() as Array<Parameter>)[index] = encoded.success
        continue
      }
      default:
        return refuse(index, `is a ${typeof value}`)
    }
  }
  return Result.succeed(changed ?? params as ReadonlyArray<Parameter>)
}

const minBigint = -(2n ** 63n)
const maxBigint = 2n ** 64n - 1n

const refuse = (index: number, problem: string): Result.Result<never, Refused> =>
  Result.fail({ position: index + 1, problem })

const checkObject = (value: object, index: number): Result.Result<Parameter, Refused> => {
  if (value instanceof Date) {
    return Number.isNaN(value.getTime()) ? refuse(index, "is an invalid Date") : Result.succeed(value)
  }
  if (Buffer.isBuffer(value)) return Result.succeed(value)
  if (ArrayBuffer.isView(value)) {
    return Result.succeed(Buffer.from(value.buffer, value.byteOffset, value.byteLength))
  }
  if (value instanceof ArrayBuffer) return Result.succeed(Buffer.from(value))
  return Result.flatMap(
    Result.try({
      try: () => JSON.stringify(value) as string | undefined,
      catch: (): Refused => ({ position: index + 1, problem: "cannot be written as JSON" })
    }),
    (json) => json === undefined ? refuse(index, "has no JSON form") : Result.succeed(json)
  )
}

/**
 * Writes parameters into a text. The result means the same under every `sql_mode`, with and without
 * `NO_BACKSLASH_ESCAPES`.
 */
export const inline = (
  pieces: Pieces,
  params: ReadonlyArray<Parameter>,
  from: number
): string => {
  const { texts } = pieces
  let sql = texts[0]!
  for (let index = 1; index < texts.length; index++) sql += literal(params[from + index - 1]!) + texts[index]!
  return sql
}

/** How many parameters a statement takes. */
export const countOf = (pieces: Pieces): number => pieces.texts.length - 1

const literal = (value: Parameter): string => {
  if (value === null) return "NULL"
  switch (typeof value) {
    case "string":
      return stringLiteral(value)
    case "number":
      // A minus sign must not become a comment together with what stands before it.
      return value < 0 || Object.is(value, -0) ? `(${numberLiteral(value)})` : numberLiteral(value)
    case "bigint":
      return value < 0n ? `(${value})` : `${value}`
    case "boolean":
      return value ? "TRUE" : "FALSE"
    default:
      return value instanceof Date
        ? `'${utcText(value)}'`
        : value.length === 0
        ? "_binary ''"
        : `X'${value.toString("hex")}'`
  }
}

/** Beyond the integers a number is written with an exponent, so that the server takes it for a double too. */
const numberLiteral = (value: number): string => {
  const text = String(value)
  return Number.isSafeInteger(value) || text.includes("e") ? text : `${text}e0`
}

/** What a backslash means depends on the session, so a text with one is sent as its bytes. */
export const stringLiteral = (value: string): string => {
  if (value.includes("\\") || value.includes("\u0000")) {
    return `_utf8mb4 X'${Buffer.from(value, "utf8").toString("hex")}'`
  }
  return value.includes("'") ? `'${value.replaceAll("'", "''")}'` : `'${value}'`
}

const pad = (value: number, digits: number): string => String(value).padStart(digits, "0")

/** An instant as the server writes it, in UTC. */
export const utcText = (date: Date): string => {
  const millis = date.getUTCMilliseconds()
  return `${pad(date.getUTCFullYear(), 4)}-${pad(date.getUTCMonth() + 1, 2)}-${pad(date.getUTCDate(), 2)} ` +
    `${pad(date.getUTCHours(), 2)}:${pad(date.getUTCMinutes(), 2)}:${pad(date.getUTCSeconds(), 2)}` +
    (millis === 0 ? "" : `.${pad(millis, 3)}`)
}
