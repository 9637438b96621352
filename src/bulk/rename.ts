/** `transformQueryNames` for `Bulk`: the names in a program are those of properties, as everywhere in a client. */
import type * as Bulk from "./Bulk.ts"

type Rename = ((name: string) => string) | undefined

/** Takes tables and columns under the names of the program. The names of the rows themselves are for `load`. */
export const withNames = (bulk: Bulk.Bulk, rename: Rename): Bulk.Bulk => {
  if (rename === undefined) return bulk
  const tableOf = (table: string): string => table.split(".").map(rename).join(".")
  const all = (names: ReadonlyArray<string> | undefined) => names?.map(rename)
  return {
    insert: (table, rows, options) => bulk.insert(tableOf(table), rows, options),
    upsert: (table, rows, options) =>
      bulk.upsert(tableOf(table), rows, { ...options, key: all(options?.key), update: all(options?.update) })
  }
}
