/** The table that rows go to: its columns and keys, as the server describes them. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Bulk from "../../bulk/Bulk.ts"
import { MysqlError } from "../errors/errors.ts"
import type { Session } from "../session/Session.ts"
import { type Column, makeColumn, type TableColumn } from "./columns.ts"

export const quoteName = (name: string): string => `\`${name.replaceAll("`", "``")}\``

/** Quotes a name that may have a schema in front of it, as `sql("schema.table")` does. */
export const quotePath = (name: string): string => name.split(".").map(quoteName).join(".")

export const columnList = (columns: ReadonlyArray<string>): string => columns.map(quoteName).join(", ")

export interface Table {
  readonly columns: ReadonlyArray<TableColumn>
  /** Whether a trigger may change a row before the table sees it. */
  readonly hasTrigger: boolean
}

export const errnoOf = (error: SqlError): number | undefined =>
  error.reason.cause instanceof MysqlError ? error.reason.cause.errno : undefined

const hasTrigger = `select 1 from information_schema.triggers
where event_object_schema = coalesce(?, database()) and event_object_table = ?
  and event_manipulation = 'INSERT' and action_timing = 'BEFORE' limit 1`

/** What there is to know of a table. It has no columns if it does not exist. */
export const tableOf = Effect.fnUntraced(function*(session: Session, name: string): Effect.fn.Return<Table, SqlError> {
  // Unlike `information_schema` it knows temporary tables too.
  const rows = yield* Effect.catchIf(
    session.executeValuesUnprepared(`SHOW FULL COLUMNS FROM ${quotePath(name)}`, []),
    (error) => isMissing(errnoOf(error)),
    () => Effect.succeed([])
  )
  const path = name.split(".")
  const triggers = rows.length === 0
    ? []
    : yield* session.executeValues(hasTrigger, [path.at(-2) ?? null, path.at(-1)!])
  return {
    hasTrigger: triggers.length > 0,
    columns: rows.map(([field, type, collation, nullable, , , extra]): TableColumn => ({
      name: String(field),
      type: String(type),
      collation: collation === null ? undefined : String(collation),
      isNullable: nullable === "YES",
      isAutoIncrement: /auto_increment/i.test(String(extra)),
      isGenerated: /\b(?:virtual|stored|persistent)\b/i.test(String(extra))
    }))
  }
})

/** 1146: no such table. 1049: no such database. 1103: no table can have this name. */
const isMissing = (errno: number | undefined): boolean => errno === 1146 || errno === 1049 || errno === 1103

/**
 * The columns of each unique index. The primary key is the first. One over an expression or over the beginning of a text
 * has none: by the values of its columns no row is known.
 */
export const uniqueIndexes = (
  session: Session,
  name: string
): Effect.Effect<ReadonlyArray<ReadonlyArray<string>>, SqlError> =>
  Effect.map(session.executeValuesUnprepared(`SHOW INDEX FROM ${quotePath(name)}`, []), (rows) => {
    const indexes = new Map<string, Array<string>>([["PRIMARY", []]])
    const partial = new Set<string>()
    for (const [, nonUnique, name, , column, , , length] of rows) {
      if (Number(nonUnique) !== 0) continue
      const index = String(name)
      const columns = indexes.get(index)
      if (column === null || length !== null) partial.add(index)
      if (columns === undefined) indexes.set(index, [String(column)])
      else columns.push(String(column))
    }
    return Array.from(indexes, ([index, columns]) => partial.has(index) ? [] : columns)
  })

export const columnsOf = (table: Table, names: ReadonlyArray<string>): ReadonlyArray<Column> | Bulk.ColumnsWrong => {
  const found = new Map(table.columns.map((column) => [column.name, column]))
  const wrong = (columns: ReadonlyArray<string>, problem: string) => new Bulk.ColumnsWrong({ columns, problem })
  const missing = names.filter((name) => !found.has(name))
  if (missing.length > 0) return wrong(missing, "the table does not have these columns")
  const generated = names.filter((name) => found.get(name)!.isGenerated)
  if (generated.length > 0) return wrong(generated, "the server computes these columns")
  if (names.length === 0 || new Set(names).size < names.length) {
    return wrong(names, "each column has to be given once")
  }
  return names.map((name) => makeColumn(found.get(name)!, table.hasTrigger))
}

/** A column of the table that rows wait in. */
export const definitionOf = ({ collation, name, type }: TableColumn, takesNull: boolean): string =>
  `${quoteName(name)} ${type}${collation === undefined ? "" : ` COLLATE ${collation}`}${takesNull ? "" : " NOT"} NULL`
