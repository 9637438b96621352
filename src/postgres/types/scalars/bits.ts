/** Bits, and places in the server's log and tables. */
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { checkInteger, checkText, pad, readInt32, readUint32, requireSize } from "./primitives.ts"

const lsnPattern = /^([0-9a-f]{1,8})\/([0-9a-f]{1,8})$/i

export const pgLsn: Codec<string> = {
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

export const bits = (name: string): Codec<string> => ({
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

export const tid: Codec<string> = {
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
