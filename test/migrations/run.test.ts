import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Migrator from "effect/sql/Migrator"
import * as SqlClient from "effect/sql/SqlClient"
import { Migrations } from "watertight/migrations"
import { describeWith, freshDatabase } from "../support/index.ts"
import { databases, layerAt, migrate, reasonOf, recorded, tables, text } from "./support.ts"

const three = {
  "1_a": text("create table a (id int primary key);\ninsert into a values (1);"),
  "2_b": text("-- with a comment\ncreate table b (id int primary key); create table c (id int primary key)"),
  "3_code": Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`insert into b ${sql.insert([{ id: 1 }, { id: 2 }])}`
    yield* sql.withTransaction(sql`update b set id = 3 where id = 2`)
  })
}

describe.each(["postgresql", "mariadb", "mysql"] as const)("%s", (server) => {
  it.live(
    "run: ids of 14 digits, and a table of Effect's Migrator with small ones → widened, and it goes on",
    () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase(server)
        const migrations = { "20261127080000_new": text("create table n (id int)") }
        const effects = { "1_old": Effect.void, "20261127080000_new": Effect.void, "20261127090000_next": Effect.void }
        yield* Effect.provide(
          Migrator.make({})({ loader: Migrator.fromRecord({ "1_old": Effect.void }) }),
          layerAt(url)
        )
        yield* Effect.provide(migrate({ "1_old": Effect.void, ...migrations }), layerAt(url))
        yield* Effect.provide(Migrator.make({})({ loader: Migrator.fromRecord(effects) }), layerAt(url))
        assert.deepStrictEqual(yield* Effect.provide(recorded, layerAt(url)), [1, 20261127080000, 20261127090000])
      }).pipe(Effect.scoped),
    60_000
  )
})

for (const { isPostgres, layer, name, needs } of databases) {
  describeWith(...needs)(name, () => {
    it.live("run: nothing applied → all in order; again → nothing to do", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const first = yield* migrate(three)
        assert.deepStrictEqual(first.applied.map(({ id, name }) => [id, name]), [[1, "a"], [2, "b"], [3, "code"]])
        assert.deepStrictEqual(yield* tables, ["a", "b", "c"])
        assert.deepStrictEqual((yield* sql`select id from b order by id`.values).map(([id]) => Number(id)), [1, 3])
        assert.deepStrictEqual(yield* recorded, [1, 2, 3])
        const again = yield* migrate(three)
        assert.deepStrictEqual(again.applied, [])
        assert.strictEqual(again.total, 3)
        const status = yield* Migrations.status({ loader: Migrations.fromRecord(three) })
        assert.deepStrictEqual(status.entries.map((entry) => entry.state), ["applied", "applied", "applied"])
      }).pipe(Effect.provide(layer)), 60_000)

    it.live(
      "run: history of Effect's Migrator → goes on behind it, and Effect's Migrator behind ours",
      () =>
        Effect.gen(function*() {
          const effects = Migrator.fromRecord({ "1_old": Effect.void, "2_older": Effect.void })
          yield* Migrator.make({})({ loader: effects })
          const report = yield* Migrations.run({
            loader: Effect.map(
              Effect.all([
                Migrations.fromEffect(effects),
                Migrations.fromRecord({ "3_new": text("create table n (id int)") })
              ]),
              (all) => all.flat()
            )
          })
          assert.deepStrictEqual(report.applied.map((step) => step.id), [3])
          yield* Migrator.make({})({
            loader: Migrator.fromRecord({ "1_old": Effect.void, "4_next": Effect.void })
          })
          assert.deepStrictEqual(yield* recorded, [1, 2, 3, 4])
        }).pipe(Effect.provide(layer)),
      60_000
    )

    it.live(
      "run: a statement fails → named with its line; corrected → ends in the same schema",
      () =>
        Effect.gen(function*() {
          const broken =
            "create table a (id int primary key);\n\ninsert into a values (1);\ninsert into nope values (1);\ncreate table b (id int)"
          const reason = yield* reasonOf(migrate({ "1_x": text(broken) }))
          assert.strictEqual(reason._tag, "Failed")
          if (reason._tag !== "Failed") return
          assert.deepStrictEqual([reason.statement, reason.line, reason.applied], [3, 4, isPostgres ? 0 : 2])
          assert.deepStrictEqual(yield* tables, isPostgres ? [] : ["a"])
          const [entry] = (yield* Migrations.status({ loader: Migrations.fromRecord({ "1_x": text(broken) }) })).entries
          assert.strictEqual(entry?.state, isPostgres ? "pending" : "failed")
          yield* migrate({
            "1_x": text(broken.replace("nope", "a").replace("values (1);\ncreate", "values (2);\ncreate"))
          })
          assert.deepStrictEqual(yield* tables, ["a", "b"])
          const sql = yield* SqlClient.SqlClient
          assert.deepStrictEqual((yield* sql`select id from a order by id`.values).map(([id]) => Number(id)), [1, 2])
        }).pipe(Effect.provide(layer)),
      60_000
    )

    it.live("run: code fails → nothing is left where it can be rolled back", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const code = (isGood: boolean) =>
          Effect.gen(function*() {
            const sql = yield* SqlClient.SqlClient
            yield* sql`create table a (id int primary key)`
            if (isGood) yield* sql`insert into a values (7)`
            else yield* Effect.fail("not today")
          })
        const reason = yield* reasonOf(migrate({ "1_x": code(false) }))
        assert.strictEqual(reason._tag, "Failed")
        assert.deepStrictEqual(yield* tables, isPostgres ? [] : ["a"])
        yield* migrate({ "1_x": code(true) })
        assert.deepStrictEqual((yield* sql`select id from a`.values).map(([id]) => Number(id)), [7])
        assert.deepStrictEqual(yield* recorded, [1])
      }).pipe(Effect.provide(layer)), 60_000)

    it.live(
      "run: edited, deleted, renamed, out of order → refused by name, and nothing is done",
      () =>
        Effect.gen(function*() {
          const base = { "1_a": text("create table a (\n  id int\n)"), "5_b": text("create table b (id int)") }
          yield* migrate(base)
          const next = { "9_z": text("create table z (id int)") }
          const cases: ReadonlyArray<readonly [string, Parameters<typeof migrate>[0]]> = [
            ["Changed", { ...base, ...next, "1_a": text("create table a (id bigint)") }],
            ["Missing", { "5_b": base["5_b"], ...next }],
            ["Renamed", { "1_other": base["1_a"], "5_b": base["5_b"], ...next }],
            ["OutOfOrder", { ...base, ...next, "3_between": text("create table c (id int)") }],
            ["Duplicate", { ...base, ...next, "9_y": text("create table y (id int)") }]
          ]
          for (const [expected, migrations] of cases) {
            const reason = yield* reasonOf(migrate(migrations))
            assert.strictEqual(reason._tag, expected)
            assert.include(reason.message, "_")
          }
          assert.deepStrictEqual(yield* tables, ["a", "b"])
          // Other line ends are the same text.
          yield* migrate({ ...base, "1_a": text("\ufeffcreate table a (\r\n  id int\r\n)") })
          yield* migrate({ ...base, "3_between": text("create table c (id int)") }, { outOfOrder: true })
          assert.deepStrictEqual(yield* recorded, [1, 3, 5])
        }).pipe(Effect.provide(layer)),
      60_000
    )

    it.live("baseline and repair: records are corrected, and the schema is left alone", () =>
      Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table a (id int)`
        const migrations = {
          "1_a": text("create table a (id int)"),
          "2_b": text("create table b (id int)"),
          "3_c": text("create table c (id int)")
        }
        const loader = Migrations.fromRecord(migrations)
        assert.deepStrictEqual(yield* Migrations.baseline({ loader, upTo: 1 }), [{ id: 1, name: "a" }])
        yield* migrate(migrations)
        assert.deepStrictEqual(yield* recorded, [1, 2, 3])
        const edited = { ...migrations, "2_b": text("create table b (id int) -- the ids of b") }
        assert.strictEqual((yield* reasonOf(migrate(edited)))._tag, "Changed")
        yield* Migrations.repair({ loader: Migrations.fromRecord(edited), id: 2, accept: true })
        yield* migrate(edited)
        yield* Migrations.repair({ loader, id: 3, forget: true })
        assert.deepStrictEqual(yield* recorded, [1, 2])
        yield* Migrations.repair({ loader, id: 3, as: "applied" })
        assert.deepStrictEqual(yield* recorded, [1, 2, 3])
        assert.deepStrictEqual(yield* tables, ["a", "b", "c"])
      }).pipe(Effect.provide(layer)), 60_000)
  })
}
