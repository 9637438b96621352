import * as Statement from "effect/sql/Statement"
import { withManyParameters } from "../../values/manyParameters.ts"
import { isPlain } from "../../values/Value.ts"
import { isStorable, StoredDocument, utcText } from "./parameters.ts"

/** Makes the compiler of the dialect: `?` for parameters and backticks around identifiers. */
export const makeCompiler = (transform?: ((name: string) => string) | undefined): Statement.Compiler =>
  withManyParameters(Statement.makeCompiler({
    dialect: "mysql",
    placeholder: () => "?",
    onIdentifier: transform === undefined
      ? escape
      : (name, withoutTransform) => escape(withoutTransform ? name : transform(name)),
    // A derived table that every server of the family understands, to be joined in an UPDATE.
    onRecordUpdate: (_, alias, columns, values) => {
      const names = columns.match(quoted) ?? []
      const first = `SELECT ${names.map((name) => `? AS ${name}`).join(", ")}`
      const others = ` UNION ALL SELECT ${names.map(() => "?").join(", ")}`
      return [`(${first}${others.repeat(values.length - 1)}) AS ${alias}`, values.flat().map(asStored)]
    },
    onCustom: () => ["", []]
  }))

/** A value of a column may be a document, also where it stands in a SELECT, and an instant is stored as its text. */
const asStored = (value: unknown): unknown =>
  value instanceof Date && isStorable(value)
    ? utcText(value)
    : Array.isArray(value) || typeof value === "object" && value !== null && isPlain(value)
    ? new StoredDocument(value)
    : value

const quoted = /`(?:[^`]|``)*`/g

/** Quotes an identifier; a dot separates a qualifier from it. */
export const escape: (name: string) => string = Statement.defaultEscape("`")
