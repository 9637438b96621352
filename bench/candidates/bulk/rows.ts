/** How the bulk scenarios are written down for libraries. */
import type { BulkRow } from "../../harness/model.ts"

export const batches = function*<A>(rows: ReadonlyArray<A>, size = 1000): Generator<Array<A>> {
  for (let start = 0; start < rows.length; start += size) yield rows.slice(start, start + size)
}

export const insertColumns = "insert into bulk (id, name, price, at, data)"
export const unnest = "select * from unnest($1::int[], $2::text[], $3::float8[], $4::timestamptz[], $5::jsonb[])"

/** The rows turned around, one array for each column. */
export const columnsOf = (rows: ReadonlyArray<BulkRow>): Array<Array<unknown>> => [
  rows.map(({ id }) => id),
  rows.map(({ name }) => name),
  rows.map(({ price }) => price),
  rows.map(({ at }) => at),
  rows.map(({ data }) => JSON.stringify(data))
]

/** The rows as the text format of COPY has them. */
export const lines = function*(rows: ReadonlyArray<BulkRow>): Generator<string> {
  for (const batch of batches(rows, 500)) {
    yield batch.map(({ at, data, id, name, price }) =>
      `${id}\t${name}\t${price}\t${at.toISOString()}\t${JSON.stringify(data).replaceAll("\\", "\\\\")}\n`
    ).join("")
  }
}

export const select = (count: number): string => `select * from bulk where id <= ${count}`

export const sumOf = (rows: ReadonlyArray<unknown>): number => {
  let sum = 0
  for (const row of rows) sum += (row as { readonly id: number }).id
  return sum
}
