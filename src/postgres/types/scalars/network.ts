/** Addresses of networks and devices. */
import { Buffer } from "node:buffer"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { pad, requireSize } from "./primitives.ts"

const hexBytes = (bytes: Uint8Array, offset: number, size: number, separator: string): string => {
  let text = ""
  for (let index = 0; index < size; index++) {
    text += `${index === 0 ? "" : separator}${pad(bytes[offset + index]!.toString(16) as never, 2)}`
  }
  return text
}

export const macaddr = (name: string, size: number): Codec<string> => {
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
