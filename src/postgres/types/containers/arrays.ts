/** Arrays and vectors: a container travels in binary only if everything in it does. */
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readInt32, readUint32 } from "../scalars/primitives.ts"
import { quoted } from "./quoted.ts"
import { readSized, sizeAt, writeSized } from "./sized.ts"

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

/** The vectors of the catalogues. The server takes an empty one as text only. */
export const vectorCodec = (name: string, elementOid: number, element: Codec<any>): Codec<ReadonlyArray<unknown>> => ({
  ...arrayCodec(name, elementOid, element, " "),
  write: undefined,
  parse: (text) => text === "" ? [] : text.split(" ").map((value) => element.parse(value)),
  format: (value) => Array.isArray(value) ? value.map(element.format).join(" ") : unfit("expected an array")
})
