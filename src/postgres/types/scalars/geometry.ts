/** Points, and what is made of them. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import { unfit } from "../../../values/UnfitValue.ts"
import type { Codec } from "../Codec.ts"
import { formatFloat } from "./number.ts"
import { readFloat64, readInt32, requireSize } from "./primitives.ts"

export interface PointValue {
  readonly x: number
  readonly y: number
}

/** A type made of numbers that stand one behind the other, in both forms. */
const numbers = <A>(
  name: string,
  count: number,
  from: (numbers: ReadonlyArray<number>) => A,
  to: (value: A) => ReadonlyArray<number>,
  print: (numbers: ReadonlyArray<string>) => string
): Codec<A> => {
  const take = (value: A): ReadonlyArray<number> => {
    const taken = typeof value === "object" && value !== null ? to(value) : unfit(`expected a ${name}`)
    for (const number of taken) if (typeof number !== "number") return unfit(`expected a ${name}`)
    return taken.length === count ? taken : unfit(`expected a ${name}`)
  }
  return {
    name,
    read: (bytes, offset, size) => {
      requireSize(size, count * 8, name)
      return from(Array.from({ length: count }, (_, index) => readFloat64(bytes, offset + index * 8)))
    },
    write: (sink, value) => {
      for (const number of take(value)) sink.float64(number)
    },
    parse: (text) => {
      const found = numbersOf(text)
      return found.length === count ? from(found) : unfit(`expected a ${name}`)
    },
    format: (value) => print(take(value).map(formatFloat))
  }
}

const numbersOf = (text: string): Array<number> =>
  (text.match(/[-+]?(?:Infinity|NaN|[\d.]+(?:e[-+]?\d+)?)/gi) ?? []).map(Number)

const pointsOf = (numbers: ReadonlyArray<number>): Array<PointValue> => {
  const points: Array<PointValue> = []
  for (let index = 0; index + 1 < numbers.length; index += 2) {
    points.push({ x: numbers[index]!, y: numbers[index + 1]! })
  }
  return points
}

const flat = (points: ReadonlyArray<PointValue>): Array<number> =>
  Array.isArray(points)
    ? points.flatMap((point: PointValue | null) => point === null ? unfit("expected points") : [point.x, point.y])
    : unfit("expected points")

export const point = numbers<PointValue>(
  "point",
  2,
  ([x, y]) => ({ x: x!, y: y! }),
  ({ x, y }) => [x, y],
  (n) => `(${n})`
)

const printPoints = (n: ReadonlyArray<string>): string =>
  Array.from({ length: n.length / 2 }, (_, index) => `(${n[index * 2]},${n[index * 2 + 1]})`).join(",")

export const lseg: Codec<ReadonlyArray<PointValue>> = {
  ...numbers<ReadonlyArray<PointValue>>("lseg", 4, pointsOf, flat, (n) => `[${printPoints(n)}]`),
  shape: "array"
}

export const box: Codec<ReadonlyArray<PointValue>> = {
  ...numbers<ReadonlyArray<PointValue>>("box", 4, pointsOf, flat, printPoints),
  shape: "array"
}

export const line = numbers<{ readonly a: number; readonly b: number; readonly c: number }>(
  "line",
  3,
  ([a, b, c]) => ({ a: a!, b: b!, c: c! }),
  ({ a, b, c }) => [a, b, c],
  (n) => `{${n}}`
)

export const circle = numbers<PointValue & { readonly radius: number }>(
  "circle",
  3,
  ([x, y, radius]) => ({ x: x!, y: y!, radius: radius! }),
  ({ radius, x, y }) => [x, y, radius],
  ([x, y, radius]) => `<(${x},${y}),${radius}>`
)

const readPoints = (bytes: Uint8Array, offset: number, size: number, name: string): Array<PointValue> => {
  const count = readInt32(bytes, offset)
  requireSize(size, 4 + count * 16, name)
  return pointsOf(Array.from({ length: count * 2 }, (_, index) => readFloat64(bytes, offset + 4 + index * 8)))
}

const writePoints = (sink: PgProtocol.ValueSink, points: ReadonlyArray<PointValue>): void => {
  sink.int32(points.length)
  for (const number of checkPoints(points)) sink.float64(number)
}

const checkPoints = (points: ReadonlyArray<PointValue>): ReadonlyArray<number> => {
  const taken = flat(points)
  return taken.length > 0 && taken.every((number) => typeof number === "number") ? taken : unfit("expected points")
}

export const polygon: Codec<ReadonlyArray<PointValue>> = {
  name: "polygon",
  shape: "array",
  read: (bytes, offset, size) => readPoints(bytes, offset, size, "polygon"),
  write: (sink, value) => writePoints(sink, Array.isArray(value) ? value : unfit("expected points")),
  parse: (text) => pointsOf(numbersOf(text)),
  format: (value) => `(${printPoints(checkPoints(value).map(formatFloat))})`
}

export interface PathValue {
  readonly closed: boolean
  readonly points: ReadonlyArray<PointValue>
}

export const path: Codec<PathValue> = {
  name: "path",
  read: (bytes, offset, size) => ({
    closed: bytes[offset] === 1,
    points: readPoints(bytes, offset + 1, size - 1, "path")
  }),
  write: (sink, value) => {
    if (!Array.isArray(value?.points)) return unfit("expected a path")
    sink.uint8(value.closed ? 1 : 0)
    writePoints(sink, value.points)
  },
  parse: (text) => ({ closed: text.startsWith("("), points: pointsOf(numbersOf(text)) }),
  format: (value) => {
    if (!Array.isArray(value?.points)) return unfit("expected a path")
    const points = printPoints(checkPoints(value.points).map(formatFloat))
    return value.closed ? `(${points})` : `[${points}]`
  }
}
