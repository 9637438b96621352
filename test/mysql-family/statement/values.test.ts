import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import { Outcome } from "watertight"
import { freshDatabase } from "../../support/index.ts"
import { sqlFailure, subjects } from "../support.ts"

describe.each(subjects)("values over $name", (subject) => {
  const database = Layer.unwrap(Effect.map(
    freshDatabase("mariadb"),
    (url) => subject.module.layer({ url: Redacted.make(url), maxConnections: 2 })
  ))

  it.layer(database, { excludeTestServices: true })("values", (it) => {
    it.effect("an array that is compared: every form → refused before it is sent, and no row is lost", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table ids (id int primary key)`
        yield* sql`insert into ids values (0), (1), (5)`
        const list = [5] as unknown as number
        for (
          const statement of [
            sql`delete from ids where id in (${list})`,
            sql`delete from ids where id = ${list}`,
            sql`delete from ids where id in ${sql.in([list])}`,
            sql`delete from ids where id = ${{} as unknown as number}`
          ]
        ) {
          for (
            const form of [statement, statement.values, statement.raw, statement.unprepared, statement.stream]
          ) {
            const error = yield* sqlFailure(
              Stream.isStream(form) ? Stream.runCollect(form) : form as Effect.Effect<unknown, unknown>
            )
            assert.include(error.message, "was not sent: parameter 1")
            assert.match(error.message, /sql\.in|sql\.json/)
            assert.strictEqual(Outcome.of(error)!.outcome, "NotSent")
          }
        }
        assert.deepStrictEqual(yield* sql`select id from ids order by id`.values, [[0], [1], [5]])
        yield* sql`delete from ids where id in ${sql.in([5])}`
        assert.deepStrictEqual(yield* sql`select id from ids order by id`.values, [[0], [1]])
      }))

    it.effect("documents: every way to store one → JSON, and null and texts with sql.json", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql`create table docs (id int primary key, doc json)`
        const doc = { a: [1, "é'\\", null], snake_key: { b: true } }
        const read = Effect.map(sql`select doc from docs where id = 1`, ([row]) => row?.["doc"])
        yield* sql`insert into docs ${sql.insert({ id: 1, doc })}`
        assert.deepStrictEqual(yield* read, doc)
        yield* sql`update docs set ${sql.update({ id: 1, doc: [1, 2] }, ["id"])} where id = 1`
        assert.deepStrictEqual(yield* read, [1, 2])
        yield* sql`update docs join ${
          sql.updateValues([{ id: 1, doc }], "data")
        } on docs.id = data.id set docs.doc = data.doc`
        assert.deepStrictEqual(yield* read, doc)
        yield* sql.upsert("docs", [{ id: 1, doc: { c: 1 } }])
        assert.deepStrictEqual(yield* read, { c: 1 })
        for (const value of [null, "text", 5, true, [], {}]) {
          yield* sql`update docs set doc = ${sql.json(value)} where id = 1`
          assert.deepStrictEqual(yield* read, value)
          yield* sql`update docs set doc = ${sql.json(value)} where id = 1`.unprepared
          assert.deepStrictEqual(yield* read, value)
        }
        assert.deepStrictEqual(yield* sql`select doc is null as n from docs`, [{ n: 0 }])
        assert.deepStrictEqual(
          yield* sql`select json_contains(${{ a: [1, 2] } as never}, ${[2] as never}, '$.a') as found`,
          [{ found: 1 }]
        )
      }))

    it.effect(
      "more placeholders than the protocol counts: a statement, a stream → sent as text",
      () =>
        Effect.gen(function*() {
          const sql = yield* subject.module.MysqlClient
          yield* sql`create table many (id int primary key, n int)`
          for (const count of [65_535, 65_536, 70_000]) {
            const rows = Array.from({ length: Math.ceil(count / 2) }, (_, id) => ({ id, n: id }))
            yield* sql`delete from many`
            const { affectedRows } = (yield* sql`insert into many ${sql.insert(rows as never)}`.raw) as {
              readonly affectedRows: number
            }
            assert.strictEqual(affectedRows, rows.length)
            const ids = Array.from({ length: count }, (_, id) => id)
            assert.strictEqual(
              yield* Stream.runCount(sql`select id from many where id in ${sql.in(ids)}`.stream),
              rows.length
            )
          }
          // Beyond what the compiler of Effect takes at once.
          const ids = Array.from({ length: 200_000 }, (_, id) => id)
          assert.deepStrictEqual(yield* sql`select count(*) as c from many where id in ${sql.in(ids)}`, [{ c: 35_000 }])
        }),
      60_000
    )

    it.effect("undefined: refused, and null where the option says so", () =>
      Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        const error = yield* sqlFailure(sql`select ${undefined as never} is null as n`)
        assert.include(error.message, "set the option `undefined` to \"null\"")
        // What a row does not have is null, as Effect has it.
        yield* sql`create table gaps (a int, b int)`
        yield* sql`insert into gaps ${sql.insert([{ a: 1, b: 2 }, { a: 2 } as never])}`
        assert.deepStrictEqual(yield* sql`select * from gaps`.values, [[1, 2], [2, null]])
      }))
  })

  it.live("undefined, with the option: null", () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase("mariadb")
      yield* Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        assert.deepStrictEqual(yield* sql`select ${undefined as never} is null as n`, [{ n: 1 }])
      }).pipe(Effect.provide(subject.module.layer({ url: Redacted.make(url), undefined: "null" })))
    }))

  const names = {
    transformQueryNames: (name: string) => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    transformResultNames: (name: string) => name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  }

  it.live("names: upserts and results have those of the program, and the keys of documents are left alone", () =>
    Effect.gen(function*() {
      const url = yield* freshDatabase("mariadb")
      const doc = { snake_key: 1, camelKey: [{ other_key: 2 }] }
      yield* Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql.unsafe("create table my_docs (the_id int primary key, the_doc json)")
        yield* sql.upsert("myDocs", [{ theId: 1, theDoc: {} }])
        yield* sql.upsert("myDocs", [{ theId: 1, theDoc: doc }], { update: ["theDoc"] })
        const select = sql`select * from ${sql("myDocs")}`
        assert.deepStrictEqual(yield* select, [{ theId: 1, theDoc: doc }])
        assert.deepStrictEqual(yield* Stream.runCollect(select.stream), [{ theId: 1, theDoc: doc }])
        assert.deepStrictEqual(yield* select.unprepared, [{ theId: 1, theDoc: doc }])
        assert.deepStrictEqual(yield* select.values, [[1, doc]])
        yield* sql.unsafe(
          "create procedure two_sets() begin select the_id from my_docs; select the_doc from my_docs; end"
        )
          .unprepared
        const [first, second] = yield* sql`call two_sets()`
        assert.deepStrictEqual([first, second] as unknown, [[{ theId: 1 }], [{ theDoc: doc }]])
      }).pipe(Effect.provide(Layer.fresh(subject.module.layer({ url: Redacted.make(url), ...names }))))
      yield* Effect.gen(function*() {
        const sql = yield* subject.module.MysqlClient
        yield* sql.upsert("myDocs", [{ theId: 2, theDoc: { theKey: [{ otherKey: 1 }] } }])
        assert.deepStrictEqual(yield* sql`select the_doc from my_docs where the_id = 2`, [
          { theDoc: { theKey: [{ otherKey: 1 }] } }
        ])
        assert.deepStrictEqual(yield* sql`select the_doc from my_docs where the_id = 2`.values, [
          [{ the_key: [{ other_key: 1 }] }]
        ])
      }).pipe(
        Effect.provide(Layer.fresh(subject.module.layer({ url: Redacted.make(url), ...names, transformJson: true })))
      )
    }))
})
