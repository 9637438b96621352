/** Writes models. */
import * as String_ from "effect/String"
import { chosen, type Codec } from "./codecs.ts"
import { columnsFile } from "./columnsFile.ts"
import type { Column, Description, Table } from "./describe.ts"
import { isGeometry, mysqlType } from "./mysqlTypes.ts"
import { NamedTypes } from "./NamedTypes.ts"
import { jsdoc, key, Names, pascalCase, quoted } from "./names.ts"
import { postgresType } from "./postgresTypes.ts"

/** How models are written. */
export interface Style {
  readonly isPostgres: boolean
  readonly codecs: ReadonlyArray<Codec>
  /** Whether the client changes `snake_case` into `camelCase`, so that rows have those names. */
  readonly isCamel: boolean
  /** What imports end with. */
  readonly extension: ".ts" | ".js" | ""
}

/** The first line of each file. Files without it are never touched. */
export const header =
  "// Written by `watertight generate`, which writes it anew each time: a change belongs into the database.\n"

/** Two columns of one table would have the same name. */
export class SameName {
  readonly table: string
  readonly name: string
  constructor(table: string, name: string) {
    this.table = table
    this.name = name
  }
}

/** All files by their names, or two columns that would have the same one. */
export const emit = (description: Description, style: Style): ReadonlyMap<string, string> | SameName => {
  const names = new Names()
  const classes = new Map(description.tables.map((table) => [
    table,
    names.take(pascalCase(table.schema === description.home ? table.name : `${table.schema}_${table.name}`))
  ]))
  const codecs = chosen(style.codecs)
  const named = new NamedTypes(description.types, description.home, names, codecs)
  const bodies = new Map<string, string>()
  for (const [table, name] of classes) {
    const same = sameName(table, style)
    if (same !== undefined) return new SameName(`${table.schema}.${table.name}`, same)
    bodies.set(
      name,
      model(table, name, description.home, (column) => field(table, column, named, codecs, style), style)
    )
  }
  const types = named.file
  const files: Array<readonly [string, string]> = [
    ["columns.ts", columnsFile(style.isPostgres)],
    ...types === undefined ? [] : [["types.ts", types] as const],
    ...Array.from(bodies, ([name, body]) => [`${name}.ts`, body] as const),
    [
      "index.ts",
      [...types === undefined ? [] : ["types"], ...bodies.keys()].map((name) => `export * from "./${name}.ts"\n`).join(
        ""
      )
    ]
  ]
  return new Map(files.map(([name, text]) => [
    name,
    header + text.replaceAll(/from "\.\/([^"]+)\.ts"/g, `from "./$1${style.extension}"`)
  ]))
}

const nameOf = (column: Column, style: Style): string => style.isCamel ? String_.snakeToCamel(column.name) : column.name

const sameName = (table: Table, style: Style): string | undefined => {
  const seen = new Set<string>()
  for (const column of table.columns) {
    const name = nameOf(column, style)
    if (seen.has(name)) return name
    seen.add(name)
  }
  return undefined
}

const model = (
  table: Table,
  name: string,
  home: string,
  fieldOf: (column: Column) => string,
  style: Style
): string => {
  const fields = table.columns.map((column) =>
    `${jsdoc(column.comment, "  ")}  ${key(nameOf(column, style))}: ${fieldOf(column)}`
  ).join(",\n")
  const uses = (word: RegExp) => word.test(fields)
  const imports = [
    ...uses(/\bSchema\./) ? [`import { Schema } from "effect"`] : [],
    `import { Model } from "effect/schema"`,
    ...uses(/: columns\./) ? [`import * as columns from "./columns.ts"`] : [],
    ...uses(/\btypes\./) ? [`import * as types from "./types.ts"`] : []
  ]
  const path = table.schema === home ? table.name : `${table.schema}.${table.name}`
  // In a statement a dot separates the schema from the table.
  const isPath = !table.name.includes(".") && !table.schema.includes(".")
  return `${imports.join("\n")}

${jsdoc(table.comment, "")}export class ${name} extends Model.Class<${name}>(${quoted(name)})({
${fields}
}) {${isPath ? `\n  static readonly tableName = ${quoted(path)}\n` : ""}}
`
}

/** Who writes a column, and its schema. */
const field = (
  table: Table,
  column: Column,
  named: NamedTypes,
  codecs: ReadonlyMap<string, string>,
  style: Style
): string => {
  const schema = schemaOf(column, named, codecs, style)
  if (table.kind === "view" || table.kind === "materialized view") {
    return `columns.generated(${orNull(schema)})`
  }
  const isNullable = column.nullable && !named.forbidsNull(column.of.type)
  const value = isNullable ? orNull(schema) : schema
  return `columns.${writer(column, isNullable, style)}(${value})`
}

const writer = (column: Column, isNullable: boolean, style: Style): string => {
  const isWritten = column.of.insertable && (style.isPostgres || !isGeometry(column.of.type.name))
  if (!isWritten) return column.isKey ? "generatedKey" : "generated"
  if (column.of.onUpdate !== undefined) return "touched"
  return isNullable || column.default !== undefined || column.generated === "identity" ? "optional" : "required"
}

const orNull = (schema: string): string =>
  schema === "columns.document" ? "columns.documentOrNull" : `Schema.NullOr(${schema})`

const schemaOf = (
  column: Column,
  named: NamedTypes,
  codecs: ReadonlyMap<string, string>,
  style: Style
): string => {
  const { maxLength, type } = column.of
  const schema = style.isPostgres
    ? postgresType(type, named, codecs, { isInside: false, hasFullElements: column.hasFullElements })
    : mysqlType(type.name, column.type, column.isJson, codecs)
  return schema === "Schema.String" && maxLength !== undefined
    ? `Schema.String.check(Schema.isMaxCodePoints(${maxLength}))`
    : schema
}
