import { makeCompiler as makePgCompiler } from "@effect/sql-pg/PgClient"
import { assert, describe, it } from "@effect/vitest"
import * as Hash from "effect/Hash"
import { withAtMost, withManyParameters } from "../../src/values/manyParameters.ts"

describe("a compiler around another one", () => {
  const inner = makePgCompiler()
  for (
    const [name, compiler] of [["withAtMost", withAtMost(10, inner)], [
      "withManyParameters",
      withManyParameters(inner)
    ]] as const
  ) {
    it(`${name}: can be hashed, as part of a statement that is compared or logged`, () => {
      assert.strictEqual(Hash.hash(compiler), Hash.hash(compiler))
    })

    it(`${name}: compiles without the transform, again and again`, () => {
      assert.strictEqual(compiler.withoutTransform.withoutTransform.dialect, "pg")
    })
  }
})
