/**
 * The values that the round trip is tried with: every kind that a program can have, with its edges and some at random.
 * The tables of `docs/values.md` have a line for each kind.
 */
import * as BigDecimal from "effect/BigDecimal"
import * as Chunk from "effect/Chunk"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HashMap from "effect/HashMap"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as vm from "node:vm"
import type { Seed } from "../../support/index.ts"

/** A kind of value. */
export interface Kind {
  /** As the documentation calls it. */
  readonly name: string
  /** Those that must be among them, because something is special about them. */
  readonly edges: ReadonlyArray<unknown>
  /** One at random, where there are more. */
  readonly make?: (random: Seed) => unknown
  /** What no database has: it is refused wherever it stands, unless a column of JSON takes it. */
  readonly isNone?: true
}

const letters = ["a", "Z", "0", " ", "\"", "'", "\\", ",", "{", "}", "(", ")", "[", "]", "\n", "\t", "\r", ";", ":"]
const wide = ["é", "漢", "💧", "\u00a0", "\ufffd", "\u200d", "ß", "İ", "\u{10ffff}"]

const textOf = (random: Seed): string =>
  Array.from({ length: random.int(1, 8) }, () => random.pick((random.chance(0.3) ? wide : letters) as never)).join("")

const between = (random: Seed, bits: number): bigint => {
  const top = 1n << BigInt(bits - 1)
  const value = (BigInt(random.int(0, 2 ** 31 - 1)) << 33n | BigInt(random.int(0, 2 ** 31 - 1)) << 2n) % top
  return random.chance(0.5) ? value : -value
}

const day = 86_400_000
const dateBetween = (from: string, to: string) => (random: Seed): Date => {
  const [first, last] = [Date.parse(from), Date.parse(to)]
  return new Date(first + Math.floor(random.next() * (last - first)))
}
const midnightOf = (date: Date): Date => new Date(Math.floor(date.getTime() / day) * day)

class Money {
  readonly amount: number
  constructor(amount: number) {
    this.amount = amount
  }
}

/** A class whose fields nobody sees. */
class Secret {
  readonly #amount = 7
  reveal(): number {
    return this.#amount
  }
}

/** What comes from another realm is no instance of what has the same name here. */
const elsewhere = (code: string): unknown => vm.runInNewContext(code)

/** What is awaited like a promise, and is none. */
const thenable: Record<string, unknown> = {}
for (const key of ["then"]) thenable[key] = () => {}

/** An array that has nothing at its second place. */
const holed: Array<unknown> = [1]
holed[2] = 3

const deep = (depth: number): unknown => depth === 0 ? [1] : [deep(depth - 1)]

const bytesOf = (random: Seed): Uint8Array => Uint8Array.from({ length: random.int(0, 12) }, () => random.int(0, 255))

export const kinds: ReadonlyArray<Kind> = [
  { name: "`null`", edges: [null] },
  { name: "`undefined`", edges: [undefined], isNone: true },
  { name: "a boolean", edges: [true, false] },
  { name: "an integer up to a byte", edges: [0, 1, -1, 127], make: (random) => random.int(0, 127) },
  {
    name: "an integer up to 2³¹",
    edges: [128, 255, 256, 32_767, 32_768, -32_768, -32_769, 65_535, 65_536, 2 ** 31 - 1, -(2 ** 31)],
    make: (random) => random.int(-(2 ** 31), 2 ** 31 - 1)
  },
  {
    name: "an integer up to 2⁵³",
    edges: [2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 40, 2 ** 53 - 1, -(2 ** 53) + 1],
    make: (random) => random.int(2 ** 31, 2 ** 53 - 1)
  },
  { name: "a whole number beyond 2⁵³", edges: [2 ** 53, 2 ** 60, 2 ** 63, 2 ** 64, 1e20, -1e20, 1e22, 1e30] },
  { name: "`-0`", edges: [-0] },
  {
    name: "a fraction",
    edges: [0.1, 0.1 + 0.2, 1.5, -2.5, 123.456, 1 / 3, 0.5, 2 ** 31 + 0.5],
    make: (random) => (random.next() - 0.5) * 10 ** random.int(-5, 8)
  },
  { name: "a number beyond a `float4`", edges: [1e300, -1e300, 1e-60, 5e-324, Number.MAX_VALUE, 1e-7, 3.5e38] },
  { name: "`NaN`", edges: [NaN] },
  { name: "an infinity", edges: [Infinity, -Infinity] },
  {
    name: "a bigint up to 64 bits",
    edges: [0n, -1n, 7n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)],
    make: (random) => between(random, 63)
  },
  { name: "a bigint beyond", edges: [2n ** 63n, 2n ** 64n - 1n, 2n ** 64n, 2n ** 70n, -(2n ** 70n), 10n ** 30n] },
  {
    name: "a `BigDecimal`",
    edges: ["1.25", "7", "-0.000001", "12345678901234567890.0123", "100", "1e3"].map(BigDecimal.fromStringUnsafe)
  },
  {
    name: "a text",
    edges: ["a", "añ💧\"'\\{}", "null", "NULL", " ", "a ", "\u0001", "--", "$1 ? :a", "x".repeat(70)],
    make: textOf
  },
  { name: "an empty text", edges: [""] },
  { name: "a text with a NUL", edges: ["a\u0000b", "\u0000"] },
  { name: "half of a character", edges: ["\ud83d", "a\udc00b", `${"x".repeat(80)}\ud800`] },
  {
    name: "the digits of an integer",
    edges: ["0", "12", "-7", "+7", "007", "9223372036854775807"],
    make: (random) => String(random.int(-(2 ** 40), 2 ** 40))
  },
  { name: "the digits of a fraction", edges: ["1.50", "-0.25", "3e5", "12345678901234567890.0123456789"] },
  {
    name: "the text of a day",
    edges: ["2026-03-04", "2024-02-29", "1970-01-01", "9999-12-31", "1000-01-01"],
    make: (random) => midnightOf(dateBetween("1000-01-01", "9999-12-31")(random)).toISOString().slice(0, 10)
  },
  { name: "a day that does not exist", edges: ["2026-02-31", "2023-02-29", "2024-13-01", "2024-00-10", "0000-00-00"] },
  {
    name: "the text of a day and a time",
    edges: ["2026-03-04 12:34:56", "2026-03-04T12:34:56.789", "2026-03-08 02:30:00", "2026-03-04 12:34:56.000001"]
  },
  {
    name: "a time that does not exist",
    edges: ["2026-02-31 12:00:00", "2026-03-04 25:61:61", "2024-13-45T99:99:99Z", "2024-02-31T00:00:00Z"]
  },
  {
    name: "the same with a zone",
    edges: [
      "2026-03-04T12:00:00Z",
      "2026-03-04T12:00:00+05:00",
      "2026-03-04 12:00:00.5-03",
      "2026-01-01T00:00:00-11:30"
    ]
  },
  { name: "the text of a time of day", edges: ["12:34:56", "00:00:00", "23:59:59.999999", "12:34"] },
  { name: "the text of a UUID", edges: ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"] },
  {
    name: "the text of a document",
    edges: ["{\"a\": [1, null]}", "[1,2]", "\"x\"", "true", "{\"a\":1,\"a\":2}"]
  },
  { name: "a text that is a part of SQL", edges: ["'); drop table t; --", "\\'; select 1 #", "`a`", "null, null"] },
  {
    name: "a `Date` at midnight in UTC",
    edges: [new Date("2026-03-04T00:00:00Z"), new Date(0), new Date("1000-01-01T00:00:00Z")],
    make: (random) => midnightOf(dateBetween("1000-01-01", "9999-12-31")(random))
  },
  {
    name: "another `Date`",
    edges: [new Date("2026-03-04T12:34:56.789Z"), new Date(1), new Date(-1), new Date("9999-12-31T23:59:59.999Z")],
    make: dateBetween("1000-01-01", "9999-12-31")
  },
  {
    name: "a `Date` of the years 0 to 999",
    edges: [new Date("0001-01-01T00:00:00Z"), new Date("0999-12-31T23:59:59.999Z"), new Date("0000-06-01T00:00:00Z")]
  },
  {
    name: "a `Date` beyond the years 0 to 9999",
    edges: [
      new Date("-000043-03-15T12:00:00Z"),
      new Date("+010000-01-01T00:00:00Z"),
      new Date(8.64e15),
      new Date(-8.64e15)
    ]
  },
  { name: "an invalid `Date`", edges: [new Date(NaN)], isNone: true },
  {
    name: "a `DateTime`",
    edges: [
      DateTime.makeUnsafe("2026-03-04T12:34:56.789Z"),
      DateTime.makeZonedUnsafe("2026-03-04T12:34:56Z", { timeZone: "Asia/Kathmandu" })
    ]
  },
  { name: "a `URL`", edges: [new URL("https://a.test/é?q=%F0#x")] },
  {
    name: "bytes: `Uint8Array`, `Buffer`, `ArrayBuffer`, `DataView`",
    edges: [
      new Uint8Array([0, 1, 39, 92, 255]),
      new Uint8Array(0),
      Buffer.from("a'\\b"),
      new Uint8Array([9, 8, 7, 6]).subarray(1, 3),
      new Uint8Array([1, 2]).buffer,
      new DataView(new Uint8Array([9, 8, 7, 6]).buffer, 1, 2),
      new Int8Array([-1, 2]),
      new Uint8ClampedArray([1, 255])
    ],
    make: bytesOf
  },
  {
    name: "another typed array",
    edges: [new Float64Array([0.5, 1]), new Int32Array([1, -2]), new BigInt64Array([1n, 2n]), new Uint16Array([65_535])]
  },
  {
    name: "a plain object",
    edges: [
      { a: [1, { b: null }], "c d": "'\"\\" },
      {},
      Object.assign(Object.create(null), { a: 1 }),
      JSON.parse("{\"__proto__\": {\"x\": 1}, \"constructor\": 2}"),
      { a: "💧", b: true, c: 0.1, d: [], e: {} }
    ]
  },
  { name: "an empty array", edges: [[]] },
  {
    name: "an array of integers",
    edges: [[1, 2], [1, null, 3], [2 ** 40, 1], [-0], [1, 2n]],
    make: (random) => Array.from({ length: random.int(1, 5) }, () => random.int(-1000, 1000))
  },
  { name: "an array of fractions", edges: [[0.5, 1, 2], [0.1, 0.2], [0.5, 2 ** 40], [1e300], [null, 0.1]] },
  { name: "an array with `NaN` or an infinity", edges: [[1, NaN], [0.5, Infinity]] },
  { name: "an array of large integers", edges: [[2n ** 53n + 1n], [2n ** 63n - 1n, 1], [2n ** 70n, 0.5]] },
  { name: "an array of texts", edges: [["a", "b,\"c\"", "null", "", null], ["é\\", "{}"], ["NULL", " "]] },
  { name: "an array with half of a character or a NUL", edges: [["a", "\ud83d"], ["a\u0000"]] },
  { name: "an array of booleans", edges: [[true, false, null]] },
  {
    name: "an array of `Date`s",
    edges: [[new Date("2026-03-04T12:34:56.789Z"), null], [new Date("2026-03-04T00:00:00Z")]]
  },
  { name: "an array of objects", edges: [[{ a: 1 }, { b: [2] }]] },
  { name: "an array of bytes", edges: [[new Uint8Array([1, 255]), new Uint8Array(0)]] },
  { name: "a grid", edges: [[[1, 2], [3, null]], [[[1], [2]], [[3], [4]]]] },
  { name: "arrays of several lengths in an array", edges: [[[1], [2, 3]], [[1, 2], []], [1, [2]], [[], [[1]]]] },
  { name: "arrays seven deep", edges: [deep(6)] },
  { name: "only nulls, or empty arrays", edges: [[null], [null, null], [[null]], [[], []]] },
  { name: "a mixed array", edges: [[1, "a"], [true, 1], [new Date(0), "x"]] },
  {
    name: "an array with holes, or with `undefined`",
    edges: [holed, new Array(2), [1, undefined], ["a", undefined]]
  },
  {
    name: "an array with what is no value",
    edges: [[new Map()], [() => 1], [new Date(NaN)], [Option.some(1)], [Symbol("a")]],
    isNone: true
  },
  {
    name: "a range",
    edges: [
      { lower: 1, upper: 5, bounds: "[)" },
      { lower: new Date("2026-03-04T12:34:56.789Z"), upper: null, bounds: "[)" },
      { lower: "2026-01-01", upper: "2026-02-01", bounds: "[)" },
      { lower: null, upper: null, bounds: "empty" }
    ]
  },
  { name: "an object with what JSON would lose", edges: [{ a: NaN }, { a: [undefined] }, { a: 1n }, { a: new Map() }] },
  {
    name: "an instance of a class",
    edges: [
      new Money(5),
      new Secret(),
      new URLSearchParams("a=1"),
      [1].values(),
      new WeakRef({}),
      new AbortController()
    ]
  },
  { name: "a `Map`, a `Set`", edges: [new Map([["a", 1]]), new Set([1]), new WeakMap(), new WeakSet()], isNone: true },
  {
    name: "a `Map`, a `Set`, a `Date` of another realm",
    edges: ["new Map([['a', 1]])", "new Set([1])", "new Date(0)", "/a/", "new Error('a')", "new Uint8Array([1])"].map(
      elsewhere
    )
  },
  { name: "a `RegExp`, an `Error`", edges: [/a/, new Error("a"), new TypeError("a")], isNone: true },
  { name: "a `Promise`", edges: [Promise.resolve(1), thenable], isNone: true },
  { name: "a function, a symbol", edges: [() => 1, class {}, Symbol("a"), Symbol.iterator], isNone: true },
  {
    name: "an `Effect`, an `Option`, a `Redacted` …",
    edges: [
      Effect.succeed(1),
      Effect.sync(() => 1),
      Option.some(1),
      Option.none(),
      Redacted.make("secret"),
      Duration.seconds(1),
      Chunk.of(1),
      HashMap.make(["a", 1])
    ],
    isNone: true
  },
  {
    name: "a boxed primitive",
    edges: [Object(5), Object("a"), Object(true), Object(1n), Object(Symbol("a"))],
    isNone: true
  },
  {
    name: "an object that makes itself a text or a number",
    edges: [
      { toString: () => "1" },
      { valueOf: () => 1 },
      { [Symbol.toPrimitive]: () => "1" },
      { toSqlString: () => "1" },
      { toJSON: () => 5 }
    ]
  }
]

/** The values of a kind that a run is made with. */
export const valuesOf = (kind: Kind, random: Seed, more: number): ReadonlyArray<unknown> => [
  ...kind.edges,
  ...(kind.make === undefined ? [] : Array.from({ length: more }, () => kind.make!(random)))
]
