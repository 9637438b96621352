/** What a failure costs: nothing is done for it that nobody may look at. */
import { assert, describe, it } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Equal from "effect/Equal"
import type { SqlError } from "effect/sql/SqlError"
import * as SqlFailure from "../../src/failure/SqlFailure.ts"
import { MysqlError, statementError as ofMysql } from "../../src/mysql-family/errors/errors.ts"
import { statementError as ofPostgres } from "../../src/postgres/errors/errors.ts"

const answers: Readonly<Record<string, () => SqlError>> = {
  PostgreSQL: () => ofPostgres("shop", { code: "40001", message: "could not serialize access" }, true, "execute"),
  MySQL: () =>
    ofMysql({
      database: "shop",
      error: new MysqlError({ errno: 1213, sqlState: "40001", code: "ER_LOCK_DEADLOCK", message: "Deadlock found" }),
      operation: "execute"
    })
}

for (const [server, answer] of Object.entries(answers)) {
  describe(`an error of ${server}`, () => {
    it("captures no stack, for it is made where an answer arrives", () => {
      const limit = Error.stackTraceLimit
      const error = answer()
      assert.strictEqual(Error.stackTraceLimit, limit)
      for (const one of [error, error.reason] as ReadonlyArray<Error>) assert.notMatch(one.stack ?? "", /\n\s+at /)
      // What is made elsewhere has one.
      assert.match(new Error("elsewhere").stack!, /\n\s+at /)
    })

    it("is compared by reference when causes are put together, not by all that is in it", () => {
      let asked = 0
      const watched = (error: SqlError): SqlError => {
        const { cause } = error.reason
        Object.defineProperty(cause, "code", { enumerable: true, get: () => asked++ })
        return error
      }
      const together = (error: SqlError) => Cause.combine(Cause.fail(error), Cause.fail(error)).reasons.length
      assert.strictEqual(together(watched(answer())), 1)
      assert.isAbove(asked, 0, "an error that nobody marked is looked into")
      asked = 0
      const error = SqlFailure.attach(watched(answer()), "select 1")
      asked = 0
      assert.strictEqual(together(error), 1)
      assert.strictEqual(asked, 0)
      assert.isFalse(Equal.equals(error, SqlFailure.attach(answer(), "select 1")))
    })
  })
}
