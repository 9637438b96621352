/**
 * Fragments for `jsonb`: paths, containment, keys. Names are quoted as names and values travel as parameters, so that
 * whatever is in them stays in them.
 *
 * **Details**
 *
 * A value becomes a parameter with `Json.value`, or with `sql.json` of `PgClient`. Results come parsed.
 *
 * **Example** (Looking into documents)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Json } from "watertight/postgres"
 *
 * const large = (tag: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     return yield* sql`
 *       select id, ${Json.text("doc", ["address", "city"])} as city
 *       from customer
 *       where ${Json.contains("doc", { tags: [tag] })} and ${Json.matches("doc", "$.orders[*] ? (@.total > $min)", { min: 100 })}
 *     `
 *   })
 * ```
 *
 * @since 0.1.0
 */
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Statement from "effect/sql/Statement"
import { ours } from "../values/segments.ts"
import { TypedValue } from "./types/TypedValue.ts"

const build = (...parts: ReadonlyArray<Statement.Segment>): Statement.Fragment =>
  ours(Statement.fragment(parts as never))
const text_ = Statement.literal
const typed = (type: string, value: unknown): Statement.Segment => Statement.parameter(new TypedValue(type, value))

/** A null is JSON's here: SQL's would make the whole expression null. */
const document = (value: unknown): Statement.Segment =>
  value === null
    ? Statement.literal("'null'::jsonb")
    // What is `undefined` is refused as any other parameter.
    : Statement.parameter(value === undefined ? value : PgTypes.jsonb(value))

/**
 * A value as a `jsonb` parameter. Null is JSON's null, not SQL's.
 *
 * @category constructors
 * @since 0.1.0
 */
export const value = (value: unknown): Statement.Fragment => build(document(value))

/**
 * Where in a document something is: the names of objects' fields and the numbers of arrays' elements.
 *
 * @category models
 * @since 0.1.0
 */
export type Path = ReadonlyArray<string | number>

const at = (column: string, operator: string, path: Path): Statement.Fragment =>
  build(text_("("), Statement.identifier(column), text_(` ${operator} `), typed("text[]", path.map(String)), text_(")"))

/**
 * What is at a path, as `jsonb`; null if there is nothing.
 *
 * @category fragments
 * @since 0.1.0
 */
export const get = (column: string, path: Path): Statement.Fragment => at(column, "#>", path)

/**
 * What is at a path, as text: a string without its quotes.
 *
 * @category fragments
 * @since 0.1.0
 */
export const text = (column: string, path: Path): Statement.Fragment => at(column, "#>>", path)

/**
 * Whether a document contains another one: all of its fields and elements, at any place of their arrays. A GIN index
 * helps.
 *
 * @category fragments
 * @since 0.1.0
 */
export const contains = (column: string, value: unknown): Statement.Fragment =>
  build(text_("("), Statement.identifier(column), text_(" @> "), document(value), text_(")"))

/**
 * Whether a document has a field of a name, or an array a text as an element.
 *
 * @category fragments
 * @since 0.1.0
 */
export const hasKey = (column: string, key: string): Statement.Fragment =>
  build(text_("("), Statement.identifier(column), text_(" ? "), typed("text", key), text_(")"))

/**
 * Whether it has one of them.
 *
 * @category fragments
 * @since 0.1.0
 */
export const hasAnyKey = (column: string, keys: ReadonlyArray<string>): Statement.Fragment =>
  build(text_("("), Statement.identifier(column), text_(" ?| "), typed("text[]", keys), text_(")"))

/**
 * Whether it has all of them.
 *
 * @category fragments
 * @since 0.1.0
 */
export const hasAllKeys = (column: string, keys: ReadonlyArray<string>): Statement.Fragment =>
  build(text_("("), Statement.identifier(column), text_(" ?& "), typed("text[]", keys), text_(")"))

/**
 * Whether a path expression of SQL/JSON finds anything. What varies belongs into `variables`, as `$name`.
 *
 * @category fragments
 * @since 0.1.0
 */
export const matches = (
  column: string,
  expression: string,
  variables: Readonly<Record<string, unknown>> = {}
): Statement.Fragment =>
  build(
    text_("pg_catalog.jsonb_path_exists("),
    Statement.identifier(column),
    text_(", "),
    typed("jsonpath", expression),
    text_(", "),
    Statement.parameter(PgTypes.jsonb(variables)),
    text_(")")
  )

/**
 * The document with another value at a path: for the right side of a `set`.
 *
 * @category fragments
 * @since 0.1.0
 */
export const set = (column: string, path: Path, value: unknown): Statement.Fragment =>
  build(
    text_("pg_catalog.jsonb_set("),
    Statement.identifier(column),
    text_(", "),
    typed("text[]", path.map(String)),
    text_(", "),
    document(value),
    text_(")")
  )
