/** The process ends at every point of every migration. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import { Migrations } from "watertight/migrations"
import { freshDatabase } from "../support/index.ts"
import { dyingLayer, type Life, moments } from "./dying.ts"
import { layerAt, migrate, reasonOf, recorded, text } from "./support.ts"

const insert = (n: number) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`insert into log values (${n})`
  })

type Files = Parameters<typeof Migrations.fromRecord>[0]

const postgres: Files = {
  "1_tables": text("create table log (n int);\ninsert into log values (1);\ncreate table a (id int, v int)"),
  "2_index": text(
    "-- watertight: no-transaction\ninsert into log values (2);\ncreate index concurrently a_v on a (v);\n" +
      "drop index concurrently a_v;\ncreate unique index concurrently a_v2 on a (v);\ninsert into log values (3)"
  ),
  "3_code": insert(4)
}

const mysql: Files = {
  "1_tables": text(
    "set @two = 2;\ncreate table log (n int);\ninsert into log values (1);\ncreate table a (id int primary key, v int);\n" +
      "alter table a add column w int, add index a_v (v);\ninsert into log values (@two);\nalter table a modify w bigint;\n" +
      "drop index a_v on a;\nrename table a to b"
  ),
  "2_code": Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    yield* sql`create table c (id int primary key)`
    yield* sql`alter table c add column v int`
    yield* sql`insert into log values (${3})`
    yield* sql.withTransaction(sql`insert into log values (${4})`)
  })
}

/** Everything that the migrations are to leave: columns, usable indexes, and each row of the log once. */
const state = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
  const schema = isPostgres ? "current_schema()" : "database()"
  const columns = yield* sql.unsafe(
    `select table_name, column_name, data_type from information_schema.columns where table_schema = ${schema}
      and table_name not like '%migrations' order by table_name, column_name`
  ).values
  const indexes = yield* sql.unsafe(
    isPostgres
      ? "select c.relname, i.indisvalid from pg_index i join pg_class c on c.oid = i.indexrelid where c.relname like 'a%' order by 1"
      : "select table_name, index_name from information_schema.statistics where table_schema = database() and table_name not like '%migrations' order by 1, 2"
  ).values
  const log = yield* sql.unsafe("select n from log order by n").values
  return JSON.stringify({ columns, indexes, log: log.map(([n]) => Number(n)), recorded: yield* recorded })
})

const cases = [
  { name: "PostgreSQL", server: "postgresql", scheme: "postgres:", files: postgres },
  { name: "MariaDB", server: "mariadb", scheme: "mariadb:", files: mysql },
  { name: "MySQL", server: "mysql", scheme: "mysql:", files: mysql }
] as const

const databaseOf = ({ scheme, server }: typeof cases[number]) =>
  Effect.map(freshDatabase(server), (url) => url.replace(/^\w+:/, scheme))

/** Runs something until the process ends at a call of it. Answers whether it did. */
const killAt = (url: string, at: number, moment: typeof moments[number], files: Files) =>
  Effect.gen(function*() {
    const life: Life = { calls: 0, isDead: false, last: "" }
    yield* Effect.exit(Effect.provide(migrate(files), dyingLayer(url, at, moment, life)))
    return life
  })

for (const subject of cases) {
  describe(subject.name, () => {
    for (const moment of moments) {
      it.live(
        `killed ${moment} each call → the next run ends in the same schema, each row once`,
        () =>
          Effect.gen(function*() {
            const intact = yield* Effect.scoped(Effect.gen(function*() {
              const url = yield* databaseOf(subject)
              yield* Effect.provide(migrate(subject.files), layerAt(url))
              return yield* Effect.provide(state, layerAt(url))
            }))
            const points = yield* Effect.forEach(
              Array.from({ length: 200 }, (_, index) => index + 1),
              (at) =>
                Effect.scoped(Effect.gen(function*() {
                  if (isThrough) return 0 as number
                  const url = yield* databaseOf(subject)
                  const life = yield* killAt(url, at, moment, subject.files)
                  if (!life.isDead) {
                    isThrough = true
                    return 0
                  }
                  const after = yield* Effect.provide(
                    Effect.andThen(migrate(subject.files), state),
                    layerAt(url)
                  ).pipe(
                    Effect.mapError((error) => new Error(`killed ${moment} ${at} (${life.last}): ${error.message}`))
                  )
                  assert.strictEqual(after, intact, `killed ${moment} ${at}: ${life.last}`)
                  return 1
                })),
              { concurrency: 4 }
            )
            assert.isAbove(points.reduce((sum, point) => sum + point, 0), 20)
          }),
        600_000
      )
      let isThrough = false
    }
  })
}

describe("a statement of which nobody can tell", () => {
  for (const subject of cases) {
    it.live(
      `${subject.name}: killed in it → named with the remedy, and repaired it goes on`,
      () =>
        Effect.scoped(Effect.gen(function*() {
          const isPostgres = subject.server === "postgresql"
          const files: Files = isPostgres
            ? {
              "1_p": text(
                "-- watertight: no-transaction\ncreate table log (n int);\n" +
                  "create procedure p() language plpgsql as $$ begin insert into log values (1); commit; end $$;\ncall p();\n" +
                  "insert into log values (2)"
              )
            }
            : {
              "1_p": text(
                "create table log (n int);\ncreate procedure p() insert into log values (1);\ncall p();\ninsert into log values (2)"
              )
            }
          // A fresh database each time: what was begun would go on.
          let url = yield* databaseOf(subject)
          for (let at = 1; !/call p/.test((yield* killAt(url, at, "after", files)).last); at++) {
            assert.isBelow(at, 100)
            url = yield* databaseOf(subject)
          }
          const reason = yield* Effect.provide(reasonOf(migrate(files)), layerAt(url))
          assert.strictEqual(reason._tag, "Interrupted")
          assert.include(reason.message, "1_p")
          assert.include(reason.message, "watertight repair 1 --statement 3 --as applied")
          yield* Effect.provide(
            Effect.gen(function*() {
              yield* Migrations.repair({ loader: Migrations.fromRecord(files), id: 1, statement: 3, as: "applied" })
              yield* migrate(files)
              const sql = yield* SqlClient.SqlClient
              assert.deepStrictEqual((yield* sql`select n from log order by n`.values).map(([n]) => Number(n)), [1, 2])
            }),
            layerAt(url)
          )
        })),
      120_000
    )
  }
})

describe("the check itself", () => {
  it.live("a runner that records at the end → found to lose or double", () =>
    Effect.gen(function*() {
      const naive = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`create table if not exists done (id int)`
        if ((yield* sql`select id from done`).length > 0) return
        yield* sql`create table if not exists log (n int)`
        yield* sql`insert into log values (1)`
        yield* sql`insert into done values (1)`
      })
      let wrong = 0
      for (let at = 1; at <= 5; at++) {
        yield* Effect.scoped(Effect.gen(function*() {
          const url = yield* databaseOf(cases[1])
          const life: Life = { calls: 0, isDead: false, last: "" }
          yield* Effect.exit(Effect.provide(naive, dyingLayer(url, at, "after", life)))
          const log = yield* Effect.provide(
            Effect.andThen(naive, Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select n from log`.values)),
            layerAt(url)
          )
          if (log.length !== 1) wrong++
        }))
      }
      assert.isAbove(wrong, 0)
    }), 120_000)
})
