/** What columns of MySQL and MariaDB make of values, where that is not the same everywhere. */
import * as BigDecimal from "effect/BigDecimal"
import {
  type Given,
  instant,
  plain,
  roundedTo,
  type Shape,
  single as singleOf,
  spelled as spelledOf,
  type Verdict
} from "./shapes.ts"

const isNumber = (value: unknown): boolean =>
  typeof value === "number" || typeof value === "bigint" || typeof value === "boolean" || BigDecimal.isBigDecimal(value)

const isDigits = (value: unknown): boolean => typeof value === "string" && /^[+-]?\d+(\.\d+)?(e\d+)?$/.test(value)

/**
 * The server does not say what a parameter is to be, so it decides by itself what a number is to a column of dates, or a
 * text to one of bits. `Bulk` knows the column, and refuses them.
 */
const converting = (shape: Shape, converts: (value: unknown, read: unknown) => boolean): Shape => (read, given) =>
  shape(read, given) ?? (!given.isTyped && converts(plain(given.value), read) ? "converted" : undefined)

const isoOf = (value: unknown): string => value instanceof Date ? value.toISOString() : ""

/** Integers: a fraction is rounded, as that of a decimal is. */
export const integer: Shape = (read, { value }) => {
  const given = plain(value)
  if (typeof read !== "number" && typeof read !== "bigint") return undefined
  if (typeof given === "boolean") return read === Number(given) ? "kept" : undefined
  const verdict = roundedTo(read, Object.is(given, -0) ? 0 : given, 0)
  return verdict
}

export const bool = integer

/** A boolean is 0 or 1, also to a column of other numbers. */
export const numeric = (shape: Shape): Shape => (read, given) =>
  typeof given.value === "boolean" ? integer(Number(read), given) : shape(read, given)

/** What a `float` has no room for is nothing to it. */
export const single: Shape = numeric((read, given) =>
  singleOf(read, given) ??
    (read === 0 && !given.isTyped && Math.fround(Number(given.value)) === 0 ? "rounded" : undefined)
)

/** The bytes of a UUID or an address are one, too. */
export const spelled = (normal: (text: string) => string, bytesOf: (text: string) => Buffer): Shape => (read, given) =>
  given.value instanceof Uint8Array
    ? typeof read === "string" && bytesOf(read).equals(given.value) ? "kept" : undefined
    : spelledOf(normal)(read, given)

const hasZeros = (value: unknown): boolean => typeof value === "string" && /^\d{4}-(?:00|\d\d-00)|^0000-/.test(value)

const asText = (read: unknown): string => typeof read === "string" ? read : ""

/** A day as the server writes it. */
export const day: Shape = converting(
  (read, { value }) => {
    const given = plain(value)
    const text = asText(read)
    if (given instanceof Date) {
      return isoOf(given).slice(0, 10) !== text ? undefined : given.getTime() % 86_400_000 === 0 ? "kept" : "rounded"
    }
    if (typeof given !== "string") return undefined
    return text === given
      ? "kept"
      : /^\d{4}-\d\d-\d\d[ T]/.test(given) && text === given.slice(0, 10)
      ? "rounded"
      : undefined
  },
  (value) => isNumber(value) || isDigits(value) || isClock(value)
)

const isClock = (value: unknown): boolean => typeof value === "string" && /^\d\d:/.test(value)

const clockOf = (text: string): string => /(\d\d:\d\d(?::\d\d(?:\.\d+)?)?)/.exec(text)?.[1] ?? "00:00:00"

const seconds = (clock: string): number => {
  const [hours, minutes, rest] = clock.split(":").map(Number)
  return hours! * 3600 + minutes! * 60 + (rest ?? 0)
}

export const time = (digits: number): Shape =>
  converting(
    (read, { value }) => {
      const given = plain(value)
      const there = seconds(asText(read))
      const wanted = given instanceof Date
        ? seconds(isoOf(given).slice(11, 23))
        : typeof given === "string" && /^\d\d:|^\d{4}-\d\d-\d\d/.test(given)
        ? seconds(clockOf(given.replace(/^\d{4}-\d\d-\d\d/, "")))
        : NaN
      const unit = 10 ** -digits
      return Math.abs(there - wanted) > unit
        ? undefined
        : Math.abs(there - wanted) > 1e-7 || !/^\d\d:/.test(String(given))
        ? "rounded"
        : "kept"
    },
    (value) => isNumber(value) || isDigits(value)
  )

/** A `datetime`, a `timestamp`: an instant in UTC, with the digits that the column has. */
export const dateTime = (digits: number): Shape =>
  converting(
    (read, given: Given): Verdict => {
      // What is no instant reads as none: a day with zeros in it.
      if (hasZeros(given.value)) return read instanceof Date && Number.isNaN(read.getTime()) ? "kept" : undefined
      // Numbers are no milliseconds here.
      return typeof given.value === "number" ? undefined : instant(true, digits)(read, { ...given, zone: "UTC" }) ??
        instant(false, digits)(read, given)
    },
    (value) => isNumber(value) || isDigits(value) || isClock(value)
  )

export const year: Shape = converting(
  (read, { value }) => read === value || String(read) === value ? "kept" : undefined,
  (value) => isNumber(value) || isDigits(value) || value instanceof Date || typeof value === "string"
)

/** One of some names, or several. Numbers are their places. */
export const names: Shape = converting(
  (read, { value }) =>
    typeof value === "string" && asText(read).toLowerCase() === value.trimEnd().toLowerCase() ? "kept" : undefined,
  (value) => isNumber(value) || isDigits(value) || value === "" || value instanceof Uint8Array
)

/** Bits: of a number, or those of the bytes of what is none. */
export const bits: Shape = converting(
  (read, { value }) => {
    const given = plain(value)
    if (!(read instanceof Uint8Array)) return undefined
    const there = BigInt(`0x0${Buffer.from(read).toString("hex")}`)
    if (given instanceof Uint8Array) {
      return there === BigInt(`0x0${Buffer.from(given).toString("hex")}`)
        ? "kept"
        : undefined
    }
    if (!isNumber(given)) return undefined
    const wanted = typeof given === "boolean" ? Number(given) : given
    return roundedTo(there, wanted, 0)
  },
  () => true
)

/** MySQL makes texts of dates in JSON, and numbers of booleans. */
export const documentOf = (document: Shape): Shape =>
  converting(
    document,
    (value, read) =>
      value instanceof Date && typeof read === "string" || typeof value === "boolean" && read === Number(value) ||
      typeof value === "bigint" && Number(read) === Number(value)
  )
