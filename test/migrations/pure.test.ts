/** What needs no database: how files are cut, how statements are run, what is planned. */
import { assert, describe, it } from "@effect/vitest"
import * as Result from "effect/Result"
import { Lint } from "watertight/migrations"
import { fromText } from "../../src/migrations/Migration.ts"
import { checksum } from "../../src/migrations/plan/checksum.ts"
import { read } from "../../src/migrations/plan/directives.ts"
import { rung } from "../../src/migrations/plan/ladder.ts"
import { plan, type Recorded, type Rules } from "../../src/migrations/plan/plan.ts"
import { mysqlWay } from "../../src/migrations/sql/mysqlWay.ts"
import { postgresWay } from "../../src/migrations/sql/postgresWay.ts"
import { split } from "../../src/migrations/sql/split.ts"

const texts = (text: string, dialect: "postgres" | "mysql") =>
  Result.getOrThrow(split(text, dialect)).map((statement) => statement.text)

describe("split", () => {
  for (
    const [dialect, text, expected] of [
      ["postgres", "select 1; select 2;", ["select 1", "select 2"]],
      ["postgres", "-- only a comment\n/* and; another */ ;;", []],
      ["postgres", "select ';', E'\\';', \";\" ; select 2", ["select ';', E'\\';', \";\"", "select 2"]],
      ["postgres", "/* a /* nested; */ one; */ select 1", ["select 1"]],
      ["postgres", "do $$ begin; end $$; select $a$ ; $$ ; $a$", ["do $$ begin; end $$", "select $a$ ; $$ ; $a$"]],
      ["postgres", "select a$b$c; select 2", ["select a$b$c", "select 2"]],
      [
        "postgres",
        "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 3",
        ["create function f() returns int begin atomic select case when true then 1 end; select 2; end", "select 3"]
      ],
      [
        "postgres",
        "create rule r as on insert to t do also (select 1; select 2); select 3",
        ["create rule r as on insert to t do also (select 1; select 2)", "select 3"]
      ],
      ["postgres", "select 1--2\n;select 3", ["select 1", "select 3"]],
      ["mysql", "select 1--2;select 3", ["select 1--2", "select 3"]],
      ["mysql", "select 1; # comment;\nselect \"a;\\\";\", `;`", ["select 1", "select \"a;\\\";\", `;`"]],
      ["mysql", "/*!40101 set names utf8mb4 */; select 2*/* ; */3", [
        "/*!40101 set names utf8mb4 */",
        "select 2*/* ; */3"
      ]],
      [
        "mysql",
        "create trigger t before insert on a for each row begin if new.x then set new.y = 1; end if; end; select 1",
        ["create trigger t before insert on a for each row begin if new.x then set new.y = 1; end if; end", "select 1"]
      ],
      [
        "mysql",
        "create procedure p(in a int) begin declare i int; while i < 3 do set i = i + 1; end while; " +
        "case a when 1 then select if(a, 1, 2); else begin end; end case; end; select 1",
        [
          "create procedure p(in a int) begin declare i int; while i < 3 do set i = i + 1; end while; " +
          "case a when 1 then select if(a, 1, 2); else begin end; end case; end",
          "select 1"
        ]
      ],
      ["mysql", "create procedure p() select 1; select 2", ["create procedure p() select 1", "select 2"]],
      ["mysql", "create table event (id int); select 2", ["create table event (id int)", "select 2"]],
      [
        "mysql",
        "delimiter //\ncreate procedure p() begin select 1; end//\ndelimiter ;\nselect 2;",
        ["create procedure p() begin select 1; end", "select 2"]
      ],
      ["mysql", "DELIMITER $$\ncreate function f() returns int return 1$$\nselect 2$$", [
        "create function f() returns int return 1",
        "select 2"
      ]]
    ] as const
  ) {
    it(`${dialect}: ${text.replace(/\s+/g, " ").slice(0, 70)}`, () => {
      assert.deepStrictEqual(texts(text, dialect), [...expected])
    })
  }

  for (
    const [text, line, problem] of [
      ["select 1;\nselect 'abc", 2, "does not end"],
      ["select 1;\n\\i other.sql", 2, "psql"],
      ["create table t (a text);\ncopy t from stdin;\nit's\n\\.", 2, "COPY"]
    ] as const
  ) {
    it(`refused: ${JSON.stringify(text)} → line ${line}`, () => {
      const failure = Result.getOrThrow(Result.flip(split(text, "postgres")))
      assert.strictEqual(failure.line, line)
      assert.include(failure.problem, problem)
    })
  }
})

const tagOf = (text: string, dialect: "postgres" | "mysql"): string => {
  const [statement] = Result.getOrThrow(split(text, dialect))
  const way = dialect === "postgres" ? postgresWay(statement!) : mysqlWay(statement!)
  if (way._tag !== "Alone") return way._tag
  if (way.repeatable) return "repeatable"
  return way.probe === undefined
    ? "opaque"
    : `${way.probe.subjects.map((subject) => `${subject.kind} ${subject.name}`).join(", ")} ${way.probe.done}`
}

describe("how a statement is run", () => {
  for (
    const [text, expected] of [
      ["create table a (id int)", "Transaction"],
      ["create index concurrently a_v on a (v)", "index a_v 1"],
      ["create unique index concurrently if not exists \"A_v\" on s.a (v)", "index A_v 1"],
      ["create index concurrently on a (v)", "Refused"],
      ["drop index concurrently if exists s.a_v", "index a_v 0"],
      ["vacuum (analyze) a", "repeatable"],
      ["reindex table concurrently a", "repeatable"],
      ["call p()", "opaque"],
      ["begin", "Refused"],
      ["rollback to savepoint a", "Transaction"],
      ["commit and chain", "Refused"],
      ["alter type t add value 'x'", "Transaction"],
      ["alter table a detach partition b concurrently", "opaque"]
    ] as const
  ) it(`PostgreSQL: ${text} → ${expected}`, () => assert.strictEqual(tagOf(text, "postgres"), expected))

  for (
    const [text, expected] of [
      ["insert into a values (1)", "Transaction"],
      ["create table if not exists `A b` (id int)", "table A b 1"],
      ["drop table a, s.b", "table a, table b 00"],
      ["create or replace view v as select 1", "repeatable"],
      ["create definer=`x`@`%` sql security invoker view v as select 1", "table v 1"],
      ["alter table a add column b int, add index i (b)", "column b, index i 11"],
      ["alter table a add b int after c", "column b 1"],
      ["alter table a rename column b to c", "column b, column c 01"],
      ["alter table a change b b bigint", "repeatable"],
      ["alter table a modify b bigint, engine = innodb", "repeatable"],
      ["alter table a rename to c", "table a, table c 01"],
      ["alter table a drop primary key", "index PRIMARY 0"],
      ["alter table a add constraint fk foreign key (b) references c (id)", "constraint fk 1"],
      ["rename table a to b, c to d", "table a, table b, table c, table d 0101"],
      ["create index i on a (b)", "index i 1"],
      ["create trigger t before insert on a for each row set new.x = 1", "trigger t 1"],
      ["truncate table a", "opaque"],
      ["call p()", "opaque"],
      ["set @x = 1", "Session"],
      ["set autocommit = 0", "Refused"],
      ["start transaction", "Refused"],
      ["use other", "Refused"],
      ["create temporary table t (id int)", "Refused"]
    ] as const
  ) it(`MySQL: ${text} → ${expected}`, () => assert.strictEqual(tagOf(text, "mysql"), expected))
})

describe("directives", () => {
  it("what a file says is read, also with the line ends of Windows", () => {
    const directives = Result.getOrThrow(
      read(
        "-- watertight: no-transaction\r\n-- watertight: lock-timeout=2s\n-- watertight: allow=drop long gone\nselect 1"
      )
    )
    assert.deepInclude(directives, { transaction: false, lockTimeout: 2000 })
    assert.deepStrictEqual(directives.allow, [{ rule: "drop", reason: "long gone", line: 3 }])
  })
  for (
    const text of ["-- watertight: no-transction", "-- watertight: allow=drop", "-- watertight: lock-timeout=soon"]
  ) {
    it(`refused: ${text}`, () => assert.isTrue(Result.isFailure(read(text))))
  }
})

describe("checksum", () => {
  it("line ends and a byte order mark change nothing, anything else does", () => {
    assert.strictEqual(checksum("\ufeffa\r\nb\rc"), checksum("a\nb\nc"))
    assert.notStrictEqual(checksum("a\nb"), checksum("a\n b"))
  })
})

describe("the ladder of locks", () => {
  it("waits longer each time, up to a limit, and so does the pause", () => {
    const ladder = { first: 100, longest: 1000, pause: 10_000, limit: 600_000 }
    assert.deepStrictEqual(rung(ladder, 0), { lockTimeout: 100, pause: 50 })
    assert.deepStrictEqual(rung(ladder, 100), { lockTimeout: 1000, pause: 10_000 })
  })
})

const file = (id: number, name = `m${id}`, sum = "x") => ({ id, name, kind: "sql", checksum: sum })
const record = (id: number, more: Partial<Recorded> = {}): Recorded => ({
  id,
  name: `m${id}`,
  kind: "sql",
  checksum: "x",
  state: "applied",
  done: 0,
  total: undefined,
  appliedAt: undefined,
  error: undefined,
  ...more
})
const strict: Rules = { outOfOrder: false, allowMissing: false, to: undefined }

describe("plan", () => {
  for (
    const [name, files, records, rules, pending, problems, warnings] of [
      ["nothing recorded", [file(2), file(1)], [], strict, [1, 2], [], []],
      ["all applied", [file(1)], [record(1)], strict, [], [], []],
      ["a limit", [file(1), file(2)], [], { ...strict, to: 1 }, [1], [], []],
      ["edited", [file(1, "m1", "y"), file(2)], [record(1)], strict, [2], ["Changed"], []],
      ["edited code", [{ ...file(1, "m1", "y"), kind: "ts" }], [record(1, { kind: "ts" })], strict, [], [], [
        "Changed"
      ]],
      ["compiled code", [{ ...file(1, "m1", "y"), kind: "js" }], [record(1, { kind: "ts" })], strict, [], [], []],
      ["no checksum", [file(1, "m1", "y")], [record(1, { checksum: undefined })], strict, [], [], []],
      ["renamed", [file(1, "other")], [record(1)], strict, [], ["Renamed"], []],
      ["deleted", [file(2)], [record(1), record(2)], strict, [], ["Missing"], []],
      ["deleted, allowed", [file(2)], [record(1), record(2)], { ...strict, allowMissing: true }, [], [], ["Missing"]],
      ["a newer version has run", [file(1)], [record(1), record(2)], strict, [], [], ["Missing"]],
      ["merged late", [file(1), file(2)], [record(2)], strict, [], ["OutOfOrder"], []],
      ["merged late, allowed", [file(1), file(2)], [record(2)], { ...strict, outOfOrder: true }, [1], [], []],
      ["duplicate", [file(1), file(1, "again")], [], strict, [1], ["Duplicate"], []],
      ["below a baseline", [file(1), file(2), file(3)], [record(2, { state: "baseline" })], strict, [3], [], []],
      ["unfinished", [file(1)], [record(1, { state: "running", done: 2 })], strict, [1], [], []],
      ["failed and edited", [file(1, "m1", "y")], [record(1, { state: "failed", done: 2 })], strict, [1], [], []]
    ] as const
  ) {
    it(name, () => {
      const found = plan([...files], [...records], rules)
      assert.deepStrictEqual(found.pending.map((step) => step.id), [...pending])
      assert.deepStrictEqual(found.problems.map((problem) => problem._tag), [...problems])
      assert.deepStrictEqual(found.warnings.map((problem) => problem._tag), [...warnings])
    })
  }
})

const lint = (text: string, dialect: Lint.Dialect) =>
  Lint.check(Result.getOrThrow(fromText({ id: 1, name: "x", file: "1_x.sql" }, text)), dialect).map(({ rule }) => rule)

const alone = "-- watertight: no-transaction\n"

describe("lint", () => {
  for (
    const [rule, dialect, bad, safe] of [
      ["pg-index-concurrently", "postgres", "create index i on a (v)", `${alone}create index concurrently i on a (v)`],
      ["pg-drop-index-concurrently", "postgres", "drop index i", `${alone}drop index concurrently i`],
      [
        "pg-set-not-null",
        "postgres",
        "alter table a alter column v set not null",
        "alter table a alter v drop not null"
      ],
      [
        "pg-constraint-not-valid",
        "postgres",
        "alter table a add constraint c check (v > 0)",
        "alter table a add constraint c check (v > 0) not valid"
      ],
      [
        "pg-constraint-not-valid",
        "postgres",
        "alter table a add foreign key (b) references b (id)",
        "alter table a add constraint f foreign key (b) references b (id) not valid"
      ],
      [
        "pg-unique-using-index",
        "postgres",
        "alter table a add constraint u unique (v)",
        "alter table a add constraint u unique using index i"
      ],
      ["pg-column-type", "postgres", "alter table a alter v type bigint", "alter table a add column v2 bigint"],
      [
        "pg-volatile-default",
        "postgres",
        "alter table a add column k uuid default gen_random_uuid()",
        "alter table a add column k int default 0"
      ],
      [
        "pg-validate-same-transaction",
        "postgres",
        "alter table a add constraint c check (v > 0) not valid; alter table a validate constraint c",
        "alter table a validate constraint c"
      ],
      [
        "my-algorithm",
        "mysql",
        "alter table a add index i (v)",
        "alter table a add index i (v), algorithm=inplace, lock=none"
      ],
      ["my-algorithm", "mysql", "create index i on a (v)", "create index i on a (v) algorithm=inplace lock=none"],
      ["add-not-null", "postgres", "alter table a add v int not null", "alter table a add v int not null default 0"],
      [
        "add-not-null",
        "mysql",
        "alter table a add v int not null, algorithm=instant",
        "alter table a add v int, algorithm=instant"
      ],
      ["rename", "postgres", "alter table a rename column v to w", "alter table a rename constraint c to d"],
      ["rename", "mysql", "rename table a to b", "alter table a rename index i to j, algorithm=inplace"],
      ["drop", "postgres", "drop table a", "-- watertight: allow=drop unused since version 12\ndrop table a"],
      [
        "drop",
        "mysql",
        "alter table a drop column v, algorithm=instant",
        "alter table a drop index i, algorithm=inplace"
      ],
      ["backfill", "postgres", "update a set v = 0", "update a set v = 0 where id between 1 and 1000"],
      ["backfill", "mysql", "delete from a", "delete from a where id < 1000"]
    ] as const
  ) {
    it(`${rule}: fires on ${bad} and not on ${safe.replace(alone, "")}`, () => {
      assert.deepStrictEqual(lint(bad, dialect), [rule])
      assert.deepStrictEqual(lint(safe, dialect), [])
    })
  }

  it("a table that the file itself makes → nothing is found about it", () => {
    assert.deepStrictEqual(
      lint(
        "create table a (v int); create index i on a (v); alter table a alter v set not null; drop table a",
        "postgres"
      ),
      []
    )
  })

  it("a column that an earlier migration has proved to have no nulls → SET NOT NULL is fine", () => {
    const findings = (...files: ReadonlyArray<string>) =>
      Lint.checkAll(
        [...files, "alter table a alter v set not null"].map((text, id) =>
          Result.getOrThrow(fromText({ id, name: "x", file: `${id}.sql` }, text))
        ),
        "postgres"
      ).map(({ file, rule }) => `${file} ${rule}`)
    const add = "alter table a add constraint c check (v is not null) not valid"
    const validate = "alter table a validate constraint c"
    assert.deepStrictEqual(findings(add, validate), [])
    assert.deepStrictEqual(findings(add), ["1.sql pg-set-not-null"])
    assert.deepStrictEqual(findings(add, "alter table b validate constraint c"), ["2.sql pg-set-not-null"])
    assert.deepStrictEqual(findings(add.replace("v is", "w is"), validate), ["2.sql pg-set-not-null"])
    assert.deepStrictEqual(findings(add.replace(")", " or v = 1)"), validate), ["2.sql pg-set-not-null"])
    assert.deepStrictEqual(findings(add, validate, "alter table a drop constraint c"), ["3.sql pg-set-not-null"])
  })

  it("what cannot be run, and a rule that does not exist → found as well", () => {
    assert.deepStrictEqual(lint("create index concurrently i on a (v)", "postgres"), ["invalid"])
    assert.deepStrictEqual(lint("begin; select 1; commit", "postgres"), ["invalid", "invalid"])
    assert.deepStrictEqual(lint("-- watertight: allow=drp gone\nselect 1", "postgres"), ["unknown-rule"])
  })
})
