/**
 * Values in PostgreSQL's text form.
 *
 * Results come in binary wherever the driver has a codec. Text is what a simple query answers with, and what a type
 * without a codec is asked for. Only the types whose text form is as plain as their value are read; the rest stay the
 * string that `psql` would show.
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import { Buffer } from "node:buffer"

type TextReader = (text: string) => unknown

const OID = PgTypes.OID

const readFloat: TextReader = (text) => text === "Infinity" ? Infinity : text === "-Infinity" ? -Infinity : Number(text)

const readBytes: TextReader = (text) =>
  // The `escape` output format is a setting of the session that nobody has used since 9.0.
  text.startsWith("\\x") ? new Uint8Array(Buffer.from(text.slice(2), "hex")) : text

const readers = new Map<number, TextReader>([
  [OID.bool, (text) => text === "t"],
  [OID.int2, Number],
  [OID.int4, Number],
  [OID.oid, Number],
  [OID.int8, BigInt],
  [OID.float4, readFloat],
  [OID.float8, readFloat],
  [OID.json, (text) => JSON.parse(text)],
  [OID.jsonb, (text) => JSON.parse(text)],
  [OID.bytea, readBytes]
])

/** The types whose value is their text. */
const strings = new Set<number>([
  OID.text,
  OID.varchar,
  OID.bpchar,
  OID.name,
  OID.numeric,
  OID.uuid,
  OID.inet,
  OID.cidr,
  OID.date
])

/** The reader of a type's text, or `undefined` where the string is the value. */
export const textReader = (oid: number): TextReader | undefined => readers.get(oid)

/** Whether a type that has a codec reads to the same value from its text. */
export const isReadableText = (oid: number): boolean => readers.has(oid) || strings.has(oid)
