/** `Introspection` on MySQL and MariaDB. */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as Introspection from "../../introspection/Introspection.ts"
import type { Server } from "../adapter/MysqlClient.ts"
import { isAtLeast } from "../adapter/serverVersion.ts"
import { unknownError } from "../errors/errors.ts"
import {
  type ActionRow,
  type CheckRow,
  type ColumnRow,
  type ColumnTypeRow,
  type ConstraintRow,
  type IndexRow,
  type KeyRow,
  type TableRow,
  toColumn,
  toColumnType,
  toConstraints,
  toIndexDefinitions,
  toIndexes,
  toTables,
  type ViewRow
} from "./rows.ts"

/** A condition and its parameters. */
interface Condition {
  readonly text: string
  readonly params: ReadonlyArray<unknown>
}

const plain = (text: string): Condition => ({ text, params: [] })

/** That a schema is one of those that users have made. */
const isOurs = (schema: string): Condition =>
  plain(`${schema} not in ('information_schema', 'mysql', 'performance_schema', 'sys')`)

/**
 * That a name is this one. The first half lets the server open this one only; the second is for names that differ in
 * case alone, which the first takes for the same.
 */
const isNamed = (column: string, name: string): Condition => ({
  text: `${column} = ? and (@@lower_case_table_names <> 0 or cast(${column} as binary) = ?)`,
  params: [name, name]
})

const isCurrent = plain(
  "table_schema = database() and (@@lower_case_table_names <> 0 or cast(table_schema as binary) = database())"
)

const all = (...conditions: ReadonlyArray<Condition>): Condition => ({
  text: conditions.map(({ text }) => text).join(" and "),
  params: conditions.flatMap(({ params }) => params)
})

/** What a filter asks for. */
const filtered = (filter: Introspection.Filter = {}, schema = "table_schema"): Condition =>
  all(
    filter.schema === undefined ? isOurs(schema) : isNamed(schema, filter.schema),
    ...filter.table === undefined ? [] : [isNamed("table_name", filter.table)]
  )

/** A table in the schema that is named, or in the current one. */
const located = (table: string, schema: string | undefined): Condition =>
  all(schema === undefined ? isCurrent : isNamed("table_schema", schema), isNamed("table_name", table))

// A sequence is a table too, and so is a temporary one.
const isTable = plain("table_type in ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW', 'SYSTEM VIEW')")

/**
 * A table of `information_schema`, and the names under which its columns are read. MySQL names these columns in
 * capitals and MariaDB as the statement does, so each of them has a name of ours.
 */
interface Source<A> {
  readonly table: string
  readonly columns: { readonly [K in keyof A]-?: string }
}

const tables: Source<TableRow> = {
  table: "tables",
  columns: {
    schema: "table_schema",
    name: "table_name",
    type: "table_type",
    options: "create_options",
    comment: "table_comment",
    rows: "table_rows",
    data: "data_length",
    indexes: "index_length"
  }
}

const views: Source<ViewRow> = {
  table: "views",
  columns: { schema: "table_schema", name: "table_name", definition: "view_definition" }
}

const columns: Source<ColumnRow> = {
  table: "columns",
  columns: {
    schema: "table_schema",
    table: "table_name",
    name: "column_name",
    position: "ordinal_position",
    type: "column_type",
    nullable: "is_nullable",
    default: "column_default",
    extra: "extra",
    expression: "generation_expression",
    collation: "collation_name",
    comment: "column_comment"
  }
}

const columnTypes: Source<ColumnTypeRow> = {
  table: "columns",
  columns: {
    schema: "table_schema",
    table: "table_name",
    column: "column_name",
    type: "data_type",
    length: "character_maximum_length",
    extra: "extra"
  }
}

/** How MariaDB says that the optimizer uses an index. Before 10.6 it always does. */
const usable = (version: string): string =>
  isAtLeast(version, [10, 6]) ? "case `ignored` when 'YES' then 'NO' else 'YES' end" : "'YES'"

const indexes = ({ isMariadb, version }: Server): Source<IndexRow> => ({
  table: "statistics",
  columns: {
    schema: "table_schema",
    table: "table_name",
    name: "index_name",
    nonUnique: "non_unique",
    column: "column_name",
    length: "sub_part",
    method: "index_type",
    direction: "collation",
    expression: isMariadb ? "null" : "expression",
    usable: isMariadb ? usable(version) : "is_visible"
  }
})

const constraints = (isMariadb: boolean): Source<ConstraintRow> => ({
  table: "table_constraints",
  columns: {
    schema: "table_schema",
    table: "table_name",
    name: "constraint_name",
    type: "constraint_type",
    enforced: isMariadb ? "'YES'" : "enforced"
  }
})

const keys: Source<KeyRow> = {
  table: "key_column_usage",
  columns: {
    schema: "table_schema",
    table: "table_name",
    name: "constraint_name",
    column: "column_name",
    otherSchema: "referenced_table_schema",
    otherTable: "referenced_table_name",
    otherColumn: "referenced_column_name"
  }
}

const actions: Source<ActionRow> = {
  table: "referential_constraints",
  columns: {
    schema: "constraint_schema",
    table: "table_name",
    name: "constraint_name",
    onDelete: "delete_rule",
    onUpdate: "update_rule"
  }
}

const checks = (isMariadb: boolean): Source<CheckRow> => ({
  table: "check_constraints",
  columns: {
    schema: "constraint_schema",
    // On MySQL the name of a check is unique in its schema, and the table is not said.
    table: isMariadb ? "table_name" : "null",
    name: "constraint_name",
    clause: "check_clause"
  }
})

/** A row without one of the columns that were asked for. */
const incomplete = (database: string, query: string, column: string): SqlError =>
  unknownError(
    database,
    `${query} was answered without the column \`${column}\``,
    undefined,
    "introspection"
  )

/** Reads tables of `information_schema`. A row that lacks a column is a failure, and never `undefined`. */
class Reader {
  private readonly sql: SqlClient
  private readonly database: string

  constructor(sql: SqlClient, database: string) {
    this.sql = sql
    this.database = database
  }

  readonly ask = <A extends object>(
    source: Source<A>,
    { params, text }: Condition,
    orderBy: string
  ): Effect.Effect<ReadonlyArray<A>, SqlError> => {
    const names = Object.keys(source.columns) as Array<keyof A & string>
    const list = names.map((name) => `${source.columns[name]} as \`${name}\``)
    const select = `select ${list.join(", ")} from information_schema.${source.table} where ${text} order by ${orderBy}`
    return Effect.flatMap(this.sql.unsafe<A>(select, params).withoutTransform, (rows) => {
      const missing = rows.length === 0 ? undefined : names.find((name) => rows[0]![name] === undefined)
      return missing === undefined
        ? Effect.succeed(rows)
        : Effect.fail(incomplete(this.database, `information_schema.${source.table}`, missing))
    })
  }

  readonly exists = (table: string, { params, text }: Condition): Effect.Effect<boolean, SqlError> =>
    Effect.flatMap(
      this.sql.unsafe<{ value: number | bigint }>(
        `select exists (select 1 from information_schema.${table} where ${text}) as value`,
        params
      ).withoutTransform,
      ([row]) =>
        row?.value === undefined
          ? Effect.fail(incomplete(this.database, `exists in information_schema.${table}`, "value"))
          : Effect.succeed(Number(row.value) === 1)
    )

  get currentDatabase(): Effect.Effect<string, SqlError> {
    return Effect.flatMap(
      this.sql.unsafe<{ name: string | null }>("select database() as name").withoutTransform,
      ([row]) =>
        row?.name === undefined
          ? Effect.fail(incomplete(this.database, "select database()", "name"))
          : row.name === null
          ? Effect.fail(unknownError(
            this.database,
            "the connection is with no database: name one in the URL or as `database`",
            undefined,
            "currentDatabase"
          ))
          : Effect.succeed(row.name)
    )
  }
}

/** Makes the service. */
export const makeIntrospection = (
  sql: SqlClient,
  database: string,
  server: Effect.Effect<Server, SqlError>
): Introspection.Introspection => {
  const { ask, currentDatabase, exists } = new Reader(sql, database)
  const schemas = Effect.map(
    ask<{ readonly name: string }>(
      { table: "schemata", columns: { name: "schema_name" } },
      isOurs("schema_name"),
      "1"
    ),
    (rows) => rows.map((row) => row.name)
  )

  return {
    currentDatabase,
    databases: schemas,
    schemas,
    tables: Effect.fnUntraced(function*(filter): Effect.fn.Return<ReadonlyArray<Introspection.Table>, SqlError> {
      return toTables(
        yield* ask(tables, all(isTable, filtered(filter)), "1, 2"),
        yield* ask(views, filtered(filter), "1, 2")
      )
    }),
    columns: (filter) =>
      Effect.flatMap(server, ({ isMariadb }) =>
        Effect.map(
          ask(columns, filtered(filter), "table_schema, table_name, ordinal_position"),
          (rows) => rows.map(toColumn(isMariadb))
        )),
    columnTypes: (filter) =>
      Effect.map(
        ask(columnTypes, filtered(filter), "table_schema, table_name, ordinal_position"),
        (rows) => rows.map(toColumnType)
      ),
    types: Effect.succeed([]),
    indexes: (filter) =>
      Effect.flatMap(server, (server) =>
        Effect.map(
          ask(indexes(server), filtered(filter), "table_schema, table_name, index_name, seq_in_index"),
          toIndexes
        )),
    indexDefinitions: (filter) =>
      Effect.flatMap(server, (server) =>
        Effect.map(
          ask(indexes(server), filtered(filter), "table_schema, table_name, index_name, seq_in_index"),
          toIndexDefinitions
        )),
    constraints: Effect.fnUntraced(
      function*(filter): Effect.fn.Return<ReadonlyArray<Introspection.Constraint>, SqlError> {
        const known = yield* server
        const { isMariadb } = known
        return toConstraints(
          isMariadb,
          yield* ask(constraints(isMariadb), filtered(filter), "1, 2, 3"),
          yield* ask(keys, filtered(filter), "1, 2, 3, ordinal_position"),
          yield* ask(indexes(known), all(filtered(filter), plain("non_unique = 0")), "1, 2, 3, seq_in_index"),
          yield* ask(actions, filtered(filter, "constraint_schema"), "1, 2, 3"),
          yield* ask(
            checks(isMariadb),
            filtered({ schema: filter?.schema }, "constraint_schema"),
            "constraint_schema, constraint_name"
          )
        )
      }
    ),
    hasSchema: (schema) => exists("schemata", isNamed("schema_name", schema)),
    hasTable: (table, schema) => exists("tables", all(isTable, located(table, schema))),
    hasColumn: (table, column, schema) =>
      exists("columns", all(located(table, schema), { text: "column_name = ?", params: [column] })),
    hasIndex: (table, index, schema) =>
      exists("statistics", all(located(table, schema), { text: "index_name = ?", params: [index] })),
    hasConstraint: (table, constraint, schema) =>
      exists("table_constraints", all(located(table, schema), { text: "constraint_name = ?", params: [constraint] }))
  }
}
