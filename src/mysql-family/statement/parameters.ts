/**
 * Parameters: what may be sent, and how it is written into a text where there are no prepared statements.
 *
 * Both drivers guess what a value is meant to be, and each guesses differently: an object with a `type` becomes a
 * geometry, bytes that are not a `Buffer` become text, an object with `toSqlString` becomes whatever that returns. So
 * they are only ever given what leaves nothing to guess.
 */
import * as Result from "effect/Result"
import { toJson } from "../../values/json.ts"
import { checkWellFormed } from "../../values/text.ts"
import { unfit, UnfitValue } from "../../values/UnfitValue.ts"
import { Decimal, valueOf } from "../../values/Value.ts"
import { isStored, takesJson } from "./jsonPlaces.ts"
import type { Pieces } from "./statements.ts"

/** A value after the check: what it says is what is sent. */
export type Parameter = null | string | number | bigint | boolean | Date | Buffer | Decimal

/** A value that is to be a JSON document, wherever it stands. */
export class JsonValue {
  readonly value: unknown
  constructor(value: unknown) {
    this.value = value
  }
}

/** An object or an array that is to be stored, and JSON if it is one. */
export class StoredDocument extends JsonValue {}

/** Why a value cannot be sent. Never shows it. */
export interface Refused {
  /** Counted from 1. */
  readonly position: number
  readonly problem: string
}

/** What has to be known of the statement and the client to judge a parameter. */
export interface Context {
  readonly sql: string
  readonly noBackslashEscapes: boolean
  /** Whether `undefined` is sent as null instead of being refused. */
  readonly undefinedIsNull: boolean
  /** Renames the keys of a document. */
  readonly renameKeys: ((document: unknown) => unknown) | undefined
}

/** Checks parameters. Returns what it is given where nothing has to be changed. */
export const check = (
  params: ReadonlyArray<unknown>,
  context: Context
): Result.Result<ReadonlyArray<Parameter>, Refused> => {
  let changed: Array<Parameter> | undefined
  let index = 0
  // The boundary: what is no value is thrown, by us and by the getters of the program's own objects.
  try {
    for (; index < params.length; index++) {
      const value = params[index]
      if (value === null || typeof value === "boolean") continue
      const encoded = typeof value === "string"
        ? checkWellFormed(value)
        : typeof value === "number"
        ? finite(value)
        : value === undefined && context.undefinedIsNull
        ? null
        : encode(value, index, context)
      if (encoded !== value) (changed ??= params.slice() as Array<Parameter>)[index] = encoded
    }
  } catch (cause) {
    const problem = cause instanceof UnfitValue ? cause.message : "the value cannot be read"
    return Result.fail({ position: index + 1, problem })
  }
  return Result.succeed(changed ?? params as ReadonlyArray<Parameter>)
}

/** The server takes a double of exactly this for the integer below it. */
const isNextToRange = (value: number): boolean => value === 2 ** 63 || value === 2 ** 64

const finite = (value: number): number | bigint =>
  value - value === 0
    ? value < 2 ** 63 || !isNextToRange(value) ? value : BigInt(value)
    : unfit(Number.isNaN(value) ? "NaN is no value here" : "the number is infinite")

const elsewhere = "a typed array is bytes, and this is no place for them: pass a list with sql.in, or a Uint8Array"

const encode = (value: unknown, index: number, context: Context): Parameter => {
  if (value instanceof JsonValue) {
    const text = documentOf(value.value, context)
    return value instanceof StoredDocument ? wholeDocument(text) : text
  }
  // A view is the bytes that it shows, of whatever numbers: a vector is written with a `Float32Array`.
  if (ArrayBuffer.isView(value)) {
    // Compared with a number the bytes of other numbers would be 0, as an array would.
    if (!(value instanceof Float32Array) && !isStored(context.sql, index, context.noBackslashEscapes)) {
      if (Array.isArray(valueOf(value))) return unfit(elsewhere)
    }
    return Buffer.isBuffer(value) ? value : Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  }
  const known = valueOf(value)
  if (known === null || typeof known !== "object") {
    return typeof known === "string"
      ? checkWellFormed(known)
      : typeof known === "number"
      ? finite(known)
      : typeof known === "bigint"
      ? checkBigint(known)
      : known
  }
  if (known instanceof Date) {
    const date = checkDate(known)
    // What is to be stored is sent as its text: a date of the protocol becomes a number in a column of numbers, loses its
    // milliseconds in one of texts, and the last one of a day is the next day in one of days.
    return isStored(context.sql, index, context.noBackslashEscapes) ? utcText(date) : date
  }
  if (known instanceof Decimal) return checkDecimal(known)
  if (known instanceof Uint8Array) return Buffer.from(known.buffer, known.byteOffset, known.byteLength)
  if (takesJson(context.sql, index, context.noBackslashEscapes)) return wholeDocument(documentOf(known, context))
  return unfit(
    Array.isArray(known)
      ? "an array is JSON, and this is no place for it: pass a list with sql.in, or a document with sql.json"
      : "an object is JSON, and this is no place for it: pass a document with sql.json"
  )
}

/** The server has no numbers of more digits: it makes nines of the digits of a larger one, and drops those of a smaller. */
const maxDigits = 65
const beyondDigits = 10n ** BigInt(maxDigits)
const tooLong = `the number has more than ${maxDigits} digits, which the server would change: pass it as a text`

const checkBigint = (value: bigint): bigint => value < beyondDigits && value > -beyondDigits ? value : unfit(tooLong)

const checkDecimal = (value: Decimal): Decimal =>
  value.text.replace(/^-?0*|\./g, "").length <= maxDigits ? value : unfit(tooLong)

/** An object that makes itself a text or a number is not meant as a document, and may be one by accident. */
const wholeDocument = (text: string): string =>
  text.startsWith("{") || text.startsWith("[") || text === "null"
    ? text
    : unfit("its JSON is no object: pass what it stands for, or a document with sql.json")

const documentOf = (value: unknown, { renameKeys }: Context): string =>
  toJson(renameKeys === undefined ? value : renameKeys(value))

/** The binary protocol has room for years that the server has not: it would store another day. */
export const checkDate = (date: Date): Date =>
  isStorable(date) ? date : unfit("the year of the Date is not between 0 and 9999")

/** Whether it is valid, and of a year that the server has. */
export const isStorable = (date: Date): boolean => {
  const year = date.getUTCFullYear()
  return year >= 0 && year <= 9999
}

const minSigned = -(2n ** 63n)
const maxSigned = 2n ** 63n - 1n

/** Whether a number among the parameters is beyond what the protocol's signed integers and doubles can carry. */
export const isWide = (params: ReadonlyArray<Parameter>): boolean => {
  for (let index = 0; index < params.length; index++) {
    const value = params[index]
    if (typeof value === "bigint" ? value > maxSigned || value < minSigned : value instanceof Decimal) return true
  }
  return false
}

/** The protocol counts the parameters of a prepared statement in two bytes. */
export const maxPrepared = 65_535

/**
 * Writes parameters into a text. The result means the same under every `sql_mode`, with and without
 * `NO_BACKSLASH_ESCAPES`. A value stays one of its own, also where it would grow together with what stands beside it:
 * `??` is no number of two digits, and `x?` no number in hexadecimal digits.
 */
export const inline = (
  pieces: Pieces,
  params: ReadonlyArray<Parameter>,
  from: number
): string => {
  const { texts } = pieces
  let sql = texts[0]!
  for (let index = 1; index < texts.length; index++) {
    const before = texts[index - 1]!
    const behind = texts[index]!
    const text = literal(params[from + index - 1]!)
    sql += behindWord.test(before) || isBehindValue(before, index > 1) ? ` (${text})` : text
    sql += beforeWord.test(behind) ? ` ${behind}` : behind
  }
  return sql
}

/** Whether the last thing of a text is a string, or there is nothing in it: two texts beside each other would be one. */
const isBehindValue = (text: string, isBehindParameter: boolean): boolean => {
  let end = text.length
  for (;;) {
    while (end > 0 && text.charCodeAt(end - 1) <= 32) end--
    if (end === 0) return isBehindParameter
    const last = text[end - 1]
    if (last === "'" || last === "\"") return true
    const start = last === "/" && text[end - 2] === "*" ? text.lastIndexOf("/*", end - 2) : -1
    if (start < 0) return false
    end = start
  }
}

const behindWord = /[\w$@.`\u0080-\uffff]$/
const beforeWord = /^[\w$@.'"`\u0080-\uffff]/

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
      return value instanceof Decimal
        ? value.text.startsWith("-") ? `(${value.text})` : value.text
        : value instanceof Date
        ? `'${utcText(value)}'`
        : value.length === 0
        ? "_binary ''"
        : `_binary X'${value.toString("hex")}'`
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
