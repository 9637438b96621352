import * as Statement from "effect/sql/Statement"

/** Makes the compiler of the dialect: `?` for parameters and backticks around identifiers. */
export const makeCompiler = (transform?: ((name: string) => string) | undefined): Statement.Compiler =>
  Statement.makeCompiler({
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
      return [`(${first}${others.repeat(values.length - 1)}) AS ${alias}`, values.flat()]
    },
    onCustom: () => ["", []]
  })

const quoted = /`(?:[^`]|``)*`/g

/** Quotes an identifier; a dot separates a qualifier from it. */
export const escape: (name: string) => string = Statement.defaultEscape("`")
