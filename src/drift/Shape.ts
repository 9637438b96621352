/** What a schema is made of, as things that can be compared one by one. */
import * as Array_ from "effect/Array"
import * as Effect from "effect/Effect"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Introspection from "../introspection/Introspection.ts"
import * as Transaction from "../transaction/Transaction.ts"
import { readCode, type Routine } from "./code.ts"
import * as Spelling from "./spelling.ts"

/** A part of a table, or a thing of its own. */
export interface Part {
  readonly kind: "column" | "index" | "constraint" | "query" | "trigger" | "policy" | "row security"
  readonly name: string
  /** For people, without the name. */
  readonly text: string
  /** What is compared. */
  readonly meaning: string
  /** What it is about, so that a changed one finds its former self under another name. */
  readonly subject: string
  /** Whether the server may have chosen the name. */
  readonly isServerName: boolean
  /** What makes it again under another name, to have another server print it; only where it has an expression. */
  readonly again: ((name: string) => string) | undefined
}

/** A table, a view or a type. */
export interface Thing {
  readonly kind: string
  /** As it is named in the schema that needs no name, or with its schema. */
  readonly name: string
  readonly parts: ReadonlyArray<Part>
}

/** A schema, by the names of its things. */
export type Shape = ReadonlyMap<string, Thing>

/** What is compared. */
export interface Scope {
  /** Whether a table or type is left out, by its name and by `schema.name`. */
  readonly isIgnored: (name: string) => boolean
  /** Only these; empty for all. */
  readonly schemas: ReadonlyArray<string>
}

interface Context {
  readonly isPostgres: boolean
  /** The schema that needs no name. */
  readonly home: string
}

/** Reads a schema at one moment. On PostgreSQL every name comes with its schema, whatever the search path is. */
export const read = (
  scope: Scope
): Effect.Effect<Shape, SqlError, Introspection.Introspection | SqlClient.SqlClient | Transaction.Manager> =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
    if (isPostgres) yield* sql`select pg_catalog.set_config('search_path', '', true)`.withoutTransform
    return yield* readAll(isPostgres, scope)
  }).pipe(Transaction.run({ isolation: "repeatable read", access: "read only" }))

const readAll = Effect.fnUntraced(function*(
  isPostgres: boolean,
  scope: Scope
): Effect.fn.Return<Shape, SqlError, Introspection.Introspection | SqlClient.SqlClient> {
  const db = yield* Introspection.Introspection
  const context = { isPostgres, home: isPostgres ? "public" : yield* db.currentDatabase }
  const filters = scope.schemas.length > 0
    ? scope.schemas.map((schema) => ({ schema }))
    : [isPostgres ? {} : { schema: context.home }]
  const things = (yield* Effect.forEach(filters, (filter) => readTables(db, filter, context))).flat()
  const code = yield* readCode(isPostgres, context.home)
  const own = Array_.groupBy(code.parts, ({ schema, table }) => JSON.stringify([schema, table]))
  const complete = things.map(({ of, thing }) => {
    const more = (own[JSON.stringify([of.schema, of.name])] ?? []).map(({ kind, name, text }) =>
      plain(kind, name, text)
    )
    return { of, thing: { ...thing, parts: [...thing.parts, ...more] } }
  })
  const routines = code.routines.map((routine) => routineThing(routine, context))
  const types = isPostgres ? (yield* db.types).map((type) => typeThing(type, context)) : []
  return new Map(
    [...complete, ...types, ...routines]
      .filter(({ of }) =>
        !scope.isIgnored(of.name) && !scope.isIgnored(`${of.schema}.${of.name}`) &&
        (scope.schemas.length === 0 || scope.schemas.includes(of.schema))
      )
      .map(({ thing }) => [`${familyOf(thing.kind)} ${thing.name}`, thing])
  )
})

/** Things of one family cannot have the same name. */
const familyOf = (kind: string): string =>
  kind === "type" ? "type" : /^(?:function|procedure|event)$/.test(kind) ? kind : "table"

interface Named {
  readonly of: { readonly schema: string; readonly name: string }
  readonly thing: Thing
}

/** Reads tables and what belongs to them. */
export const readTables = Effect.fnUntraced(function*(
  db: Introspection.Introspection,
  filter: Introspection.Filter,
  context: Context
): Effect.fn.Return<ReadonlyArray<Named>, SqlError> {
  const key = (of: { readonly schema: string; readonly table: string }) => JSON.stringify([of.schema, of.table])
  const tables = yield* db.tables(filter)
  const columns = Array_.groupBy(yield* db.columns(filter), key)
  const types = Array_.groupBy(yield* db.columnTypes(filter), key)
  const constraints = Array_.groupBy(yield* db.constraints(filter), key)
  const indexes = Array_.groupBy(yield* db.indexes(filter), key)
  const definitions = Array_.groupBy(yield* db.indexDefinitions(filter), key)
  return tables.filter((table) => !table.partition).map((table) => {
    const own = key({ schema: table.schema, table: table.name })
    const rules = constraints[own] ?? []
    const isView = table.kind === "view" || table.kind === "materialized view"
    const path = context.isPostgres
      ? `${quote(table.schema)}.${quote(table.name)}`
      : `\`${table.name.replaceAll("`", "``")}\``
    const parts = [
      // What the columns of a view are follows from its query and from tables, which are compared.
      ...(isView ? [] : columns[own] ?? []).map((column) =>
        columnPart(column, types[own]?.find((type) => type.column === column.name), path, context)
      ),
      ...rules.map((rule) => constraintPart(rule, path, context)),
      ...(indexes[own] ?? []).filter((index) => !isOfConstraint(index, rules)).map((index) =>
        indexPart(index, definitions[own]?.find(({ name }) => name === index.name)?.definition ?? index.method, path)
      ),
      ...isView ? [queryPart(table, context)] : []
    ]
    const thing = { kind: table.kind, name: nameOf(table.schema, table.name, context), parts }
    return { of: table, thing }
  })
})

const quote = (name: string): string => `"${name.replaceAll("\"", "\"\"")}"`

const nameOf = (schema: string | undefined, name: string, { home }: Context): string =>
  schema === undefined || schema === home ? name : `${schema}.${name}`

/** The index that a constraint has is told with the constraint. */
const isOfConstraint = (index: Introspection.Index, rules: ReadonlyArray<Introspection.Constraint>): boolean =>
  index.valid &&
  rules.some((rule) =>
    rule.name === index.name && (rule.kind === "primary key" || rule.kind === "unique" || rule.kind === "exclusion")
  )

const columnPart = (
  column: Introspection.Column,
  of: Introspection.ColumnType | undefined,
  path: string,
  context: Context
): Part => {
  const type = typeText(column, of, context)
  const isCounting = column.generated === "identity" || Spelling.isSerial(column.default)
  const isAlways = column.generated === "identity" && of?.insertable === false
  const isComputed = column.generated === "stored" || column.generated === "virtual"
  const value = isCounting || isComputed ? undefined : Spelling.defaultValue(column.default)
  const expression = isComputed ? Spelling.expression(column.expression ?? "") : undefined
  const text = [
    type,
    ...column.nullable ? [] : ["not null"],
    ...isCounting ? [isAlways ? "generated always as identity" : "counts up"] : [],
    ...value === undefined ? [] : [`default ${value}`],
    ...expression === undefined ? [] : [`generated as (${expression}) ${column.generated}`],
    ...column.collation === undefined || !context.isPostgres && isDefaultText(column)
      ? []
      : [`collate ${column.collation}`],
    ...of?.onUpdate === undefined ? [] : [`on update ${of.onUpdate.toLowerCase()}`],
    ...of?.hidden === true ? ["invisible"] : []
  ].join(" ")
  const definition = isComputed
    ? `generated always as (${column.expression}) stored`
    : column.default === undefined || isCounting
    ? undefined
    : `default ${column.default}`
  return {
    kind: "column",
    name: column.name,
    text,
    meaning: text,
    subject: column.name,
    isServerName: false,
    again: definition === undefined
      ? undefined
      : (name) =>
        `alter table ${path} add column ${quote(name)} ${type}${column.nullable ? "" : " not null"} ${definition}`
  }
}

/** Numbers and dates have no collation, whatever the server writes. */
const isDefaultText = (column: Introspection.Column): boolean => column.type.startsWith("json")

/** The type with its length, and with its schema where that is not the home. */
const typeText = (
  column: Introspection.Column,
  of: Introspection.ColumnType | undefined,
  context: Context
): string => {
  if (of === undefined || !context.isPostgres || of.type.schema === "pg_catalog") {
    // MariaDB and older servers write the width of whole numbers, which means nothing.
    return column.type.replace(/^((?:small|medium|big)?int|tinyint(?!\(1\)))\(\d+\)/, "$1")
  }
  return `${nameOf(of.type.schema, of.type.name, context)}${"[]".repeat(of.type.dimensions)}`
}

const constraintPart = (
  constraint: Introspection.Constraint,
  path: string,
  context: Context
): Part => {
  const { columns, kind, references } = constraint
  const body = references === undefined
    ? kind === "check"
      ? `check (${Spelling.expression(constraint.definition)})`
      : kind === "exclusion"
      ? Spelling.expression(constraint.definition)
      : `${kind} (${columns.join(", ")})${
        /NULLS NOT DISTINCT/.test(constraint.definition) ? " nulls not distinct" : ""
      }`
    : `foreign key (${columns.join(", ")}) references ${nameOf(references.schema, references.table, context)} (${
      references.columns.join(", ")
    })${actionText("delete", references.onDelete)}${actionText("update", references.onUpdate)}`
  const text = `${body}${constraint.validated || !constraint.enforced ? "" : " not valid"}${
    constraint.enforced ? "" : " not enforced"
  }${/\bDEFERRABLE\b/.test(constraint.definition) && kind !== "check" ? " deferrable" : ""}`
  return {
    kind: "constraint",
    name: constraint.name,
    text,
    meaning: text,
    subject: `${kind} (${columns.join(", ")})`,
    isServerName: Spelling.isServerName(constraint.name),
    again: kind === "check"
      ? (name) =>
        `alter table ${path} add constraint ${quote(name)} check (${constraint.definition})${
          constraint.validated ? "" : " not valid"
        }`
      : undefined
  }
}

/** To do nothing is to refuse on MySQL, and what both do where nothing is said. */
const actionText = (event: string, action: Introspection.ReferenceAction): string =>
  action === "no action" || action === "restrict" ? "" : ` on ${event} ${action}`

const indexPart = (index: Introspection.Index, definition: string, path: string): Part => {
  const text = `${index.unique ? "unique " : ""}${Spelling.expression(definition)}${
    index.valid ? "" : " that the server does not use"
  }`
  return {
    kind: "index",
    name: index.name,
    text,
    meaning: text,
    subject: index.columns.join(", "),
    // MySQL calls an index like its first column.
    isServerName: Spelling.isServerName(index.name) || index.columns[0] === index.name.replace(/_\d+$/, "") ||
      index.columns[0] === index.name,
    again: /^\w+ \([\w", ]+\)$/.test(definition)
      ? undefined
      : (name) => `create ${index.unique ? "unique " : ""}index ${quote(name)} on ${path} using ${definition}`
  }
}

const queryPart = (table: Introspection.Table, context: Context): Part => {
  const text = Spelling.query(table.definition ?? "", context.isPostgres ? undefined : table.schema)
  return {
    kind: "query",
    name: "",
    text,
    meaning: text,
    subject: "",
    isServerName: false,
    again: (name) => `create view ${quote(name)}.${quote(name)} as ${table.definition}`
  }
}

/** A part that is compared as it is. */
const plain = (kind: Part["kind"], name: string, text: string): Part => ({
  kind,
  name,
  text,
  meaning: text,
  subject: name,
  isServerName: false,
  again: undefined
})

const routineThing = (routine: Routine, context: Context): Named => {
  const name = nameOf(routine.schema, routine.name, context)
  return {
    of: routine,
    thing: {
      kind: routine.kind,
      name: context.isPostgres ? `${name}(${routine.parameters})` : name,
      parts: [plain("query", "", routine.text)]
    }
  }
}

const typeThing = (type: Introspection.Type, context: Context): Named => {
  const ref = (name: Introspection.TypeName): string =>
    `${nameOf(name.schema === "pg_catalog" ? undefined : name.schema, name.name, context)}${
      "[]".repeat(name.dimensions)
    }`
  const part = (name: string, text: string) => plain("column", name, text)
  const whole = type.kind === "enum"
    ? [part("", `enum (${type.labels.map((label) => `'${label.replaceAll("'", "''")}'`).join(", ")})`)]
    : type.base === undefined
    ? type.attributes.map((attribute) => part(attribute.name, ref(attribute.type)))
    : [part("", `${type.kind} of ${ref(type.base)}${type.nullable ? "" : " not null"}`)]
  return { of: type, thing: { kind: "type", name: nameOf(type.schema, type.name, context), parts: whole } }
}
