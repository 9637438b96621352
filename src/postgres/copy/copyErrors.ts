/**
 * How far a COPY got before it failed, and what is said about it.
 */
import type { SqlError } from "effect/sql/SqlError"
import { isSqlError } from "effect/sql/SqlError"
import * as Outcome from "../../failure/Outcome.ts"
import { field } from "../../failure/record.ts"

/** How far a COPY got. */
export interface Extent {
  /** The bytes of data that were sent or received. */
  readonly bytes: number
  /** The rows that were sent or received, where they are counted. */
  readonly rows: number | undefined
  /** The row at which the server stopped, counted from 1. In CSV with a header it is the line. */
  readonly row: number | undefined
  /** The column at which the server stopped. */
  readonly column: string | undefined
}

const extent = field<Extent>("copyExtent")

/** What the server says about the place. It quotes the value behind the column's name, which is left out. */
const placeOf = (where: unknown): { readonly row: number | undefined; readonly column: string | undefined } => {
  const match = typeof where === "string" ? /, line (\d+)(?:, column ([^\n:]+))?/.exec(where) : null
  return { row: match === null ? undefined : Number(match[1]), column: match?.[2] }
}

/** Writes down how far a COPY got when it failed, where `extentOf` finds it, and says it in the message. */
export const withExtent = (
  error: SqlError,
  got: {
    readonly bytes: number
    readonly rows?: number | undefined
    readonly direction: "sent" | "received"
    /** Which row it is of those that were given. */
    readonly rowOf?: ((row: number) => number) | undefined
  }
): SqlError => {
  if (extent.get(error) !== undefined) return error
  const { column, row: counted } = placeOf((error.reason.cause as { readonly where?: unknown } | undefined)?.where)
  const row = counted === undefined || got.rowOf === undefined ? counted : got.rowOf(counted)
  extent.set(error, { bytes: got.bytes, rows: got.rows, row, column })
  const place = row === undefined ? "" : `, row ${row}${column === undefined ? "" : `, column "${column}"`}`
  const rows = got.rows === undefined ? "" : `${got.rows} rows, `
  const outcome = got.direction === "received"
    ? ""
    : Outcome.of(error)?.outcome === "Unknown"
    ? "; all of the rows were applied or none"
    : "; none of the rows was applied"
  Object.defineProperty(error.reason, "message", {
    value: `${
      error.reason.message ?? error.reason._tag
    }${place} (COPY: ${rows}${got.bytes} bytes ${got.direction}${outcome})`,
    configurable: true,
    enumerable: true
  })
  return error
}

/** How far the COPY got that failed, looked for along the causes of whatever it is given. */
export const extentOf = (error: unknown): Extent | undefined => {
  let current = error
  for (let depth = 0; depth < 16 && typeof current === "object" && current !== null; depth++) {
    const found = isSqlError(current) ? extent.get(current) : undefined
    if (found !== undefined) return found
    current = (current as { readonly cause?: unknown }).cause
  }
  return undefined
}
