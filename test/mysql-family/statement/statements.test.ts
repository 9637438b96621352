import { assert, describe, it } from "@effect/vitest"
import { inline } from "../../../src/mysql-family/statement/parameters.ts"
import { type Profile, profileOf, split } from "../../../src/mysql-family/statement/statements.ts"

const pieces = (sql: string, noBackslashEscapes = false) =>
  split(sql, noBackslashEscapes).map((piece) => piece.texts.map((text) => text.trim()))

describe("a statement's profile", () => {
  const cases: ReadonlyArray<readonly [sql: string, profile: Partial<Profile>]> = [
    ["select 1", { plain: true, changesSession: false, ends: "no" }],
    ["  \n-- comment\n# another\n/* third */ SeLeCt 1", { words: "SELECT", plain: true }],
    ["((select 1) union (select 2))", { words: "SELECT", plain: true }],
    ["/*!50000 create table t (id int) */", { words: "CREATE TABLE", ends: "commits" }],
    ["/*M!100100 drop */ table t", { words: "DROP TABLE", ends: "commits" }],
    ["/* create table */ select 1", { words: "SELECT", plain: true }],
    ["with a as (select 1) select * from a", { plain: true }],
    ["insert into t values (1)", { plain: true, changesSession: false }],
    ["select @a := 1", { plain: false, changesSession: true }],
    ["select 1 into @a", { changesSession: true }],
    ["select get_lock ('a', 1)", { changesSession: true }],
    ["select '@a = 1' from t where mail = 'a@b'", { plain: true, changesSession: false }],
    ["set @a = 1", { changesSession: true, ends: "no" }],
    ["set session sql_mode = ''", { changesSession: true }],
    ["set global max_connections = 10", { changesSession: false, ends: "no" }],
    ["set transaction read only", { changesSession: true }],
    ["set password = 'x'", { ends: "commits" }],
    ["use other", { changesSession: true }],
    ["call p()", { plain: false, changesSession: true, ends: "no" }],
    ["create temporary table t (id int)", { changesSession: true, ends: "no" }],
    ["create or replace temporary table t (id int)", { words: "CREATE TEMPORARY", ends: "no" }],
    ["create or replace table t (id int)", { words: "CREATE TABLE", ends: "commits" }],
    ["drop temporary table t", { ends: "no" }],
    ["drop table t", { ends: "commits", changesSession: false }],
    ["drop database if exists d", { ends: "commits", changesSession: true }],
    ["drop schema d", { ends: "commits", changesSession: true }],
    ["create schema d", { ends: "commits", changesSession: false }],
    ["truncate t", { ends: "commits" }],
    ["analyze table t", { ends: "commits" }],
    ["analyze format=json select 1", { ends: "no" }],
    ["lock tables t write", { ends: "commits", changesSession: true }],
    ["begin", { ends: "control", clears: true }],
    ["begin work", { ends: "control", clears: true }],
    ["begin not atomic select 1; end", { ends: "no", changesSession: true }],
    ["start transaction read only", { ends: "control", clears: true }],
    ["start slave", { ends: "commits" }],
    ["commit", { ends: "control", clears: false }],
    ["rollback", { ends: "control", clears: true }],
    ["rollback to savepoint a", { ends: "no", clears: false }],
    ["rollback work to a", { ends: "no" }],
    ["savepoint a", { ends: "no", changesSession: false }],
    ["xa start 'a'", { ends: "control" }],
    ["", { plain: true }]
  ]
  for (const [sql, expected] of cases) {
    it(JSON.stringify(sql), () => {
      const found = profileOf(sql)
      for (const [key, value] of Object.entries(expected)) assert.strictEqual(found[key as keyof Profile], value, key)
    })
  }
})

describe("splitting", () => {
  it("finds statements and placeholders", () => {
    assert.deepStrictEqual(pieces("insert into t values (?, ?); select last_insert_id();"), [
      ["insert into t values (", ",", ")"],
      ["select last_insert_id()"]
    ])
  })
  it("takes nothing in strings, identifiers and comments for either", () => {
    assert.deepStrictEqual(pieces("select '?;', \"?;\", `?;` -- ?;\n, ? # ?;\n /* ?; */ from t"), [
      ["select '?;', \"?;\", `?;` -- ?;\n,", "# ?;\n /* ?; */ from t"]
    ])
    assert.deepStrictEqual(pieces("select 'it''s ?', ?"), [["select 'it''s ?',", ""]])
    assert.deepStrictEqual(pieces("select 1--?"), [["select 1--", ""]])
  })
  it("knows what a backslash means", () => {
    assert.deepStrictEqual(pieces("select '\\'?', ?"), [["select '\\'?',", ""]])
    assert.deepStrictEqual(pieces("select '\\', ?", true), [["select '\\',", ""]])
    assert.deepStrictEqual(pieces("select `\\`, ?"), [["select `\\`,", ""]])
  })
  it("leaves compound statements whole", () => {
    const routine = "create procedure p() begin select 1; select 2; end"
    assert.deepStrictEqual(pieces(routine), [[routine]])
    const block = "begin not atomic select 1; select 2; end"
    assert.deepStrictEqual(pieces(block), [[block]])
    for (
      const head of [
        "create or replace function f() returns int",
        "CREATE /* x */ DEFINER = `a`@`%` PROCEDURE p()",
        "create aggregate function f() returns int",
        "create trigger t before insert on a for each row",
        "alter event e do",
        "create or replace package body k as"
      ]
    ) assert.strictEqual(split(`${head} begin select 1; end`, false).length, 1, head)
  })
  it("takes nothing for a compound that is only called like one", () => {
    for (
      const statement of [
        "create table event (id int)",
        "create table t (a varchar(20) default 'function' comment 'a trigger')",
        "alter table t comment 'procedure'",
        "create index event on t (a)",
        "create or replace view package as select 1"
      ]
    ) assert.strictEqual(split(`${statement}; select 1`, false).length, 2, statement)
  })
  it("has no empty statements", () => {
    assert.deepStrictEqual(pieces(";; select 1 ;; -- nothing\n ;"), [["select 1"]])
    assert.deepStrictEqual(pieces(" -- nothing"), [])
  })
})

describe("writing parameters into a text", () => {
  const literal = (value: Parameters<typeof inline>[1][number]) => inline({ texts: ["", ""] }, [value], 0)

  it("means the same under every sql_mode", () => {
    assert.strictEqual(literal("plain"), "'plain'")
    assert.strictEqual(literal("it's"), "'it''s'")
    assert.strictEqual(
      literal("\\'; drop table t; --"),
      `_utf8mb4 X'${Buffer.from("\\'; drop table t; --").toString("hex")}'`
    )
    assert.strictEqual(literal("a\u0000b"), "_utf8mb4 X'610062'")
  })
  it("keeps the type of numbers", () => {
    assert.strictEqual(literal(1), "1")
    assert.strictEqual(literal(-1), "(-1)")
    assert.strictEqual(literal(1.5), "1.5e0")
    assert.strictEqual(literal(1e300), "1e+300")
    assert.strictEqual(literal(-5n), "(-5)")
    assert.strictEqual(literal(18446744073709551615n), "18446744073709551615")
  })
  it("writes the rest", () => {
    assert.strictEqual(literal(null), "NULL")
    assert.strictEqual(literal(true), "TRUE")
    assert.strictEqual(literal(new Date(Date.UTC(2024, 1, 29, 1, 2, 3, 45))), "'2024-02-29 01:02:03.045'")
    assert.strictEqual(literal(Buffer.from([0, 255])), "_binary X'00ff'")
    assert.strictEqual(literal(Buffer.alloc(0)), "_binary ''")
  })
})
