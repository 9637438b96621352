/** What is told about statements. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { type Database, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { fingerprint } from "../../src/database/fingerprint.ts"
import { describeWith, freshDatabase, leftOut, postgresUrl, whyLeftOut } from "../support/index.ts"

/** Runs with these options, and returns the lines about statements. */
const lines = (log: Database.LogOptions, effect: Effect.Effect<unknown, unknown, SqlClient | Transaction.Manager>) =>
  Effect.gen(function*() {
    const told: Array<string> = []
    const logger = Logger.make(({ logLevel, message }) => {
      const text = String(message)
      if (/ ms|has run one statement/.test(text)) told.push(`${logLevel} ${text}`)
    })
    const live = Postgres.layer({ url: Redacted.make(postgresUrl()), log })
    yield* Effect.ignore(effect.pipe(Effect.provide(live))).pipe(Effect.provide(Logger.layer([logger])))
    return told
  })

const select = Effect.flatMap(SqlClient, (sql) => sql`select ${"hunter2"} as a, ${1} as b`)

describeWith("url-postgresql")("the log of statements", () => {
  for (
    const [way, effect] of [
      ["statement", select],
      ["in a transaction", Transaction.run(select, {})],
      ["in `withTransaction`", Effect.flatMap(SqlClient, (sql) => sql.withTransaction(select))],
      ["unprepared", Effect.flatMap(SqlClient, (sql) => sql`select ${"hunter2"} as a`.unprepared)],
      ["stream", Effect.flatMap(SqlClient, (sql) => Stream.runDrain(sql`select ${"hunter2"} as a`.stream))],
      [
        "on a reserved connection",
        Effect.scoped(
          Effect.flatMap(
            SqlClient,
            (sql) =>
              Effect.flatMap(
                sql.reserve,
                (connection) => connection.execute("select $1::text as a", ["hunter2"], undefined)
              )
          )
        )
      ]
    ] as const
  ) {
    it.live(`all statements, ${way} → one line, without parameters`, () =>
      Effect.gen(function*() {
        const told = yield* lines({ statements: "all", slow: "1 minute" }, effect)
        assert.strictEqual(told.length, 1, told.join("\n"))
        assert.match(told[0]!, /^Info .*: [\d.]+ ms, 1 row: select /)
        assert.notInclude(told[0]!, "hunter2")
      }))
  }

  it.live("slow ones only → the slow one, as a warning", () =>
    Effect.gen(function*() {
      const sleep = Effect.flatMap(SqlClient, (sql) => sql`select pg_sleep(0.05)`)
      const told = yield* lines({ slow: "40 millis" }, Effect.andThen(Effect.andThen(select, select), sleep))
      const slow = told.filter((line) => line.includes("pg_sleep"))
      assert.strictEqual(slow.length, 1)
      assert.match(slow[0]!, /^Warn/)
    }))

  it.live("a failure and an interruption → the line says so", () =>
    Effect.gen(function*() {
      const failing = Effect.ignore(Effect.flatMap(SqlClient, (sql) => sql`select nothing`))
      const leaving = Effect.flatMap(SqlClient, (sql) => sql`select pg_sleep(5)`).pipe(
        Effect.timeoutOption("50 millis")
      )
      const told = yield* lines({ statements: "all", slow: "1 minute" }, Effect.andThen(failing, leaving))
      assert.match(told[0]!, /failed \(SqlSyntaxError\)/)
      assert.match(told[1]!, /interrupted/)
    }))

  it.live("a span runs one statement eleven times → said once; spans that do it ten times → never", () =>
    Effect.gen(function*() {
      const times = (n: number) =>
        Effect.withSpan(
          Effect.forEach(Array.from({ length: n }, (_, i) => i), (i) =>
            Effect.flatMap(SqlClient, (sql) => sql`select ${i} as a`)),
          "page"
        )
      const told = yield* lines({ statements: "none" }, Effect.andThen(times(10), times(25)))
      assert.strictEqual(told.length, 1)
      assert.include(told[0]!, "the span \"page\"")
      assert.include(told[0]!, "SqlResolver")
    }))

  for (const server of ["postgresql", "mariadb", "mysql"] as const) {
    const reason = whyLeftOut(`url-${server}`)
    const run = reason === undefined ? it.live : it.live.skip
    run(
      `the plan of a slow read, ${server} → logged once, without values${reason === undefined ? "" : leftOut + reason}`,
      () =>
        Effect.scoped(Effect.gen(function*() {
          const told: Array<string> = []
          const logger = Logger.make(({ message }) => {
            const text = String(message)
            if (text.includes("the plan of")) told.push(text)
          })
          const options = {
            url: Redacted.make(
              (yield* freshDatabase(server)).replace(/^\w+:/, server === "postgresql" ? "postgres:" : `${server}:`)
            ),
            log: { slow: 0, statements: "none", explain: true }
          } as const
          const live: Layer.Layer<SqlClient | Transaction.Manager, unknown> = server === "postgresql"
            ? Postgres.layer(options)
            : server === "mariadb"
            ? Mariadb.layer(options)
            : Mysql.layer(options)
          yield* Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql`create table account (id int primary key, name varchar(20))`
            yield* sql`insert into account values (1, 'hunter2')`
            const read = (name: string) => sql`select id from account where name = ${name}`
            yield* read("hunter2")
            yield* read("hunter3")
            yield* sql`update account set name = ${"hunter2"} where id = 1`
            yield* Effect.ignore(sql`select nothing from account`)
            // In a transaction that has failed nothing more can be asked: the plan comes from another connection.
            yield* Effect.ignore(Transaction.run(Effect.gen(function*() {
              yield* sql`select name from account where id = ${1}`
              yield* sql`select nothing from account`
            })))
            yield* Effect.repeat(Effect.yieldNow, { until: () => told.length >= 2 }).pipe(Effect.timeout("20 seconds"))
          }).pipe(Effect.provide(live), Effect.provide(Logger.layer([logger])))
          assert.strictEqual(told.length, 2, told.join("\n"))
          assert.deepStrictEqual(told.map((text) => /the plan of (.*)/.exec(text)![1]).toSorted(), [
            "select id from account where name = ?",
            "select name from account where id = ?"
          ])
          assert.match(told.join("\n"), server === "postgresql" ? /Seq Scan on account/ : /table=account type=/)
          assert.notInclude(told.join("\n"), "hunter")
        })),
      60_000
    )
  }

  it.live("option does not exist → refused", () =>
    Effect.gen(function*() {
      const live = Postgres.layer({ url: Redacted.make(postgresUrl()), log: { slwo: "1 second" } as never })
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(live)))
      assert.isTrue(Exit.isFailure(exit))
      assert.include(String(exit), "did you mean `slow`")
    }))
})

describe("a fingerprint", () => {
  for (
    const [sql, expected] of [
      ["select * from t where id = 1", "select * from t where id = ?"],
      ["select  *\n from t -- why\n where a = 'it''s'", "select * from t where a = ?"],
      ["select * from t where id in (1, 2, 3)", "select * from t where id in (?)"],
      ["insert into t values ($1, $2), ($3, $4)", "insert into t values (?)"],
      ["select \"1\", `2` from t1 /* 5 */", "select \"1\", `2` from t1"],
      ["do $$ begin perform 1; end $$", "do ?"]
    ] as const
  ) it(sql, () => assert.strictEqual(fingerprint(sql), expected))
})
