/** Rows of a composite type, and records whose types only their own bytes tell. */
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readInt32, readUint32 } from "../scalars/primitives.ts"
import { hasFields, setProperty } from "./fields.ts"
import { quoted } from "./quoted.ts"
import { type Lookup, readSized, sizeAt, writeSized } from "./sized.ts"

/** A column of a composite type. */
export interface Attribute {
  readonly name: string
  readonly oid: number
}

const parseFields = (text: string): Array<string | null> => {
  if (!text.startsWith("(") || !text.endsWith(")")) return unfit("expected a composite value")
  const fields: Array<string | null> = []
  let at = 1
  for (;;) {
    let value: string | null = null
    while (text[at] !== "," && at < text.length - 1) {
      if (text[at] === "\"") {
        const [part, end] = quoted(text, at)
        value = (value ?? "") + part
        at = end
      } else {
        value = (value ?? "") + text[at]
        at++
      }
    }
    fields.push(value)
    if (at >= text.length - 1) return fields
    at++
  }
}

const quoteField = (text: string): string =>
  /[(),"\\\s]|^$/.test(text) ? `"${text.replaceAll("\\", "\\\\").replaceAll("\"", "\"\"")}"` : text

export const compositeCodec = (
  name: string,
  attributes: ReadonlyArray<Attribute>,
  lookup: Lookup,
  onMismatch: () => void
): Codec<Record<string, unknown>> => {
  const codecs = attributes.map((attribute) => lookup(attribute.oid))
  const changed = (): never => {
    onMismatch()
    return unfit(`the type ${name} has changed since it was read: the next statement reads it again`)
  }
  const fieldOf = (value: unknown, index: number): unknown =>
    (value as Record<string, unknown>)[attributes[index]!.name]
  const check = (value: unknown): void => {
    if (!hasFields(value)) return unfit(`expected an object for ${name}`)
    for (const key of Object.keys(value)) {
      if (!attributes.some((attribute) => attribute.name === key)) unfit(`the type ${name} has no column of that name`)
    }
  }
  return {
    name,
    read: codecs.some((codec) => codec?.read === undefined) ? undefined : (bytes, start, size) => {
      const limit = start + size
      if (readInt32(bytes, start) !== attributes.length) return changed()
      const value: Record<string, unknown> = {}
      let offset = start + 4
      for (let index = 0; index < attributes.length; index++) {
        if (offset + 8 > limit) return unfit("the value is cut off")
        if (readUint32(bytes, offset) !== attributes[index]!.oid) return changed()
        setProperty(value, attributes[index]!.name, readSized(codecs[index]!.read!, bytes, offset + 4, limit))
        offset += 4 + sizeAt(bytes, offset + 4)
      }
      return value
    },
    write: codecs.some((codec) => codec?.write === undefined) ? undefined : (sink, value) => {
      check(value)
      sink.int32(attributes.length)
      for (let index = 0; index < attributes.length; index++) {
        sink.int32(attributes[index]!.oid)
        writeSized(sink, codecs[index]!.write!, fieldOf(value, index))
      }
    },
    parse: (text) => {
      const fields = parseFields(text)
      if (fields.length !== attributes.length && !(attributes.length === 0 && fields[0] === null)) return changed()
      const value: Record<string, unknown> = {}
      for (let index = 0; index < attributes.length; index++) {
        const field = fields[index]!
        setProperty(value, attributes[index]!.name, field === null ? null : codecs[index]?.parse(field) ?? field)
      }
      return value
    },
    format: (value) => {
      check(value)
      const texts = attributes.map((_, index) => {
        const field = fieldOf(value, index)
        const codec = codecs[index]
        return field === null || field === undefined
          ? ""
          : quoteField(codec === undefined ? String(field) : codec.format(field))
      })
      return `(${texts.join(",")})`
    }
  }
}

/** A row without a type of its own, whose columns have no names: an array. In text nothing is known but the texts. */
export const recordCodec = (lookup: Lookup, onUnknown: (oid: number) => void): Codec<ReadonlyArray<unknown>> => ({
  name: "record",
  shape: "array",
  read: (bytes, start, size) => {
    const limit = start + size
    const count = readInt32(bytes, start)
    if (count < 0 || count * 8 > size) return unfit("the value is cut off")
    let offset = start + 4
    return Array.from({ length: count }, () => {
      if (offset + 8 > limit) return unfit("the value is cut off")
      const oid = readUint32(bytes, offset)
      const at = offset + 4
      offset = at + sizeAt(bytes, at)
      if (readInt32(bytes, at) === -1) return null
      const codec = lookup(oid)
      if (codec === undefined) {
        onUnknown(oid)
        return unfit("a type in the row was not known: the next statement reads it")
      }
      return codec.read === undefined
        ? unfit(`the row contains a value of ${codec.name}, which has no binary form: cast it to text`)
        : readSized(codec.read, bytes, at, limit)
    })
  },
  parse: parseFields,
  format: (value) =>
    Array.isArray(value)
      ? `(${value.map((field) => field === null ? "" : quoteField(String(field))).join(",")})`
      : unfit("expected an array")
})
