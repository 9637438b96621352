import { assert, describe, it } from "@effect/vitest"
import { TypeStore } from "../../../src/postgres/types/TypeStore.ts"
import { seed } from "../../support/index.ts"

const store = new TypeStore()
store.load([], [], [
  ["20000", "public", "mood", "e", "0", "20001", "0", ",", "enum_send", "0", "0", null],
  [
    "20002",
    "public",
    "pair",
    "c",
    "0",
    "20003",
    "0",
    ",",
    "record_send",
    "0",
    "0",
    "[{\"name\":\"a\",\"oid\":23},{\"name\":\"b\",\"oid\":20001},{\"name\":\"c\",\"oid\":3904}]"
  ],
  ["20004", "public", "hstore", "b", "0", "20005", "0", ",", "hstore_send", "0", "0", null],
  ["20006", "public", "odd", "b", "0", "20007", "0", ",", "odd_send", "0", "0", null],
  ["20008", "public", "small", "d", "0", "20009", "20001", ",", "array_send", "0", "0", null]
])
const oids = Array.from({ length: 21_000 }, (_, oid) => oid).filter((oid) => store.codec(oid) !== undefined)

/** Bytes that look like something: small numbers and known types, and then noise. */
const noise = (random: ReturnType<typeof seed>): Uint8Array => {
  const bytes = Buffer.alloc(random.int(0, 60))
  for (let at = 0; at < bytes.length; at++) bytes[at] = random.int(0, 255)
  for (let at = 0; at + 4 <= bytes.length; at += 4) {
    if (random.chance(0.6)) {
      bytes.writeInt32BE(random.pick([0, 1, 2, 3, 4, 8, -1, 23, 20001, 0x7fffffff, -0x80000000]), at)
    }
  }
  return bytes
}

const alphabet = [
  "{",
  "}",
  "(",
  ")",
  "[",
  "]",
  ",",
  "\"",
  "\\",
  "NULL",
  "1",
  "a",
  ":",
  "-",
  "=>",
  " ",
  "",
  "é",
  "empty",
  "t"
]

const limited = (f: () => unknown, what: string): void => {
  const started = performance.now()
  try {
    f()
  } catch (cause) {
    assert.instanceOf(cause, Error, what)
    assert.notInstanceOf(cause, RangeError, what)
  }
  assert.isBelow(performance.now() - started, 5_000, what)
}

describe("whatever comes", () => {
  it("the codecs of all types answer or refuse, and at once", () => {
    const random = seed(66)
    assert.isAbove(oids.length, 150)
    for (const oid of oids) {
      const codec = store.codec(oid)!
      for (let round = 0; round < 60; round++) {
        const what = `${codec.name}, seed ${random.value}, round ${round}`
        const bytes = noise(random)
        if (codec.read !== undefined) limited(() => codec.read!(bytes, 0, bytes.length), what)
        const text = Array.from({ length: random.int(0, 12) }, () => random.pick(alphabet as never)).join("")
        limited(() => codec.parse(text), `${what}: ${text}`)
        const value = random.pick(
          [undefined, 1, "x", [], {}, [[]], [null], new Date(NaN), { lower: 1 }, 1n, true] as never
        )
        limited(() => codec.format(value), what)
      }
    }
  })
})
