import type { Result, Row } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { unknownError } from "../errors/errors.ts"
import type { RowDecoder } from "./RowDecoder.ts"

/** The driver's `Result`, from a command tag such as `SELECT 3` or `INSERT 0 1`. */
export const toResult = (tag: string, rows: ReadonlyArray<Row>, description: RowDecoder): Result => {
  const words = tag.split(" ")
  const last = words[words.length - 1]!
  const rowCount = words.length > 1 && /^\d+$/.test(last) ? Number(last) : 0
  const isInsert = words[0] === "INSERT" && words.length === 3
  return {
    command: words[0]!,
    rowCount,
    oid: isInsert ? Number(words[1]) : null,
    rows,
    fields: description.fields
  }
}

/** The one row that a question of our own has, whoever stands between the server and us. */
export const oneRow = <A>(database: string, rows: ReadonlyArray<A>): Effect.Effect<A, SqlError> =>
  rows.length === 1
    ? Effect.succeed(rows[0]!)
    : Effect.fail(unknownError(database, "the server's answer lacks the row that was asked for", undefined, "execute"))
