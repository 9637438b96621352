/**
 * Reads rows out of the data of a COPY, in the pieces that it comes in.
 */
import { Buffer } from "node:buffer"
import { unfit } from "../../values/UnfitValue.ts"
import type { Codec } from "../types/Codec.ts"
import { readInt32, readText } from "../types/scalars/primitives.ts"

export interface RowColumn {
  readonly name: string
  readonly codec: Codec<any>
}

export interface RowReader {
  /** The rows in these pieces. Throws what a codec throws. */
  readonly read: (pieces: ReadonlyArray<Uint8Array>) => Array<Record<string, unknown>>
  /** How many rows were read. */
  readonly count: () => number
  /** The column that was read last. */
  readonly column: () => string
}

const headerSize = 19

export const makeRowReader = (columns: ReadonlyArray<RowColumn>, format: "binary" | "text"): RowReader => {
  const build = makeBuilder(columns)
  const values: Array<unknown> = new Array(columns.length)
  let count = 0
  let current = 0
  let rest: Uint8Array | undefined

  /** Whole pieces are what PostgreSQL sends; something on the way may cut them elsewhere. */
  const joined = (piece: Uint8Array): Uint8Array => {
    if (rest === undefined) return piece
    const both = Buffer.concat([rest, piece])
    rest = undefined
    return both
  }

  let started = false
  const binary = (piece: Uint8Array, rows: Array<Record<string, unknown>>): void => {
    const bytes = joined(piece)
    let offset = 0
    if (!started) {
      if (bytes.length < headerSize || bytes.length < headerSize + readInt32(bytes, 15)) {
        rest = bytes
        return
      }
      started = true
      offset = headerSize + readInt32(bytes, 15)
    }
    next: while (offset + 2 <= bytes.length) {
      const start = offset
      const fields = (bytes[offset]! << 8) | bytes[offset + 1]!
      offset += 2
      if (fields === 0xffff) return
      if (fields !== columns.length) return unfit("the data has other columns than the query")
      for (let index = 0; index < fields; index++) {
        const size = offset + 4 <= bytes.length ? readInt32(bytes, offset) : Infinity
        if (size === Infinity || size > 0 && offset + 4 + size > bytes.length) {
          rest = bytes.subarray(start)
          break next
        }
        offset += 4
        current = index
        if (size < 0) {
          values[index] = null
        } else {
          values[index] = columns[index]!.codec.read!(bytes, offset, size)
          offset += size
        }
      }
      rows.push(build(values))
      count++
      if (offset + 2 > bytes.length && offset < bytes.length) rest = bytes.subarray(offset)
    }
  }

  const text = (piece: Uint8Array, rows: Array<Record<string, unknown>>): void => {
    const bytes = joined(piece)
    let offset = 0
    for (;;) {
      const end = bytes.indexOf(10, offset)
      if (end < 0) {
        if (offset < bytes.length) rest = bytes.subarray(offset)
        return
      }
      const fields = columns.length === 0 ? [] : readText(bytes, offset, end - offset).split("\t")
      offset = end + 1
      if (fields.length !== columns.length) return unfit("the data has other columns than the query")
      for (let index = 0; index < fields.length; index++) {
        const field = fields[index]!
        current = index
        values[index] = field === "\\N" ? null : columns[index]!.codec.parse(unescapeText(field))
      }
      rows.push(build(values))
      count++
    }
  }

  const readPiece = format === "binary" ? binary : text
  return {
    read: (pieces) => {
      const rows: Array<Record<string, unknown>> = []
      for (const piece of pieces) readPiece(piece, rows)
      return rows
    },
    count: () => count,
    column: () => columns[current]?.name ?? ""
  }
}

const unescapes: Record<string, string> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t", v: "\v" }

/** Reads a value as the text format of COPY has it. */
export const unescapeText = (text: string): string =>
  text.includes("\\") ? text.replace(/\\([\s\S])/g, (_, char: string) => unescapes[char] ?? char) : text

const makeBuilder = (
  columns: ReadonlyArray<RowColumn>
): (values: ReadonlyArray<unknown>) => Record<string, unknown> => {
  const slow = (values: ReadonlyArray<unknown>): Record<string, unknown> => {
    const row: Record<string, unknown> = {}
    for (let index = 0; index < columns.length; index++) {
      Object.defineProperty(row, columns[index]!.name, {
        value: values[index],
        enumerable: true,
        configurable: true,
        writable: true
      })
    }
    return row
  }
  if (columns.some(({ name }) => name === "__proto__")) return slow
  try {
    const fields = columns.map(({ name }, index) => `${JSON.stringify(name)}: v[${index}]`)
    return new Function("v", `return { ${fields.join(", ")} }`) as typeof slow
  } catch {
    return slow
  }
}
