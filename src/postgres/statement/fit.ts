/**
 * Whether a value can be sent as one of the type that the server has described.
 *
 * | the value                                   | what is done                                                     |
 * | ------------------------------------------- | ---------------------------------------------------------------- |
 * | is one of the type's                        | it is sent as that                                               |
 * | is not all of it: a `Date` for a `date`     | the statement is parsed anew, so that no older answer decides    |
 * | is none of the type's                       | it is sent as what it is by itself: the server compares, casts, or refuses |
 * | is none, and a write would round it         | refused                                                          |
 */
import { Decimal, type Value } from "../../values/Value.ts"

export const Fit = {
  /** The type holds all of the value. */
  Exact: 0,
  /** The type takes the value, but not all of it. */
  Inexact: 1,
  /** The type does not take the value. */
  Unfit: 2
} as const
export type Fit = typeof Fit[keyof typeof Fit]

const { Exact, Inexact, Unfit } = Fit

/** The numbers of the types that this is about. They are the same everywhere. */
export const Oid = {
  bool: 16,
  bytea: 17,
  name: 19,
  int8: 20,
  int2: 21,
  int4: 23,
  text: 25,
  oid: 26,
  xid: 28,
  cid: 29,
  json: 114,
  float4: 700,
  float8: 701,
  unknown: 705,
  bpchar: 1042,
  varchar: 1043,
  date: 1082,
  time: 1083,
  timestamp: 1114,
  timestamptz: 1184,
  timetz: 1266,
  numeric: 1700,
  jsonb: 3802,
  xid8: 5069
} as const

const integers = new Map<number, readonly [min: number | bigint, max: number | bigint]>([
  [Oid.int2, [-32768, 32767]],
  [Oid.int4, [-2147483648, 2147483647]],
  [Oid.int8, [-(2n ** 63n), 2n ** 63n - 1n]],
  [Oid.oid, [0, 4294967295]],
  [Oid.xid, [0, 4294967295]],
  [Oid.cid, [0, 4294967295]],
  [Oid.xid8, [0, 2n ** 64n - 1n]]
])

const unsigned = new Set<number>([Oid.oid, Oid.xid, Oid.cid, Oid.xid8])

const within = (base: number, value: number | bigint): Fit => {
  const range = integers.get(base)
  return range !== undefined && value >= range[0] && value <= range[1] ? Exact : Unfit
}

const numberFit = (base: number, value: number): Fit => {
  switch (base) {
    case Oid.int4:
      return Number.isInteger(value) && value >= -2147483648 && value <= 2147483647 ? Exact : Unfit
    case Oid.float8:
    case Oid.numeric:
      return Exact
    case Oid.float4: {
      const rounded = Math.fround(value)
      if (Object.is(rounded, value)) return Exact
      return !Number.isFinite(rounded) || rounded === 0 ? Unfit : Inexact
    }
    default:
      return Number.isInteger(value) ? within(base, value) : Unfit
  }
}

const bigintFit = (base: number, value: bigint): Fit => {
  switch (base) {
    case Oid.numeric:
      return Exact
    case Oid.float4:
    case Oid.float8: {
      const number = Number(value)
      return Number.isFinite(number) && BigInt(number) === value ? numberFit(base, number) : Unfit
    }
    default:
      return within(base, value)
  }
}

const decimalFit = (base: number, text: string): Fit =>
  base === Oid.numeric
    ? Exact
    : base === Oid.float4 || base === Oid.float8
    ? Inexact
    : text.includes(".")
    ? Unfit
    : within(base, BigInt(text))

const dayMillis = 86_400_000

const dateFit = (base: number, value: Date): Fit => {
  switch (base) {
    case Oid.timestamptz:
    case Oid.timestamp:
      return Exact
    case Oid.date:
      return value.getTime() % dayMillis === 0 ? Exact : Inexact
    case Oid.time:
    case Oid.timetz:
      return Inexact
    default:
      return Unfit
  }
}

const integerSpelled = /^(?:0|-?[1-9]\d*)$/
const numericSpelled = /^(?:0|-?[1-9]\d*|-?0(?=\.\d))(?:\.\d+)?$/
const zoned = /:\d\d(?:\.\d*)?\s*(?:[zZ+-]|[A-Za-z]{2,})/

/** Whether a type that was described some time ago would lose a part of a text without an error. */
export const textFit = (base: number, text: string): Fit => {
  switch (base) {
    case Oid.date:
      return text.includes(":") ? Inexact : Exact
    case Oid.timestamp:
      return zoned.test(text) ? Inexact : Exact
    case Oid.time:
      return /[-T\s]/.test(text) ? Inexact : Exact
    case Oid.float4:
      return Math.fround(Number(text)) === Number(text) ? Exact : Inexact
    // What the type would spell otherwise: a column that is a text by now keeps it as it is.
    case Oid.int2:
    case Oid.int4:
    case Oid.int8:
    case Oid.oid:
      return integerSpelled.test(text) ? Exact : Inexact
    case Oid.numeric:
      return numericSpelled.test(text) ? Exact : Inexact
    case Oid.float8:
      return String(Number(text)) === text ? Exact : Inexact
    case Oid.bool:
      return text === "true" || text === "false" ? Exact : Inexact
    default:
      return Exact
  }
}

/** Types whose values are any text. */
export const isText = (base: number): boolean =>
  base === Oid.text || base === Oid.varchar || base === Oid.bpchar || base === Oid.name || base === Oid.unknown

export const isJson = (base: number): boolean => base === Oid.json || base === Oid.jsonb

/** How a value that is neither an array nor an object fits a type that is no domain. */
export const scalarFit = (base: number, value: Value): Fit => {
  switch (typeof value) {
    case "number":
      return numberFit(base, value)
    case "string":
      return textFit(base, value)
    case "bigint":
      return bigintFit(base, value)
    case "boolean":
      return base === Oid.bool ? Exact : Unfit
  }
  if (value === null) return Exact
  if (value instanceof Date) return dateFit(base, value)
  if (value instanceof Decimal) return decimalFit(base, value.text)
  return value instanceof Uint8Array && base === Oid.bytea ? Exact : Unfit
}

/** What a column of the type would make of a value that is none of its own, without an error. */
export const lossOf = (base: number, value: Value): string | undefined => {
  if (integers.has(base)) {
    const isFraction = typeof value === "number"
      ? Number.isFinite(value) && !Number.isInteger(value)
      : value instanceof Decimal && value.text.includes(".")
    if (isFraction) return "the number is no integer: cast the parameter if it is not meant to be one"
    // The server takes a negative one, and means another.
    return unsigned.has(base) && (typeof value === "number" || typeof value === "bigint") &&
        within(base, value) === Unfit
      ? "the number is out of range"
      : undefined
  }
  if ((base === Oid.float4 || base === Oid.float8) && typeof value === "bigint") {
    return "the bigint would be rounded: pass a number, or cast the parameter"
  }
  if (!isText(base)) return undefined
  return Array.isArray(value) ? "an array is no text" : value instanceof Uint8Array ? "bytes are no text" : undefined
}
