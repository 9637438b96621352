/**
 * Results: what a column's values are in TypeScript, whichever driver and protocol they came through.
 *
 * The drivers are told to leave alone what they would lose something of, and the few columns that need it are
 * converted here. Rows are converted in place: they are ours.
 */

/** What has to be done to a column's values. */
export const Kind = {
  /** Nothing. */
  Plain: 0,
  /** A `number` where it is exact, a `bigint` where it is not. */
  Integer: 1,
  Json: 2,
  Bytes: 3,
  Time: 4,
  DateTime: 5,
  /** A set that came as an array. */
  Set: 6
} as const
export type Kind = typeof Kind[keyof typeof Kind]

/** A column as far as conversion is concerned. */
export interface Column {
  readonly name: string
  readonly kind: Kind
  /** The digits after the point of a time, or more than 6 where the server does not say. */
  readonly decimals: number
}

/** What an answer without rows says. */
export interface Ok {
  readonly affectedRows: number
  /** The first generated key, or 0. A `bigint` where a `number` would not be exact. */
  readonly insertId: number | bigint
  readonly warningStatus: number
}

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

/** The columns that need conversion. `undefined` if none does, which is common. */
export type Plan = ReadonlyArray<{ readonly key: string | number; readonly convert: Convert }> | undefined

/** Plans the conversion of rows, which are arrays or objects. */
export const planOf = (columns: ReadonlyArray<Column>, asArrays: boolean, wanted: Wanted): Plan => {
  let plan: Array<{ key: string | number; convert: Convert }> | undefined
  for (let index = 0; index < columns.length; index++) {
    const column = columns[index]!
    if (column.kind === Kind.Plain) continue
    const convert = converterOf(column, wanted)
    if (convert === undefined) continue
    plan ??= []
    if (asArrays) plan.push({ key: index, convert })
    // Of columns with the same name the last one has the value.
    else if (isLast(columns, index)) plan.push({ key: column.name, convert })
  }
  return plan
}

const isLast = (columns: ReadonlyArray<Column>, index: number): boolean => {
  const { name } = columns[index]!
  for (let other = index + 1; other < columns.length; other++) if (columns[other]!.name === name) return false
  return true
}

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
  }
}

/** Converts rows in place. Returns what went wrong, if anything did. */
export const convertRows = (rows: ReadonlyArray<any>, plan: Plan): Undecodable | undefined => {
  if (plan === undefined) return undefined
  for (let column = 0; column < plan.length; column++) {
    const { convert, key } = plan[column]!
    try {
      for (let index = 0; index < rows.length; index++) {
        const row = rows[index]
        const value = row[key]
        if (value !== null) row[key] = convert(value)
      }
    } catch (cause) {
      return new Undecodable(String(key), cause)
    }
  }
  return undefined
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
