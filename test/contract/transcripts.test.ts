/**
 * What is said on the wire for each thing that a program does, as a file for each database: a change of the protocol, or
 * one more round trip, is seen in the change that makes it. `npx vitest run test/contract/transcripts.test.ts -u` writes
 * the files anew.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { expect } from "vitest"
import { Bulk, Pool, Transaction } from "watertight"
import { describeWith, type SharedServer } from "../support/index.ts"
import * as Recorder from "../support/wireRecorder.ts"
import { type Dialect, type Services } from "./dialects/dialects.ts"
import * as Family from "./dialects/mysqlDialects.ts"
import { postgres } from "./dialects/postgresDialects.ts"

interface Subject {
  readonly file: string
  readonly dialect: Dialect
  readonly need: SharedServer
  readonly wording: Recorder.Wording
}

const family = (file: string, dialect: Dialect, need: "mysql" | "mariadb"): Subject => ({
  file,
  dialect,
  need,
  wording: Recorder.mysqlWording
})

const subjects: ReadonlyArray<Subject> = [
  { file: "postgres", dialect: postgres, need: "postgresql", wording: Recorder.postgresWording },
  family("mariadbOverMariadb", Family.mariadbOverMariadb, "mariadb"),
  family("mysqlOverMysql", Family.mysqlOverMysql, "mysql")
]

const setting: Record<SharedServer, string> = {
  postgresql: "set work_mem = '5MB'",
  mariadb: "set sql_mode = ''",
  mysql: "set sql_mode = ''"
}

type Work = Effect.Effect<unknown, unknown, Services>

const works = (need: SharedServer): ReadonlyArray<readonly [name: string, work: Work]> => {
  const withSql = (f: (sql: SqlClient.SqlClient) => Effect.Effect<unknown, unknown, Services>): Work =>
    Effect.flatMap(SqlClient.SqlClient, f)
  const find = withSql((sql) => sql`select name from person where id = ${1}`)
  const rename = withSql((sql) => sql`update person set name = ${"ann"} where id = ${1}`)
  const both = Effect.andThen(find, rename)
  const failing = Effect.andThen(find, Effect.fail("no"))
  return [
    ["a statement", find],
    ["a statement without parameters", withSql((sql) => sql`select count(*) as n from person`)],
    ["a write", rename],
    ["a statement that the server refuses", withSql((sql) => sql`select nothing from person where id = ${1}`)],
    ["a stream", withSql((sql) => Stream.runDrain(sql`select id from person order by id`.stream))],
    ["a transaction of one statement", Transaction.run(rename)],
    ["a transaction of two statements, one after the other", Transaction.run(both)],
    [
      "a transaction of two statements at once",
      Transaction.run(Effect.all([find, rename], { concurrency: "unbounded" }))
    ],
    ["a transaction that fails", Transaction.run(failing)],
    [
      "a transaction that asks for more",
      Transaction.run(find, { isolation: "serializable", access: "read only" })
    ],
    ["a transaction with a savepoint", Transaction.run(Effect.andThen(rename, Transaction.run(find)))],
    [
      "a savepoint that is rolled back",
      Transaction.run(Effect.andThen(rename, Effect.ignore(Transaction.run(failing))))
    ],
    [
      "rows in bulk",
      Effect.flatMap(Bulk.Bulk, (bulk) => bulk.insert("entry", [{ id: 1, name: "a" }, { id: 2, name: "b" }]))
    ],
    [
      "a borrower who changes the session, and the next one",
      withSql((sql) =>
        Effect.andThen(
          Effect.scoped(Effect.flatMap(sql.reserve, (held) => held.executeUnprepared(setting[need], [], undefined))),
          find
        )
      )
    ]
  ]
}

/** Nobody has the connection, and nothing is done to it. */
const settled = Effect.flatMap(
  Pool.Pool,
  (pool) =>
    Effect.repeat(Effect.andThen(Effect.sleep("2 millis"), pool.stats), {
      until: ({ idle, validating }) => idle === 1 && validating === 0
    })
)

for (const { dialect, file, need, wording } of subjects) {
  describeWith(need === "postgresql" ? "postgresql" : `url-${need}`)(dialect.name, () => {
    it.live("says on the wire what its transcript has", () =>
      Effect.gen(function*() {
        const recorder = yield* Recorder.make(wording, yield* dialect.database)
        const url = need === "postgresql" ? `${recorder.url}?sslmode=disable` : recorder.url
        const text = yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* sql.unsafe("create table person (id int primary key, name varchar(20) not null)")
          yield* sql.unsafe("create table entry (id int, name varchar(20))")
          yield* sql.unsafe("insert into person values (1, 'ann'), (2, 'bob'), (3, 'cyd')")
          const parts: Array<string> = []
          for (const [name, work] of works(need)) {
            for (const time of ["the first time", "again"]) {
              yield* settled
              recorder.start()
              yield* Effect.exit(work)
              yield* settled
              parts.push([`${name}, ${time}`, ...recorder.lines().map((line) => `  ${line}`)].join("\n"))
            }
          }
          return `${parts.join("\n\n")}\n`
        }).pipe(Effect.provide(Layer.provideMerge(dialect.at(url, { pool: { max: 1 } }), Logger.layer([]))))
        yield* Effect.promise(() => expect(text).toMatchFileSnapshot(`./transcripts/${file}.txt`))
        assert.include(text, "a statement, again")
      }), 60_000)
  })
}
