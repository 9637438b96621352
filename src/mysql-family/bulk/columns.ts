/**
 * The columns of a table, and how their values are written for it.
 *
 * Every value becomes a text, whichever way it is sent, so that all ways store the same. Nothing is left to the server
 * to convert that it could lose something of: `LOAD DATA` would do so without a word.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import { checkLength } from "../../bulk/rows.ts"
import { toJson } from "../../values/json.ts"
import { unfit } from "../../values/UnfitValue.ts"
import { Decimal, valueOf } from "../../values/Value.ts"

/** What the server says of a column. */
export interface TableColumn {
  readonly name: string
  /** As the server writes it, such as `int(10) unsigned`. */
  readonly type: string
  readonly collation: string | undefined
  readonly isNullable: boolean
  readonly isAutoIncrement: boolean
  readonly isGenerated: boolean
}

/** A column that is given. */
export interface Column {
  readonly name: string
  readonly type: string
  readonly takesNull: boolean
  readonly format: Format
  /** Throws what is wrong with a value that does not fit. */
  readonly write: (value: unknown) => string
}

/** What a written value consists of: digits and the like, any characters, or bytes in hexadecimal. */
export type Format = "plain" | "text" | "hex"

interface Writer {
  readonly format: Format
  /** Whether objects are written as JSON. */
  readonly takesDocuments?: true
  readonly write: (value: any) => string
}

export const makeColumn = (column: TableColumn, takesNull: boolean): Column => ({
  name: column.name,
  type: column.type,
  takesNull: takesNull || column.isNullable || column.isAutoIncrement,
  ...forAll(writerOf(column))
})

/** Values of Effect and of the platform are what they are as parameters; what is no value is refused by name. */
const forAll = ({ format, takesDocuments, write }: Writer): Writer =>
  takesDocuments ? { format, write } : {
    format,
    write: (value) =>
      write(
        typeof value === "object" && !(value instanceof Date) && !ArrayBuffer.isView(value) ? simpleOf(value) : value
      )
  }

/** Whether an object stands for a text, a number or an instant, and for no document. */
const isScalar = (value: unknown): boolean =>
  value instanceof Date || value instanceof URL || DateTime.isDateTime(value) || BigDecimal.isBigDecimal(value)

const simpleOf = (value: unknown): unknown => {
  const known = valueOf(value)
  return known instanceof Decimal ? known.text : known
}

const writerOf = ({ collation, type }: TableColumn): Writer => {
  const [, name = type, args = "", rest = ""] = /^(\w+)(?:\((.*)\))?(.*)$/s.exec(type) ?? []
  const unsigned = rest.includes("unsigned")
  const size = Number.parseInt(args, 10)
  // What a text takes in another character set is for the server to say.
  const maxBytes = collation?.startsWith("utf8") === true ? maxBytesOf[name.replace("text", "blob")] : undefined
  switch (name) {
    case "tinyint":
      return integer(8n, unsigned, true)
    case "smallint":
      return integer(16n, unsigned)
    case "mediumint":
      return integer(24n, unsigned)
    case "int":
      return integer(32n, unsigned)
    case "bigint":
      return integer(64n, unsigned)
    case "decimal": {
      const [precision = 10, scale = 0] = args.split(",").map(Number)
      return decimal(precision, scale, unsigned)
    }
    case "float":
      return float(maxFloat, unsigned)
    case "double":
      return float(Number.MAX_VALUE, unsigned)
    case "year":
      return { format: "plain", write: writeYear }
    case "date":
      return { format: "plain", write: writeDate }
    case "datetime":
    case "timestamp":
      return { format: "plain", write: writeDateTime }
    case "time":
      return { format: "plain", write: writeTime }
    case "char":
    case "varchar":
      return { format: "text", write: (value) => writeText(value, size, undefined) }
    case "tinytext":
    case "text":
    case "mediumtext":
      return { format: "text", write: (value) => writeText(value, undefined, maxBytes) }
    case "longtext":
      // It is what MariaDB has for JSON.
      return {
        format: "text",
        takesDocuments: true,
        write: (value) => typeof value === "object" && !isScalar(value) ? writeJson(value) : writeText(simpleOf(value))
      }
    case "json":
      return {
        format: "text",
        takesDocuments: true,
        write: (value) => typeof value === "object" ? writeJson(value) : writeText(value)
      }
    case "enum":
      return members(args, false)
    case "set":
      return members(args, true)
    case "bit":
      return { format: "hex", write: (value) => writeBits(value, size) }
    case "binary":
    case "varbinary":
      return { format: "hex", write: (value) => writeBytes(value, size) }
    case "tinyblob":
    case "blob":
    case "mediumblob":
    case "longblob":
    case "geometry":
    case "point":
    case "linestring":
    case "polygon":
    case "multipoint":
    case "multilinestring":
    case "multipolygon":
    case "geometrycollection":
    case "geomcollection":
    case "vector":
      return { format: "hex", write: (value) => writeBytes(value, maxBytesOf[name]) }
    default:
      return { format: "text", write: (value) => writeText(value) }
  }
}

const maxBytesOf: Readonly<Record<string, number | undefined>> = {
  tinyblob: 0xff,
  blob: 0xffff,
  mediumblob: 0xff_ffff
}

// ---------------------------------------------------------------------------------------------------------------------
// Numbers
// ---------------------------------------------------------------------------------------------------------------------

const outOfRange = (): never => unfit("the number is out of range")

const integer = (bits: bigint, unsigned: boolean, takesBoolean = false): Writer => {
  const min = unsigned ? 0n : -(1n << bits - 1n)
  const max = (1n << (unsigned ? bits : bits - 1n)) - 1n
  const low = Number(min)
  const high = Number(max)
  const writeBigint = (value: bigint): string => value < min || value > max ? outOfRange() : String(value)
  return {
    format: "plain",
    write: (value) => {
      switch (typeof value) {
        case "number":
          if (!Number.isInteger(value)) return unfit("the number is no integer")
          if (value < low || value > high) return outOfRange()
          return Number.isSafeInteger(value) ? String(value) : unfit("the number is not exact: give a bigint")
        case "bigint":
          return writeBigint(value)
        case "string":
          return /^[+-]?\d{1,20}$/.test(value) ? writeBigint(BigInt(value)) : unfit("expected an integer")
        case "boolean":
          if (takesBoolean) return value ? "1" : "0"
      }
      return unfit("expected an integer")
    }
  }
}

const number = /^([+-]?)(\d*)(?:\.(\d*))?(?:e([+-]?\d{1,3}))?$/i

/** Digits beyond the scale are rounded away from zero, as the server does, but without making it say so for each row. */
const decimal = (precision: number, scale: number, unsigned: boolean): Writer => ({
  format: "plain",
  write: (value) => {
    const match = typeof value === "string" || typeof value === "number" || typeof value === "bigint"
      ? number.exec(String(value))
      : null
    if (match === null) return unfit("expected a decimal number")
    const [, sign, , , exponent] = match
    let [, , whole = "", fraction = ""] = match
    if (whole === "" && fraction === "") return unfit("expected a decimal number")
    if (exponent !== undefined) {
      const point = whole.length + Number(exponent)
      const digits = "0".repeat(Math.max(0, -point)) + whole + fraction
      const at = Math.max(0, point)
      whole = digits.slice(0, at).padEnd(at, "0")
      fraction = digits.slice(at)
    }
    if (fraction.length > scale) {
      const rounded = BigInt(whole + fraction.slice(0, scale)) + (fraction[scale]! >= "5" ? 1n : 0n)
      const digits = String(rounded).padStart(scale + 1, "0")
      whole = digits.slice(0, digits.length - scale)
      fraction = digits.slice(digits.length - scale)
    }
    if (whole.replace(/^0+/, "").length > precision - scale) return outOfRange()
    if (sign === "-" && unsigned && /[1-9]/.test(whole + fraction)) return outOfRange()
    return `${sign}${whole === "" ? "0" : whole}${fraction === "" ? "" : `.${fraction}`}`
  }
})

const maxFloat = 3.4028234663852886e38

const float = (max: number, unsigned: boolean): Writer => ({
  format: "plain",
  write: (value) => {
    const parsed = typeof value === "string" && number.test(value) && /\d/.test(value) || typeof value === "bigint"
      ? Number(value)
      : value
    if (typeof parsed !== "number" || parsed - parsed !== 0) return unfit("expected a finite number")
    if (parsed > max || parsed < (unsigned ? 0 : -max)) return outOfRange()
    // The server would store nothing of it.
    if (max === maxFloat && parsed !== 0 && Math.fround(parsed) === 0) return outOfRange()
    return String(parsed)
  }
})

// ---------------------------------------------------------------------------------------------------------------------
// Dates and times
// ---------------------------------------------------------------------------------------------------------------------

const writeYear = (value: unknown): string => {
  const year = typeof value === "string" && /^\d{4}$/.test(value) ? Number(value) : value
  return typeof year === "number" && (year === 0 || Number.isInteger(year) && year >= 1901 && year <= 2155)
    // Fewer digits are taken for those of the year 2000.
    ? String(year).padStart(4, "0")
    : unfit("expected a year from 1901 to 2155")
}

const isoOf = (value: Date): string => {
  if (Number.isNaN(value.getTime())) return unfit("the Date is invalid")
  const iso = value.toISOString()
  return iso.length === 24 ? iso : unfit("the year is out of range")
}

const monthLengths = [31, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** Whether there is such a day. Whether one with zeros in it may be stored depends on the session. */
const isDay = (text: string): boolean => {
  const year = Number(text.slice(0, 4))
  const month = Number(text.slice(5, 7))
  const day = Number(text.slice(8, 10))
  return month <= 12 && day <= monthLengths[month]! &&
    (month !== 2 || day <= 28 || year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0))
}

const writeDate = (value: unknown): string => {
  if (value instanceof Date) return isoOf(value).slice(0, 10)
  return typeof value === "string" && /^\d{4}-\d\d-\d\d$/.test(value) && isDay(value)
    ? value
    : unfit("expected a day such as 2024-02-29")
}

const dateTime = /^(\d{4}-\d\d-\d\d)(?:[ T]((?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?)Z?)?$/

const digits = (width: number) => Array.from({ length: 10 ** width }, (_, n) => String(n).padStart(width, "0"))
const two = digits(2)
const three = digits(3)

const dayLength = 86_400_000

// Rows that come together are often of the same day.
let lastDay = NaN
let lastDate = ""

const writeInstant = (value: Date): string => {
  const time = value.getTime()
  const day = Math.floor(time / dayLength)
  if (day !== lastDay) {
    lastDate = isoOf(value).slice(0, 10)
    lastDay = day
  }
  const millis = time - day * dayLength
  const seconds = (millis / 1000) | 0
  return `${lastDate} ${two[(seconds / 3600) | 0]}:${two[((seconds / 60) | 0) % 60]}:${two[seconds % 60]}.${
    three[millis % 1000]
  }`
}

/** Instants are in UTC, as the session is. */
const writeDateTime = (value: unknown): string => {
  if (value instanceof Date) return writeInstant(value)
  const match = typeof value === "string" ? dateTime.exec(value) : null
  return match !== null && isDay(match[1]!)
    ? match[2] === undefined ? match[1]! : `${match[1]} ${match[2]}`
    : unfit("expected a Date, or a text such as 2024-02-29 12:34:56.789 in UTC")
}

const writeTime = (value: unknown): string => {
  const match = typeof value === "string" ? /^-?(\d{1,3}):[0-5]\d(?::[0-5]\d(?:\.\d{1,6})?)?$/.exec(value) : null
  return match !== null && Number(match[1]) <= 838 ? value as string : unfit("expected a time such as 12:34:56")
}

// ---------------------------------------------------------------------------------------------------------------------
// Texts
// ---------------------------------------------------------------------------------------------------------------------

const loneSurrogate = /\p{Surrogate}/u

const writeText = (value: unknown, maxLength?: number, maxBytes?: number): string => {
  if (typeof value !== "string") return unfit("expected a string")
  if (loneSurrogate.test(value)) return unfit("the text has half of a surrogate pair")
  if (maxLength !== undefined && value.length > maxLength) {
    checkLength(value, maxLength)
    return Array.from(value).slice(0, maxLength).join("")
  }
  // A unit of UTF-16 has at most three bytes in UTF-8.
  if (maxBytes !== undefined && value.length > maxBytes / 3 && Buffer.byteLength(value) > maxBytes) {
    return unfit(`the text is longer than ${maxBytes} bytes`)
  }
  return value
}

const writeJson = (value: unknown): string => BigDecimal.isBigDecimal(value) ? String(simpleOf(value)) : toJson(value)

/** The names of an `enum` or a `set`, which are compared without regard to case. */
const members = (args: string, isSet: boolean): Writer => {
  // How the server writes a backslash depends on its mode.
  const names = args.includes("\\")
    ? undefined
    : new Set(Array.from(args.matchAll(/'((?:[^']|'')*)'/g), (match) => match[1]!.replaceAll("''", "'").toLowerCase()))
  const isMember = (name: string) => names === undefined || names.has(name.trimEnd().toLowerCase())
  return {
    format: "text",
    write: (value) => {
      const text = writeText(value)
      const fits = isSet ? text === "" || text.split(",").every(isMember) : isMember(text)
      return fits ? text : unfit("it is none of the names of the column")
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Bytes
// ---------------------------------------------------------------------------------------------------------------------

const bufferOf = (value: unknown): Buffer =>
  ArrayBuffer.isView(value)
    ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
    : value instanceof ArrayBuffer
    ? Buffer.from(value)
    : unfit("expected bytes")

const writeBytes = (value: unknown, maxLength: number | undefined): string => {
  const bytes = bufferOf(value)
  return maxLength !== undefined && bytes.length > maxLength
    ? unfit(`there are more than ${maxLength} bytes`)
    : bytes.toString("hex")
}

const writeBits = (value: unknown, size: number): string => {
  const bits = typeof value === "bigint" || typeof value === "boolean" || Number.isSafeInteger(value)
    ? BigInt(value as bigint | boolean | number)
    : BigInt(`0x0${bufferOf(value).toString("hex")}`)
  if (bits < 0n || bits >= 1n << BigInt(size)) return outOfRange()
  const hex = bits.toString(16)
  return hex.length % 2 === 0 ? hex : `0${hex}`
}
