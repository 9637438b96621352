/** Types whose values are texts, and `bool` and `bytea`. */
import { Buffer } from "node:buffer"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { checkText, readText, requireSize } from "./primitives.ts"

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
export const charCodec: Codec<string> = {
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

export const bool: Codec<boolean> = {
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

export const bytea: Codec<Uint8Array> = {
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
