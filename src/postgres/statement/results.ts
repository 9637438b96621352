import type { Result, Row } from "@effect/sql-pg/PgConnection"
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
