/**
 * The rows of `sql.insert`, `sql.update` and `sql.updateValues`. Effect's compiler makes null of what it does not find in
 * them, and of a fragment; what would be lost so is refused instead, as a parameter that no statement takes.
 *
 * | in a row                                                     | is                                         |
 * | ------------------------------------------------------------ | ------------------------------------------ |
 * | a column that is missing or `undefined`, of `sql.insert`     | null, as with all of Effect's clients       |
 * | the same, of `sql.update` and `sql.updateValues`             | refused: it would overwrite what is there   |
 * | a column that the first row does not have                    | refused: nobody would see it                |
 * | a fragment of SQL that is no parameter                       | refused                                     |
 */
import * as Statement from "effect/sql/Statement"
import { type Compile, wrapped } from "./manyParameters.ts"
import { isOwnFragment } from "./segments.ts"
import { Refused } from "./Value.ts"

type Row = Record<string, unknown>

/** A compiler that loses nothing of a row. */
export const withWholeRows = (
  compiler: Statement.Compiler,
  { undefinedAsNull }: { readonly undefinedAsNull: boolean }
): Statement.Compiler =>
  wrapped(compiler, (inner): Compile => (statement, withoutTransform) =>
    inner.compile(
      statement.segments.some(hasRows) ? checked(statement, undefinedAsNull) : statement,
      withoutTransform
    ))

const hasRows = ({ _tag }: Statement.Segment): boolean =>
  _tag === "RecordUpdateHelperSingle" || _tag === "RecordInsertHelper" || _tag === "RecordUpdateHelper"

const checked = (statement: Statement.Fragment, undefinedAsNull: boolean): Statement.Fragment => {
  const segments = statement.segments.map((segment): Statement.Segment => {
    switch (segment._tag) {
      case "RecordInsertHelper":
        return withValue(segment, rowsOf(segment.value, true))
      case "RecordUpdateHelper":
        return withValue(segment, rowsOf(segment.value, undefinedAsNull))
      case "RecordUpdateHelperSingle": {
        const columns = Object.keys(segment.value).filter((column) => !segment.omit.includes(column))
        return withValue(segment, rowOf(segment.value, columns, undefinedAsNull))
      }
      default:
        return segment
    }
  })
  return Statement.fragment(segments)
}

/** The same helper of other rows, and itself if they are the same. */
const withValue = <A extends { readonly value: unknown }>(segment: A, value: unknown): A =>
  value === segment.value
    ? segment
    : Object.assign(Object.create(Object.getPrototypeOf(segment)), { ...segment, value })

const rowsOf = (rows: ReadonlyArray<Row>, missingIsNull: boolean): ReadonlyArray<Row> => {
  const columns = Object.keys(rows[0] ?? {})
  let changed: Array<Row> | undefined
  for (let index = 0; index < rows.length; index++) {
    const row = rows[index]!
    const extra = index === 0 ? undefined : extraOf(row, rows[0]!)
    const found = extra === undefined ? rowOf(row, columns, missingIsNull) : {
      ...row,
      [columns[0]!]: new Refused(
        `row ${index + 1} has the column "${extra}", which the first row does not have: give it null there`
      )
    }
    if (found !== row) (changed ??= [...rows])[index] = found
  }
  return changed ?? rows
}

/** A column of a row that the first one does not have. */
const extraOf = (row: Row, first: Row): string | undefined =>
  Object.keys(row).find((column) => row[column] !== undefined && !Object.hasOwn(first, column))

const rowOf = (row: Row, columns: ReadonlyArray<string>, missingIsNull: boolean): Row => {
  let changed: Row | undefined
  for (const column of columns) {
    const value = row[column]
    const found = value === undefined
      ? missingIsNull ? value : new Refused(`the column "${column}" is undefined: pass null, or leave it out`)
      : typeof value === "object" && value !== null && Statement.isFragment(value)
      ? fragmentOf(value, column)
      : value
    if (found !== value) {
      changed ??= { ...row }
      // Assigning `__proto__` would set the prototype.
      Object.defineProperty(changed, column, { value: found, enumerable: true, configurable: true, writable: true })
    }
  }
  return changed ?? row
}

/** What stands for a fragment: itself if it is one value, and a value if it only looks like a fragment. */
const fragmentOf = (value: Statement.Fragment, column: string): unknown => {
  if (!isOwnFragment(value)) return Statement.fragment([Statement.parameter(value)])
  const [head] = value.segments
  return value.segments.length === 1 && (head?._tag === "Parameter" || head?._tag === "Custom")
    ? value
    : new Refused(`the column "${column}" is a fragment of SQL, which would be null: write the statement out`)
}
