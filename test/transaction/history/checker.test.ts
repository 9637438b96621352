/** The checker of histories, on histories that everybody can check by hand. */
import { assert, describe, it } from "@effect/vitest"
import { check, type Isolation, type Operation, type Transaction } from "./checker.ts"

/** `"a1"` appends 1 to list a, `"b:1,2"` reads list b as [1, 2]. */
const operation = (text: string): Operation => {
  const key = text.charCodeAt(0) - 96
  return text[1] === ":"
    ? { key, read: text.slice(2).split(",").filter((value) => value !== "").map(Number) }
    : { key, append: Number(text.slice(1)) }
}

const transaction = (id: string, text: string): Transaction => {
  const [status, ...operations] = text.split(" ")
  return {
    id,
    status: status === "ok" ? "succeeded" : status === "failed" ? "failed" : "unknown",
    operations: operations.map(operation)
  }
}

const names = (
  history: ReadonlyArray<string>,
  final: Readonly<Record<string, ReadonlyArray<number>>>,
  isolation: Isolation = "serializable"
) => {
  const lists = new Map(Object.entries(final).map(([key, values]) => [key.charCodeAt(0) - 96, values]))
  return check(history.map((text, i) => transaction(`T${i + 1}`, text)), lists, isolation).map(({ name }) => name)
}

describe("the checker", () => {
  it("finds nothing wrong with one after the other", () => {
    assert.deepStrictEqual(names(["ok a1", "ok a:1 a2", "ok a:1,2 b3", "ok b:3"], { a: [1, 2], b: [3] }), [])
  })

  it("finds nothing wrong with an unknown one, whether it is there or not", () => {
    assert.deepStrictEqual(names(["unknown a1", "ok a:1"], { a: [1] }), [])
    assert.deepStrictEqual(names(["unknown a1", "ok a:"], { a: [] }), [])
  })

  it("does not mind what failed transactions have read", () => {
    assert.deepStrictEqual(names(["ok a1", "failed a:9"], { a: [1] }), [])
  })

  it("finds an append that was done twice", () => {
    assert.deepStrictEqual(names(["ok a1", "ok a2"], { a: [1, 1, 2] }), ["duplicate"])
  })

  it("finds an append that got lost", () => {
    assert.deepStrictEqual(names(["ok a1", "ok a2"], { a: [2] }), ["lost"])
  })

  it("finds an append that failed and is there", () => {
    assert.deepStrictEqual(names(["failed a1"], { a: [1] }), ["aborted read"])
  })

  it("finds an append that failed and was seen (G1a)", () => {
    assert.deepStrictEqual(names(["failed a1", "ok a:1"], { a: [] }), ["aborted read"])
  })

  it("finds a state in the middle of a transaction that was seen (G1b)", () => {
    assert.include(names(["ok a1 a2", "ok a:1"], { a: [1, 2] }), "intermediate read")
  })

  it("finds reads that disagree about the order", () => {
    assert.include(names(["ok a1", "ok a2", "ok a:2,1"], { a: [1, 2] }), "incompatible order")
  })

  it("finds a transaction that did not see its own append", () => {
    assert.include(names(["ok a1 a:"], { a: [1] }), "not its own")
    assert.deepStrictEqual(names(["ok a1 a:1 a2 a:1,2"], { a: [1, 2] }), [])
  })

  it("finds two that overwrote each other (G0)", () => {
    const history = ["ok a1 b1", "ok a2 b2"].map((text) => text.replace("b1", "b3").replace("b2", "b4"))
    assert.deepStrictEqual(names(history, { a: [1, 2], b: [4, 3] }, "read committed"), ["G0"])
  })

  it("finds two that saw each other (G1c)", () => {
    assert.deepStrictEqual(names(["ok a1 b:2", "ok b2 a:1"], { a: [1], b: [2] }, "read committed"), ["G1c"])
  })

  it("finds a lost update and a read skew (G-single), which read committed allows", () => {
    const update = ["ok a1", "ok a:1 a2", "ok a:1 a3"]
    assert.deepStrictEqual(names(update, { a: [1, 2, 3] }, "read committed"), [])
    assert.deepStrictEqual(names(update, { a: [1, 2, 3] }, "repeatable read"), ["G-single"])
    const skew = ["ok a1 b2", "ok a: b:2"]
    assert.deepStrictEqual(names(skew, { a: [1], b: [2] }, "read committed"), [])
    assert.deepStrictEqual(names(skew, { a: [1], b: [2] }, "repeatable read"), ["G-single"])
  })

  it("finds a write skew (G2), which repeatable read allows", () => {
    const skew = ["ok a: b1", "ok b: a2"]
    assert.deepStrictEqual(names(skew, { a: [2], b: [1] }, "repeatable read"), [])
    assert.deepStrictEqual(names(skew, { a: [2], b: [1] }, "serializable"), ["G2"])
  })

  it("finds a circle of three", () => {
    assert.deepStrictEqual(names(["ok a: b1", "ok b: c2", "ok c: a3"], { a: [3], b: [1], c: [2] }), ["G2"])
  })
})
