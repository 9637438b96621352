import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { everyWord } from "../../../src/mysql-family/statement/dialect.ts"
import { Mysql } from "../../../src/mysql/index.ts"
import { describeEach, liveWith, liveWithout, onFresh, sqlFailure } from "../support.ts"

describe("a person's words", () => {
  it("have no operators among them", () => {
    assert.strictEqual(everyWord("foo bar", false), "+foo +bar")
    assert.strictEqual(everyWord("  c++ -\"DROP\" (x)* ~@5 <>", true), "+c* +DROP* +x* +5*")
    assert.strictEqual(everyWord("größe 漢字 e\u0301", false), "+größe +漢字 +e\u0301")
    assert.strictEqual(everyWord("+-*()", false), "")
  })
})

describeEach("the dialect over $name", (subject) => {
  it.live("upserts by any unique key", () =>
    Effect.gen(function*() {
      const sql = yield* Mysql.MysqlClient
      yield* sql`create table item (id int primary key, code varchar(10) unique, n int, note varchar(20))`
      assert.deepInclude(yield* sql.upsert("item", [{ id: 1, code: "a", n: 1 }, { id: 2, code: "b", n: 2 }]), {
        affectedRows: 2
      })
      yield* sql.upsert("item", [{ id: 1, code: "a", n: 10 }, { id: 3, code: "c", n: 3 }])
      yield* sql.upsert("item", [{ id: 9, code: "b", n: 20 }], { update: ["n"] })
      yield* sql.upsert("item", [{ id: 3, code: "x", n: 99 }], { update: [] })
      assert.deepStrictEqual(yield* sql`select id, code, n from item order by id`.values, [
        [1, "a", 10],
        [2, "b", 20],
        [3, "c", 3]
      ])
      assert.deepInclude(yield* sql.upsert("item", []), { affectedRows: 0 })
    }).pipe(Effect.provide(onFresh(subject))))

  liveWith(subject, "RETURNING")("upserts and returns the rows", () =>
    Effect.gen(function*() {
      const sql = yield* Mysql.MysqlClient
      yield* sql`create table item (id int primary key, code varchar(10) unique, n int, note varchar(20))`
      yield* sql`insert into item (id, code, n) values (3, 'c', 3)`
      assert.deepStrictEqual(
        yield* sql.upsertReturning("item", [{ id: 3, code: "c", n: 4 }, { id: 4, code: "d", n: 5 }], {
          returning: ["id", "n"]
        }),
        [{ id: 3, n: 4 }, { id: 4, n: 5 }]
      )
      assert.deepStrictEqual(yield* sql.upsertReturning("item", [{ id: 5, code: "e", n: 1 }]), [
        { id: 5, code: "e", n: 1, note: null }
      ])
      assert.deepStrictEqual(yield* sql.upsertReturning("item", []), [])
    }).pipe(Effect.provide(onFresh(subject))))

  liveWithout(subject, "RETURNING")(
    "upserts and returns the rows: refused before it is sent",
    () =>
      Effect.gen(function*() {
        const sql = yield* Mysql.MysqlClient
        yield* sql`create table item (id int primary key, n int)`
        const error = yield* sqlFailure(sql.upsertReturning("item", [{ id: 3, n: 4 }]))
        assert.match(error.message, /has no RETURNING/)
        assert.deepStrictEqual(yield* sql`select * from item`, [])
      }).pipe(Effect.provide(onFresh(subject)))
  )

  it.live("searches full text", () =>
    Effect.gen(function*() {
      const sql = yield* Mysql.MysqlClient
      yield* sql`create table doc (id int primary key, title varchar(100), body text, fulltext (title, body)) engine = innodb`
      yield* sql`insert into doc ${
        sql.insert([
          { id: 1, title: "Pool sizing", body: "connections are not free, a small pool is quick" },
          { id: 2, title: "Transactions", body: "serializable transactions may be repeated" },
          { id: 3, title: "Pools and transactions", body: "a transaction holds its connection" }
        ])
      }`
      const find = (words: string, mode?: Parameters<typeof sql.match>[2]) =>
        Effect.map(
          sql`select id from doc where ${sql.match(["title", "body"], words, mode)} order by id`.values,
          (rows) => rows.map(([id]) => id)
        )
      assert.deepStrictEqual(yield* find("pool"), [1])
      assert.deepStrictEqual(yield* find("pool serializable"), [1, 2])
      assert.deepStrictEqual(yield* find("transactions -(serializable\" *", "every"), [2])
      assert.deepStrictEqual(yield* find("pool", "prefix"), [1, 3])
      assert.deepStrictEqual(yield* find("+transactions -serializable", "boolean"), [3])
      assert.deepStrictEqual(yield* find("'; --", "every"), [])
      assert.include(yield* find("serializable", "expansion"), 2)
      const [best] = yield* sql`select id, ${sql.match(["title", "body"], "quick pool")} as score from doc
        order by score desc limit 1`
      assert.strictEqual(best!["id"], 1)
      const wrong = yield* sqlFailure(find("+-", "boolean"))
      assert.strictEqual(wrong.reason._tag, "SqlSyntaxError")
    }).pipe(Effect.provide(onFresh(subject))))

  it.live("takes care of tables", () =>
    Effect.gen(function*() {
      const sql = yield* Mysql.MysqlClient
      yield* sql`create table t (id int primary key) engine = innodb`
      for (const effect of [sql.analyze("t"), sql.check("t"), sql.optimize("t")]) {
        const messages = yield* effect
        const last = messages.at(-1)!
        assert.match(last.table, /^test_\w+\.t$/)
        assert.strictEqual(last.type, "status")
        assert.strictEqual(last.text, "OK")
      }
      const [missing] = yield* sql.check("nowhere")
      assert.strictEqual(missing!.type, "error")
    }).pipe(Effect.provide(onFresh(subject))))

  it.live("takes lists as JSON", () =>
    Effect.gen(function*() {
      const sql = yield* Mysql.MysqlClient
      const ids = [3, 1, 2]
      assert.deepStrictEqual(
        yield* sql`select id from json_table(${ids}, '$[*]' columns (id int path '$')) as given order by id`.values,
        [[1], [2], [3]]
      )
    }).pipe(Effect.provide(onFresh(subject))))
})
