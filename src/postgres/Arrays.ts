/**
 * Fragments for many values in one parameter: one statement for any number of them, which the server plans once.
 *
 * **Example** (Many ids, many rows)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Arrays } from "watertight/postgres"
 *
 * const some = (ids: ReadonlyArray<string>) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     return yield* sql`select * from city where id = ${Arrays.any("uuid", ids)}`
 *   })
 *
 * const rename = (cities: ReadonlyArray<{ readonly id: number; readonly name: string }>) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`update city set name = new.name
 *       from ${Arrays.unnest({ id: "int4", name: "text" }, cities)} as new
 *       where city.id = new.id`
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as Statement from "effect/sql/Statement"
import { quoteName } from "./statement/identifiers.ts"
import { TypedValue } from "./types/TypedValue.ts"

const fragment = (...parts: ReadonlyArray<Statement.Segment>): Statement.Fragment => Statement.fragment(parts as never)

/**
 * `any($1)`: for a comparison with any of many values of a type. With `<> all` use {@link all}.
 *
 * @category fragments
 * @since 0.1.0
 */
export const any = (type: string, values: ReadonlyArray<unknown>): Statement.Fragment =>
  fragment(Statement.literal("any("), Statement.parameter(new TypedValue(`${type}[]`, values)), Statement.literal(")"))

/**
 * `all($1)`: for a comparison with all of many values of a type.
 *
 * @category fragments
 * @since 0.1.0
 */
export const all = (type: string, values: ReadonlyArray<unknown>): Statement.Fragment =>
  fragment(Statement.literal("all("), Statement.parameter(new TypedValue(`${type}[]`, values)), Statement.literal(")"))

/**
 * `(select * from unnest($1, $2, …) as rows(a, b, …))`: rows of the program as a table, for `insert … select`, joins and
 * `update … from`. It takes one parameter for each column, however many rows there are.
 *
 * @category fragments
 * @since 0.1.0
 */
export const unnest = <Row extends object>(
  columns: Readonly<Record<string & keyof Row, string>>,
  rows: ReadonlyArray<Row>
): Statement.Fragment => {
  const names = Object.keys(columns) as Array<string & keyof Row>
  const parts: Array<Statement.Segment> = [Statement.literal("(select * from unnest(")]
  names.forEach((name, index) => {
    if (index > 0) parts.push(Statement.literal(", "))
    parts.push(Statement.parameter(new TypedValue(`${columns[name]}[]`, rows.map((row) => row[name] ?? null))))
  })
  parts.push(Statement.literal(`) as rows(${names.map(quoteName).join(", ")}))`))
  return fragment(...parts)
}
