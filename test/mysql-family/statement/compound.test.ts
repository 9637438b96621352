/** Texts of several statements, some of which contain statements: both readers cut them alike, and the servers run them. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { SqlClient } from "effect/sql/SqlClient"
import { split as splitFile } from "../../../src/migrations/sql/split.ts"
import { split } from "../../../src/mysql-family/statement/statements.ts"
import { describeEach } from "../support.ts"

/** Each of them is one statement. `both` run on MySQL and MariaDB. */
const both: Readonly<Record<string, string>> = {
  "a block": "create procedure p() begin insert into log values (1); insert into log values (2); end",
  "blocks in blocks": "create procedure p() begin begin insert into log values (1); end; begin end; end",
  "one statement": "create procedure p() insert into log values (1)",
  "an IF without a block": "create procedure p() if 1 = 1 then insert into log values (1); else begin end; end if",
  "an IF in parentheses": "create procedure p(in a int) if (a > 1) then insert into log values (1); end if",
  "a WHILE with a label":
    "create procedure p() begin declare i int default 0; a: while i < 2 do set i = i + 1; iterate a; end while a; end",
  "a LOOP without a block": "create procedure p() a: loop leave a; end loop a",
  "a REPEAT":
    "create procedure p() begin declare i int default 0; repeat set i = i + 1; until i > 1 end repeat; select repeat('a', 2); end",
  "CASE as a statement and in an expression":
    "create procedure p(in a int) begin case a when 1 then select case a when 1 then 2 end; else begin end; end case; end",
  "functions called like blocks":
    "create procedure p(in a int) begin select if(a, 1, 2), repeat('x', 2); drop table if exists nowhere; set a = if(a > 1, 1, 2); end",
  "a handler and a cursor":
    "create procedure p() begin declare d int default 0; declare c cursor for select a from log; declare continue handler for not found set d = 1; " +
    "declare exit handler for sqlexception begin set d = 2; end; open c; close c; end",
  "a function of one statement":
    "create function f(a int) returns int deterministic return if(a, case a when 1 then 2 end, 3)",
  "a function with a block":
    "create function f(a varchar(5)) returns varchar(5) character set utf8mb4 deterministic begin if a = ';' then return 'x'; end if; return a; end",
  "a trigger": "create trigger r before insert on log for each row begin if new.a > 5 then set new.a = 5; end if; end",
  "a trigger without a block": "create trigger r before update on log for each row set new.a = if(new.a, 1, 2)",
  "a trigger with an IF": "create trigger r after delete on log for each row if old.a > 5 then set @x = 1; end if",
  "an event": "create event e on schedule every 1 day disable do begin delete from log; delete from log; end",
  "an event with an end":
    "create event e on schedule every 1 day starts '2030-01-01' ends '2031-01-01' disable comment 'a;b' do delete from log",
  "a definer": "create definer = current_user procedure p() sql security invoker begin select 1; end",
  "a definer that is called like a kind": "create definer = `event`@`localhost` procedure p() begin select 1; end",
  "characteristics":
    "create procedure p() comment 'end; begin' language sql not deterministic modifies sql data begin select 1; end",
  "comments": "create /* begin; */ procedure p() -- begin;\n begin # end;\n select 1; /* end; */ end",
  "an executable comment": "create /*!50003 procedure p() begin select 1; end */",
  "quotes": "create procedure `begin;`() begin select ';', \"end;\", `a` from log; end",
  "a table called like a kind": "create table event (a int comment 'begin; procedure')",
  "a view called like a kind": "create or replace view `package` as select case when 1 then 2 end as a",
  "an index called like a kind": "create index event on log (a)"
}

const onlyMariadb: Readonly<Record<string, string>> = {
  "a block of its own":
    "begin not atomic declare i int default 1; if i = 1 then insert into log values (i); end if; end",
  "an IF of its own": "if 1 = 1 then insert into log values (1); insert into log values (2); end if",
  "a CASE of its own": "case 1 when 1 then insert into log values (1); end case",
  "a WHILE of its own": "while 1 = 2 do select 1; end while",
  "a FOR": "create procedure p() for i in 1..3 do insert into log values (i); end for",
  "OR REPLACE and IF NOT EXISTS": "create or replace procedure p() begin select 1; end",
  "IF NOT EXISTS": "create procedure if not exists p() begin select 1; select 2; end",
  "an aggregate":
    "create aggregate function f(a int) returns int begin declare n int default 0; declare continue handler for not found return n; " +
    "loop fetch group next row; set n = n + 1; end loop; end",
  "an altered event": "create or replace event e on schedule every 1 day disable do if 1 then delete from log; end if"
}

/** In MariaDB's mode of another database; not run here. */
const ofOracle: Readonly<Record<string, string>> = {
  "a LOOP of its own": "a: loop leave a; end loop",
  "declarations before BEGIN": "create procedure p as a int; b int; begin select 1; end",
  "IS, and a function":
    "create or replace function f (a int) return int is b int := 1; begin if a > b then return 1; end if; return 2; end",
  "no declarations": "create procedure p as begin select 1; end",
  "a package": "create package k as procedure a(); function b return int; end",
  "the body of a package":
    "create package body k as procedure a() as x int; begin select 1; end; function b return int as begin return 1; end; begin select 2; end"
}

const files = (text: string) => Result.getOrThrow(splitFile(text, "mysql")).map((statement) => statement.text)
const texts = (text: string) => split(text, false).map((piece) => piece.texts.join("?").trim())

describe("both readers", () => {
  for (const [name, statement] of Object.entries({ ...both, ...onlyMariadb, ...ofOracle })) {
    it(`leave whole: ${name}`, () => {
      const text = `select 1; ${statement}; drop table if exists a; ${statement} ;;`
      const whole = ["select 1", statement, "drop table if exists a", statement]
      assert.deepStrictEqual(texts(text), whole)
      assert.deepStrictEqual(files(text), whole)
    })

    it(`and behind another delimiter: ${name}`, () => {
      const text = `select 1;\nDELIMITER $$\n${statement}$$\n${statement} $$\ndelimiter ;\nselect 2;`
      const whole = ["select 1", statement, statement, "select 2"]
      assert.deepStrictEqual(texts(text), whole)
      assert.deepStrictEqual(files(text), whole)
    })
  }

  it("read what mysqldump writes", () => {
    const text =
      "/*!50003 SET sql_mode = '' */ ;\nDELIMITER ;;\n/*!50003 CREATE*/ /*!50017 DEFINER=`root`@`localhost`*/ " +
      "/*!50003 TRIGGER r BEFORE INSERT ON log FOR EACH ROW BEGIN SET @a = 1; SET @b = 2; END */;;\nDELIMITER ;\nselect 1"
    assert.strictEqual(texts(text).length, 3)
    assert.include(texts(text)[1], "SET @b = 2; END */")
  })

  it("find placeholders in all of them", () => {
    const pieces = split("create procedure p() begin select ?; end; insert into t values (?, ';'); select ?", false)
    assert.deepStrictEqual(pieces.map(({ texts }) => texts.length - 1), [1, 1, 1])
  })

  it("do not take for an end what only looks like one", () => {
    for (const text of ["begin; select 1; end", "start transaction; select case when 1 then 2 end; commit"]) {
      assert.deepStrictEqual(texts(text), text.split(/; /))
    }
  })
})

describeEach("over $name", (subject) => {
  const isMariadb = subject.server.name === "MariaDB"
  const database = Layer.unwrap(
    Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 2 } }))
  )
  const clear =
    "drop procedure if exists p; drop procedure if exists `begin;`; drop function if exists f; drop trigger if exists r; " +
    "drop event if exists e; drop view if exists package; drop table if exists event; drop table if exists log; create table log (a int);"

  it.layer(database, { excludeTestServices: true, timeout: "60 seconds" })("runs", (it) => {
    for (const [name, statement] of Object.entries(isMariadb ? { ...both, ...onlyMariadb } : both)) {
      // The account of the test may not create for others.
      if (statement.includes("`event`@")) continue
      it.effect(`${name}, between other statements`, () =>
        Effect.gen(function*() {
          const sql = yield* SqlClient
          for (const text of [statement, `delimiter //\n${statement}//\ndelimiter ;\n`]) {
            const results = yield* sql.unsafe(
              `${clear} ${text}; insert into log values (?); select max(a) as a from log`,
              [7]
            ).unprepared
            assert.deepStrictEqual((results as ReadonlyArray<unknown>).at(-1), [{ a: name === "a trigger" ? 5 : 7 }])
          }
        }))
    }
  })
})
