/** Values behind their length, as those inside of others travel. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readInt32 } from "../scalars/primitives.ts"

export type Sink = PgProtocol.ValueSink
export type Lookup = (oid: number) => Codec<any> | undefined

/** Reads a value behind its length. */
export const readSized = (
  read: (bytes: Uint8Array, offset: number, size: number) => unknown,
  bytes: Uint8Array,
  offset: number,
  limit: number
): unknown => {
  const size = readInt32(bytes, offset)
  if (size === -1) return null
  if (size < 0 || offset + 4 + size > limit) return unfit("the value is cut off")
  return read(bytes, offset + 4, size)
}

export const writeSized = (sink: Sink, write: (sink: Sink, value: any) => void, value: unknown): void => {
  if (value === null || value === undefined) return sink.int32(-1)
  const token = sink.beginLength()
  write(sink, value)
  sink.endLength(token)
}

export const sizeAt = (bytes: Uint8Array, offset: number): number => Math.max(0, readInt32(bytes, offset)) + 4
