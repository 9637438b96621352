import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Outcome, SqlFailure, Transaction } from "watertight"
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
      // One that is left open does not reach the next borrower, and its caller is told.
      yield* sqlFailure(Script.run("begin; insert into t values (1)"))
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from t`, [{ n: 0 }])
    }))
})

it.layer(database({ maxConnections: 2 }))("statement by statement", (it) => {
  it.effect("what refuses to be in a transaction runs", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const text = `
        create table s (a int, b text);
        insert into s values (1, 'x;y');
        create index concurrently s_a on s (a);
        vacuum (analyze) s; -- the last;
      `
      const error = yield* sqlFailure(Script.run(text))
      assert.strictEqual(SqlFailure.of(error).code, "25001")
      assert.deepStrictEqual(Script.placeOf(error), { statement: 3, line: 4 })
      assert.deepStrictEqual(yield* sql`select to_regclass('s') as s`, [{ s: null }])

      const results = yield* Script.run(text, { transaction: false })
      assert.deepStrictEqual(results.map(({ command }) => command), ["CREATE", "INSERT", "CREATE", "VACUUM"])
      const failed = yield* sqlFailure(
        Script.run("insert into s values (2);\n\ninsert into s values (3) returning é", { transaction: false })
      )
      assert.deepStrictEqual(Script.placeOf(failed), { statement: 2, line: 3 })
      // To repeat the script would insert the first row twice.
      assert.strictEqual(Outcome.of(failed)?.outcome, "Unknown")
      assert.isFalse(failed.isRetryable)
      const first = yield* sqlFailure(Script.run("insert into s values (1, 2, 3); select 1", { transaction: false }))
      assert.isTrue(Outcome.isNotApplied(first))
      assert.deepStrictEqual(yield* sql`select a from s order by a`, [{ a: 1 }, { a: 2 }])
    }))

  it.effect("not inside a transaction, and no option is ignored", () =>
    Effect.gen(function*() {
      const inside = yield* sqlFailure(Script.run("select 1; select 2", { transaction: false }).pipe(Transaction.run()))
      assert.include(inside.message, "cannot be run inside")
      const wrong = yield* sqlFailure(Script.run("select 1", { transactional: false } as never))
      assert.include(wrong.message, "did you mean `transaction`")
    }))

  it.effect("a dump of pg_dump is restored, data and all, in one transaction", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      const dump = (last: string) =>
        `--
-- PostgreSQL database dump
--
\\restrict abcDEF

SET statement_timeout = 0;
SET client_encoding = 'UTF8';
SELECT pg_catalog.set_config('search_path', '', false);

CREATE TABLE public.city (id integer NOT NULL, name text, note text);
CREATE TABLE public.empty (id integer);

--
-- Data for Name: city; Type: TABLE DATA
--

COPY public.city (id, name, note) FROM stdin;
1\tZürich\t\\N
2\tRio; de 'Janeiro\tselect 1;
3\t😀${"x".repeat(70_000)}\ta\\tb
\\.


COPY public.empty (id) FROM stdin;
\\.

ALTER TABLE ONLY public.city
    ADD CONSTRAINT city_pkey PRIMARY KEY (id);
${last}
\\unrestrict abcDEF
`
      const error = yield* sqlFailure(Script.run(dump("select 1/0;")))
      assert.strictEqual(Script.placeOf(error)?.line, 29)
      assert.deepStrictEqual(yield* sql`select to_regclass('public.city') as t`, [{ t: null }])
      const bad = yield* sqlFailure(Script.run(dump("").replace("2\tRio", "2x\tRio")))
      assert.deepStrictEqual(Script.placeOf(bad), { statement: 6, line: 17 })

      const results = yield* Script.run(dump(""))
      assert.deepStrictEqual(
        results.map(({ command, rowCount }) => [command, rowCount]),
        [["SET", 0], ["SET", 0], ["SELECT", 1], ["CREATE", 0], ["CREATE", 0], ["COPY", 3], ["COPY", 0], ["ALTER", 0]]
      )
      assert.deepStrictEqual(
        yield* sql`select id, left(name, 20) as name, length(name) as n, note from city order by id`,
        [
          { id: 1, name: "Zürich", n: 6, note: null },
          { id: 2, name: "Rio; de 'Janeiro", n: 16, note: "select 1;" },
          { id: 3, name: "😀" + "x".repeat(19), n: 70_001, note: "a\tb" }
        ]
      )
      yield* sql`drop table city, empty`
      yield* Script.run(dump(""), { transaction: false })
      yield* sql`drop table city, empty`
      yield* Script.run(dump("")).pipe(Transaction.run())
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from city`, [{ n: 3 }])
    }))

  const refused: ReadonlyArray<readonly [script: string, message: string]> = [
    ["create table x (a int);\n\\connect other\nselect 1", "line 2: \\connect is a command of psql"],
    ["select 1;\n\ncopy x from stdin;\n1\n2\n", "line 3: COPY FROM stdin has its data"],
    ["copy x from stdin", "line 1: COPY FROM stdin has its data"]
  ]
  for (const [script, message] of refused) {
    it.effect(`${JSON.stringify(script)} → ${message}`, () =>
      Effect.gen(function*() {
        const error = yield* sqlFailure(Script.run(script))
        assert.include(error.message, message)
        assert.strictEqual(Outcome.of(error)?.outcome, "NotSent")
      }))
  }
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
