import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { InvalidOptions } from "../../src/options/InvalidOptions.ts"
import * as Options from "../../src/options/Options.ts"

interface Example {
  readonly size?: number | undefined
  readonly queue?: number | undefined
  readonly port?: number | undefined
  readonly part?: number | undefined
  readonly share?: number | undefined
  readonly limit?: Duration.Input | undefined
  readonly pause?: Duration.Input | undefined
  readonly grace?: Duration.Input | undefined
  readonly mode?: "fast" | "safe" | undefined
  readonly only?: "this" | undefined
  readonly loud?: boolean | undefined
  readonly name?: string | undefined
  readonly secret?: Redacted.Redacted | undefined
  readonly inner?: { readonly wait?: Duration.Input | undefined } | false | undefined
  readonly parts?: Readonly<Record<string, { readonly max?: number | undefined }>> | undefined
}

const example = Options.make<Example>()("Example", {
  size: Options.count({ default: 10, min: 1 }),
  queue: Options.count({ default: Infinity, infinite: true }),
  port: Options.count({ min: 1, max: 65_535 }),
  part: Options.number({ default: 0.25, min: 0, max: 1 }),
  share: Options.number({ min: 0, aboveMin: true, max: 1 }),
  limit: Options.duration({ default: "10 seconds", positive: true }),
  pause: Options.duration(),
  grace: Options.duration({ default: "1 second", finite: true, min: 100, max: 60_000 }),
  mode: Options.oneOf(["fast", "safe"], { default: "safe" }),
  only: Options.oneOf(["this"]),
  loud: Options.boolean({ default: false }),
  name: Options.text(),
  secret: Options.custom<Redacted.Redacted>("a `Redacted`", Redacted.isRedacted),
  inner: Options.orFalse(
    Options.nested<{ wait?: Duration.Input | undefined }>()({ wait: Options.duration({ default: "5 millis" }) })
  ),
  parts: Options.record(Options.nested<{ max?: number | undefined }>()({ max: Options.number({ default: 1 }) }))
}, {
  synonyms: { length: "size" },
  elsewhere: { pool: "is an option of `layer`" }
})

const defaults = {
  size: 10,
  queue: Infinity,
  port: undefined,
  part: 0.25,
  share: undefined,
  limit: 10_000,
  pause: undefined,
  grace: 1_000,
  mode: "safe",
  only: undefined,
  loud: false,
  name: undefined,
  secret: undefined,
  inner: { wait: 5 },
  parts: []
} as const

describe("Options", () => {
  it("no option given: every default", () => {
    assert.deepStrictEqual(Result.getOrThrow(example.check(undefined)), defaults)
    assert.deepStrictEqual(Result.getOrThrow(example.check({})), defaults)
    assert.deepStrictEqual(Result.getOrThrow(example.check({ size: undefined, inner: undefined })), defaults)
  })

  it("values that can work: they come out, durations as milliseconds", () => {
    const secret = Redacted.make("hush")
    assert.deepStrictEqual(
      Result.getOrThrow(example.check({
        size: 1,
        queue: Infinity,
        port: 65_535,
        part: 1,
        share: 0.1,
        limit: Duration.infinity,
        pause: { seconds: 1, milliseconds: 5 },
        grace: [1, 500_000_000],
        mode: "fast",
        only: "this",
        loud: true,
        name: "n",
        secret,
        inner: false,
        parts: { a: { max: 2 }, b: {} }
      })),
      {
        size: 1,
        queue: Infinity,
        port: 65_535,
        part: 1,
        share: 0.1,
        limit: Infinity,
        pause: 1_005,
        grace: 1_500,
        mode: "fast",
        only: "this",
        loud: true,
        name: "n",
        secret,
        inner: false,
        parts: [["a", { max: 2 }], ["b", { max: 1 }]]
      }
    )
    assert.strictEqual(Result.getOrThrow(example.check({ pause: 0 })).pause, 0)
  })

  const strange: ReadonlyArray<unknown> = [null, Number.NaN, {}, [], () => 1, Symbol("x"), Redacted.make("hush")]
  const refused: ReadonlyArray<readonly [keyof Example, ReadonlyArray<unknown>, problem: string]> = [
    ["size", [0, -1, 1.5, Infinity, "3", true, 1n, 2 ** 60, ...strange], "must be a whole number, 1 or more"],
    ["queue", [-1, -Infinity, 0.5, "many", ...strange], "must be a whole number, 0 or more"],
    ["port", [0, 65_536, 1.5, "5432", Infinity, ...strange], "must be a whole number between 1 and 65535"],
    ["part", [-0.1, 1.1, Infinity, "0.5", ...strange], "must be a number between 0 and 1"],
    ["share", [0, 1.1, "0.5", ...strange], "must be a number above 0, at most 1"],
    [
      "limit",
      [0, -1, "0 millis", "soon", "-1 seconds", -Infinity, true, "", { secs: 5 }, ...strange],
      "longer than zero"
    ],
    ["pause", [-1, "-1 seconds", "soon", -Infinity, { days: "1" }, false, ...strange], "not be negative"],
    ["grace", [Infinity, "Infinity", Duration.infinity], "must be finite"],
    ["grace", [0, 99, "99 millis"], "must be at least 100 ms"],
    ["grace", [60_001, "1 day"], "must be at most 60000 ms"],
    ["mode", ["slow", "FAST ", 1, true, ...strange], "must be one of fast, safe"],
    ["only", ["that", 1, ...strange], `must be "this"`],
    ["loud", [0, 1, "true", ...strange], "must be true or false"],
    ["name", [1, true, ...strange], "must be a string"],
    ["name", [""], "must not be empty"],
    ["name", ["a\u0000b"], "must not contain a NUL"],
    ["secret", ["hush", 1, {}, null], "must be a `Redacted`"],
    ["inner", [true, "fast", 5, null, []], "must be an object"],
    ["inner", [{ wait: -1 }, { wait: "hush hush" }], "is wrong: `wait` must be a duration"],
    ["inner", [{ wiat: 1 }], "is wrong: `wiat` does not exist: did you mean `wait`?"],
    ["parts", [true, "fast", 5, null, []], "must be an object"],
    ["parts", [{ a: { max: "1" } }], "is wrong: `a` is wrong: `max` must be a number"],
    ["parts", [{ a: 5 }], "is wrong: `a` must be an object"]
  ]
  for (const [option, values, problem] of refused) {
    it(`${option}: a value that cannot work → ${problem}`, () => {
      for (const value of values) {
        if (option === "secret" && Redacted.isRedacted(value)) continue
        const result = example.check({ [option]: value } as Example)
        assert.isTrue(Result.isFailure(result), String(value?.toString()))
        if (!Result.isFailure(result)) continue
        assert.instanceOf(result.failure, InvalidOptions)
        assert.strictEqual(result.failure.module, "Example")
        assert.strictEqual(result.failure.option, option)
        assert.include(result.failure.problem, problem)
      }
    })
  }

  it("a secret: no problem shows it", () => {
    for (const option of example.names) {
      if (option === "secret") continue
      const result = example.check({ [option]: Redacted.make("hush") } as Example)
      assert.isTrue(Result.isFailure(result), option)
      if (Result.isFailure(result)) assert.notInclude(result.failure.message, "hush")
    }
    for (const option of ["secret", "name"] as const) {
      const result = example.check({ [option]: option === "name" ? "hush\u0000" : "hush" } as never)
      assert.isTrue(Result.isFailure(result))
      if (Result.isFailure(result)) assert.notInclude(result.failure.message, "hush")
    }
  })

  for (
    const [name, problem] of [
      ["sise", "does not exist: did you mean `size`?"],
      ["SIZE", "does not exist: did you mean `size`?"],
      ["length", "does not exist: did you mean `size`?"],
      ["pool", "is an option of `layer`"],
      ["somethingElseEntirely", "does not exist"],
      ["toString", "does not exist"],
      ["constructor", "does not exist"]
    ] as const
  ) {
    it(`a name that does not exist: ${name} → ${problem}`, () => {
      const result = example.check({ [name]: 1 } as Example)
      assert.strictEqual(Result.isFailure(result) ? result.failure.problem : undefined, problem)
      assert.strictEqual(Result.isFailure(result) ? result.failure.option : undefined, name)
    })
  }

  it("a mode with a slip: the nearest word is named", () => {
    const result = example.check({ mode: "sfae" } as never)
    assert.include(Result.isFailure(result) ? result.failure.problem : "", `did you mean "safe"?`)
  })

  it("no object at all: refused by name", () => {
    for (const options of [null, 5, "size", true, []]) {
      const result = example.check(options as never)
      assert.strictEqual(Result.isFailure(result) ? result.failure.option : undefined, "options")
    }
  })

  it.effect("as an effect: the same, and evaluated when it is run", () =>
    Effect.gen(function*() {
      assert.deepStrictEqual(yield* example.resolve({}), defaults)
      const error = yield* Effect.flip(example.resolve({ size: 0 }))
      assert.strictEqual(error.message, "Example: option `size` must be a whole number, 1 or more, it is 0")
    }))

  it("the owner's own problem: it has the form of the others", () => {
    assert.strictEqual(example.invalid("size", "is too much").message, "Example: option `size` is too much")
  })
})
