/**
 * Results: what a column's values are in TypeScript, whichever driver and protocol they came through.
 *
 * The drivers are told to leave alone what they would lose something of, and the few columns that need it are
 * converted here. A driver gives each row as an array, which is ours: its values are converted in place, and objects are
 * made of it here, because the drivers refuse or lose columns of some names.
 */
import { compileAfter, compiledBuilder, genericBuilder, type RowBuilder } from "../../values/rowBuilder.ts"
import { type Column, Kind } from "../driver/columns.ts"
import { toGeometry } from "./geometry.ts"

/** What an answer without rows says. */
export interface Ok {
  /** The rows that were found, also those that had the new values already. */
  readonly affectedRows: number
  /** The rows that an UPDATE has changed. `undefined` where the driver does not tell: the MariaDB connector. */
  readonly changedRows: number | undefined
  /** The first generated key, or 0. A `bigint` where a `number` would not be exact. */
  readonly insertId: number | bigint
  readonly warningStatus: number
  /** The server's own words, such as `Rows matched: 1  Changed: 0  Warnings: 0`. Empty where the driver does not tell. */
  readonly info: string
}

/** The unsigned number that the drivers have read as a signed one. */
export const toUnsigned = (value: number | bigint | string): number | bigint =>
  toInteger(typeof value === "number" && value >= 0 ? value : BigInt.asUintN(64, BigInt(value)))

/** How values are wanted. */
export interface Wanted {
  /** Every `BIGINT` as a `bigint`. */
  readonly safeIntegers: boolean
  /** `DATETIME` and `TIMESTAMP` as strings. */
  readonly dateStrings: boolean
}

/** What a column's values could not be made of. */
export class Undecodable {
  readonly column: string
  readonly cause: unknown

  constructor(column: string, cause: unknown) {
    this.column = column
    this.cause = cause
  }
}

type Convert = (value: any) => unknown

const converterOf = (column: Column, wanted: Wanted): Convert | undefined => {
  switch (column.kind) {
    case Kind.Plain:
      return undefined
    case Kind.Integer:
      return wanted.safeIntegers ? toBigint : toInteger
    case Kind.Json:
      return toJson
    case Kind.Bytes:
      return toBytes
    case Kind.Time:
      return (text: string) => withDecimals(text, column.decimals)
    case Kind.DateTime:
      return wanted.dateStrings ? (text: string) => withDecimals(text, column.decimals) : toDate
    case Kind.Set:
      return toSet
    case Kind.Float:
      return Math.fround
    case Kind.Vector:
      return toVector
    case Kind.Geometry:
      return toGeometry
  }
}

/** How the rows of a result are read. Made once for the columns that a driver has described. */
export class RowDecoder {
  readonly columns: ReadonlyArray<Column>
  private builder: RowBuilder | undefined = undefined
  private built = 0
  private wanted: Wanted | undefined = undefined
  private converters: ReadonlyArray<Convert | undefined> | undefined = undefined

  constructor(columns: ReadonlyArray<Column>) {
    this.columns = columns
  }

  /** Converts the values of rows in place. Returns what went wrong, if anything did. */
  values(rows: ReadonlyArray<Array<any>>, wanted: Wanted): Undecodable | undefined {
    const converters = this.convertersFor(wanted)
    if (converters === undefined) return undefined
    for (let column = 0; column < converters.length; column++) {
      const convert = converters[column]
      if (convert === undefined) continue
      try {
        for (let index = 0; index < rows.length; index++) {
          const row = rows[index]!
          const value = row[column]
          if (value !== null) row[column] = convert(value)
        }
      } catch (cause) {
        return new Undecodable(this.columns[column]!.name, cause)
      }
    }
    return undefined
  }

  /** Makes objects of rows whose values have been converted. */
  objects(rows: ReadonlyArray<ReadonlyArray<any>>): Array<Record<string, unknown>> {
    let builder = this.builder
    if (this.built < compileAfter) {
      this.built += rows.length
      const names = this.columns.map((column) => column.name)
      builder = this.builder = this.built < compileAfter ? genericBuilder(names) : compiledBuilder(names)
    }
    const objects = new Array<Record<string, unknown>>(rows.length)
    for (let index = 0; index < rows.length; index++) objects[index] = builder!(rows[index]!)
    return objects
  }

  /** Whether these are the columns that it reads. */
  matches(columns: ReadonlyArray<Column>): boolean {
    if (columns.length !== this.columns.length) return false
    for (let index = 0; index < columns.length; index++) {
      const left = columns[index]!
      const right = this.columns[index]!
      if (left.name !== right.name || left.kind !== right.kind || left.decimals !== right.decimals) return false
    }
    return true
  }

  private convertersFor(wanted: Wanted): ReadonlyArray<Convert | undefined> | undefined {
    const last = this.wanted
    if (last === undefined || last.safeIntegers !== wanted.safeIntegers || last.dateStrings !== wanted.dateStrings) {
      this.wanted = wanted
      const converters = this.columns.map((column) => converterOf(column, wanted))
      this.converters = converters.every((convert) => convert === undefined) ? undefined : converters
    }
    return this.converters
  }
}

/** A whole number that a driver gave in whichever form it found fit. */
export const toInteger = (value: number | bigint | string): number | bigint => {
  if (typeof value === "number") return value
  const number = Number(value)
  return Number.isSafeInteger(number) ? number : BigInt(value)
}

const toBigint = (value: number | bigint | string): bigint => BigInt(value)

const toJson = (text: unknown): unknown => typeof text === "string" ? JSON.parse(text) : text

/** A copy: the driver's is a view of the socket's memory. */
const toBytes = (bytes: unknown): unknown => bytes instanceof Uint8Array ? new Uint8Array(bytes) : bytes

/** The numbers of a vector: its bytes are those of the server, so it can be written back. */
const toVector = (bytes: unknown): unknown => {
  if (!(bytes instanceof Uint8Array) || bytes.length % 4 !== 0) return toBytes(bytes)
  const vector = new Float32Array(bytes.length / 4)
  new Uint8Array(vector.buffer).set(bytes)
  return vector
}

const toSet = (members: unknown): unknown => Array.isArray(members) ? members.join(",") : members

/** With exactly the decimals that the column has, as the server itself writes it. */
const withDecimals = (text: string, decimals: number): string => {
  const point = text.indexOf(".")
  if (decimals > 6) return point < 0 ? text : text.replace(/\.?0+$/, "")
  const whole = point < 0 ? text : text.slice(0, point)
  if (decimals === 0) return whole
  const digits = point < 0 ? "" : text.slice(point + 1)
  return `${whole}.${digits.slice(0, decimals).padEnd(decimals, "0")}`
}

const two = (text: string, at: number): number => (text.charCodeAt(at) - 48) * 10 + text.charCodeAt(at + 1) - 48

/** The text is UTC. What is no instant, such as a zero date, is an invalid `Date`: a decoder can tell. */
const toDate = (text: unknown): unknown => {
  if (typeof text !== "string") return text
  const year = two(text, 0) * 100 + two(text, 2)
  const month = two(text, 5)
  const day = two(text, 8)
  if (month === 0 || day === 0) return new Date(NaN)
  let millis = 0
  if (text.length > 20) {
    millis = (text.charCodeAt(20) - 48) * 100
    if (text.length > 21) millis += (text.charCodeAt(21) - 48) * 10
    if (text.length > 22) millis += text.charCodeAt(22) - 48
  }
  const time = Date.UTC(year, month - 1, day, two(text, 11), two(text, 14), two(text, 17), millis)
  if (year >= 100) return new Date(time)
  // `Date.UTC` takes small years for those of the twentieth century.
  const date = new Date(time)
  date.setUTCFullYear(year)
  return date
}
