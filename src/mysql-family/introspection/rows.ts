/** What `information_schema` answers, in the shape for all databases. MySQL and MariaDB write some of it differently. */
import type * as Introspection from "../../introspection/Introspection.ts"

/** A table or view, as the server has it. */
export interface TableRow {
  readonly schema: string
  readonly name: string
  readonly type: string
  readonly options: string | null
  readonly comment: string
  readonly rows: number | bigint | null
  readonly data: number | bigint | null
  readonly indexes: number | bigint | null
}

/** The query of a view. Empty for those who may not see it. */
export interface ViewRow {
  readonly schema: string
  readonly name: string
  readonly definition: string | null
}

export const toTables = (
  rows: ReadonlyArray<TableRow>,
  views: ReadonlyArray<ViewRow>
): ReadonlyArray<Introspection.Table> => {
  const definitions = new Map(views.map((view) => [keyOf([view.schema, view.name]), view.definition]))
  return rows.map((row) => toTable(row, definitions.get(keyOf([row.schema, row.name]))))
}

const toTable = (row: TableRow, definition: string | null | undefined): Introspection.Table => {
  const isView = row.type.endsWith("VIEW")
  return {
    schema: row.schema,
    name: row.name,
    kind: isView ? "view" : row.options?.includes("partitioned") === true ? "partitioned table" : "table",
    partition: false,
    // The comment of a view says that it is one.
    comment: isView ? undefined : notEmpty(row.comment),
    rowEstimate: isView ? undefined : number(row.rows),
    dataBytes: isView ? undefined : number(row.data),
    indexBytes: isView ? undefined : number(row.indexes),
    definition: notEmpty(definition)
  }
}

const number = (value: number | bigint | null): number | undefined => value === null ? undefined : Number(value)

const notEmpty = (text: string | null | undefined): string | undefined =>
  text === null || text === "" ? undefined : text

const keyOf = (names: ReadonlyArray<string>): string => JSON.stringify(names)

/** A column, as the server has it. */
export interface ColumnRow {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly position: number | bigint
  readonly type: string
  readonly nullable: string
  readonly default: string | null
  readonly extra: string
  readonly expression: string | null
  readonly collation: string | null
  readonly comment: string
}

export const toColumn = (isMariadb: boolean) => (row: ColumnRow): Introspection.Column => {
  const kind = /(STORED|VIRTUAL) GENERATED/.exec(row.extra)?.[1]
  const expression = kind === undefined ? undefined : notEmpty(row.expression)
  return {
    schema: row.schema,
    table: row.table,
    name: row.name,
    position: Number(row.position),
    type: row.type,
    nullable: row.nullable === "YES",
    default: kind === undefined && row.default !== null
      ? isMariadb ? defaultOfMariadb(row.default) : defaultOfMysql(row.default, row.type, row.extra)
      : undefined,
    generated: kind === "STORED"
      ? "stored"
      : kind === "VIRTUAL"
      ? "virtual"
      : row.extra.includes("auto_increment")
      ? "identity"
      : undefined,
    expression: expression === undefined || isMariadb ? expression : unescape(expression),
    collation: row.collation ?? undefined,
    comment: notEmpty(row.comment)
  }
}

/** The type of a column, as the server has it. */
export interface ColumnTypeRow {
  readonly schema: string
  readonly table: string
  readonly column: string
  readonly type: string
  readonly length: number | bigint | null
  readonly extra: string
}

/** The texts whose length counts characters. */
const countedText = /^(?:var)?char$/

export const toColumnType = (row: ColumnTypeRow): Introspection.ColumnType => ({
  schema: row.schema,
  table: row.table,
  column: row.column,
  type: { schema: undefined, name: row.type.toLowerCase(), dimensions: 0 },
  maxLength: row.length !== null && countedText.test(row.type) ? Number(row.length) : undefined,
  insertable: !/(?:STORED|VIRTUAL) GENERATED/.test(row.extra),
  // What else there is to say stands behind it: `INVISIBLE`, and a comma before that on MariaDB.
  onUpdate: /\bon update ([^\s,]+)/i.exec(row.extra)?.[1],
  hidden: /\bINVISIBLE\b/.test(row.extra)
})

/** MariaDB writes an expression, and the text `NULL` where there is none. */
const defaultOfMariadb = (text: string): string | undefined => text === "NULL" ? undefined : text

/** MySQL writes the value of a literal as it is, and marks what is an expression. */
const defaultOfMysql = (text: string, type: string, extra: string): string => {
  if (extra.includes("DEFAULT_GENERATED")) return unescape(text)
  if (bareDefault.test(type) || text.startsWith("0x") && binaryType.test(type)) return text
  return `'${text.replaceAll("\\", "\\\\").replaceAll("'", "''")}'`
}

/** The types whose literals need no quotes. */
const bareDefault = /^(tinyint|smallint|mediumint|int|bigint|decimal|float|double|bit|year)\b/
const binaryType = /^(binary|varbinary)\b/

/** MySQL writes its expressions as if they stood in a string. */
const unescape = (text: string): string => text.replace(/\\(.)/gs, (_, letter: string) => escapes[letter] ?? letter)

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", 0: "\0", Z: "\x1a" }

/** A part of an index. */
export interface IndexRow {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly nonUnique: number | bigint
  /** Null for a part that is an expression. */
  readonly column: string | null
  readonly length: number | bigint | null
  readonly method: string
  /** `D` for a part that is in descending order. */
  readonly direction?: string | null
  readonly expression: string | null
  /** `NO` for an index that the optimizer ignores. */
  readonly usable: string
}

/** Takes the parts in their order. */
export const toIndexes = (rows: ReadonlyArray<IndexRow>): ReadonlyArray<Introspection.Index> =>
  group(rows, (row) => [row.schema, row.table, row.name]).map((parts) => {
    const first = parts[0]!
    return {
      schema: first.schema,
      table: first.table,
      name: first.name,
      columns: parts.map(toPart),
      unique: Number(first.nonUnique) === 0,
      primary: first.name === "PRIMARY",
      method: first.method.toLowerCase(),
      condition: undefined,
      valid: first.usable !== "NO",
      bytes: undefined
    }
  })

export const toIndexDefinitions = (rows: ReadonlyArray<IndexRow>): ReadonlyArray<Introspection.IndexDefinition> =>
  group(rows, (row) => [row.schema, row.table, row.name]).map((parts) => {
    const { method, name, schema, table } = parts[0]!
    const list = parts.map((part) => `${toPart(part)}${part.direction === "D" ? " DESC" : ""}`)
    return { schema, table, name, definition: `${method.toLowerCase()} (${list.join(", ")})` }
  })

const toPart = (row: IndexRow): string => {
  if (row.column === null) return unescape(row.expression ?? "")
  // A spatial index has a length too, which means nothing.
  return row.length === null || row.method === "SPATIAL" ? row.column : `${row.column}(${row.length})`
}

/** Rows that belong together, in the order in which the first of each comes. */
const group = <A>(rows: ReadonlyArray<A>, key: (row: A) => ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<A>> => {
  const groups = new Map<string, Array<A>>()
  for (const row of rows) {
    const name = keyOf(key(row))
    const members = groups.get(name)
    if (members === undefined) groups.set(name, [row])
    else members.push(row)
  }
  return [...groups.values()]
}

/** A constraint, as the server has it. */
export interface ConstraintRow {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly type: "PRIMARY KEY" | "UNIQUE" | "FOREIGN KEY" | "CHECK"
  readonly enforced: string
}

/** A column of a key. */
export interface KeyRow {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly column: string
  readonly otherSchema: string | null
  readonly otherTable: string | null
  readonly otherColumn: string | null
}

/** The actions of a foreign key. */
export interface ActionRow {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly onDelete: string
  readonly onUpdate: string
}

/** The condition of a check. MySQL does not say the table, because the name is unique in the schema. */
export interface CheckRow {
  readonly schema: string
  readonly table: string | null
  readonly name: string
  readonly clause: string
}

export const toConstraints = (
  isMariadb: boolean,
  rows: ReadonlyArray<ConstraintRow>,
  keys: ReadonlyArray<KeyRow>,
  uniques: ReadonlyArray<IndexRow>,
  actions: ReadonlyArray<ActionRow>,
  checks: ReadonlyArray<CheckRow>
): ReadonlyArray<Introspection.Constraint> => {
  const keyRows = byName(keys)
  const indexRows = byName(uniques)
  const actionRows = new Map(actions.map((row) => [nameOf(row), row]))
  const clauses = new Map(checks.map((row) => [
    keyOf([row.schema, ...row.table === null ? [] : [row.table], row.name]),
    row.clause
  ]))
  return rows.map(({ enforced, name, schema, table, type }) => {
    // What is not enforced was never checked against the rows that were there before it.
    const holds = { enforced: enforced !== "NO", validated: enforced !== "NO" }
    const key = keyOf([schema, table, name])
    if (type === "CHECK") {
      const written = clauses.get(key) ?? clauses.get(keyOf([schema, name])) ?? ""
      const clause = isMariadb ? written : unescape(written)
      return {
        schema,
        table,
        name,
        kind: "check",
        columns: columnsOf(clause),
        references: undefined,
        definition: clause,
        ...holds
      }
    }
    const parts = keyRows.get(key) ?? []
    const index = indexRows.get(key)
    const references = referenceOf(parts, actionRows.get(key))
    const columns = type === "FOREIGN KEY" || index === undefined
      ? parts.map((part) => part.column)
      : [...new Set(index.flatMap((part) => part.column ?? columnsOf(toPart(part))))]
    const list = type === "FOREIGN KEY" || index === undefined ? quoted(columns) : index.map(toQuotedPart).join(", ")
    const definition = `${type} (${list})`
    return {
      schema,
      table,
      name,
      kind: kinds[type],
      columns,
      references,
      definition: references === undefined
        ? definition
        : `${definition} REFERENCES ${quote(references.schema)}.${quote(references.table)} (${
          quoted(references.columns)
        }) ON DELETE ${references.onDelete.toUpperCase()} ON UPDATE ${references.onUpdate.toUpperCase()}`,
      ...holds
    }
  })
}

/** The keys know only whole columns: where a part is an expression or the beginning of a text, the index tells. */
const toQuotedPart = (part: IndexRow): string =>
  part.column === null
    ? `(${toPart(part)})`
    : part.length === null
    ? quote(part.column)
    : `${quote(part.column)}(${part.length})`

const byName = <A extends { readonly schema: string; readonly table: string; readonly name: string }>(
  rows: ReadonlyArray<A>
): ReadonlyMap<string, ReadonlyArray<A>> =>
  new Map(group(rows, (row) => [row.schema, row.table, row.name]).map((rows) => [nameOf(rows[0]!), rows]))

const kinds = { "PRIMARY KEY": "primary key", "UNIQUE": "unique", "FOREIGN KEY": "foreign key" } as const

const nameOf = (row: { readonly schema: string; readonly table: string; readonly name: string }): string =>
  keyOf([row.schema, row.table, row.name])

const referenceOf = (
  parts: ReadonlyArray<KeyRow>,
  action: ActionRow | undefined
): Introspection.Reference | undefined => {
  const first = parts[0]
  return first === undefined || first.otherSchema === null || first.otherTable === null ? undefined : {
    schema: first.otherSchema,
    table: first.otherTable,
    columns: parts.map((part) => part.otherColumn!),
    onDelete: actionOf(action?.onDelete),
    onUpdate: actionOf(action?.onUpdate)
  }
}

const actionOf = (rule: string | undefined): Introspection.ReferenceAction =>
  (rule ?? "NO ACTION").toLowerCase() as Introspection.ReferenceAction

const quote = (name: string): string => `\`${name.replaceAll("`", "``")}\``

const quoted = (names: ReadonlyArray<string>): string => names.map(quote).join(", ")

/** The columns that a condition names. The server quotes every name, and with ANSI_QUOTES in the other way. */
export const columnsOf = (clause: string): ReadonlyArray<string> => {
  const names = new Set<string>()
  for (const [, tick, double] of clause.matchAll(/'(?:[^'\\]|\\.|'')*'|`((?:[^`]|``)*)`|"((?:[^"]|"")*)"/gs)) {
    if (tick !== undefined) names.add(tick.replaceAll("``", "`"))
    else if (double !== undefined) names.add(double.replaceAll("\"\"", "\""))
  }
  return [...names]
}
