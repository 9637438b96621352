import { assert, describe, it } from "@effect/vitest"
import { ruleOfError } from "../../../src/mysql-family/errors/errno.ts"

describe("an error while committing", () => {
  it("a conflict with another member of a group → the whole transaction is repeated", () => {
    const message = "Got error 149 - 'Lock deadlock; Retry transaction' during COMMIT"
    const rule = ruleOfError({ errno: 1180, message }, false)
    assert.strictEqual(rule?.scope, "Transaction")
    assert.notStrictEqual(rule?.unknown, true)
  })

  it("any other error of the engine → nobody knows what became of it", () => {
    for (
      const message of ["Got error 28 - 'No space left on device' during COMMIT", "Got error 1499 during COMMIT", ""]
    ) {
      assert.strictEqual(ruleOfError({ errno: 1180, message }, false)?.unknown, true)
    }
  })
})
