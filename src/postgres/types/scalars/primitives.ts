/** What the codecs of scalar types have in common: integers, floats and texts in binary, and the driver's codecs. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import { Buffer } from "node:buffer"
import { checkText as checkCharacters } from "../../../values/text.ts"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"

export const readInt32 = (bytes: Uint8Array, offset: number): number =>
  (bytes[offset]! << 24) | (bytes[offset + 1]! << 16) | (bytes[offset + 2]! << 8) | bytes[offset + 3]!

export const readUint32 = (bytes: Uint8Array, offset: number): number => readInt32(bytes, offset) >>> 0

export const scratch = new DataView(new ArrayBuffer(8))

export const readInt64 = (bytes: Uint8Array, offset: number): bigint => {
  scratch.setInt32(0, readInt32(bytes, offset))
  scratch.setInt32(4, readInt32(bytes, offset + 4))
  return scratch.getBigInt64(0)
}

export const readFloat64 = (bytes: Uint8Array, offset: number): number => {
  scratch.setInt32(0, readInt32(bytes, offset))
  scratch.setInt32(4, readInt32(bytes, offset + 4))
  return scratch.getFloat64(0)
}

export const requireSize = (size: number, expected: number, name: string): void => {
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

export const checkText = (value: unknown): string =>
  typeof value === "string" ? checkCharacters(value) : unfit("expected a string")

export const checkNumber = (value: unknown): number => typeof value === "number" ? value : unfit("expected a number")

export const checkInteger = (value: unknown, min: number, max: number): number =>
  typeof value === "number" && Number.isInteger(value) && value >= min && value <= max
    ? value
    : typeof value === "bigint" && value >= BigInt(min) && value <= BigInt(max)
    ? Number(value)
    : unfit(
      typeof value === "number" || typeof value === "bigint" ? "the number is out of range" : "expected an integer"
    )

export const int64Min = -(2n ** 63n)
export const int64Max = 2n ** 63n - 1n

export const checkInt64 = (value: unknown): bigint => {
  const big = typeof value === "bigint"
    ? value
    : typeof value === "number" && Number.isSafeInteger(value)
    ? BigInt(value)
    : unfit("expected a bigint or a safe integer")
  return big < int64Min || big > int64Max ? unfit("the number is out of range") : big
}

export const writeInt64Number = (sink: PgProtocol.ValueSink, value: number): void => {
  const high = Math.floor(value / 4294967296)
  sink.int32(high)
  sink.int32(value - high * 4294967296)
}

export const pad = (value: number | bigint, size: number): string => String(value).padStart(size, "0")

/** Reads and writes a type with the driver's codec. Its messages show values, so they are not passed on. */
export const driverRead = (
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

export const driverEncode = (value: unknown, oid: number, name: string, registry?: PgTypes.Registry): Uint8Array => {
  const encoded = PgTypes.encode(value, oid, registry)
  return Result.isSuccess(encoded) ? encoded.success : unfit(`expected a value of ${name}`)
}

/** A type whose text is made from its bytes: the driver's two functions give all four. */
export const viaBinary = (
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
