/** What only MySQL and MariaDB have: upserts by any key, full-text search, and the care of tables. */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { SqlError, UnknownError } from "effect/sql/SqlError"
import { type Fragment, fragment, parameter } from "effect/sql/Statement"
import { ours } from "../../values/segments.ts"
import type { MysqlClient, Server, TableMessage } from "../adapter/MysqlClient.ts"
import { isAtLeast } from "../adapter/serverVersion.ts"
import { JsonValue } from "./parameters.ts"
import type { Ok } from "./results.ts"

type Dialect = Pick<MysqlClient, "json" | "upsert" | "upsertReturning" | "match" | "analyze" | "check" | "optimize">

/** Makes the part of the client that is about the dialect. */
export const make = (
  sql: SqlClient,
  server: Effect.Effect<Server, SqlError>,
  transformName: ((name: string) => string) | undefined
): Dialect => {
  // A statement that is asked for raw is compiled without the names of the program, so they are given here.
  const plain = sql.withoutTransforms()
  const rename = transformName ?? ((name: string) => name)
  const upsertStatement = (
    sql: SqlClient,
    table: string,
    rows: ReadonlyArray<Record<string, unknown>>,
    update: ReadonlyArray<string> | undefined,
    known: Server
  ) => {
    const columns = update ?? Object.keys(rows[0]!)
    const insert = sql`INSERT INTO ${sql(table)} ${sql.insert(rows as never)}`
    // VALUES() is what MariaDB has; MySQL has a name for the row instead, since it deprecated that.
    const hasAlias = !known.isMariadb && isAtLeast(known.version, [8, 0, 19])
    const assignments = columns.length === 0
      // Nothing to change: a column of the key keeps its value.
      ? [sql`${sql(Object.keys(rows[0]!)[0]!)} = ${sql(table)}.${sql(Object.keys(rows[0]!)[0]!)}`]
      : columns.map((column) =>
        hasAlias
          ? sql`${sql(column)} = given.${sql(column)}`
          : sql`${sql(column)} = VALUES(${sql(column)})`
      )
    return sql`${insert}${sql.literal(hasAlias ? " AS given" : "")} ON DUPLICATE KEY UPDATE ${sql.csv(assignments)}`
  }

  const maintain = (verb: string) => (table: string): Effect.Effect<ReadonlyArray<TableMessage>, SqlError> =>
    Effect.map(
      sql<{ Table: string; Op: string; Msg_type: string; Msg_text: string }>`${sql.literal(verb)} TABLE ${sql(table)}`
        .withoutTransform,
      (rows) =>
        rows.map((row) => ({
          table: row.Table,
          operation: row.Op,
          // Some say "Error".
          type: row.Msg_type.toLowerCase() as TableMessage["type"],
          text: row.Msg_text
        }))
    )

  return {
    json: (value) => ours(fragment([parameter(new JsonValue(value))])),
    upsert: (table, rows, options) =>
      rows.length === 0
        ? Effect.succeed(nothing)
        : Effect.flatMap(
          server,
          (known) =>
            upsertStatement(
              plain,
              table.split(".").map(rename).join("."),
              rows.map((row) => Object.fromEntries(Object.entries(row).map(([key, value]) => [rename(key), value]))),
              options?.update?.map(rename),
              known
            ).raw as Effect.Effect<Ok, SqlError>
        ),
    upsertReturning: (table, rows, options) =>
      rows.length === 0 ? Effect.succeed([]) : Effect.flatMap(server, (known) =>
        known.isMariadb
          ? sql`${upsertStatement(sql, table, rows, options?.update, known)} RETURNING ${
            returned(sql, options?.returning)
          }`
          : Effect.fail(
            new SqlError({
              reason: new UnknownError({
                cause: new Error("RETURNING"),
                message: "MySQL has no RETURNING: upsert, and select the rows by their keys",
                operation: "upsertReturning"
              })
            })
          )) as never,
    match: (columns, words, mode = "natural") => {
      const list = sql.csv(columns.map((column) => sql`${sql(column)}`))
      switch (mode) {
        case "natural":
          return sql`MATCH (${list}) AGAINST (${words} IN NATURAL LANGUAGE MODE)`
        case "expansion":
          return sql`MATCH (${list}) AGAINST (${words} WITH QUERY EXPANSION)`
        default: {
          const expression = mode === "boolean" ? words : everyWord(words, mode === "prefix")
          return expression === ""
            ? sql`FALSE`
            : sql`MATCH (${list}) AGAINST (${expression} IN BOOLEAN MODE)`
        }
      }
    },
    analyze: maintain("ANALYZE"),
    check: maintain("CHECK"),
    optimize: maintain("OPTIMIZE")
  }
}

const nothing: Ok = { affectedRows: 0, changedRows: 0, insertId: 0, warningStatus: 0, info: "" }

const returned = (sql: SqlClient, columns: ReadonlyArray<string> | undefined): Fragment =>
  columns === undefined ? sql.literal("*") : sql.csv(columns.map((column) => sql`${sql(column)}`))

/** What a person typed, as an expression that demands every word. Operators in it have no meaning. */
export const everyWord = (words: string, asPrefix: boolean): string =>
  (words.match(/[\p{L}\p{M}\p{N}_]+/gu) ?? []).map((word) => asPrefix ? `+${word}*` : `+${word}`).join(" ")
