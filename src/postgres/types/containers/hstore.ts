/** Texts by texts. */
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readInt32, readText } from "../scalars/primitives.ts"
import { hasFields, setProperty } from "./fields.ts"
import { quoted } from "./quoted.ts"
import { readSized, sizeAt, writeSized } from "./sized.ts"

type Hstore = Readonly<Record<string, string | null>>

const entriesOf = (value: unknown): ReadonlyArray<readonly [string, string | null]> => {
  if (!hasFields(value)) return unfit("expected an object of texts")
  const entries = Object.entries(value as Record<string, unknown>)
  for (const [, text] of entries) {
    if (text !== null && typeof text !== "string") return unfit("expected an object of texts")
  }
  return entries as ReadonlyArray<readonly [string, string | null]>
}

export const hstoreCodec = (text: Codec<string>): Codec<Hstore> => ({
  name: "hstore",
  read: (bytes, start, size) => {
    const limit = start + size
    const count = readInt32(bytes, start)
    if (count < 0 || count * 8 > size) return unfit("the hstore is cut off")
    const value: Record<string, unknown> = {}
    let offset = start + 4
    for (let index = 0; index < count; index++) {
      const key = readSized(readText, bytes, offset, limit) as string
      offset += sizeAt(bytes, offset)
      setProperty(value, key, readSized(readText, bytes, offset, limit))
      offset += sizeAt(bytes, offset)
    }
    return value as Hstore
  },
  write: (sink, value) => {
    const entries = entriesOf(value)
    sink.int32(entries.length)
    for (const [key, entry] of entries) {
      writeSized(sink, text.write!, key)
      writeSized(sink, text.write!, entry)
    }
  },
  parse: (source) => {
    const value: Record<string, unknown> = {}
    let at = 0
    while (at < source.length) {
      if (source[at] === "," || source[at] === " ") {
        at++
        continue
      }
      const [key, end] = quoted(source, at)
      if (!source.startsWith("=>", end)) return unfit("expected an hstore")
      if (source.startsWith("NULL", end + 2)) {
        setProperty(value, key, null)
        at = end + 6
      } else {
        const [entry, next] = quoted(source, end + 2)
        setProperty(value, key, entry)
        at = next
      }
    }
    return value as Hstore
  },
  format: (value) => {
    const quote = (part: string) => `"${text.format(part).replace(/["\\]/g, "\\$&")}"`
    return entriesOf(value).map(([key, entry]) => `${quote(key)}=>${entry === null ? "NULL" : quote(entry)}`).join(",")
  }
})
