/**
 * A statement that was prepared before a column became another type: what it stores afterwards is what a new statement
 * would store. The type is changed over the pool itself, and by somebody else.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as Schedule from "effect/Schedule"
import { SqlClient } from "effect/sql/SqlClient"
import { Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Postgres } from "watertight/postgres"
import { describeEach } from "../mysql-family/support.ts"
import { freshDatabase } from "../support/index.ts"

interface Change {
  readonly from: string
  readonly to: string
  /** What is stored before the change, and several times, so that the statement is known well. */
  readonly before: unknown
  readonly after: unknown
  readonly read: unknown
}

const change = (from: string, to: string, before: unknown, after: unknown, read = after): Change => ({
  from,
  to,
  before,
  after,
  read
})

const noon = new Date("2026-03-04T12:34:56.789Z")

const onPostgres: ReadonlyArray<Change> = [
  change("date", "timestamp", "2024-01-01", "2024-01-01 10:00:00", new Date("2024-01-01T10:00:00Z")),
  change("date", "timestamp", noon, noon),
  change("date", "timestamptz", noon, noon),
  change("timestamp", "timestamptz", "2024-01-01 10:00:00", "2024-01-01 10:00:00+05", new Date("2024-01-01T05:00:00Z")),
  change("timestamp(0)", "timestamp", noon, noon),
  change("time", "text", "12:00", "2024-01-01 10:00:00"),
  change("real", "double precision", "0.1", "0.1", 0.1),
  change("real", "double precision", 0.5, 0.1),
  change("real", "numeric", 0.5, 0.1, "0.1"),
  change("int", "text", "7", "abc"),
  change("int", "text", 7, "007"),
  change("int", "numeric", 7, 1.5, "1.5"),
  change("int2", "int8", 7, 2 ** 40, BigInt(2 ** 40)),
  change("numeric(4,0)", "numeric", "1", "1.25"),
  change("varchar(3)", "text", "abc", "abcdef"),
  change("text", "jsonb using v::jsonb", "1", { a: [1] }),
  change("text", "bytea using v::bytea", "a", new Uint8Array([0, 255])),
  change("int", "int[] using array[v]", 7, [1, 2]),
  change("int[]", "text[]", [1], ["a", null]),
  change("bool", "text", true, "perhaps"),
  change("int4", "int4range using int4range(v, v + 1)", 1, { lower: 1, upper: 5, bounds: "[)" })
]

const onMysql: ReadonlyArray<Change> = [
  change("date", "datetime(3)", "2024-01-01", "2024-01-01 10:00:00", new Date("2024-01-01T10:00:00Z")),
  change("date", "datetime(3)", noon, noon),
  change("datetime", "datetime(3)", noon, noon),
  change("datetime", "varchar(40)", noon, "007"),
  change("float", "double", 0.5, 0.1),
  change("float", "double", "0.5", "0.1", 0.1),
  change("int", "varchar(20)", 7, "007"),
  change("int", "varchar(20)", "7", "abc"),
  change("int", "decimal(10,3)", 7, 1.5, "1.500"),
  change("tinyint", "bigint", 7, 2 ** 40),
  change("bigint", "bigint unsigned", 7, 2n ** 64n - 1n),
  change("decimal(4,0)", "decimal(8,2)", "1", "1.25"),
  change("varchar(3)", "varchar(9)", "abc", "abcdef"),
  change("varchar(20)", "varbinary(20)", "a", new Uint8Array([0, 255])),
  change("varchar(20)", "int", "7", 8),
  change("varchar(20)", "json", "1", { a: [1] }),
  change("int", "json", 7, [1, 2])
]

const tidy = (value: unknown): unknown => value instanceof Uint8Array ? [...value] : value

const suite = (
  layer: Layer.Layer<any, unknown>,
  changes: ReadonlyArray<Change>,
  alter: (table: string, to: string) => string,
  /** Runs a statement over a client of its own. */
  elsewhere: (text: string) => Effect.Effect<unknown, unknown, any>
) =>
  it.layer(layer as Layer.Layer<SqlClient | Transaction.Manager>, { excludeTestServices: true, timeout: "60 seconds" })(
    "a column that becomes another type",
    (it) => {
      for (const [index, { after, before, from, read, to }] of changes.entries()) {
        for (const who of ["the pool", "somebody else"]) {
          it.effect(`${from} → ${to}, by ${who}: ${String(before)}, ${String(after)}`, () =>
            Effect.gen(function*() {
              const sql = yield* SqlClient
              const table = `t${index}_${who.length}`
              yield* sql.unsafe(`create table ${table} (id int primary key, v ${from})`)
              const ways: ReadonlyArray<(id: number, v: any) => Effect.Effect<unknown, unknown, any>> = [
                (id, v) => sql`insert into ${sql(table)} (id, v) values (${id}, ${v})`,
                (id, v) => sql`insert into ${sql(table)} ${sql.insert({ id, v })}`,
                (id, v) => Transaction.run(sql`insert into ${sql(table)} (v, id) values (${v}, ${id})`),
                (id, v) =>
                  Effect.andThen(
                    sql`insert into ${sql(table)} (id) values (${id})`,
                    sql`update ${sql(table)} set v = ${v} where id = ${id}`
                  )
              ]
              const select = sql<{ v: unknown }>`select v from ${sql(table)} where id > ${100} order by id`
              let id = 0
              for (let round = 0; round < 3; round++) {
                for (const write of ways) yield* write(++id, before)
                yield* select
              }
              // What is there already need not be a value of the new type.
              yield* sql`delete from ${sql(table)}`
              yield* who === "the pool" ? sql.unsafe(alter(table, to)) : elsewhere(alter(table, to))
              for (const [at, write] of ways.entries()) {
                // Who is told of the change by nobody doubts a description when it is a second old.
                yield* who === "the pool" ? write(101 + at, after) : Effect.retry(
                  Effect.andThen(sql`delete from ${sql(table)} where id = ${101 + at}`, write(101 + at, after)),
                  { schedule: Schedule.spaced("100 millis"), times: 30 }
                )
              }
              assert.deepStrictEqual((yield* select).map(({ v }) => tidy(v)), ways.map(() => tidy(read)))
              assert.deepStrictEqual((yield* select.values).map(([v]) => tidy(v)), ways.map(() => tidy(read)))
            }))
        }
      }
    }
  )

describe("PostgreSQL", () => {
  let url = ""
  suite(
    Layer.unwrap(
      Effect.map(freshDatabase(), (fresh) => Postgres.layer({ url: Redacted.make(url = fresh), pool: { max: 1 } }))
    ),
    onPostgres,
    (table, to) => `alter table ${table} alter v type ${to}`,
    (text) =>
      Effect.flatMap(SqlClient, (sql) => sql.unsafe(text)).pipe(
        Effect.provide(Layer.fresh(Postgres.layer({ url: Redacted.make(url), pool: { max: 1 } })))
      )
  )
})

describeEach("over $name", (subject) => {
  let url = ""
  suite(
    Layer.unwrap(
      Effect.map(
        subject.server.fresh,
        (fresh) => subject.module.layer({ url: Redacted.make(url = fresh), pool: { max: 1 } })
      )
    ),
    onMysql,
    (table, to) => `alter table ${table} modify v ${to}`,
    (text) =>
      Effect.flatMap(SqlClient, (sql) => sql.unsafe(text)).pipe(
        Effect.provide(Layer.fresh(Mariadb.layer({ url: Redacted.make(url), pool: { max: 1 } })))
      )
  )
})
