/**
 * The values of PostgreSQL's own types, in binary and in text.
 *
 * For the types that the driver knows, the values are the driver's, except that infinite timestamps are infinite
 * numbers here and an invalid `Date` there. No message of a codec ever shows a value.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"
import { unfit, UnfitValue } from "../../values/UnfitValue.ts"

/**
 * How the values of a type are read and written. All four throw what they cannot read or write.
 *
 * @category models
 * @since 0.1.0
 */
export interface Codec<A> {
  /** What an error calls the type. */
  readonly name: string
  /** Reads the binary form. A codec without it is asked for text. */
  readonly read?: ((bytes: Uint8Array, offset: number, size: number) => A) | undefined
  /** Writes the binary form. A codec without it sends text. */
  readonly write?: ((sink: PgProtocol.ValueSink, value: A) => void) | undefined
  /** Reads the text form. */
  readonly parse: (text: string) => A
  /** Writes the text form. */
  readonly format: (value: A) => string
  /**
   * Whether a value is an array itself, so that an array of values has one level more, or may be anything. Default:
   * neither.
   */
  readonly shape?: "array" | "anything" | undefined
}

export { unfit, UnfitValue }

const { OID } = PgTypes

// ---------------------------------------------------------------------------------------------------------------------
// helpers
// ---------------------------------------------------------------------------------------------------------------------

export const readInt32 = (bytes: Uint8Array, offset: number): number =>
  (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!

export const readUint32 = (bytes: Uint8Array, offset: number): number => readInt32(bytes, offset) >>> 0

const scratch = new DataView(new ArrayBuffer(8))

const readInt64 = (bytes: Uint8Array, offset: number): bigint => {
  scratch.setInt32(0, readInt32(bytes, offset))
  scratch.setInt32(4, readInt32(bytes, offset + 4))
  return scratch.getBigInt64(0)
}

const readFloat64 = (bytes: Uint8Array, offset: number): number => {
  scratch.setInt32(0, readInt32(bytes, offset))
  scratch.setInt32(4, readInt32(bytes, offset + 4))
  return scratch.getFloat64(0)
}

const requireSize = (size: number, expected: number, name: string): void => {
  if (size !== expected) unfit(`${size} bytes are no ${name}`)
}

const strictDecoder = new TextDecoder("utf-8", { fatal: true })

const utf8Slice = (Buffer.prototype as unknown as {
  readonly utf8Slice: (this: Uint8Array, start: number, end: number) => string
}).utf8Slice

export const readText = (bytes: Uint8Array, offset: number, size: number): string => {
  const text = utf8Slice.call(bytes, offset, offset + size)
  // A replacement character either was in the text or stands for bytes that are none: the strict decoder knows.
  if (!text.includes("\ufffd")) return text
  try {
    return strictDecoder.decode(bytes.subarray(offset, offset + size))
  } catch {
    return unfit("the text is not in UTF-8")
  }
}

/** Half of a character has no UTF-8, and would silently become another one. */
const loneSurrogate = /[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/

export const checkText = (value: unknown): string => {
  if (typeof value !== "string") return unfit("expected a string")
  for (let index = 0; index < value.length; index++) {
    const code = value.charCodeAt(index)
    if (code === 0) return unfit("a text cannot contain a NUL")
    if (code > 0x7f) {
      if (value.includes("\u0000", index)) return unfit("a text cannot contain a NUL")
      if (loneSurrogate.test(value)) return unfit("the text contains half of a character")
      return value
    }
  }
  return value
}

const checkNumber = (value: unknown): number => typeof value === "number" ? value : unfit("expected a number")

const checkInteger = (value: unknown, min: number, max: number): number =>
  typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
    ? value
    : typeof value === "bigint" && value >= BigInt(min) && value <= BigInt(max)
    ? Number(value)
    : unfit(
      typeof value === "number" || typeof value === "bigint" ? "the number is out of range" : "expected an integer"
    )

const int64Min = -(2n ** 63n)
const int64Max = 2n ** 63n - 1n

const checkInt64 = (value: unknown): bigint => {
  const big = typeof value === "bigint"
    ? value
    : typeof value === "number" && Number.isSafeInteger(value)
    ? BigInt(value)
    : unfit("expected a bigint or a safe integer")
  return big < int64Min || big > int64Max ? unfit("the number is out of range") : big
}

const writeInt64Number = (sink: PgProtocol.ValueSink, value: number): void => {
  const high = Math.floor(value / 4294967296)
  sink.int32(high)
  sink.int32(value - high * 4294967296)
}

const pad = (value: number | bigint, size: number): string => String(value).padStart(size, "0")

/** Reads and writes a type with the driver's codec. Its messages show values, so they are not passed on. */
const driverRead = (
  oid: number,
  name: string,
  registry?: PgTypes.Registry
): (bytes: Uint8Array, offset: number, size: number) => any => {
  const read = Result.getOrThrow(PgTypes.makeFieldReader([{ format: 1, dataTypeOid: oid }], registry))
  return (bytes, offset, size) => {
    try {
      return read(bytes, offset, size, 0)
    } catch {
      return unfit(`these bytes are no ${name}`)
    }
  }
}

const driverEncode = (value: unknown, oid: number, name: string, registry?: PgTypes.Registry): Uint8Array => {
  const encoded = PgTypes.encode(value, oid, registry)
  return Result.isSuccess(encoded) ? encoded.success : unfit(`expected a value of ${name}`)
}

/** A type whose text is made from its bytes: the driver's two functions give all four. */
const viaBinary = (
  oid: number,
  name: string,
  prepare: (value: unknown) => unknown = (value) => value
): Codec<any> => {
  const read = driverRead(oid, name)
  const parse = (text: string): unknown => {
    const bytes = driverEncode(text, oid, name)
    return read(bytes, 0, bytes.length)
  }
  return {
    name,
    read,
    write: (sink, value) => sink.raw(driverEncode(prepare(value), oid, name)),
    parse,
    format: (value) => {
      const text = prepare(value)
      driverEncode(text, oid, name)
      return String(text)
    }
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// text
// ---------------------------------------------------------------------------------------------------------------------

/** A type whose value is its text, in both forms. */
export const textCodec = (name: string): Codec<string> => ({
  name,
  read: readText,
  write: (sink, value) => sink.utf8(checkText(value)),
  parse: (text) => text,
  format: checkText
})

/** A type whose text is all that can be said of it without the server. */
export const onlyText = (name: string): Codec<string> => ({ name, parse: (text) => text, format: checkText })

/** A type whose binary form is a version and its text. */
export const versionedText = (name: string): Codec<string> => ({
  name,
  read: (bytes, offset, size) =>
    size > 0 && bytes[offset] === 1 ? readText(bytes, offset + 1, size - 1) : unfit(`an unknown version of ${name}`),
  write: (sink, value) => {
    const text = checkText(value)
    sink.uint8(1)
    sink.utf8(text)
  },
  parse: (text) => text,
  format: checkText
})

/** One byte. What is not ASCII is written as the server does since version 16. */
const charCodec: Codec<string> = {
  name: "char",
  read: (bytes, offset, size) => {
    requireSize(size, 1, "char")
    const byte = bytes[offset]!
    return byte === 0 ? "" : byte < 0x80 ? String.fromCharCode(byte) : `\\${byte.toString(8)}`
  },
  write: (sink, value) => {
    if (typeof value !== "string") return unfit("expected a string")
    const octal = /^\\([2-3][0-7]{2})$/.exec(value)
    if (octal !== null) return sink.uint8(Number.parseInt(octal[1]!, 8))
    const byte = value === "" ? 0 : value.charCodeAt(0)
    if (value.length > 1 || byte > 0x7f) return unfit("expected one character of ASCII")
    sink.uint8(byte)
  },
  parse: (text) => text,
  format: (value) => checkText(value)
}

const bool: Codec<boolean> = {
  name: "bool",
  read: (bytes, offset) => bytes[offset] !== 0,
  write: (sink, value) => sink.uint8(typeof value === "boolean" ? Number(value) : unfit("expected a boolean")),
  parse: (text) => text === "t" || (text === "f" ? false : unfit("expected t or f")),
  format: (value) => typeof value === "boolean" ? value ? "t" : "f" : unfit("expected a boolean")
}

const parseBytes = (text: string): Uint8Array => {
  if (text.startsWith("\\x")) return new Uint8Array(Buffer.from(text.slice(2), "hex"))
  // The `escape` output format, which a session may have been set to.
  return new Uint8Array(Buffer.from(
    text.replace(
      /\\(\\|[0-7]{3})/g,
      (_, code: string) => code === "\\" ? "\\" : String.fromCharCode(Number.parseInt(code, 8))
    ),
    "latin1"
  ))
}

const checkBytes = (value: unknown): Uint8Array => value instanceof Uint8Array ? value : unfit("expected a Uint8Array")

const bytea: Codec<Uint8Array> = {
  name: "bytea",
  // A copy, for a view would keep the whole buffer of the socket alive.
  read: (bytes, offset, size) => bytes.slice(offset, offset + size),
  write: (sink, value) => sink.raw(checkBytes(value)),
  parse: parseBytes,
  format: (value) => {
    const bytes = checkBytes(value)
    return `\\x${Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("hex")}`
  }
}

const stringifyJson = (value: unknown): string => {
  const text = JSON.stringify(value)
  if (text === undefined) return unfit("expected a value of JSON")
  if (text.includes("\\u") && /(?<!\\)(?:\\\\)*\\u(?:0000|d[89a-f])/i.test(text)) {
    return unfit("the server's JSON has neither NUL nor half characters")
  }
  return text
}

const toJson = (value: unknown): string => {
  // The codec boundary: cycles and bigints make it throw, and what it says may quote a key.
  try {
    return stringifyJson(value)
  } catch (cause) {
    return cause instanceof UnfitValue ? unfit(cause.message) : unfit("the value has no JSON")
  }
}

const parseJson = (text: string): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    return unfit("the text is no JSON")
  }
}

const json: Codec<unknown> = {
  name: "json",
  shape: "anything",
  read: (bytes, offset, size) => parseJson(readText(bytes, offset, size)),
  write: (sink, value) => sink.utf8(toJson(value)),
  parse: parseJson,
  format: toJson
}

const jsonb: Codec<unknown> = {
  name: "jsonb",
  shape: "anything",
  read: (bytes, offset, size) =>
    bytes[offset] === 1
      ? parseJson(readText(bytes, offset + 1, size - 1))
      : unfit("an unknown version of jsonb"),
  write: (sink, value) => {
    const text = toJson(value)
    sink.uint8(1)
    sink.utf8(text)
  },
  parse: parseJson,
  format: toJson
}

// ---------------------------------------------------------------------------------------------------------------------
// numbers
// ---------------------------------------------------------------------------------------------------------------------

const parseInteger = (text: string): number => /^[+-]?\d+$/.test(text) ? Number(text) : unfit("expected an integer")

const parseBigInt = (text: string): bigint => /^[+-]?\d+$/.test(text) ? BigInt(text) : unfit("expected an integer")

const int2: Codec<number> = {
  name: "int2",
  read: (bytes, offset) => ((bytes[offset]! << 8) | bytes[offset + 1]!) << 16 >> 16,
  write: (sink, value) => sink.int16(checkInteger(value, -32768, 32767)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, -32768, 32767))
}

const int4: Codec<number> = {
  name: "int4",
  read: readInt32,
  write: (sink, value) => sink.int32(checkInteger(value, -2147483648, 2147483647)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, -2147483648, 2147483647))
}

const unsigned = (name: string): Codec<number> => ({
  name,
  read: readUint32,
  write: (sink, value) => sink.int32(checkInteger(value, 0, 4294967295)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, 0, 4294967295))
})

const int8: Codec<bigint> = {
  name: "int8",
  read: readInt64,
  write: (sink, value: unknown) => {
    if (typeof value === "number" && Number.isSafeInteger(value)) writeInt64Number(sink, value)
    else sink.bigInt64(checkInt64(value))
  },
  parse: parseBigInt,
  format: (value) => String(checkInt64(value))
}

const uint64Max = 2n ** 64n - 1n

const checkUint64 = (value: unknown): bigint =>
  typeof value === "bigint" && value >= 0n && value <= uint64Max
    ? value
    : unfit("expected a bigint that is not negative")

const xid8: Codec<bigint> = {
  name: "xid8",
  read: (bytes, offset) => BigInt.asUintN(64, readInt64(bytes, offset)),
  write: (sink, value) => sink.bigInt64(BigInt.asIntN(64, checkUint64(value))),
  parse: parseBigInt,
  format: (value) => String(checkUint64(value))
}

const parseFloat = (text: string): number =>
  text === "NaN" || text !== "" && !Number.isNaN(Number(text)) ? Number(text) : unfit("expected a number")

const float4: Codec<number> = {
  name: "float4",
  read: (bytes, offset) => {
    scratch.setInt32(0, readInt32(bytes, offset))
    return scratch.getFloat32(0)
  },
  write: (sink, value) => sink.float32(checkNumber(value)),
  // The shortest text that gives the same four bytes back is not what the four bytes read as.
  parse: (text) => Math.fround(parseFloat(text)),
  format: (value) => formatFloat(checkNumber(value))
}

const float8: Codec<number> = {
  name: "float8",
  read: readFloat64,
  write: (sink, value) => sink.float64(checkNumber(value)),
  parse: parseFloat,
  format: (value) => formatFloat(checkNumber(value))
}

const formatFloat = (value: number): string => Object.is(value, -0) ? "-0" : String(value)

const numericText = (value: unknown): unknown =>
  typeof value === "number" || typeof value === "bigint" ? String(value) : value

const numeric: Codec<string> = { ...viaBinary(OID.numeric, "numeric", numericText), parse: (text) => text }

// ---------------------------------------------------------------------------------------------------------------------
// dates and times
// ---------------------------------------------------------------------------------------------------------------------

/** The driver writes years before 1 as astronomers do, the server as historians do. */
const formatYear = (text: string): string => {
  if (!text.startsWith("-") && !text.startsWith("0000-")) return text
  const [, year, rest] = /^-?(\d+)(-\d\d-\d\d)$/.exec(text)!
  return `${pad(text.startsWith("-") ? Number(year) + 1 : 1, 4)}${rest} BC`
}

const dateText = (value: unknown): unknown => value instanceof Date ? isoDay(value) : value

/** The day of a `Date`, in UTC. */
const isoDay = (value: Date): string => {
  const time = value.getTime()
  if (Number.isNaN(time)) return unfit("the date is invalid")
  const year = value.getUTCFullYear()
  return `${year < 0 ? `-${pad(-year, 4)}` : pad(year, 4)}-${pad(value.getUTCMonth() + 1, 2)}-${
    pad(value.getUTCDate(), 2)
  }`
}

const viaDate = viaBinary(OID.date, "date", dateText)

const date: Codec<string> = {
  ...viaDate,
  parse: (text) => {
    if (text === "infinity" || text === "-infinity") return text
    const match = /^(\d+)(-\d\d-\d\d)( BC)?$/.exec(text)
    if (match === null) return unfit("expected a date in ISO format: see the setting DateStyle")
    if (match[3] === undefined) return `${match[1]!}${match[2]!}`
    const year = Number(match[1]) - 1
    return `${year === 0 ? "0000" : `-${pad(year, 4)}`}${match[2]!}`
  },
  format: (value) => {
    const text = viaDate.format(value)
    return text.endsWith("infinity") ? text : formatYear(text)
  }
}

const dayMicros = 86_400_000_000n

const checkTime = (value: unknown): bigint =>
  typeof value === "bigint" && value >= 0n && value <= dayMicros
    ? value
    : unfit("expected a bigint of microseconds since midnight")

const parseClock = (text: string): bigint | undefined => {
  const match = /^(\d+):(\d\d)(?::(\d\d)(?:\.(\d{1,6}))?)?$/.exec(text)
  return match === null
    ? undefined
    : (BigInt(match[1]!) * 3600n + BigInt(match[2]!) * 60n + BigInt(match[3] ?? 0)) * 1_000_000n +
      BigInt((match[4] ?? "").padEnd(6, "0"))
}

const formatClock = (micros: bigint): string => {
  const seconds = micros / 1_000_000n
  return `${pad(seconds / 3600n, 2)}:${pad(seconds / 60n % 60n, 2)}:${pad(seconds % 60n, 2)}.${
    pad(micros % 1_000_000n, 6)
  }`
}

/** The same without zeros at the end, as the server writes it. */
const formatShortClock = (micros: bigint): string => formatClock(micros).replace(/\.?0{1,6}$/, "")

const time: Codec<bigint> = {
  name: "time",
  read: readInt64,
  write: (sink, value) => sink.bigInt64(checkTime(value)),
  parse: (text) => parseClock(text) ?? unfit("expected a time"),
  format: (value) => formatClock(checkTime(value))
}

/** Offsets as the driver writes them, and with seconds where there are any. */
const formatOffset = (east: number): string => {
  const total = Math.abs(east)
  const seconds = total % 60
  return `${east < 0 ? "-" : "+"}${pad(Math.floor(total / 3600), 2)}:${pad(Math.floor(total / 60) % 60, 2)}${
    seconds === 0 ? "" : `:${pad(seconds, 2)}`
  }`
}

const viaTimetz = viaBinary(OID.timetz, "timetz")

const timetz: Codec<string> = {
  ...viaTimetz,
  read: (bytes, offset, size) => {
    requireSize(size, 12, "timetz")
    const micros = readInt64(bytes, offset)
    const short = micros % 1_000_000n === 0n ? formatClock(micros).slice(0, 8) : formatShortClock(micros)
    return `${short}${formatOffset(-readInt32(bytes, offset + 8))}`
  },
  parse: (text) => {
    const bytes = driverEncode(text, OID.timetz, "timetz")
    return timetz.read!(bytes, 0, bytes.length)
  }
}

/** Milliseconds and microseconds between the epochs of Unix and PostgreSQL. */
const epochMillis = 946_684_800_000
const epochMicros = 946_684_800_000_000n

/** Beyond this `Date` ends, although PostgreSQL goes on for some 19,000 years. */
const maxMillis = 8.64e15

const toDate = (millis: number): Date =>
  millis < -maxMillis || millis > maxMillis
    ? unfit("the time is outside of what a Date can be: choose another codec for its type")
    : new Date(millis)

/** Reads microseconds since the Unix epoch, or an infinite number. */
const readMicros = (bytes: Uint8Array, offset: number): bigint | number => {
  const micros = readInt64(bytes, offset)
  return micros === int64Max ? Infinity : micros === int64Min ? -Infinity : micros + epochMicros
}

/** As the driver does it, what is less than a millisecond is cut off, counted from PostgreSQL's epoch. */
const millisOf = (unixMicros: bigint): number => Number((unixMicros - epochMicros) / 1000n) + epochMillis

const daysFromCivil = (year: number, month: number, day: number): number => {
  const y = month <= 2 ? year - 1 : year
  const era = Math.floor(y / 400)
  const yoe = y - era * 400
  const doy = Math.floor((153 * (month > 2 ? month - 3 : month + 9) + 2) / 5) + day - 1
  return era * 146097 + yoe * 365 + Math.floor(yoe / 4) - Math.floor(yoe / 100) + doy - 719468
}

/** Reads the server's text into microseconds since the Unix epoch. */
const parseMicros = (text: string): bigint | number => {
  if (text === "infinity") return Infinity
  if (text === "-infinity") return -Infinity
  const match =
    /^([+-]?\d{4,})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?(?:(Z)|([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?)?( BC)?$/
      .exec(text)
  if (match === null) return unfit("expected a time in ISO format: see the setting DateStyle")
  const year = match[13] === undefined ? Number(match[1]) : 1 - Number(match[1])
  const days = BigInt(daysFromCivil(year, Number(match[2]), Number(match[3])))
  const clock = BigInt(match[4]!) * 3600n + BigInt(match[5]!) * 60n + BigInt(match[6] ?? 0)
  const zone = match[9] === undefined ? 0n : BigInt(
    (match[9] === "-" ? -1 : 1) * (Number(match[10]) * 3600 + Number(match[11] ?? 0) * 60 + Number(match[12] ?? 0))
  )
  return (days * 86_400n + clock - zone) * 1_000_000n + BigInt((match[7] ?? "").padEnd(6, "0"))
}

/** Writes microseconds since the Unix epoch as a time in UTC. */
const formatMicros = (micros: bigint | number): string => {
  if (typeof micros === "number") return micros > 0 ? "infinity" : "-infinity"
  let days = micros / dayMicros
  let rest = micros % dayMicros
  if (rest < 0n) {
    days -= 1n
    rest += dayMicros
  }
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setInt32(0, Number(days) - 10957)
  const text = viaDate.read!(bytes, 0, 4) as string
  const historic = formatYear(text)
  const clock = formatClock(rest)
  return historic === text ? `${text} ${clock}+00` : `${historic.slice(0, -3)} ${clock}+00 BC`
}

/** Takes what people have: a `Date`, milliseconds, microseconds, or a text in ISO format. */
const toMicros = (value: unknown): bigint | number => {
  const millis = value instanceof Date ? value.getTime() : value
  if (typeof millis === "number") {
    if (Number.isNaN(millis)) return unfit("the date is invalid")
    // Far from 1970 a number cannot hold the microseconds.
    return !Number.isFinite(millis)
      ? millis
      : Number.isInteger(millis)
      ? BigInt(millis) * 1000n
      : BigInt(Math.trunc(millis * 1000))
  }
  if (typeof value === "string") return parseMicros(value)
  return unfit("expected a Date, milliseconds, or a text in ISO format")
}

const checkMicros = (micros: bigint | number): bigint | number =>
  typeof micros === "bigint" && (micros - epochMicros <= int64Min || micros - epochMicros >= int64Max)
    ? unfit("the time is out of range")
    : micros

const writeMicros = (sink: PgProtocol.ValueSink, micros: bigint | number): void =>
  sink.bigInt64(
    typeof micros === "number" ? micros > 0 ? int64Max : int64Min : (checkMicros(micros) as bigint) - epochMicros
  )

const maxExact = 9007199254740992 / 2

const timestampCodec = (name: string): Codec<Date | number> => ({
  name,
  read: (bytes, offset, size) => {
    requireSize(size, 8, name)
    const high = readInt32(bytes, offset)
    if (high >= -0x200000 && high < 0x200000) {
      const micros = high * 4294967296 + readUint32(bytes, offset + 4)
      return new Date((micros - micros % 1000) / 1000 + epochMillis)
    }
    const micros = readMicros(bytes, offset)
    return typeof micros === "number" ? micros : toDate(millisOf(micros))
  },
  write: (sink, value: unknown) => {
    if (value instanceof Date) {
      const micros = (value.getTime() - epochMillis) * 1000
      if (micros > -maxExact && micros < maxExact) return writeInt64Number(sink, micros)
    }
    writeMicros(sink, toMicros(value))
  },
  parse: (text) => {
    const micros = parseMicros(text)
    return typeof micros === "number" ? micros : toDate(millisOf(micros))
  },
  format: (value) => formatMicros(checkMicros(toMicros(value)))
})

/** Microseconds since the Unix epoch, and an infinite number for an infinite time. */
export const timestampAsMicros = (name: string): Codec<bigint | number> => {
  const check = (value: unknown): bigint | number =>
    typeof value === "bigint" || value === Infinity || value === -Infinity
      ? value
      : unfit("expected a bigint of microseconds, or an infinite number")
  return {
    name,
    read: readMicros,
    write: (sink, value) => writeMicros(sink, check(value)),
    parse: parseMicros,
    format: (value) => formatMicros(checkMicros(check(value)))
  }
}

/** The text of a time with all its microseconds, as the server writes it in UTC. */
export const timestampAsText = (name: string): Codec<string> => {
  const tidy = (micros: bigint | number): string => {
    const text = formatMicros(micros)
    return name === "timestamp" ? text.replace("+00", "") : text
  }
  return {
    name,
    read: (bytes, offset) => tidy(readMicros(bytes, offset)),
    write: (sink, value) => writeMicros(sink, parseMicros(checkText(value))),
    parse: (text) => tidy(parseMicros(text)),
    format: (value) => formatMicros(checkMicros(parseMicros(checkText(value))))
  }
}

export interface IntervalParts {
  readonly months: number
  readonly days: number
  readonly microseconds: bigint
}

const intervalUnit: Record<string, readonly ["months" | "days", number]> = {
  year: ["months", 12],
  mon: ["months", 1],
  day: ["days", 1]
}

const infiniteInterval = (sign: 1 | -1): IntervalParts =>
  sign === 1
    ? { months: 2147483647, days: 2147483647, microseconds: int64Max }
    : { months: -2147483648, days: -2147483648, microseconds: int64Min }

const parseInterval = (text: string): IntervalParts => {
  if (text === "infinity") return infiniteInterval(1)
  if (text === "-infinity") return infiniteInterval(-1)
  const parts = { months: 0, days: 0 }
  let microseconds = 0n
  const rest = text.replace(/([+-]?\d+) (year|mon|day)s?(?: |$)/g, (_, count: string, unit: string) => {
    const [part, factor] = intervalUnit[unit]!
    parts[part] += Number(count) * factor
    return ""
  })
  if (rest !== "") {
    const match = /^([+-]?)(\d+:\d\d:\d\d(?:\.\d{1,6})?)$/.exec(rest)
    const clock = match === null ? undefined : parseClock(match[2]!)
    if (clock === undefined) return unfit("expected an interval: see the setting IntervalStyle")
    microseconds = match![1] === "-" ? -clock : clock
  }
  return { ...parts, microseconds }
}

const viaInterval = driverRead(OID.interval, "interval")

const checkInterval = (value: unknown): IntervalParts => {
  const parts = value as Partial<IntervalParts> | null
  if (typeof parts !== "object" || parts === null) return unfit("expected months, days and microseconds")
  return {
    months: checkInteger(parts.months, -2147483648, 2147483647),
    days: checkInteger(parts.days, -2147483648, 2147483647),
    microseconds: checkInt64(parts.microseconds)
  }
}

const interval: Codec<IntervalParts> = {
  name: "interval",
  read: viaInterval,
  write: (sink, value) => {
    const { days, microseconds, months } = checkInterval(value)
    sink.bigInt64(microseconds)
    sink.int32(days)
    sink.int32(months)
  },
  parse: parseInterval,
  format: (value) => {
    const { days, microseconds, months } = checkInterval(value)
    const clock = microseconds < 0n ? `-${formatClock(-microseconds)}` : formatClock(microseconds)
    return `${months} mons ${days} days ${clock}`
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// addresses and bits
// ---------------------------------------------------------------------------------------------------------------------

const hexBytes = (bytes: Uint8Array, offset: number, size: number, separator: string): string => {
  let text = ""
  for (let index = 0; index < size; index++) {
    text += `${index === 0 ? "" : separator}${pad(bytes[offset + index]!.toString(16) as never, 2)}`
  }
  return text
}

const macaddr = (name: string, size: number): Codec<string> => {
  const pattern = new RegExp(`^(?:[0-9a-f]{2}[:-]?){${size - 1}}[0-9a-f]{2}$`, "i")
  const check = (value: unknown): string =>
    typeof value === "string" && pattern.test(value) ? value : unfit(`expected ${size} bytes in hexadecimal`)
  return {
    name,
    read: (bytes, offset, length) => {
      requireSize(length, size, name)
      return hexBytes(bytes, offset, size, ":")
    },
    write: (sink, value) => sink.raw(Buffer.from(check(value).replace(/[:-]/g, ""), "hex")),
    parse: (text) => text,
    format: check
  }
}

const lsnPattern = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i

const pgLsn: Codec<string> = {
  name: "pg_lsn",
  read: (bytes, offset, size) => {
    requireSize(size, 8, "pg_lsn")
    return `${readUint32(bytes, offset).toString(16)}/${readUint32(bytes, offset + 4).toString(16)}`.toUpperCase()
  },
  write: (sink, value) => {
    const match = lsnPattern.exec(checkText(value)) ?? unfit("expected a position such as 16/B374D848")
    sink.int32(Number.parseInt(match[1]!, 16))
    sink.int32(Number.parseInt(match[2]!, 16))
  },
  parse: (text) => text,
  format: (value) => lsnPattern.test(checkText(value)) ? value : unfit("expected a position such as 16/B374D848")
}

const checkBits = (value: unknown): string =>
  typeof value === "string" && /^[01]*$/.test(value) ? value : unfit("expected a string of 0 and 1")

const bits = (name: string): Codec<string> => ({
  name,
  read: (bytes, offset, size) => {
    const length = readInt32(bytes, offset)
    if (length < 0 || size !== 4 + Math.ceil(length / 8)) return unfit(`these bytes are no ${name}`)
    let text = ""
    for (let index = 4; index < size; index++) text += pad(bytes[offset + index]!.toString(2) as never, 8)
    return text.slice(0, length)
  },
  write: (sink, value) => {
    const text = checkBits(value)
    sink.int32(text.length)
    for (let index = 0; index < text.length; index += 8) {
      sink.uint8(Number.parseInt(text.slice(index, index + 8).padEnd(8, "0"), 2))
    }
  },
  parse: (text) => text,
  format: checkBits
})

const tid: Codec<string> = {
  name: "tid",
  read: (bytes, offset) => `(${readUint32(bytes, offset)},${bytes[offset + 4]! << 8 | bytes[offset + 5]!})`,
  write: (sink, value) => {
    const match = /^\((\d+),(\d+)\)$/.exec(checkText(value)) ?? unfit("expected a tuple's place such as (0,1)")
    sink.int32(checkInteger(Number(match[1]), 0, 4294967295))
    sink.int16(checkInteger(Number(match[2]), 0, 65535))
  },
  parse: (text) => text,
  format: checkText
}

// ---------------------------------------------------------------------------------------------------------------------
// geometry
// ---------------------------------------------------------------------------------------------------------------------

export interface PointValue {
  readonly x: number
  readonly y: number
}

/** A type made of numbers that stand one behind the other, in both forms. */
const numbers = <A>(
  name: string,
  count: number,
  from: (numbers: ReadonlyArray<number>) => A,
  to: (value: A) => ReadonlyArray<number>,
  print: (numbers: ReadonlyArray<string>) => string
): Codec<A> => {
  const take = (value: A): ReadonlyArray<number> => {
    const taken = typeof value === "object" && value !== null ? to(value) : unfit(`expected a ${name}`)
    for (const number of taken) if (typeof number !== "number") return unfit(`expected a ${name}`)
    return taken.length === count ? taken : unfit(`expected a ${name}`)
  }
  return {
    name,
    read: (bytes, offset, size) => {
      requireSize(size, count * 8, name)
      return from(Array.from({ length: count }, (_, index) => readFloat64(bytes, offset + index * 8)))
    },
    write: (sink, value) => {
      for (const number of take(value)) sink.float64(number)
    },
    parse: (text) => {
      const found = numbersOf(text)
      return found.length === count ? from(found) : unfit(`expected a ${name}`)
    },
    format: (value) => print(take(value).map(formatFloat))
  }
}

const numbersOf = (text: string): Array<number> =>
  (text.match(/[-+]?(?:Infinity|NaN|[\d.]+(?:e[-+]?\d+)?)/gi) ?? []).map(Number)

const pointsOf = (numbers: ReadonlyArray<number>): Array<PointValue> => {
  const points: Array<PointValue> = []
  for (let index = 0; index + 1 < numbers.length; index += 2) {
    points.push({ x: numbers[index]!, y: numbers[index + 1]! })
  }
  return points
}

const flat = (points: ReadonlyArray<PointValue>): Array<number> =>
  Array.isArray(points)
    ? points.flatMap((point: PointValue | null) => point === null ? unfit("expected points") : [point.x, point.y])
    : unfit("expected points")

const point = numbers<PointValue>("point", 2, ([x, y]) => ({ x: x!, y: y! }), ({ x, y }) => [x, y], (n) => `(${n})`)

const printPoints = (n: ReadonlyArray<string>): string =>
  Array.from({ length: n.length / 2 }, (_, index) => `(${n[index * 2]},${n[index * 2 + 1]})`).join(",")

const lseg: Codec<ReadonlyArray<PointValue>> = {
  ...numbers<ReadonlyArray<PointValue>>("lseg", 4, pointsOf, flat, (n) => `[${printPoints(n)}]`),
  shape: "array"
}

const box: Codec<ReadonlyArray<PointValue>> = {
  ...numbers<ReadonlyArray<PointValue>>("box", 4, pointsOf, flat, printPoints),
  shape: "array"
}

const line = numbers<{ readonly a: number; readonly b: number; readonly c: number }>(
  "line",
  3,
  ([a, b, c]) => ({ a: a!, b: b!, c: c! }),
  ({ a, b, c }) => [a, b, c],
  (n) => `{${n}}`
)

const circle = numbers<PointValue & { readonly radius: number }>(
  "circle",
  3,
  ([x, y, radius]) => ({ x: x!, y: y!, radius: radius! }),
  ({ radius, x, y }) => [x, y, radius],
  ([x, y, radius]) => `<(${x},${y}),${radius}>`
)

const readPoints = (bytes: Uint8Array, offset: number, size: number, name: string): Array<PointValue> => {
  const count = readInt32(bytes, offset)
  requireSize(size, 4 + count * 16, name)
  return pointsOf(Array.from({ length: count * 2 }, (_, index) => readFloat64(bytes, offset + 4 + index * 8)))
}

const writePoints = (sink: PgProtocol.ValueSink, points: ReadonlyArray<PointValue>): void => {
  sink.int32(points.length)
  for (const number of checkPoints(points)) sink.float64(number)
}

const checkPoints = (points: ReadonlyArray<PointValue>): ReadonlyArray<number> => {
  const taken = flat(points)
  return taken.length > 0 && taken.every((number) => typeof number === "number") ? taken : unfit("expected points")
}

const polygon: Codec<ReadonlyArray<PointValue>> = {
  name: "polygon",
  shape: "array",
  read: (bytes, offset, size) => readPoints(bytes, offset, size, "polygon"),
  write: (sink, value) => writePoints(sink, Array.isArray(value) ? value : unfit("expected points")),
  parse: (text) => pointsOf(numbersOf(text)),
  format: (value) => `(${printPoints(checkPoints(value).map(formatFloat))})`
}

export interface PathValue {
  readonly closed: boolean
  readonly points: ReadonlyArray<PointValue>
}

const path: Codec<PathValue> = {
  name: "path",
  read: (bytes, offset, size) => ({
    closed: bytes[offset] === 1,
    points: readPoints(bytes, offset + 1, size - 1, "path")
  }),
  write: (sink, value) => {
    if (!Array.isArray(value?.points)) return unfit("expected a path")
    sink.uint8(value.closed ? 1 : 0)
    writePoints(sink, value.points)
  },
  parse: (text) => ({ closed: text.startsWith("("), points: pointsOf(numbersOf(text)) }),
  format: (value) => {
    if (!Array.isArray(value?.points)) return unfit("expected a path")
    const points = printPoints(checkPoints(value.points).map(formatFloat))
    return value.closed ? `(${points})` : `[${points}]`
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// the table
// ---------------------------------------------------------------------------------------------------------------------

/** A type that PostgreSQL itself has, under the number that it has everywhere. */
export interface Builtin {
  readonly oid: number
  readonly array: number
  readonly name: string
  readonly codec: Codec<any>
}

const builtin = (oid: number, array: number, codec: Codec<any>, name = codec.name): Builtin => ({
  oid,
  array,
  name,
  codec
})

/** All scalar types. Those that the server alone understands travel as text. */
export const builtins: ReadonlyArray<Builtin> = [
  builtin(16, 1000, bool),
  builtin(17, 1001, bytea),
  builtin(18, 1002, charCodec, "\"char\""),
  builtin(19, 1003, textCodec("name")),
  builtin(20, 1016, int8),
  builtin(21, 1005, int2),
  builtin(23, 1007, int4),
  builtin(24, 1008, onlyText("regproc")),
  builtin(25, 1009, textCodec("text")),
  builtin(26, 1028, unsigned("oid")),
  builtin(27, 1010, tid),
  builtin(28, 1011, unsigned("xid")),
  builtin(29, 1012, unsigned("cid")),
  builtin(114, 199, json),
  builtin(142, 143, textCodec("xml")),
  builtin(194, 0, onlyText("pg_node_tree")),
  builtin(600, 1017, point),
  builtin(601, 1018, lseg),
  builtin(602, 1019, path),
  builtin(603, 1020, box),
  builtin(604, 1027, polygon),
  builtin(628, 629, line),
  builtin(650, 651, viaBinary(650, "cidr")),
  builtin(700, 1021, float4),
  builtin(701, 1022, float8),
  builtin(705, 0, textCodec("unknown")),
  builtin(718, 719, circle),
  builtin(774, 775, macaddr("macaddr8", 8)),
  builtin(790, 791, onlyText("money")),
  builtin(829, 1040, macaddr("macaddr", 6)),
  builtin(869, 1041, viaBinary(869, "inet")),
  builtin(1033, 1034, onlyText("aclitem")),
  builtin(1042, 1014, textCodec("bpchar")),
  builtin(1043, 1015, textCodec("varchar")),
  builtin(1082, 1182, date),
  builtin(1083, 1183, time),
  builtin(1114, 1115, timestampCodec("timestamp")),
  builtin(1184, 1185, timestampCodec("timestamptz")),
  builtin(1186, 1187, interval),
  builtin(1266, 1270, timetz),
  builtin(1560, 1561, bits("bit")),
  builtin(1562, 1563, bits("varbit")),
  builtin(1700, 1231, numeric),
  builtin(1790, 2201, textCodec("refcursor")),
  builtin(2202, 2207, onlyText("regprocedure")),
  builtin(2203, 2208, onlyText("regoper")),
  builtin(2204, 2209, onlyText("regoperator")),
  // The driver reads its number, which the others have as names.
  builtin(2205, 2210, {
    ...unsigned("regclass"),
    parse: (text) => (/^\d+$/.test(text) ? Number(text) : text) as number
  }),
  builtin(2206, 2211, onlyText("regtype")),
  builtin(2275, 1263, textCodec("cstring")),
  builtin(2278, 0, textCodec("void")),
  builtin(2950, 2951, viaBinary(2950, "uuid")),
  builtin(2970, 2949, onlyText("txid_snapshot")),
  builtin(3220, 3221, pgLsn),
  builtin(3614, 3643, onlyText("tsvector")),
  builtin(3615, 3645, onlyText("tsquery")),
  builtin(3642, 3644, onlyText("gtsvector")),
  builtin(3734, 3735, onlyText("regconfig")),
  builtin(3769, 3770, onlyText("regdictionary")),
  builtin(3802, 3807, jsonb),
  builtin(4072, 4073, versionedText("jsonpath")),
  builtin(4089, 4090, onlyText("regnamespace")),
  builtin(4096, 4097, onlyText("regrole")),
  builtin(4191, 4192, onlyText("regcollation")),
  builtin(5038, 5039, onlyText("pg_snapshot")),
  builtin(5069, 271, xid8)
]

/** Ranges that PostgreSQL itself has: the range, its array, the multirange, its array, and what they are made of. */
export const builtinRanges: ReadonlyArray<readonly [number, number, number, number, number, string]> = [
  [3904, 3905, 4451, 6150, 23, "int4"],
  [3906, 3907, 4532, 6151, 1700, "num"],
  [3908, 3909, 4533, 6152, 1114, "ts"],
  [3910, 3911, 4534, 6153, 1184, "tstz"],
  [3912, 3913, 4535, 6155, 1082, "date"],
  [3926, 3927, 4536, 6157, 20, "int8"]
]

/** The vectors of the catalogues: arrays that count from 0. */
export const vectors: ReadonlyArray<readonly [oid: number, array: number, element: number, name: string]> = [
  [22, 1006, 21, "int2vector"],
  [30, 1013, 26, "oidvector"]
]

// ---------------------------------------------------------------------------------------------------------------------
// choices
// ---------------------------------------------------------------------------------------------------------------------

/** Numbers where bigints are the rule. What a number cannot hold fails instead of being rounded. */
export const int8AsNumber: Codec<number> = {
  ...int8 as Codec<any>,
  read: (bytes, offset) => safe(Number(readInt64(bytes, offset))),
  parse: (text) => safe(Number(parseBigInt(text)))
}

const safe = (value: number): number =>
  Number.isSafeInteger(value) ? value : unfit("the number is too large to be exact: read it as a bigint")

export const int8AsText: Codec<string> = {
  name: "int8",
  read: (bytes, offset) => String(readInt64(bytes, offset)),
  write: (sink, value) => sink.bigInt64(checkInt64(parseBigInt(checkText(value)))),
  parse: (text) => text,
  format: checkText
}

/** Numbers where the text of the digits is the rule: rounded to what a number can hold. */
export const numericAsNumber: Codec<number> = {
  name: "numeric",
  read: (bytes, offset, size) => Number(numeric.read!(bytes, offset, size)),
  write: (sink, value) => numeric.write!(sink, String(checkNumber(value))),
  parse: parseFloat,
  format: (value) => formatFloat(checkNumber(value))
}

/** A time of day as the server writes it. */
export const timeAsText: Codec<string> = {
  name: "time",
  read: (bytes, offset) => formatClock(readInt64(bytes, offset)),
  write: (sink, value) => sink.bigInt64(checkTime(parseClock(checkText(value)) ?? unfit("expected a time"))),
  parse: (text) => formatClock(parseClock(text) ?? unfit("expected a time")),
  format: (value) => formatClock(checkTime(parseClock(checkText(value)) ?? unfit("expected a time")))
}
