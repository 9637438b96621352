/**
 * The parts of a statement, told apart from values that look like them.
 *
 * Effect takes an argument of a template for a part of the statement by its `_tag`, or by the key that marks a fragment.
 * A value that was parsed from JSON may have both: `{ "_tag": "Identifier", "value": "password" }` where a password is
 * expected would compare the column with itself, and a fragment with a literal in it would be SQL. So a part has to be
 * known as one: by a prototype, which JSON cannot give, or by a mark of ours. Everything else is a value.
 */
import type * as SqlClient from "effect/sql/SqlClient"
import * as Statement from "effect/sql/Statement"

const mark = Symbol.for("watertight/Segment")

/** Marks a part of a statement that the program itself has made. */
export const ours = <A>(segment: A): A => {
  if (typeof segment === "object" && segment !== null) (segment as { [mark]?: true })[mark] = true
  return segment
}

const isData = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value)
  return (prototype === Object.prototype || prototype === null) && !(mark in value)
}

/** A fragment, but not one that came as a value. */
export const isOwnFragment = (value: unknown): value is Statement.Fragment =>
  Statement.isFragment(value) && !isData(value)

/** An argument of a template: a part of the statement as it is, and what only looks like one as a parameter. */
export const asArgument = (value: unknown): unknown =>
  typeof value === "object" && value !== null && ("_tag" in value || Statement.isFragment(value)) && isData(value)
    ? Statement.fragment([Statement.parameter(value)])
    : value

type Make = (...given: ReadonlyArray<any>) => any

const marking = (make: Make): Make => (...given) => ours(make(...given))

/** The functions of a client that make parts of statements, which are known as ours then. */
export const markingClient = (client: SqlClient.SqlClient): Partial<SqlClient.SqlClient> => ({
  literal: marking(client.literal),
  in: marking(client.in),
  insert: marking(client.insert),
  update: marking(client.update),
  updateValues: marking(client.updateValues),
  and: marking(client.and),
  or: marking(client.or),
  csv: marking(client.csv),
  join: (...given) => marking(client.join(...given))
})
