/**
 * Values that are made of other values: arrays, ranges, composites, `hstore`.
 *
 * A container travels in binary only if everything in it does. The codecs of what is in it are looked up when they are
 * needed, because types may refer to each other.
 */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { unfit } from "../../values/UnfitValue.ts"
import { isPlain } from "../../values/Value.ts"
import type { Codec } from "./Codec.ts"
import { readInt32, readText, readUint32 } from "./scalars/primitives.ts"

type Sink = PgProtocol.ValueSink
type Lookup = (oid: number) => Codec<any> | undefined

/** Reads a value behind its length. */
const readSized = (
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

const writeSized = (sink: Sink, write: (sink: Sink, value: any) => void, value: unknown): void => {
  if (value === null || value === undefined) return sink.int32(-1)
  const token = sink.beginLength()
  write(sink, value)
  sink.endLength(token)
}

const sizeAt = (bytes: Uint8Array, offset: number): number => Math.max(0, readInt32(bytes, offset)) + 4

// ---------------------------------------------------------------------------------------------------------------------
// arrays
// ---------------------------------------------------------------------------------------------------------------------

/** How deep arrays are nested in each other. */
const depthOf = (value: unknown): number => {
  if (!Array.isArray(value)) return 0
  let deepest = 0
  for (const inner of value) deepest = Math.max(deepest, depthOf(inner))
  return deepest + 1
}

/** How many levels of arrays around the first value are those of the array itself. */
const levelsOf = (value: unknown, shape: Codec<any>["shape"]): number =>
  shape === "anything" ? 1 : shape === "array" ? Math.max(1, depthOf(value) - 1) : Infinity

/** The lengths of nested arrays, which must be the same at each depth. An empty array has no dimensions. */
const dimensionsOf = (value: unknown, shape: Codec<any>["shape"]): Array<number> => {
  const levels = levelsOf(value, shape)
  const lengths: Array<number> = []
  let current = value
  while (Array.isArray(current) && lengths.length < levels) {
    lengths.push(current.length)
    current = current[0]
  }
  if (lengths.length === 0) return unfit("expected an array")
  if (lengths.length > 6) return unfit("an array has at most 6 dimensions")
  if (!lengths.includes(0)) return lengths
  // Nothing is in it, if nothing is in any other of them either.
  eachElement(value, lengths, 0, ignore)
  return []
}

const eachElement = (
  value: unknown,
  lengths: ReadonlyArray<number>,
  depth: number,
  f: (element: unknown) => void
): void => {
  if (!Array.isArray(value) || value.length !== lengths[depth]) {
    return unfit("the arrays inside an array must all have the same length")
  }
  if (depth === lengths.length - 1) { for (const element of value) f(element) }
  else for (const inner of value) eachElement(inner, lengths, depth + 1, f)
}

const ignore = (): void => {}

/** Whether an element is null. What is missing in an array is no null that anybody meant. */
const isNull = (element: unknown): boolean =>
  element === null || element === undefined && unfit("undefined in an array is no value: pass null")

/** Puts elements that come one after the other into nested arrays. */
const nest = (lengths: ReadonlyArray<number>, depth: number, next: () => unknown): Array<unknown> =>
  Array.from({ length: lengths[depth]! }, () => depth === lengths.length - 1 ? next() : nest(lengths, depth + 1, next))

const needsQuotes = /[{}(),"\\;\s]|^$|^null$/i

export const quoteElement = (text: string): string =>
  needsQuotes.test(text) ? `"${text.replace(/["\\]/g, "\\$&")}"` : text

export const arrayCodec = (
  name: string,
  elementOid: number,
  element: Codec<any>,
  delimiter: string
): Codec<ReadonlyArray<unknown>> => {
  const { read, shape, write } = element
  return {
    name,
    shape: "array",
    read: read === undefined ? undefined : (bytes, start, size) => {
      if (size < 12) return unfit("the array is cut off")
      const dimensions = readInt32(bytes, start)
      if (readUint32(bytes, start + 8) !== elementOid) return unfit("the elements of the array are of another type")
      if (dimensions === 0) return []
      if (dimensions < 0 || dimensions > 6 || size < 12 + dimensions * 8) return unfit("the array is cut off")
      const limit = start + size
      let offset = start + 12 + dimensions * 8
      const next = (): unknown => {
        if (offset + 4 > limit) return unfit("the array is cut off")
        const value = readSized(read, bytes, offset, limit)
        offset += sizeAt(bytes, offset)
        return value
      }
      if (dimensions === 1) {
        const length = readInt32(bytes, start + 12)
        if (length < 0 || length * 4 > size) return unfit("the array is cut off")
        const values: Array<unknown> = new Array(length)
        for (let index = 0; index < length; index++) values[index] = next()
        return values
      }
      const lengths = Array.from({ length: dimensions }, (_, index) => readInt32(bytes, start + 12 + index * 8))
      let count = 1
      for (const length of lengths) count *= length > 0 ? length : NaN
      if (!(count * 4 <= size)) return unfit("the array is cut off")
      return nest(lengths, 0, next)
    },
    write: write === undefined ? undefined : (sink, value) => {
      const lengths = dimensionsOf(value, shape)
      let nulls = false
      if (lengths.length > 0) {
        eachElement(value, lengths, 0, (element) => {
          nulls = isNull(element) || nulls
        })
      }
      sink.int32(lengths.length)
      sink.int32(nulls ? 1 : 0)
      sink.int32(elementOid)
      for (const length of lengths) {
        sink.int32(length)
        sink.int32(1)
      }
      if (lengths.length > 0) eachElement(value, lengths, 0, (element) => writeSized(sink, write, element))
    },
    parse: (text) => parseArray(text, element, delimiter),
    format: (value) => {
      const lengths = dimensionsOf(value, shape)
      const print = (value: unknown, depth: number): string => {
        if (!Array.isArray(value) || value.length !== lengths[depth]) {
          return unfit("the arrays inside an array must all have the same length")
        }
        const texts = Array.from(value, (inner) =>
          depth < lengths.length - 1
            ? print(inner, depth + 1)
            : isNull(inner)
            ? "NULL"
            : quoteElement(element.format(inner)))
        return `{${texts.join(delimiter)}}`
      }
      return lengths.length === 0 ? "{}" : print(value, 0)
    }
  }
}

const parseArray = (text: string, element: Codec<any>, delimiter: string): Array<unknown> => {
  // Bounds that do not begin with 1 are written in front.
  let at = text.startsWith("[") ? text.indexOf("=") + 1 : 0
  const list = (): Array<unknown> => {
    if (text[at] !== "{") return unfit("expected an array")
    at++
    const values: Array<unknown> = []
    while (at < text.length) {
      const start = text[at]
      if (start === "}") {
        at++
        return values
      }
      if (start === delimiter) {
        at++
      } else if (start === "{") {
        values.push(list())
      } else if (start === "\"") {
        const [value, end] = quoted(text, at)
        values.push(element.parse(value))
        at = end
      } else {
        let end = at
        while (end < text.length && text[end] !== delimiter && text[end] !== "}") end++
        const value = text.slice(at, end)
        values.push(value === "NULL" ? null : element.parse(value))
        at = end
      }
    }
    return unfit("the array is cut off")
  }
  const values = list()
  return at === text.length ? values : unfit("expected an array")
}

/** The text between quotes, and where it ends. A quote in it is doubled or behind a backslash. */
const quoted = (text: string, start: number): readonly [string, number] => {
  let value = ""
  let at = start + 1
  while (at < text.length) {
    const char = text[at]!
    if (char === "\\") {
      value += text[at + 1] ?? ""
      at += 2
    } else if (char !== "\"") {
      value += char
      at++
    } else if (text[at + 1] === "\"") {
      value += char
      at += 2
    } else {
      return [value, at + 1]
    }
  }
  return unfit("a quote is not closed")
}

/** The vectors of the catalogues. The server takes an empty one as text only. */
export const vectorCodec = (name: string, elementOid: number, element: Codec<any>): Codec<ReadonlyArray<unknown>> => ({
  ...arrayCodec(name, elementOid, element, " "),
  write: undefined,
  parse: (text) => text === "" ? [] : text.split(" ").map((value) => element.parse(value)),
  format: (value) => Array.isArray(value) ? value.map(element.format).join(" ") : unfit("expected an array")
})

// ---------------------------------------------------------------------------------------------------------------------
// ranges
// ---------------------------------------------------------------------------------------------------------------------

/** A range of values. A bound that is null is infinite. */
export interface RangeValue<A> {
  readonly lower: A | null
  readonly upper: A | null
  /** Which bounds belong to it: a bracket is in, a parenthesis is out. */
  readonly bounds: "[)" | "[]" | "(]" | "()" | "empty"
}

const emptyRange: RangeValue<never> = { lower: null, upper: null, bounds: "empty" }

const Flag = { empty: 1, lowerIn: 2, upperIn: 4, lowerInfinite: 8, upperInfinite: 16 } as const

const checkRange = (value: unknown): RangeValue<unknown> => {
  const range = value as RangeValue<unknown> | null
  return typeof range === "object" && range !== null && typeof range.bounds === "string" &&
      /^(?:[[(][\])]|empty)$/.test(range.bounds)
    ? range
    : unfit("expected a range: lower, upper and bounds")
}

/** Infinite bounds belong to no range, and the server writes them so. */
const tidyBounds = (lowerIn: boolean, upperIn: boolean): RangeValue<never>["bounds"] =>
  `${lowerIn ? "[" : "("}${upperIn ? "]" : ")"}`

const quoteBound = (text: string): string =>
  /[[\](),"\\\s]|^$/.test(text) ? `"${text.replaceAll("\\", "\\\\").replaceAll("\"", "\"\"")}"` : text

export const rangeCodec = (name: string, element: Codec<any>): Codec<RangeValue<unknown>> => {
  const { read, write } = element
  return {
    name,
    read: read === undefined ? undefined : (bytes, start, size) => {
      const flags = bytes[start]!
      if ((flags & Flag.empty) !== 0) return emptyRange
      const limit = start + size
      let offset = start + 1
      const bound = (infinite: number): unknown => {
        if ((flags & infinite) !== 0) return null
        if (offset + 4 > limit) return unfit("the range is cut off")
        const value = readSized(read, bytes, offset, limit)
        offset += sizeAt(bytes, offset)
        return value
      }
      const lower = bound(Flag.lowerInfinite)
      const upper = bound(Flag.upperInfinite)
      return { lower, upper, bounds: tidyBounds((flags & Flag.lowerIn) !== 0, (flags & Flag.upperIn) !== 0) }
    },
    write: write === undefined ? undefined : (sink, value) => {
      const { bounds, lower, upper } = checkRange(value)
      if (bounds === "empty") return sink.uint8(Flag.empty)
      sink.uint8(
        (lower === null ? Flag.lowerInfinite : bounds[0] === "[" ? Flag.lowerIn : 0) |
          (upper === null ? Flag.upperInfinite : bounds[1] === "]" ? Flag.upperIn : 0)
      )
      if (lower !== null) writeSized(sink, write, lower)
      if (upper !== null) writeSized(sink, write, upper)
    },
    parse: (text) => parseRange(text, element, 0)[0],
    format: (value) => {
      const { bounds, lower, upper } = checkRange(value)
      if (bounds === "empty") return "empty"
      const print = (bound: unknown) => bound === null ? "" : quoteBound(element.format(bound))
      return `${bounds[0]}${print(lower)},${print(upper)}${bounds[1]}`
    }
  }
}

const parseRange = (text: string, element: Codec<any>, start: number): readonly [RangeValue<unknown>, number] => {
  if (text.startsWith("empty", start)) return [emptyRange, start + 5]
  let at = start + 1
  const bound = (): unknown => {
    let value = ""
    let found = false
    while (at < text.length && text[at] !== "," && text[at] !== ")" && text[at] !== "]") {
      found = true
      if (text[at] === "\"") {
        const [part, end] = quoted(text, at)
        value += part
        at = end
      } else {
        value += text[at]
        at++
      }
    }
    return found ? element.parse(value) : null
  }
  const open = text[start]
  const lower = bound()
  if (open !== "[" && open !== "(" || text[at] !== ",") return unfit("expected a range")
  at++
  const upper = bound()
  const close = text[at]
  if (close !== "]" && close !== ")") return unfit("expected a range")
  return [{ lower, upper, bounds: tidyBounds(open === "[", close === "]") }, at + 1]
}

export const multirangeCodec = (
  name: string,
  range: Codec<RangeValue<unknown>>,
  element: Codec<any>
): Codec<ReadonlyArray<RangeValue<unknown>>> => ({
  name,
  shape: "array",
  read: range.read === undefined ? undefined : (bytes, start, size) => {
    const limit = start + size
    const count = readInt32(bytes, start)
    let offset = start + 4
    if (count < 0 || count * 5 > size) return unfit("the multirange is cut off")
    return Array.from({ length: count }, () => {
      if (offset + 4 > limit) return unfit("the multirange is cut off")
      const value = readSized(range.read!, bytes, offset, limit) as RangeValue<unknown>
      offset += sizeAt(bytes, offset)
      return value
    })
  },
  write: range.write === undefined ? undefined : (sink, value) => {
    if (!Array.isArray(value)) return unfit("expected an array of ranges")
    sink.int32(value.length)
    for (const part of value) writeSized(sink, range.write!, part)
  },
  parse: (text) => {
    const ranges: Array<RangeValue<unknown>> = []
    let at = 1
    while (at < text.length && text[at] !== "}") {
      if (text[at] === ",") {
        at++
      } else {
        const [value, end] = parseRange(text, element, at)
        ranges.push(value)
        at = end
      }
    }
    return text.startsWith("{") && text[at] === "}" ? ranges : unfit("expected a multirange")
  },
  format: (value) => Array.isArray(value) ? `{${value.map(range.format).join(",")}}` : unfit("expected ranges")
})

// ---------------------------------------------------------------------------------------------------------------------
// composites
// ---------------------------------------------------------------------------------------------------------------------

/** A column of a composite type. */
export interface Attribute {
  readonly name: string
  readonly oid: number
}

const setProperty = (target: Record<string, unknown>, name: string, value: unknown): void => {
  // Assigning this one would set the prototype.
  if (name !== "__proto__") target[name] = value
  else Object.defineProperty(target, name, { value, enumerable: true, configurable: true, writable: true })
}

/** What is in a `Map` or a `Date` is in no field of it, and would be lost. */
const hasFields = (value: unknown): value is object =>
  typeof value === "object" && value !== null && !Array.isArray(value) &&
  (isPlain(value) || Object.keys(value).length > 0)

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

// ---------------------------------------------------------------------------------------------------------------------
// hstore
// ---------------------------------------------------------------------------------------------------------------------

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
