/**
 * Every value × every column × every way in × every way out × the zone of the session, on PostgreSQL and PGlite: what is
 * read is what was written, or it was refused with a typed error and is not there. `docs/values.md` has what was found.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Pglite } from "watertight/pglite"
import { Postgres, Script } from "watertight/postgres"
import { freshDatabase, seed } from "../../support/index.ts"
import { checkColumn, type Column, type Result } from "./check.ts"
import { checkRead, checkTable } from "./docs.ts"
import { columns, ownTypes, waysIn, waysOut } from "./postgresWays.ts"

const layer = (zone: string) =>
  Layer.unwrap(
    Effect.map(freshDatabase(), (url) =>
      Postgres.layer({ url: Redacted.make(url), startupParameters: { timezone: zone }, pool: { max: 4 } }))
  )

/** The columns whose values depend on a zone, or might. */
const zoned = columns.filter(({ type }) => /date|time|range|^text$|jsonb/.test(type))

const results: Array<Result> = []

interface Options {
  readonly zone: string
  readonly columns: ReadonlyArray<Column>
  readonly share: number
  readonly mainShare: number
  readonly isDocumented?: true
}

const suite = (
  layer: Layer.Layer<SqlClient | Postgres.Services, unknown>,
  { columns, isDocumented, mainShare, share, zone }: Options
) =>
  it.layer(layer as Layer.Layer<SqlClient | Postgres.Services>, { timeout: "60 seconds", excludeTestServices: true })(
    "in a column of",
    (it) => {
      for (const column of columns) {
        it.effect(
          `${column.type}: every value in every way is read as it was written, or refused`,
          () =>
            Effect.gen(function*() {
              const sql = yield* SqlClient
              yield* Script.run(
                `do $$ begin if to_regtype('positive') is null then ${ownTypes} end if; end $$;
              drop table if exists t; create table t (id int primary key, v ${column.type}, words tsvector)`
              )
              const random = seed(zone.length)
              const { read, results: found, wrong } = yield* checkColumn(sql, {
                place: { table: "t", type: column.type },
                column,
                waysIn,
                waysOut,
                zone,
                random,
                more: 2,
                share,
                mainShare,
                concurrency: 8
              })
              assert.strictEqual(wrong.join("\n"), "", `seed ${random.value}`)
              if (!isDocumented) return
              results.push(...found)
              const name = column.type.replace(/\(.*/, "")
              // What follows from other types has no line of its own.
              if (!/\[\]|range|positive|ints|mood|pair/.test(name)) {
                checkRead("postgresql.md", name === "char" ? "char(n)" : name, read)
              }
            }),
          120_000
        )
      }

      if (isDocumented) {
        it("the table of docs/values.md says so", () => {
          checkTable("## PostgreSQL", results, [
            "int4",
            "int8",
            "float8",
            "numeric",
            "bool",
            "text",
            "bytea",
            "date",
            "time",
            "timestamp",
            "timestamptz",
            "jsonb",
            "int4[]",
            "text[]",
            "tstzrange"
          ])
        })
      }
    }
  )

describe("values over PostgreSQL, in a session of UTC", () =>
  suite(layer("UTC"), { zone: "UTC", columns, share: 0.1, mainShare: 1, isDocumented: true }))
describe("values over PostgreSQL, in a session of New York", () =>
  suite(layer("America/New_York"), { zone: "America/New_York", columns: zoned, share: 0.05, mainShare: 0.5 }))
describe("values over PGlite", () => suite(Pglite.layer(), { zone: "UTC", columns, share: 0.02, mainShare: 0.2 }))
