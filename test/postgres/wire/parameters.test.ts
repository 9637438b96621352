import { assert, describe, it } from "@effect/vitest"
import { share, withParameter } from "../../../src/postgres/wire/parameters.ts"

const of = (value: string) => new Map([["server_version", "15.1"], ["application_name", value]])

describe("the parameters of sessions", () => {
  it("are shared as long as they are the same", () => {
    const first = share(of("a"))
    assert.strictEqual(share(of("a")), first)
    assert.notStrictEqual(share(of("b")), first)
    // A change is that of one session.
    const changed = withParameter(first, "application_name", "c")!
    assert.strictEqual(changed.get("application_name"), "c")
    assert.strictEqual(first.get("application_name"), "a")
  })

  it("are not kept for ever, nor if there are many of them", () => {
    const first = share(of("first"))
    for (let n = 0; n < 50; n++) share(of(`${n}`))
    assert.notStrictEqual(share(of("first")), first)
    const long = new Map([["a", "x".repeat(1_000)]])
    assert.notStrictEqual(share(new Map(long)), share(new Map(long)))
    const many = () => new Map(Array.from({ length: 100 }, (_, n) => [`${n}`, ""] as const))
    assert.notStrictEqual(share(many()), share(many()))
  })

  it("are refused where no server can mean them", () => {
    assert.isUndefined(withParameter(new Map(), "a", "x".repeat(100_000)))
  })
})
