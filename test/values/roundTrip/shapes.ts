/**
 * What a column may make of a value: the same value, or the same but for what the documentation says is lost. Anything
 * else that is read is a fault.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as DateTime from "effect/DateTime"
import * as Equal from "effect/Equal"
import * as util from "node:util"

/**
 * `kept`: the same value. `rounded`: what the column has no room for is gone, as documented. `converted`: the server
 * makes another value of it by rules of its own, as documented.
 */
export type Verdict = "kept" | "rounded" | "converted" | undefined

/** How a value came. */
export interface Given {
  readonly value: unknown
  /** Whether the type of the column was known, as it is to `Bulk`, so that nothing is left to the server. */
  readonly isTyped: boolean
  readonly zone: string
}

/** Judges what is read of what was given. */
export type Shape = (read: unknown, given: Given) => Verdict

const isBytes = (value: unknown): value is Uint8Array => value instanceof Uint8Array

/** What a value stands for: `DateTime` is a `Date`, views are bytes or arrays. */
export const plain = (value: unknown, viewsAreBytes = false): unknown => {
  if (DateTime.isDateTime(value)) return DateTime.toDateUtc(value)
  if (value instanceof URL) return value.href
  if (value instanceof ArrayBuffer) return new Uint8Array(value)
  if (value instanceof Uint8Array) return value
  if (ArrayBuffer.isView(value) && (viewsAreBytes || /8|DataView/.test(Object.prototype.toString.call(value)))) {
    return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
  }
  return ArrayBuffer.isView(value) ? Array.from(value as never) : value
}

/** A number with all of its digits; several where a number may be spelled in two ways. */
const decimalsOf = (value: unknown): ReadonlyArray<BigDecimal.BigDecimal> => {
  if (BigDecimal.isBigDecimal(value)) return [value]
  if (typeof value === "bigint") return [BigDecimal.make(value, 0)]
  const texts = typeof value === "number" && Number.isFinite(value)
    ? [String(value), ...(Number.isInteger(value) ? [BigInt(value).toString()] : [])]
    : typeof value === "string" && /^\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*$/i.test(value)
    ? [value.trim().replace(/^\+/, "")]
    : []
  return texts.flatMap((text) => {
    const found = BigDecimal.fromString(text)
    return found._tag === "Some" ? [found.value] : []
  })
}

const isSameNumber = (a: unknown, b: unknown): boolean =>
  decimalsOf(a).some((one) => decimalsOf(b).some((other) => BigDecimal.equals(one, other)))

const isNumeric = (value: unknown): boolean => decimalsOf(value).length > 0

/** Half away from zero, as the servers do. */
const roundTo = (value: unknown, scale: number): ReadonlyArray<BigDecimal.BigDecimal> =>
  decimalsOf(value).map((one) => BigDecimal.round(one, { scale, mode: "half-from-zero" }))

const rounds = (read: unknown, value: unknown, scale: number): boolean =>
  roundTo(value, scale).some((one) => decimalsOf(read).some((other) => BigDecimal.equals(one, other)))

export const integer: Shape = (read, { value }) =>
  typeof read !== "number" && typeof read !== "bigint"
    ? undefined
    : Object.is(value, -0) && Number(read) === 0
    ? "kept"
    : isSameNumber(read, plain(value))
    ? "kept"
    : undefined

/** A number, rounded to some digits of its fraction. */
export const roundedTo = (read: unknown, given: unknown, scale: number): Verdict =>
  isSameNumber(read, given)
    ? "kept"
    // Halves of a double go to the even side.
    : rounds(read, given, scale) || typeof given === "number" && Math.abs(Number(read) - given) <= 0.5 / 10 ** scale
    ? "rounded"
    : undefined

/** A number of 32 bits without a sign. The server takes the text of a negative one, and means the same bits. */
export const unsigned32: Shape = (read, given) =>
  integer(read, given) ??
    (typeof given.value === "string" && !given.isTyped && Number(given.value) + 2 ** 32 === read
      ? "converted"
      : undefined)

export const decimal = (scale?: number): Shape => (read, { value }) => {
  const given = plain(value)
  if (typeof given === "number" && !Number.isFinite(given)) return read === String(given) ? "kept" : undefined
  if (typeof read !== "string") return undefined
  if (isSameNumber(read, given)) return "kept"
  return scale !== undefined && rounds(read, given, scale) ? "rounded" : undefined
}

export const double: Shape = (read, { value }) => {
  const given = plain(value)
  if (typeof read !== "number") return undefined
  if (typeof given === "number") {
    return Object.is(read, given) ? "kept" : Object.is(given, -0) && read === 0 ? "rounded" : undefined
  }
  if (!isNumeric(given)) return undefined
  return isSameNumber(read, given) ? "kept" : Number(decimalText(given)) === read ? "rounded" : undefined
}

const decimalText = (value: unknown): string =>
  BigDecimal.isBigDecimal(value) ? BigDecimal.format(value) : String(value)

export const single: Shape = (read, { value }) => {
  const given = plain(value)
  if (typeof read !== "number") return undefined
  const number = typeof given === "number" ? given : isNumeric(given) ? Number(decimalText(given)) : undefined
  if (number === undefined) return undefined
  if (Object.is(read, number)) return "kept"
  const rounded = Math.fround(number)
  if (Number.isFinite(number) && (!Number.isFinite(rounded) || rounded === 0 && number !== 0)) return undefined
  return Object.is(read, rounded) || read === 0 && rounded === 0 ? "rounded" : undefined
}

const instantIn = (text: string): number =>
  Date.parse(
    text.replace(/^(\d{4,}-\d\d-\d\d) /, "$1T").replace(/(\.\d{3})\d*/, "$1").replace(/([+-]\d\d)$/, "$1:00")
      .replace(/^(\d{5,})-/, "+0$1-")
  )

/** A text; of what is none it is a text that says the same. */
export const text =
  ({ max, trims = false }: { readonly max?: number; readonly trims?: boolean } = {}): Shape => (stored, { value }) => {
    const given = plain(value)
    if (typeof stored !== "string") return undefined
    // A `char` is filled up with spaces.
    const read = trims && typeof given !== "string" ? stored.trimEnd() : stored
    switch (typeof given) {
      case "string":
        if (read === given) return "kept"
        if (trims && read.trimEnd() === given.trimEnd()) return "rounded"
        // Spaces at the end are cut off where there is no room for them, as the standard says.
        return max !== undefined && given.length > max && given.slice(0, max) === read && given.slice(max).trim() === ""
          ? "rounded"
          : undefined
      case "number":
        if (!Number.isFinite(given)) return read === String(given) ? "kept" : undefined
        return isSameNumber(read, given) || Number(read) === given && read !== "" ? "kept" : undefined
      case "bigint":
        return isSameNumber(read, given) ? "kept" : undefined
      case "boolean":
        return read === String(given) || read === (given ? "1" : "0") ? "kept" : undefined
    }
    if (BigDecimal.isBigDecimal(given)) return isSameNumber(read, given) ? "kept" : undefined
    if (given instanceof Date) {
      const utc = /Z|[+-]\d\d/.test(read.slice(10)) ? read : `${read.replace(" ", "T")}Z`
      if (read.endsWith(" BC")) return given.getUTCFullYear() <= 0 ? "kept" : undefined
      if (/^\d{5,}/.test(read)) return Number.parseInt(read, 10) === given.getUTCFullYear() ? "kept" : undefined
      return instantIn(utc) === given.getTime() ? "kept" : undefined
    }
    if (isBytes(given)) return Buffer.from(read).equals(given) ? "kept" : undefined
    return isDocument(given, read) ? "kept" : undefined
  }

/** Whether a text is the JSON of a value. */
const isDocument = (given: unknown, read: string): boolean => {
  try {
    return isSameDocument(given, JSON.parse(read))
  } catch {
    return false
  }
}

export const bytes: Shape = (read, { value }) => {
  const given = plain(value)
  if (!isBytes(read)) return undefined
  if (isBytes(given)) return Buffer.from(read).equals(given) ? "kept" : undefined
  const verdict = text()(Buffer.from(read).toString(), { value: given, isTyped: false, zone: "UTC" })
  return verdict === undefined ? undefined : "converted"
}

export const bool: Shape = (read, { value }) => {
  if (typeof value === "boolean") return read === value ? "kept" : undefined
  const spelled = { true: true, t: true, "1": true, false: false, f: false, "0": false } as Record<string, boolean>
  return typeof value === "string" && spelled[value] === read ? "kept" : undefined
}

const pad = (value: number, size = 2) => String(value).padStart(size, "0")

const dayOf = (date: Date): string => {
  const year = date.getUTCFullYear()
  return `${year < 0 ? `-${pad(-year, 4)}` : pad(year, 4)}-${pad(date.getUTCMonth() + 1)}-${pad(date.getUTCDate())}`
}

/** A day: of a `Date` it is that in UTC. */
export const day: Shape = (read, { value }) => {
  const given = plain(value)
  if (given instanceof Date) {
    return read !== dayOf(given) ? undefined : given.getTime() % 86_400_000 === 0 ? "kept" : "rounded"
  }
  if (typeof given !== "string") return undefined
  return read === given
    ? "kept"
    : /^\d{4}-\d\d-\d\d[ T]/.test(given) && read === given.slice(0, 10)
    ? "rounded"
    : undefined
}

const microsOf = (text: string): bigint | undefined => {
  const match = /(?:^|[ T])(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?/.exec(text)
  return match === null ? undefined : (BigInt(match[1]!) * 3600n + BigInt(match[2]!) * 60n + BigInt(match[3] ?? 0)) *
      1_000_000n + BigInt((match[4] ?? "").padEnd(6, "0"))
}

/** A time of day as its microseconds. */
export const time: Shape = (read, { value }) => {
  const given = plain(value)
  if (typeof given === "bigint") return read === given ? "kept" : undefined
  if (given instanceof Date) {
    return read === BigInt(((given.getTime() % 86_400_000) + 86_400_000) % 86_400_000) * 1000n ? "rounded" : undefined
  }
  if (typeof given !== "string") return undefined
  if (/^\d\d:/.test(given)) return read === microsOf(given) ? "kept" : undefined
  // A day without a time of day has that of midnight.
  return read === (microsOf(given) ?? 0n) ? "rounded" : undefined
}

/** Hours by which a zone may be away from UTC. */
const offsets: Record<string, ReadonlyArray<number>> = { UTC: [0], "America/New_York": [-5, -4] }

/** The instants that the text of a day, and perhaps a time, may mean. */
const instantsOf = (text: string, zone: string): ReadonlyArray<number> => {
  const iso = /^\d{4}-\d\d-\d\d$/.test(text) ? `${text}T00:00:00` : text.replace(" ", "T")
  const short = iso.replace(/(\.\d{3})\d+/, "$1").replace(/([+-]\d\d)$/, "$1:00")
  if (/(?:Z|[+-]\d\d:\d\d)$/.test(short)) return [Date.parse(short)]
  // Before the zones of railways each town had its own.
  if (zone !== "UTC" && Number(text.slice(0, 4)) < 1884) return [Date.parse(`${short}Z`) + 17_762_000]
  return offsets[zone]!.flatMap((hours) => [
    Date.parse(`${short}Z`) - hours * 3_600_000,
    Date.parse(`${short}Z`) - (hours + 1) * 3_600_000
  ])
}

const hasMicros = (text: string): boolean => /\.\d{4,}/.test(text) && !/\.\d{3}0+\b/.test(text)

/** A `timestamptz`, or a `timestamp`, whose zone is UTC. */
export const instant = (zoned: boolean, digits = 3): Shape => (read, given) => {
  const value = plain(given.value)
  if (value === Infinity || value === -Infinity) return read === value ? "kept" : undefined
  if (!(read instanceof Date)) return undefined
  const unit = 10 ** (3 - Math.min(digits, 3))
  const isAt = (millis: number): Verdict =>
    read.getTime() === millis
      ? "kept"
      : unit > 1 && Math.abs(read.getTime() - millis) < unit
      ? "rounded"
      : undefined
  if (value instanceof Date) return isAt(value.getTime())
  // A number is milliseconds where the column is known.
  if (typeof value === "number" && given.isTyped) {
    // Parts of a millisecond are stored, and are not in a `Date`.
    return read.getTime() === value ? "kept" : Math.abs(read.getTime() - value) < 1 ? "rounded" : undefined
  }
  if (typeof value !== "string" || !/^\d{4}-\d\d-\d\d/.test(value)) return undefined
  const zone = zoned && !given.isTyped ? given.zone : "UTC"
  if (!zoned && /(?:Z|[+-]\d\d:?\d\d|[+-]\d\d)$/.test(value.slice(10))) {
    // A text in a column without a zone is what it says, whatever zone stands behind it.
    const local = instantsOf(value.slice(0, 10) + value.slice(10).replace(/(?:Z|[+-]\d\d(?::?\d\d)?)$/, ""), "UTC")
    return local.some((millis) => isAt(millis) !== undefined) ? "rounded" : undefined
  }
  for (const millis of instantsOf(value, zone)) {
    const verdict = isAt(millis)
    if (verdict !== undefined) return hasMicros(value) ? "rounded" : verdict
  }
  return undefined
}

const documentOf = (value: unknown): unknown => {
  const json = JSON.stringify(plain(value))
  return json === undefined ? undefined : JSON.parse(json)
}

const isSameDocument = (given: unknown, read: unknown): boolean => {
  try {
    return util.isDeepStrictEqual(documentOf(given), documentOf(read))
  } catch {
    return false
  }
}

/** JSON loses nothing of these. */
const isWhole = (value: unknown): boolean => {
  if (typeof value === "bigint" || value === undefined || typeof value === "symbol" || typeof value === "function") {
    return false
  }
  if (typeof value === "number") return Number.isFinite(value)
  if (typeof value !== "object" || value === null || value instanceof Date || value instanceof URL) return true
  if (DateTime.isDateTime(value) || typeof (value as { toJSON?: unknown }).toJSON === "function") return true
  if (Array.isArray(value)) return Array.from(value).every(isWhole)
  const prototype = Object.getPrototypeOf(value)
  if (prototype !== null && prototype !== Object.prototype && Object.keys(value).length === 0) return false
  return Object.values(value).every((field) => field === undefined || isWhole(field))
}

/** A document. A text that stands alone in a statement is the text of one. */
export const document: Shape = (read, { isTyped, value }) => {
  const given = plain(value)
  if (BigDecimal.isBigDecimal(given)) {
    // JavaScript reads JSON's numbers, with their digits.
    return isSameNumber(read, given) ? "kept" : read === Number(BigDecimal.format(given)) ? "rounded" : undefined
  }
  if (typeof given === "string") {
    if (read === given && isTyped) return "kept"
    try {
      return isSameDocument(JSON.parse(given), read) ? "kept" : undefined
    } catch {
      return undefined
    }
  }
  if (typeof given === "bigint") return isSameNumber(read, given) || read === Number(given) ? "kept" : undefined
  if (Object.is(given, -0) && read === 0) return "kept"
  return isWhole(given) && isSameDocument(given, read) ? "kept" : undefined
}

/** A text that is one of some, or has a form of its own. */
export const spelled = (normal: (text: string) => string): Shape => (read, { value }) =>
  typeof read === "string" && typeof value === "string" && normal(read) === normal(value) ? "kept" : undefined

const worst = (verdicts: ReadonlyArray<Verdict>): Verdict =>
  verdicts.includes(undefined)
    ? undefined
    : verdicts.includes("converted")
    ? "converted"
    : verdicts.includes("rounded")
    ? "rounded"
    : "kept"

/** Arrays, of any number of dimensions. */
export const array = (element: Shape): Shape => {
  const shape: Shape = (read, given) => {
    const value = plain(given.value)
    if (typeof value === "string") {
      // The text of an array.
      return value === "{}" && Array.isArray(read) && read.length === 0 ? "kept" : undefined
    }
    if (!Array.isArray(value) || !Array.isArray(read)) return undefined
    // The server has one empty array, of any number of dimensions.
    if (read.length === 0) return value.flat(9).length === 0 ? "kept" : undefined
    if (value.length !== read.length) return undefined
    return worst(Array.from(value, (one, index) => {
      const there: unknown = read[index]
      if (one === null) return there === null ? "kept" : undefined
      if (one === undefined) return undefined
      return Array.isArray(one) && Array.isArray(there)
        ? shape(there, { ...given, value: one })
        : element(there, { ...given, value: one })
    }))
  }
  return shape
}

interface Range {
  readonly lower: unknown
  readonly upper: unknown
  readonly bounds: string
}

export const range = (element: Shape): Shape => (read, given) => {
  if (typeof given.value === "string") return rangeOfText(given.value) === show(read) ? "kept" : undefined
  const [got, wanted] = [read as Range, given.value as Range]
  if (typeof wanted !== "object" || wanted === null || typeof got !== "object" || got === null) return undefined
  if (got.bounds === "empty" || wanted.bounds === "empty") return got.bounds === wanted.bounds ? "kept" : undefined
  return worst((["lower", "upper"] as const).map((bound) =>
    wanted[bound] === null
      ? got[bound] === null ? "kept" : undefined
      // What is in an object is written by the codec of its type.
      : element(got[bound], { ...given, isTyped: true, value: wanted[bound] })
  ))
}

/** The text of a range of integers, as the server tidies it. */
const rangeOfText = (text: string): string | undefined => {
  const match = /^\[(\d+),(\d+)\]$/.exec(text)
  return match === null ? undefined : show({ lower: Number(match[1]), upper: Number(match[2]) + 1, bounds: "[)" })
}

/** Objects with fields of their own types; what is left out is null. */
export const composite = (fields: Readonly<Record<string, Shape>>): Shape => (read, given) => {
  const value = given.value as Record<string, unknown>
  if (typeof value !== "object" || value === null || typeof read !== "object" || read === null) return undefined
  if (Array.isArray(value) || Object.keys(value).some((key) => !Object.hasOwn(fields, key))) return undefined
  return worst(
    Object.entries(fields).map(([name, shape]) => {
      const one = value[name]
      const there = (read as Record<string, unknown>)[name]
      return one === undefined || one === null
        ? there === null ? "kept" : undefined
        : shape(there, { ...given, isTyped: true, value: one })
    })
  )
}

/** For messages. */
export const show = (value: unknown): string =>
  util.inspect(value, { depth: 4, breakLength: Infinity, maxStringLength: 40, maxArrayLength: 10 })

export const isSame = (a: unknown, b: unknown): boolean =>
  util.isDeepStrictEqual(tidy(a), tidy(b)) || Equal.equals(a, b)

const tidy = (value: unknown): unknown =>
  value instanceof Uint8Array
    ? ["bytes", ...value]
    : value instanceof Float32Array
    ? ["vector", ...value]
    : Array.isArray(value)
    ? value.map(tidy)
    : value instanceof Date || typeof value !== "object" || value === null
    ? value
    : Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, tidy(inner)]))
