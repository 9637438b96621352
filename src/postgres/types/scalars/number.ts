/** Integers, floats and `numeric`. */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import {
  checkInt64,
  checkInteger,
  checkNumber,
  checkText,
  readFloat64,
  readInt32,
  readInt64,
  readUint32,
  scratch,
  viaBinary,
  writeInt64Number
} from "./primitives.ts"

const parseInteger = (text: string): number => /^[+-]?\d+$/.test(text) ? Number(text) : unfit("expected an integer")

const parseBigInt = (text: string): bigint => /^[+-]?\d+$/.test(text) ? BigInt(text) : unfit("expected an integer")

export const int2: Codec<number> = {
  name: "int2",
  read: (bytes, offset) => ((bytes[offset]! << 8) | bytes[offset + 1]!) << 16 >> 16,
  write: (sink, value) => sink.int16(checkInteger(value, -32768, 32767)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, -32768, 32767))
}

export const int4: Codec<number> = {
  name: "int4",
  read: readInt32,
  write: (sink, value) => sink.int32(checkInteger(value, -2147483648, 2147483647)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, -2147483648, 2147483647))
}

export const unsigned = (name: string): Codec<number> => ({
  name,
  read: readUint32,
  write: (sink, value) => sink.int32(checkInteger(value, 0, 4294967295)),
  parse: parseInteger,
  format: (value) => String(checkInteger(value, 0, 4294967295))
})

export const int8: Codec<bigint> = {
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

export const xid8: Codec<bigint> = {
  name: "xid8",
  read: (bytes, offset) => BigInt.asUintN(64, readInt64(bytes, offset)),
  write: (sink, value) => sink.bigInt64(BigInt.asIntN(64, checkUint64(value))),
  parse: parseBigInt,
  format: (value) => String(checkUint64(value))
}

const parseFloat = (text: string): number =>
  text === "NaN" || text !== "" && !Number.isNaN(Number(text)) ? Number(text) : unfit("expected a number")

/** A number that is another one in four bytes is rounded; one that is infinite or nothing there is refused. */
const checkFloat4 = (value: unknown): number => {
  const number = checkNumber(value)
  const rounded = Math.fround(number)
  return Number.isFinite(number) && (!Number.isFinite(rounded) || rounded === 0 && number !== 0)
    ? unfit("the number is out of range")
    : number
}

export const float4: Codec<number> = {
  name: "float4",
  read: (bytes, offset) => {
    scratch.setInt32(0, readInt32(bytes, offset))
    return scratch.getFloat32(0)
  },
  write: (sink, value) => sink.float32(checkFloat4(value)),
  // The shortest text that gives the same four bytes back is not what the four bytes read as.
  parse: (text) => Math.fround(parseFloat(text)),
  format: (value) => formatFloat(checkFloat4(value))
}

export const float8: Codec<number> = {
  name: "float8",
  read: readFloat64,
  write: (sink, value) => sink.float64(checkNumber(value)),
  parse: parseFloat,
  format: (value) => formatFloat(checkNumber(value))
}

export const formatFloat = (value: number): string => Object.is(value, -0) ? "-0" : String(value)

const numericText = (value: unknown): unknown =>
  typeof value === "number" || typeof value === "bigint" ? String(value) : value

export const numeric: Codec<string> = {
  ...viaBinary(PgTypes.OID.numeric, "numeric", numericText),
  parse: (text) => text
}

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
