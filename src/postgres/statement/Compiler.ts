/**
 * From statements to SQL. It says the same as the compiler of `PgClient`, which cannot be had without the connection and
 * the pool of `@effect/sql-pg`.
 */
import type { PgCustom } from "@effect/sql-pg/PgClient"
import * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Statement from "effect/sql/Statement"
import { ours } from "../../values/segments.ts"

const escape = Statement.defaultEscape("\"")

export const makeCompiler = (
  transform: ((name: string) => string) | undefined,
  transformJson: boolean | undefined
): Statement.Compiler => {
  const transformValue = transform === undefined || transformJson === false
    ? undefined
    : Statement.defaultTransforms(transform).value
  return Statement.makeCompiler<PgCustom>({
    dialect: "pg",
    placeholder: (index) => `$${index}`,
    onIdentifier: transform === undefined
      ? escape
      : (name, withoutTransform) => escape(withoutTransform ? name : transform(name)),
    onRecordUpdate: (placeholders, alias, columns, values, returning) => {
      const [suffix, params] = returning === undefined ? ["", []] : [` RETURNING ${returning[0]}`, returning[1]]
      return [`(values ${placeholders}) AS ${alias}${columns}${suffix}`, [...values.flat(), ...params]]
    },
    onCustom: ({ paramA }, placeholder, withoutTransform) => [
      placeholder(undefined),
      [PgTypes.jsonb(withoutTransform || transformValue === undefined ? paramA : transformValue(paramA))]
    ]
  })
}

/** A fragment of a value that is passed on as `jsonb`. */
export const json = (value: unknown): Statement.Fragment => ours(Statement.fragment([PgJson(value)]))

const PgJson = Statement.custom<PgCustom>("PgJson")
