/**
 * Rows of a program in the form that a COPY takes: binary, or text for the types that have no other.
 *
 * Each column has a writer of its own, and a row is written by a function that was made for its columns. Nothing is
 * allocated for a value.
 */
import type { BadRow } from "../../bulk/Bulk.ts"
import { badRowOf, checkKeys, checkLength, refuseNull } from "../../bulk/rows.ts"
import { copyHeaderSize, writeCopyHeader } from "../exchange/copyFrames.ts"
import type { Codec } from "../types/Codec.ts"
import { WireBuffer } from "../wire/WireBuffer.ts"

/** A column that is given. */
export interface Column {
  readonly name: string
  readonly type: string
  readonly codec: Codec<any>
  readonly takesNull: boolean
  /** The characters that it takes at most. */
  readonly maxLength: number | undefined
}

/** The data of a message is taken out when it has grown to this. */
const messageSize = 128 * 1024

const binarySignature = Buffer.from("PGCOPY\n\u00ff\r\n\0\0\0\0\0\0\0\0\0", "latin1")

export interface Encoder {
  readonly format: "binary" | "text"
  /** Whether the data is large enough to be sent. */
  readonly isFull: boolean
  /** Writes a row. Answers what is wrong with one that does not fit, of which nothing is left then. */
  readonly add: (row: any, index: number) => BadRow | undefined
  /** The data so far, as a message. */
  readonly take: () => { readonly frame: Uint8Array; readonly bytes: number } | undefined
  /** Writes what ends the data. */
  readonly end: () => void
}

/** Which column is being written: what fails does not know. */
interface Place {
  column: number
}

type WriteRow = (row: any, buffer: WireBuffer, place: Place) => void

export const makeEncoder = (columns: ReadonlyArray<Column>): Encoder => {
  const buffer = new WireBuffer(messageSize + 32 * 1024, copyHeaderSize)
  const place: Place = { column: -1 }
  const isBinary = columns.every((column) => column.codec.write !== undefined)
  const writeRow = isBinary ? binaryRow(columns) : textRow(columns)
  const names = new Set(columns.map((column) => column.name))
  if (isBinary) buffer.raw(binarySignature)
  return {
    format: isBinary ? "binary" : "text",
    get isFull() {
      return buffer.length >= messageSize
    },
    add: (row, index) => {
      const start = buffer.offset
      place.column = -1
      // The codec boundary: writers throw what they cannot write.
      try {
        checkKeys(row, names)
        writeRow(row, buffer, place)
        return undefined
      } catch (cause) {
        buffer.offset = start
        return badRowOf(cause, row, index, columns[place.column])
      }
    },
    take: () => {
      const bytes = buffer.length
      if (bytes === 0) return undefined
      writeCopyHeader(buffer.bytes, 0, bytes)
      return { frame: buffer.take(), bytes }
    },
    end: () => {
      if (isBinary) buffer.int16(-1)
    }
  }
}

const writerOf = (column: Column): (buffer: WireBuffer, value: any) => void => {
  const write = column.codec.write! as (buffer: WireBuffer, value: any) => void
  const { maxLength } = column
  return maxLength === undefined ? write : (buffer, value) => {
    if (typeof value === "string") checkLength(value, maxLength)
    write(buffer, value)
  }
}

const binaryRow = (columns: ReadonlyArray<Column>): WriteRow => {
  const writers = columns.map(writerOf)
  const body = columns.map(({ name, takesNull }, index) =>
    `p.column = ${index}; v = r[${JSON.stringify(name)}];
if (v === null || v === undefined) ${takesNull ? "b.int32(-1)" : "n()"};
else { t = b.beginLength(); w${index}(b, v); b.endLength(t) }`
  )
  const names = columns.map((_, index) => `w${index}`)
  // Environments that forbid generated code get the loop, which is slower.
  try {
    const make = new Function(
      ...names,
      "n",
      `return (r, b, p) => { let v, t; b.int16(${columns.length});\n${body.join("\n")} }`
    )
    return make(...writers, refuseNull) as WriteRow
  } catch {
    return (row, buffer, place) => {
      buffer.int16(columns.length)
      for (let index = 0; index < columns.length; index++) {
        place.column = index
        const value = row[columns[index]!.name]
        if (value === null || value === undefined) {
          if (columns[index]!.takesNull) buffer.int32(-1)
          else refuseNull()
        } else {
          const token = buffer.beginLength()
          writers[index]!(buffer, value)
          buffer.endLength(token)
        }
      }
    }
  }
}

const escapes: Record<string, string> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" }

/** Writes a value as the text format of COPY has it. */
export const escapeText = (text: string): string =>
  /[\\\n\r\t]/.test(text) ? text.replace(/[\\\n\r\t]/g, (char) => escapes[char]!) : text

const textRow = (columns: ReadonlyArray<Column>): WriteRow => (row, buffer, place) => {
  let line = ""
  for (let index = 0; index < columns.length; index++) {
    const column = columns[index]!
    place.column = index
    const value = row[column.name]
    if (index > 0) line += "\t"
    if (value === null || value === undefined) {
      if (!column.takesNull) refuseNull()
      line += "\\N"
    } else {
      if (column.maxLength !== undefined && typeof value === "string") checkLength(value, column.maxLength)
      line += escapeText(column.codec.format(value))
    }
  }
  buffer.utf8(`${line}\n`)
}
