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
 * **Details**
 *
 * The elements may be arrays themselves, of different lengths: `Arrays.unnest({ tags: "text[]" }, rows)`. PostgreSQL
 * takes an array of arrays for one with two dimensions, so these travel as their texts and are cast one by one.
 *
 * @since 0.1.0
 */
import * as Statement from "effect/sql/Statement"
import { ours } from "../values/segments.ts"
import { quoteName } from "./statement/identifiers.ts"
import { isBuiltinScalar } from "./types/builtins.ts"
import { isTypeName, Sent, TypedValue } from "./types/TypedValue.ts"

const fragment = (...parts: ReadonlyArray<Statement.Segment>): Statement.Fragment =>
  ours(Statement.fragment(parts as never))

/** Whether the values of a type are arrays to PostgreSQL. A domain over an array does not show it by its name. */
const isArray = (type: string): boolean => /\]$|^(?:pg_catalog\.)?(?:int2vector|oidvector)$/i.test(type)

/**
 * The type that a text is cast to. A cast to a length cuts off what is longer without a word, so the length is left to
 * the column.
 */
const castOf = (type: string): string => {
  const match =
    /^(?:pg_catalog\.)?(?:((?:character varying|varchar)|char|character|bpchar)|(?:bit varying|varbit|bit))( ?\(\d+\))?((?:\[\d*\])*)$/i
      .exec(type)
  if (match === null) return type
  const name = match[1] === undefined ? "varbit" : /var/i.test(match[1]) ? "varchar" : "bpchar"
  return `${name}${match[3]}`
}

const compared = (word: "any" | "all", type: string, values: ReadonlyArray<unknown>): Statement.Fragment =>
  isArray(type) && isTypeName(type)
    ? fragment(
      Statement.literal(`${word}(select v::${castOf(type)} from unnest(`),
      Statement.parameter(new TypedValue(type, values, Sent.Texts)),
      Statement.literal(") as rows(v))")
    )
    : fragment(
      Statement.literal(`${word}(`),
      Statement.parameter(new TypedValue(`${type}[]`, values, Sent.Elements)),
      Statement.literal(")")
    )

/**
 * `any($1)`: for a comparison with any of many values of a type. With `<> all` use {@link all}.
 *
 * @category fragments
 * @since 0.1.0
 */
export const any = (type: string, values: ReadonlyArray<unknown>): Statement.Fragment => compared("any", type, values)

/**
 * `all($1)`: for a comparison with all of many values of a type.
 *
 * @category fragments
 * @since 0.1.0
 */
export const all = (type: string, values: ReadonlyArray<unknown>): Statement.Fragment => compared("all", type, values)

/**
 * `(select a, b, … from unnest($1, $2, …) as rows(a, b, …))`: rows of the program as a table, for `insert … select`,
 * joins and `update … from`. It takes one parameter for each column, however many rows there are.
 *
 * **Gotchas**
 *
 * A column that a row does not have is null in it.
 *
 * @category fragments
 * @since 0.1.0
 */
export const unnest = <Row extends object>(
  columns: Readonly<Record<string & keyof Row, string>>,
  rows: ReadonlyArray<Row>
): Statement.Fragment => {
  const names = Object.keys(columns) as Array<string & keyof Row>
  const parts: Array<Statement.Segment> = []
  const selected = names.map((name, index) => {
    const type = columns[name]
    const values = rows.map((row) => row[name] ?? null)
    // The types of users may be arrays or change with the search_path: each value is cast where the statement runs.
    const isCast = !isBuiltinScalar(type) && isTypeName(type)
    if (index > 0) parts.push(Statement.literal(", "))
    parts.push(Statement.parameter(
      isCast ? new TypedValue(type, values, Sent.Texts) : new TypedValue(`${type}[]`, values, Sent.Elements)
    ))
    return isCast ? `${quoteName(name)}::${castOf(type)} as ${quoteName(name)}` : quoteName(name)
  })
  return fragment(
    Statement.literal(`(select ${selected.join(", ")} from unnest(`),
    ...parts,
    Statement.literal(`) as rows(${names.map(quoteName).join(", ")}))`)
  )
}
