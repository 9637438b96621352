/** Ranges and multiranges. */
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { readInt32 } from "../scalars/primitives.ts"
import { quoted } from "./quoted.ts"
import { readSized, sizeAt, writeSized } from "./sized.ts"

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
