import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { Arrays, Json } from "watertight/postgres"
import { database } from "../clientSupport.ts"

const nasty = "a'; drop table doc; -- \"\\$1 ?"

it.layer(database({ maxConnections: 2 }))("JSON and arrays", (it) => {
  it.effect("paths, containment and keys", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table doc (id int primary key, "do c" jsonb)`
      const doc = { a: { [nasty]: ["x", { b: 1 }] }, tags: ["red", nasty], n: 7, nothing: null }
      yield* sql`insert into doc values (1, ${Json.value(doc)}), (2, ${Json.value(null)}), (3, ${Json.value("text")})`
      assert.deepStrictEqual(
        yield* sql`select "do c" as whole, ${Json.get("do c", ["a", nasty, 1])} as part,
          ${Json.text("do c", ["a", nasty, 0])} as text, ${
          Json.get("do c", ["a", "no"])
        } as none from doc where id = 1`,
        [{ whole: doc, part: { b: 1 }, text: "x", none: null }]
      )
      const ids = (where: ReturnType<typeof Json.contains>) =>
        Effect.map(
          sql<{ id: number }>`select id from doc where ${where} order by id`,
          (rows) => rows.map(({ id }) => id)
        )
      assert.deepStrictEqual(yield* ids(Json.contains("do c", { tags: [nasty] })), [1])
      assert.deepStrictEqual(yield* ids(Json.contains("do c", "text")), [3])
      assert.deepStrictEqual(yield* ids(Json.contains("do c", { tags: ["blue"] })), [])
      assert.deepStrictEqual(yield* ids(Json.hasKey("do c", "tags")), [1])
      assert.deepStrictEqual(yield* ids(Json.hasKey("do c", nasty)), [])
      assert.deepStrictEqual(yield* ids(Json.hasAnyKey("do c", ["z", "n"])), [1])
      assert.deepStrictEqual(yield* ids(Json.hasAllKeys("do c", ["z", "n"])), [])
      assert.deepStrictEqual(yield* ids(Json.hasAllKeys("do c", [])), [1, 2, 3])
      assert.deepStrictEqual(yield* ids(Json.matches("do c", "$.tags[*] ? (@ == $tag)", { tag: nasty })), [1])
      assert.deepStrictEqual(yield* ids(Json.matches("do c", "$.n ? (@ > 7)")), [])
      yield* sql`update doc set "do c" = ${Json.set("do c", ["a", nasty, 1, "b"], [nasty])} where id = 1`
      assert.deepStrictEqual(
        yield* sql`select ${Json.get("do c", ["a", nasty, 1, "b", 0])} as v from doc where id = 1`,
        [
          { v: nasty }
        ]
      )
    }))

  it.effect("= any, <> all", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table many (id uuid primary key default gen_random_uuid(), n int)`
      yield* sql`insert into many (n) select generate_series(1, 100)`
      const rows = yield* sql<{ id: string }>`select id from many where n = ${Arrays.any("int4", [1, 50, null, 500])}`
      assert.strictEqual(rows.length, 2)
      const again = yield* sql`select n from many where id = ${Arrays.any("uuid", rows.map(({ id }) => id))} order by n`
      assert.deepStrictEqual(again, [{ n: 1 }, { n: 50 }])
      assert.deepStrictEqual(yield* sql`select n from many where id = ${Arrays.any("uuid", [])}`, [])
      const others = yield* sql`select count(*)::int as n from many where n <> ${Arrays.all("int4", [1, 2])}`
      assert.deepStrictEqual(others, [{ n: 98 }])
    }))

  it.effect("unnest, with CTE and upsert", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table stock ("it em" text primary key, n int not null, tags jsonb)`
      const rows = Array.from({ length: 10_000 }, (_, i) => ({ "it em": `item ${i}${nasty}`, n: i, tags: [i] }))
      const upsert = (rows: ReadonlyArray<{ "it em": string; n: number; tags: unknown }>) =>
        sql`with given as (select * from ${Arrays.unnest({ "it em": "text", n: "int4", tags: "jsonb" }, rows)} as g),
          merged as (
            insert into stock select * from given
            on conflict ("it em") do update set n = stock.n + excluded.n
            returning xmax = 0 as inserted
          )
          select count(*) filter (where inserted)::int as inserted, count(*)::int as all from merged`
      assert.deepStrictEqual(yield* upsert(rows), [{ inserted: 10_000, all: 10_000 }])
      assert.deepStrictEqual(yield* upsert(rows.slice(9_000).concat({ "it em": "new", n: 1, tags: null as never })), [
        { inserted: 1, all: 1_001 }
      ])
      yield* sql`update stock set n = -1
        from ${Arrays.unnest({ item: "text" }, [{ item: rows[3]!["it em"] }])} as one where one.item = stock."it em"`
      assert.deepStrictEqual(yield* sql`select n, tags from stock where n < 0`, [{ n: -1, tags: [3] }])
    }))
})
