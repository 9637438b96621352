import { assert, describe, it } from "@effect/vitest"
import { CacheState, type Entry, isDueEarly } from "../../src/cache/CacheState.ts"
import { keyOf, sizeOf } from "../../src/cache/keys.ts"
import { readTags, writeTags } from "../../src/cache/tags.ts"

const entry = (value: string, generation: number, tags: ReadonlyArray<string> = ["t"], bytes = 1): Entry<string> => ({
  value,
  bytes,
  tags,
  generation,
  storedAt: 0,
  freshUntil: 100,
  staleUntil: 100,
  errorUntil: 100,
  cost: 10
})

const make = (bounds: Partial<ConstructorParameters<typeof CacheState>[0]> = {}) =>
  new CacheState<string>({ maxEntries: 10, maxBytes: 1_000, maxTags: 100, ...bounds })

describe("CacheState", () => {
  it("entry is current → found; its tag is invalidated → gone", () => {
    const state = make()
    assert.isTrue(state.store("k", entry("v", state.generation)))
    assert.strictEqual(state.find("k")?.value, "v")
    state.invalidate(["other"])
    assert.strictEqual(state.find("k")?.value, "v")
    state.invalidate(["t"])
    assert.isUndefined(state.find("k"))
    assert.strictEqual(state.bytes, 0)
  })

  it("read began before an invalidation → not stored", () => {
    const state = make()
    const began = state.generation
    state.invalidate(["t"])
    assert.isFalse(state.store("k", entry("old", began)))
    assert.isUndefined(state.find("k"))
  })

  it("earlier read ends after a later one → the later result stays", () => {
    const state = make()
    const early = state.generation
    state.invalidate(["other"])
    assert.isTrue(state.store("k", entry("new", state.generation)))
    assert.isFalse(state.store("k", entry("old", early)))
    assert.strictEqual(state.find("k")?.value, "new")
  })

  it("tag is in doubt → not stored until as many doubts are settled as there were", () => {
    const state = make()
    state.doubt(["t"])
    state.doubt(["t"])
    assert.isTrue(state.isInDoubt(["x", "t"]))
    assert.isFalse(state.store("k", entry("v", state.generation)))
    state.settle(["t"])
    assert.isTrue(state.isInDoubt(["t"]))
    state.settle(["t"])
    assert.isFalse(state.isInDoubt(["t"]))
    assert.isTrue(state.store("k", entry("v", state.generation)))
  })

  it("too many entries → the least recently used one goes", () => {
    const state = make({ maxEntries: 2 })
    for (const key of ["a", "b"]) state.store(key, entry(key, 0))
    state.find("a")
    state.store("c", entry("c", 0))
    assert.deepStrictEqual(["a", "b", "c"].map((key) => state.find(key)?.value), ["a", undefined, "c"])
    assert.strictEqual(state.evicted, 1)
  })

  it("a million keys → entries and bytes stay within their bounds", () => {
    const state = make({ maxEntries: 1_000, maxBytes: 50_000, maxTags: 1_000 })
    for (let i = 0; i < 1_000_000; i++) {
      state.store(`k${i}`, entry("v", state.generation, [`t:${i}`], 1 + i % 100))
      if (i % 3 === 0) state.invalidate([`t:${i}`])
      if (state.size > 1_000 || state.bytes > 50_000) assert.fail(`${state.size} entries, ${state.bytes} bytes`)
    }
    assert.isAbove(state.size, 500)
  })

  it("tags are forgotten → no entry that was outdated is found again", () => {
    const state = make({ maxTags: 4, maxEntries: 1_000 })
    for (let i = 0; i < 20; i++) {
      const began = state.generation
      state.invalidate([`t:${i}`])
      assert.isFalse(state.store(`k${i}`, entry("old", began, [`t:${i}`])))
    }
    const began = state.generation
    for (let i = 0; i < 20; i++) state.invalidate([`u:${i}`])
    for (let i = 0; i < 20; i++) assert.isFalse(state.isCurrent([`u:${i}`], began), `u:${i}`)
    assert.isTrue(state.isCurrent(["u:3"], state.generation))
  })

  it("everything is invalidated → nothing that began before is stored", () => {
    const state = make()
    const began = state.generation
    state.store("k", entry("v", began))
    state.invalidateAll()
    assert.strictEqual(state.size, 0)
    assert.isFalse(state.store("k", entry("v", began)))
    assert.isTrue(state.store("k", entry("v", state.generation)))
  })

  it("early refresh: never long before the end, always after it", () => {
    const fresh = entry("v", 0)
    assert.isFalse(isDueEarly(fresh, 0, 0.5))
    assert.isTrue(isDueEarly(fresh, 100, 1))
    // The colder the dice, the earlier: 10 ms × ln(1/0.01) is 46 ms.
    assert.isTrue(isDueEarly(fresh, 60, 0.01))
    assert.isFalse(isDueEarly(fresh, 50, 0.01))
  })
})

describe("tags", () => {
  const hits = (write: Parameters<typeof writeTags>[0], read: Parameters<typeof readTags>[0]) => {
    const outdated = new Set(writeTags(write))
    return readTags(read).some((tag) => outdated.has(tag))
  }

  for (
    const [what, write, read, expected] of [
      ["table outdates table", ["city"], ["city"], true],
      ["table outdates row", ["city"], { city: [1] }, true],
      ["row outdates table", { city: [1] }, ["city"], true],
      ["row outdates the same row", { city: [1] }, { city: [1, 2] }, true],
      ["row leaves another row alone", { city: [1] }, { city: [2] }, false],
      ["table leaves another table alone", ["town"], ["city"], false],
      ["a number is not a text", { city: [1] }, { city: ["1"] }, false]
    ] as const
  ) it(what, () => assert.strictEqual(hits(write, read), expected))
})

describe("keys", () => {
  it("differ where values or their types do", () => {
    const values = [
      1,
      "1",
      1n,
      true,
      "true",
      null,
      "null",
      undefined,
      -0,
      0,
      NaN,
      "",
      [],
      [[]],
      ["a,b"],
      ["a", "b"],
      {},
      { a: 1 },
      { a: "1" },
      new Date(0),
      new Uint8Array([1]),
      new Uint8Array([1, 2])
    ]
    const keys = values.map(keyOf)
    assert.isFalse(keys.includes(undefined))
    assert.strictEqual(new Set(keys).size, values.length)
  })

  it("do not depend on the order of properties", () => {
    assert.strictEqual(keyOf({ a: 1, b: [2] }), keyOf({ b: [2], a: 1 }))
  })

  it("are missing for what has no text of its own", () => {
    for (const value of [() => 1, Symbol("a"), new Map(), [new Set()]]) assert.isUndefined(keyOf(value))
  })

  it("sizes stop at the limit and survive circles", () => {
    const circle: Record<string, unknown> = { text: "x".repeat(100) }
    circle["self"] = circle
    assert.isAbove(sizeOf(circle, 1_000), 200)
    assert.isAbove(sizeOf(Array.from({ length: 1_000_000 }, (_, i) => i), 1_000), 1_000)
  })
})
