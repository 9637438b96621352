/** What statements have in common that differ only in their values. */
import { assert, describe, it } from "@effect/vitest"
import { fingerprint } from "../../src/database/fingerprint.ts"

describe("the fingerprint of a statement", () => {
  const table: ReadonlyArray<readonly [sql: string, fingerprint: string]> = [
    ["select * from t where id = 5 and name = 'it''s'", "select * from t where id = ? and name = ?"],
    ["select * from t where id = $1", "select * from t where id = ?"],
    ["insert into t (a, b) values (1, 'x'), (2, 'y')", "insert into t (a, b) values (?)"],
    ["select \"a1\", `b2` from t -- about 5\n where x = 1.5e3", "select \"a1\", `b2` from t where x = ?"],
    ["do $body$ select 'secret' $body$", "do ?"],
    ["select 1 /* 'secret' */ + 2", "select ? + ?"],
    // What is not closed is hidden as a whole, because it may be a value.
    ["select 'secret", "select ?"],
    ["select 'it''s", "select ?"],
    ["select 1 /* secret", "select ?"],
    ["do $a$ secret $b$", "do ?"]
  ]
  for (const [sql, expected] of table) it(sql, () => assert.strictEqual(fingerprint(sql), expected))

  for (const part of ["/*", "'", "\"", "`", "$a$", "$", "--", "(", "(1,", "1 ", "e", "/*'", "'\"`$$/*"]) {
    it(`takes no more than a moment for a long text of ${part}`, () => {
      const time = (length: number) => {
        const began = performance.now()
        fingerprint(part.repeat(length) + length)
        return performance.now() - began
      }
      time(1_000)
      // Of eight times the length, a square takes 64 times as long.
      const short = Math.min(time(10_000), time(10_001), time(10_002))
      assert.isBelow(Math.min(time(80_000), time(80_001)), 40 * short + 20)
    })
  }
})
