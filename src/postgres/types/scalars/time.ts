/** Dates, times and intervals. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import {
  checkInt64,
  checkInteger,
  checkText,
  driverEncode,
  driverRead,
  int64Max,
  int64Min,
  pad,
  readInt32,
  readInt64,
  readUint32,
  requireSize,
  viaBinary,
  writeInt64Number
} from "./primitives.ts"

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

const viaDate = viaBinary(PgTypes.OID.date, "date", dateText)

export const date: Codec<string> = {
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
  return match === null || Number(match[2]) > 59 || Number(match[3] ?? 0) > 60
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

export const time: Codec<bigint> = {
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

const viaTimetz = viaBinary(PgTypes.OID.timetz, "timetz")

export const timetz: Codec<string> = {
  ...viaTimetz,
  read: (bytes, offset, size) => {
    requireSize(size, 12, "timetz")
    const micros = readInt64(bytes, offset)
    const short = micros % 1_000_000n === 0n ? formatClock(micros).slice(0, 8) : formatShortClock(micros)
    return `${short}${formatOffset(-readInt32(bytes, offset + 8))}`
  },
  parse: (text) => {
    const bytes = driverEncode(text, PgTypes.OID.timetz, "timetz")
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

const isLeap = (year: number): boolean => year % 4 === 0 && (year % 100 !== 0 || year % 400 === 0)

const monthDays = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]

/** What does not exist in the calendar or on the clock would silently become another time. */
const checkFields = (year: number, fields: ReadonlyArray<string | undefined>): void => {
  const [month, day, hour, minute, second] = fields.slice(2, 7).map((field) => Number(field ?? 0))
  const days = monthDays[month! - 1]
  if (days === undefined || day! < 1 || day! > days + (month === 2 && isLeap(year) ? 1 : 0)) {
    return unfit("there is no such day")
  }
  const isMidnight = hour === 24 && minute === 0 && second === 0 && /^0*$/.test(fields[7] ?? "")
  // The server takes a leap second, and means the next minute.
  if (hour! > 23 && !isMidnight || minute! > 59 || second! > 60) return unfit("there is no such time of day")
  const [hours, minutes, seconds] = fields.slice(10, 13).map((field) => Number(field ?? 0))
  if (hours! > 15 || minutes! > 59 || seconds! > 59) unfit("there is no such time zone")
}

/** Reads the server's text into microseconds since the Unix epoch. */
const parseMicros = (text: string): bigint | number => {
  if (text === "infinity") return Infinity
  if (text === "-infinity") return -Infinity
  const match =
    /^([+-]?\d{4,})-(\d\d)-(\d\d)[ T](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:(Z)|([+-])(\d\d)(?::?(\d\d))?(?::?(\d\d))?)?( BC)?$/
      .exec(text)
  if (match === null) return unfit("expected a time in ISO format: see the setting DateStyle")
  const year = match[13] === undefined ? Number(match[1]) : 1 - Number(match[1])
  checkFields(year, match)
  const days = BigInt(daysFromCivil(year, Number(match[2]), Number(match[3])))
  const clock = BigInt(match[4]!) * 3600n + BigInt(match[5]!) * 60n + BigInt(match[6] ?? 0)
  const zone = match[9] === undefined ? 0n : BigInt(
    (match[9] === "-" ? -1 : 1) * (Number(match[10]) * 3600 + Number(match[11] ?? 0) * 60 + Number(match[12] ?? 0))
  )
  return (days * 86_400n + clock - zone) * 1_000_000n + microsOf(match[7] ?? "")
}

/** The microseconds of the digits of a fraction, rounded as the server does. */
const microsOf = (digits: string): bigint =>
  BigInt(digits.length > 6 ? Math.round(Number(`0.${digits}`) * 1e6) : digits.padEnd(6, "0"))

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

/** An instant in the form that every type of dates and times reads: in UTC, and saying so. */
export const formatInstant = (date: Date): string => {
  const millis = date.getTime()
  const isRecent = millis >= -62_135_596_800_000 && millis < 253_402_300_800_000
  return isRecent ? date.toISOString() : formatMicros(checkMicros(BigInt(millis) * 1000n))
}

/** Takes what people have: a `Date`, milliseconds, microseconds, or a text in ISO format. */
const toMicros = (value: unknown): bigint | number => {
  const millis = value instanceof Date ? value.getTime() : value
  if (typeof millis === "number") {
    if (Number.isNaN(millis)) return unfit("the date is invalid")
    // What no `Date` can be could not be read.
    if (Number.isFinite(millis) && Math.abs(millis) > maxMillis) return unfit("the time is out of range")
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

/** From 4713 BC to 294276 AD, counted from PostgreSQL's epoch. */
const firstMicros = -211_813_488_000_000_000n
const lastMicros = 9_223_371_331_200_000_000n

const checkMicros = (micros: bigint | number): bigint | number =>
  typeof micros === "bigint" && (micros - epochMicros < firstMicros || micros - epochMicros >= lastMicros)
    ? unfit("the time is out of range")
    : micros

const writeMicros = (sink: PgProtocol.ValueSink, micros: bigint | number): void =>
  sink.bigInt64(
    typeof micros === "number" ? micros > 0 ? int64Max : int64Min : (checkMicros(micros) as bigint) - epochMicros
  )

/** A column without a zone has no use for that of a text: the server would pass it over, and this would be another time. */
const checkZone = (name: string, value: unknown): void => {
  if (name === "timestamp" && typeof value === "string" && /:\d\d(?:\.\d*)?[+-](?!00(?::?00)*(?: BC)?$)/.test(value)) {
    unfit("a timestamp has no zone: leave it out, or pass a Date")
  }
}

const maxExact = 9007199254740992 / 2

export const timestampCodec = (name: string): Codec<Date | number> => ({
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
    checkZone(name, value)
    writeMicros(sink, toMicros(value))
  },
  parse: (text) => {
    const micros = parseMicros(text)
    return typeof micros === "number" ? micros : toDate(millisOf(micros))
  },
  format: (value) => {
    checkZone(name, value)
    return formatMicros(checkMicros(toMicros(value)))
  }
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
    write: (sink, value) => {
      checkZone(name, value)
      writeMicros(sink, parseMicros(checkText(value)))
    },
    parse: (text) => tidy(parseMicros(text)),
    format: (value) => {
      checkZone(name, value)
      return formatMicros(checkMicros(parseMicros(checkText(value))))
    }
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

const viaInterval = driverRead(PgTypes.OID.interval, "interval")

const checkInterval = (value: unknown): IntervalParts => {
  const parts = value as Partial<IntervalParts> | null
  if (typeof parts !== "object" || parts === null) return unfit("expected months, days and microseconds")
  return {
    months: checkInteger(parts.months, -2147483648, 2147483647),
    days: checkInteger(parts.days, -2147483648, 2147483647),
    microseconds: checkInt64(parts.microseconds)
  }
}

export const interval: Codec<IntervalParts> = {
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

/** A time of day as the server writes it. */
export const timeAsText: Codec<string> = {
  name: "time",
  read: (bytes, offset) => formatClock(readInt64(bytes, offset)),
  write: (sink, value) => sink.bigInt64(checkTime(parseClock(checkText(value)) ?? unfit("expected a time"))),
  parse: (text) => formatClock(parseClock(text) ?? unfit("expected a time")),
  format: (value) => formatClock(checkTime(parseClock(checkText(value)) ?? unfit("expected a time")))
}
