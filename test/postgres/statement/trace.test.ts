/** Which functions a text calls that are not known. What is no function can never become known, so it must not be one. */
import { assert, describe, it } from "@effect/vitest"
import { endsTransaction } from "../../../src/database/ClassifyingConnection.ts"
import { Trace, tracesOf } from "../../../src/postgres/statement/trace.ts"

describe("what looks like a call", () => {
  for (
    const sql of [
      "copy entry (id, name) from stdin (format binary)",
      "COPY \"entry\" (\"id\") FROM STDIN(FORMAT csv, HEADER)",
      "copy (select 1) to stdout (format csv)",
      "select * from json_table($1, '$[*]' columns (id int path '$.id', nested path '$.x' columns (y int))) as t",
      "select * from xmltable('/a' passing $1 columns id int path '@id') as t",
      "select json_array(1, 2), json_value($1, '$.a'), json_exists($1, '$.a')",
      "select xmlelement(name a, xmlattributes(1 as b), xmlforest(c))",
      "insert into t (a, b) values (1, 2) on conflict (a) do update set b = excluded.b",
      "with t (a) as materialized (values (1)) select a from t",
      "select a from f join unnest($1::int[]) as t(a) using (a)",
      "create table t (a numeric(10, 2), b varchar(5), c national character varying(3))",
      "create index concurrently i on t using gin (a) with (fastupdate = off)",
      "select sum(a) filter (where a > 1) over (partition by b) from t group by grouping sets ((a), (b))",
      "explain (analyze, buffers) select 1",
      "vacuum (analyze) t"
    ]
  ) it(`no call: ${sql}`, () => assert.isUndefined(tracesOf(sql).calls))

  for (
    const [sql, ...calls] of [
      ["select mine(1)", "mine"],
      ["select stdin(1)", "stdin"],
      ["select columns(1)", "columns"],
      ["copy (select mine(1)) to stdout (format csv)", "mine"],
      ["select * from json_table(mine($1), '$' columns (a int path '$.a')) as t", "mine"],
      ["insert into t (a) values (mine(1)) returning theirs(a)", "mine", "theirs"],
      ["select json_table($1) from t; select columns(1)", "columns"]
    ]
  ) it(`a call: ${sql}`, () => assert.deepStrictEqual(tracesOf(sql!).calls, calls))
})

describe("a long text", () => {
  // With the square of the length each of them would take minutes.
  const long = "x".repeat(300_000)
  for (const text of [`select '${long}'`, `insert into t values ('${long}') returning a`, `select "${long}" from t`]) {
    it(`is read once: ${text.slice(0, 24)}…`, () => {
      assert.deepStrictEqual(tracesOf(text), { trace: Trace.Nothing, calls: undefined })
    })
  }

  it("is read once, also if it begins with many comments", () => {
    const comments = "/* a * b */".repeat(200)
    assert.isTrue(endsTransaction(`${comments} commit`))
    assert.isFalse(endsTransaction(`${comments} select 'commit'`))
  })
})
