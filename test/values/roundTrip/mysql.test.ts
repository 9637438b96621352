/**
 * Every value × every column × every way in × every way out, on MySQL and MariaDB over both drivers: what is read is what
 * was written, or it was refused with a typed error and is not there. `docs/values.md` has what was found.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { describeEach } from "../../mysql-family/support.ts"
import { describeWith, seed } from "../../support/index.ts"
import { checkColumn, type Result } from "./check.ts"
import { checkRead, checkTable, outlineOf } from "./docs.ts"
import { columnsOf, waysInOf, waysOut } from "./mysqlWays.ts"

const results: Array<Result> = []

describeEach("values over $name", (subject) => {
  const database = Layer.unwrap(
    Effect.map(subject.server.fresh, (url) => subject.module.layer({ url: Redacted.make(url), pool: { max: 4 } }))
  )

  it.layer(database, { timeout: "60 seconds", excludeTestServices: true })("in a column of", (it) => {
    for (const column of columnsOf(subject)) {
      it.effect(
        `${column.type}: every value in every way is read as it was written, or refused`,
        () =>
          Effect.gen(function*() {
            const sql = yield* SqlClient
            yield* sql.unsafe("alter database character set utf8mb4")
            yield* sql.unsafe("drop table if exists t")
            yield* sql.unsafe(`create table t (id int primary key, v ${column.type} null)`)
            yield* sql.unsafe("drop procedure if exists all_of_t")
            yield* sql.unsafe("create procedure all_of_t() select id, v from t where id > 0").unprepared
            const random = seed(subject.name.length)
            const { read, results: found, wrong } = yield* checkColumn(sql, {
              place: { table: "t", type: column.type },
              column,
              waysIn: waysInOf(subject),
              waysOut,
              zone: "UTC",
              random,
              more: 2,
              share: 0.1,
              mainShare: subject.name.startsWith(subject.server.name === "MySQL" ? "mysql2" : "mariadb") ? 1 : 0.3,
              concurrency: 8,
              viewsAreBytes: true
            })
            assert.strictEqual(wrong.join("\n"), "", `seed ${random.value}`)
            results.push(...found)
            const name = column.type.replace(/[ (].*/, "")
            checkRead("mysql.md", name === "boolean" ? "tinyint" : name, read)
          }),
        120_000
      )
    }
  })
})

describeWith("url-mysql", "url-mariadb")("what is written of values", () => {
  // A server refuses a value or not by the value beside it in the same statement, so a sign may be another one next time.
  it("the table of docs/values.md has what was tried on both servers over both drivers", () => {
    checkTable("## MySQL and MariaDB", results, [
      "int",
      "bigint",
      "double",
      "decimal(40,6)",
      "varchar(60)",
      "blob",
      "bit(16)",
      "date",
      "time(6)",
      "datetime(3)",
      "year",
      "enum('a','null','12','true')"
    ], outlineOf)
  })
})
