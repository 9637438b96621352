/** Reads what models are written from. */
import * as Array_ from "effect/Array"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Introspection from "../introspection/Introspection.ts"

/** Which tables get models. */
export interface Choice {
  /** The schemas. Empty for those that users have made, and on MySQL for the current database. */
  readonly schemas: ReadonlyArray<string>
  /** Whether a table is left out, by its name and by `schema.name`. */
  readonly isExcluded: (name: string) => boolean
}

/** A column and its type. */
export interface Column extends Introspection.Column {
  readonly of: Introspection.ColumnType
  readonly isKey: boolean
  /** Whether a check says that it contains JSON, as MariaDB's `json` does. */
  readonly isJson: boolean
  /** Whether a check says that no element of it is null. */
  readonly hasFullElements: boolean
}

/** A table and its columns. */
export interface Table extends Introspection.Table {
  readonly columns: ReadonlyArray<Column>
}

/** What a database has. */
export interface Description {
  /** The schema whose names need no qualifier. */
  readonly home: string
  readonly tables: ReadonlyArray<Table>
  readonly types: ReadonlyArray<Introspection.Type>
}

/** A key that no other pair of names has. */
export const pair = (schema: string | undefined, name: string): string => JSON.stringify([schema ?? "", name])

/** Reads the tables that are chosen, and all types. */
export const describe = Effect.fnUntraced(function*(
  isPostgres: boolean,
  choice: Choice
): Effect.fn.Return<Description, SqlError, Introspection.Introspection> {
  const db = yield* Introspection.Introspection
  const home = isPostgres ? "public" : yield* db.currentDatabase
  const filters = choice.schemas.length > 0
    ? choice.schemas.map((schema) => ({ schema }))
    : isPostgres
    ? [{}]
    : [{ schema: home }]
  const found = yield* Effect.forEach(filters, (filter) => read(db, filter, choice))
  const tables = found.flat().toSorted((left, right) => {
    if (left.schema !== right.schema) {
      return left.schema === home ? -1 : right.schema === home ? 1 : left.schema < right.schema ? -1 : 1
    }
    return left.name < right.name ? -1 : 1
  })
  return { home, tables, types: yield* withRows(db, tables, yield* db.types) }
})

const read = Effect.fnUntraced(function*(
  db: Introspection.Introspection,
  filter: Introspection.Filter,
  choice: Choice
): Effect.fn.Return<ReadonlyArray<Table>, SqlError> {
  const tables = yield* db.tables(filter)
  const columns = yield* db.columns(filter)
  const types = new Map((yield* db.columnTypes(filter)).map((type) => [columnKey(type, type.column), type]))
  const constraints = yield* db.constraints(filter)
  const byTable = Array_.groupBy(columns, (column) => pair(column.schema, column.table))
  const rules = Array_.groupBy(constraints, (constraint) => pair(constraint.schema, constraint.table))
  return tables.filter((table) =>
    !table.partition && !choice.isExcluded(table.name) && !choice.isExcluded(`${table.schema}.${table.name}`)
  ).map((table) => {
    const own = rules[pair(table.schema, table.name)] ?? []
    return {
      ...table,
      columns: (byTable[pair(table.schema, table.name)] ?? []).flatMap((column) => {
        const of = types.get(columnKey(column, column.name))
        // Models read rows by `select *`.
        return of === undefined || of.hidden ? [] : [{ ...column, of, ...ruled(column, own) }]
      })
    }
  })
})

const columnKey = (of: { readonly schema: string; readonly table: string }, name: string): string =>
  JSON.stringify([of.schema, of.table, name])

/** What the constraints of its table say about a column. */
const ruled = (column: Introspection.Column, constraints: ReadonlyArray<Introspection.Constraint>) => {
  const checks = constraints.filter((constraint) =>
    constraint.kind === "check" && constraint.enforced && constraint.columns.length === 1 &&
    constraint.columns[0] === column.name
  )
  return {
    isKey: constraints.some(({ columns, kind }) => kind === "primary key" && columns.includes(column.name)),
    isJson: checks.some(({ definition }) => /^json_valid\(`[^`]*`\)$/i.test(definition)),
    hasFullElements: checks.some(({ definition }) =>
      /^\(array_position\((?:"[^"]*"|\w+), NULL::[^()]+\) IS NULL\)$/.test(definition)
    )
  }
}

/** The types, with the rows of those tables that are the type of a column. */
const withRows = Effect.fnUntraced(function*(
  db: Introspection.Introspection,
  tables: ReadonlyArray<Table>,
  types: ReadonlyArray<Introspection.Type>
): Effect.fn.Return<ReadonlyArray<Introspection.Type>, SqlError> {
  const all = new Map(types.map((type) => [pair(type.schema, type.name), type]))
  const open = [
    ...tables.flatMap(({ columns }) => columns.map(({ of }) => of.type)),
    ...types.flatMap(({ attributes, base }) => [...base === undefined ? [] : [base], ...attributes.map((a) => a.type)])
  ]
  while (open.length > 0) {
    const { name, schema } = open.pop()!
    const key = pair(schema, name)
    if (schema === undefined || schema === "pg_catalog" || all.has(key)) continue
    const columns = yield* db.columnTypes({ schema, table: name })
    // A type of an extension has no columns, and is what its name says.
    if (columns.length === 0) continue
    const attributes = columns.map(({ column, type }) => ({ name: column, type }))
    all.set(key, {
      schema,
      name,
      kind: "composite",
      comment: `A row of ${schema}.${name}.`,
      labels: [],
      base: undefined,
      nullable: true,
      attributes
    })
    open.push(...attributes.map(({ type }) => type))
  }
  return [...all.values()]
})
