import { assert, describe, it } from "@effect/vitest"
import * as BigDecimal from "effect/BigDecimal"
import * as Chunk from "effect/Chunk"
import * as Data from "effect/Data"
import * as DateTime from "effect/DateTime"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { runInNewContext } from "node:vm"
import { toJson } from "../../src/values/json.ts"
import { checkText } from "../../src/values/text.ts"
import { UnfitValue } from "../../src/values/UnfitValue.ts"
import { Decimal, valueOf } from "../../src/values/Value.ts"

class User extends Schema.Class<User>("User")({ name: Schema.String }) {}
class Failed extends Data.TaggedError("Failed") {}

const secret = "s3cret"
const thenable: Record<string, unknown> = {}
for (const key of ["then"]) thenable[key] = () => secret

/** What is refused, and a word that the sentence has to have. */
const refused: ReadonlyArray<readonly [name: string, value: unknown, word: string]> = [
  ["undefined", undefined, "null"],
  ["a function", () => secret, "function"],
  ["a class", User, "function"],
  ["a symbol", Symbol(secret), "symbol"],
  ["a Map", new Map([[secret, secret]]), "Object.fromEntries"],
  ["a Set", new Set([secret]), "[...set]"],
  ["a WeakMap", new WeakMap(), "WeakMap"],
  ["a WeakSet", new WeakSet(), "WeakSet"],
  ["a Promise", Promise.resolve(secret), "await"],
  ["a thenable", thenable, "await"],
  ["a RegExp", /s3cret/, "source"],
  ["an Error", new Error(secret), "message"],
  ["a tagged error", new Failed(), "message"],
  ["a boxed number", Object(1), "boxed"],
  ["a boxed string", Object(secret), "boxed"],
  ["a boxed bigint", Object(1n), "boxed"],
  ["an invalid Date", new Date(NaN), "invalid"],
  ["an Effect", Effect.succeed(secret), "yielded"],
  ["an effect that was not run", Effect.sync(() => secret), "yielded"],
  ["an Exit", Exit.succeed(secret), "yielded"],
  ["a Layer", Layer.empty, "Layer"],
  ["a Stream", Stream.make(secret), "Stream"],
  ["an Option", Option.some(secret), "Option.getOrNull"],
  ["a None", Option.none(), "Option.getOrNull"],
  ["a Redacted", Redacted.make(secret), "Redacted.value"],
  ["a Duration", Duration.seconds(1), "interval"],
  ["a Chunk", Chunk.make(secret), "toReadonlyArray"],
  ["a fragment", Statement.fragment([]), "fragment"],
  ["an instance of a class", new User({ name: secret }), "User"],
  ["an object of a foreign prototype", Object.create({ a: 1 }), "prototype"]
]

const problem = (f: () => unknown): string => {
  let caught: unknown
  try {
    f()
  } catch (cause) {
    caught = cause
  }
  assert.instanceOf(caught, UnfitValue)
  return caught.message
}

describe("a value", () => {
  for (const [name, value, word] of refused) {
    it(`${name}: refused by what it is, and never shown`, () => {
      const message = problem(() => valueOf(value))
      assert.include(message, word)
      assert.notInclude(message, secret)
    })
  }

  const kept: ReadonlyArray<unknown> = [
    null,
    "",
    "text",
    0,
    -0,
    NaN,
    1n,
    true,
    new Date(0),
    [],
    [1, [2]],
    {},
    { a: 1 },
    Object.create(null),
    runInNewContext("({ a: 1 })"),
    new Uint8Array([1]),
    Buffer.from("a")
  ]
  it("null, primitives, dates, arrays, plain objects and bytes: themselves", () => {
    for (const value of kept) assert.isTrue(Object.is(valueOf(value), value))
  })

  it("what stands for a value: that value", () => {
    const bytes = new Uint8Array([255, 2])
    assert.deepStrictEqual(valueOf(new Int8Array([-1, 2])), bytes)
    assert.deepStrictEqual(valueOf(bytes.buffer), bytes)
    assert.deepStrictEqual(valueOf(new DataView(bytes.buffer, 1)), new Uint8Array([2]))
    assert.deepStrictEqual(valueOf(new Float64Array([0.5, 1])), [0.5, 1])
    assert.deepStrictEqual(valueOf(new BigInt64Array([1n, -1n])), [1n, -1n])
    assert.deepStrictEqual(valueOf(new URL("http://a/b")), "http://a/b")
    assert.deepStrictEqual(valueOf(DateTime.makeUnsafe(5)), new Date(5))
    assert.deepStrictEqual(valueOf(DateTime.makeZonedUnsafe(5, { timeZone: "Europe/Berlin" })), new Date(5))
  })

  it("a BigDecimal: all of its digits, without an exponent", () => {
    for (const text of ["1.5", "-0.000000000000000000001", "0", "12345678901234567890.123", "-7", "0.10"]) {
      assert.deepStrictEqual(valueOf(BigDecimal.fromStringUnsafe(text)), new Decimal(text))
    }
    assert.deepStrictEqual(valueOf(BigDecimal.make(5n, -3)), new Decimal("5000"))
    assert.deepStrictEqual(valueOf(BigDecimal.make(0n, -3)), new Decimal("0"))
  })
})

describe("a text", () => {
  it("NUL or half a character at any place: refused", () => {
    for (const filler of ["", "a".repeat(10), "é".repeat(40), "a".repeat(200), "💧".repeat(50)]) {
      for (const bad of ["\u0000", "\ud83d", "\udca7", "\udca7\ud83d"]) {
        problem(() => checkText(filler + bad))
        problem(() => checkText(bad + filler))
        problem(() => checkText(filler + bad + filler))
      }
      for (const good of ["", "💧", "\ufffd", "\u0001"]) assert.strictEqual(checkText(filler + good), filler + good)
    }
  })
})

describe("a document", () => {
  it("what JSON would lose: refused at any depth, and never shown", () => {
    const lost: ReadonlyArray<unknown> = [
      ...refused.filter(([name]) => !/instance|foreign|undefined/.test(name)).map(([, value]) => value),
      NaN,
      Infinity,
      1n,
      new Uint8Array(1),
      new Float64Array(1),
      new ArrayBuffer(1),
      BigDecimal.fromStringUnsafe("1"),
      [undefined]
    ]
    for (const value of lost) {
      for (const document of [value, [value], { a: value }, { a: [{ b: value }] }]) {
        assert.notInclude(problem(() => toJson(document)), secret)
      }
    }
    problem(() => toJson(undefined))
    const circle: Record<string, unknown> = {}
    circle["self"] = circle
    problem(() => toJson(circle))
  })

  it("what JSON has: as JSON.stringify writes it", () => {
    const documents: ReadonlyArray<unknown> = [
      null,
      "a",
      1.5,
      true,
      [],
      {},
      { a: undefined, b: [null, "x", { c: new Date(0) }] },
      new User({ name: "a" }),
      new URL("http://a/"),
      [DateTime.makeUnsafe(0)]
    ]
    for (const document of documents) assert.strictEqual(toJson(document), JSON.stringify(document))
  })
})
