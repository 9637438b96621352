import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Outcome, Transaction } from "watertight"
import { Script } from "watertight/postgres"
import { statementStarts } from "../../../src/postgres/statement/scripts.ts"
import { database } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

it.layer(database({ maxConnections: 2 }))("scripts", (it) => {
  it.effect("run as they are", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const results = yield* Script.run(`
        -- a comment; with a semicolon
        create table s (a int, b text); /* another; /* one; */ */
        insert into s values (1, 'it''s; ok'), (2, E'\\';'), (3, $$;$$), (4, $x$ $$;$$ $x$);
        create function "f;"(n int) returns int language sql begin atomic; select case when n > 1 then 2 else 3 end; end;
        ;
        select "f;"(2) as f, (select count(*) from s) as n;
      `)
      assert.deepStrictEqual(results.map(({ command }) => command), ["CREATE", "INSERT", "CREATE", "SELECT"])
      assert.deepStrictEqual(results[3]!.rows, [{ f: 2, n: 4n }])
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from s`, [{ n: 4 }])
    }))

  const cases: ReadonlyArray<readonly [what: string, script: string, line: number, statement: number]> = [
    ["a statement that cannot be parsed", "select 1;\n\nselect 2;\n  selec 3;\nselect 4", 4, 3],
    ["a name that is not there", "select 1;\nselect\n  é\n, nope;", 3, 2],
    [
      "a value that does not do",
      "create table z (a int primary key);\ninsert into z values (1);\n\n-- x;\n insert into z values (1);",
      5,
      3
    ],
    ["an error without a place", "select 1;\ndo $$\nbegin\n raise exception 'x;';\nend $$;\nselect 1", 2, 2],
    [
      "behind a block of a function",
      "create function g() returns int begin atomic\n select 1; select case when true then 1 end;\nend;\nselect 1/0",
      4,
      2
    ]
  ]
  for (const [what, script, line, statement] of cases) {
    it.effect(`the line of ${what}`, () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient
        const error = yield* sqlFailure(Script.run(script))
        assert.deepStrictEqual(Script.placeOf(error), { line, statement })
        assert.include(error.message, `line ${line}`)
        assert.isTrue(Outcome.isNotApplied(error))
        assert.deepStrictEqual(yield* sql`select to_regclass('z') as z`, [{ z: null }])
      }))
  }

  it.effect("in a transaction, and with commands of their own", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* Script.run("create table t (a int)").pipe(
        Effect.andThen(Effect.fail("undo")),
        Transaction.run(),
        Effect.flip
      )
      assert.deepStrictEqual(yield* sql`select to_regclass('t') as t`, [{ t: null }])
      yield* sqlFailure(Script.run("begin; create table t (a int); commit; select 1/0"))
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from t`, [{ n: 0 }])
      // One that is left open does not reach the next borrower.
      yield* Script.run("begin; insert into t values (1)")
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from t`, [{ n: 0 }])
    }))
})

describe("where statements begin", () => {
  it("agrees with what is between the semicolons", () => {
    const parts = ["select 1", "select ';'", "select $a$;$a$", "select \";\"", "select E'\\';'", "select a$b$c;d$b$c"]
    assert.strictEqual(statementStarts(parts.slice(0, 5).join(";")).length, 5)
    assert.strictEqual(statementStarts(" ; ;; -- x\n /* ; */ ;").length, 0)
    assert.strictEqual(statementStarts(parts[5]!).length, 2)
    for (const text of ["'", "\"", "$$", "/*", "$", "\\", "begin atomic", ""]) {
      assert.isAtMost(statementStarts(text).length, 1)
    }
  })
})
