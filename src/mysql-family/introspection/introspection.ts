/** `Introspection` on MySQL and MariaDB. */
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type * as Introspection from "../../introspection/Introspection.ts"
import type { Server } from "../adapter/MysqlClient.ts"
import { unknownError } from "../errors/errors.ts"
import {
  type ActionRow,
  type CheckRow,
  type ColumnRow,
  type ConstraintRow,
  type IndexRow,
  type KeyRow,
  type TableRow,
  toColumn,
  toConstraints,
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

const tables = "select table_schema as `schema`, table_name as name, table_type as type, create_options as options, " +
  "table_comment as comment, table_rows as `rows`, data_length as data, index_length as indexes " +
  "from information_schema.tables"

const views = "select table_schema as `schema`, table_name as name, view_definition as definition " +
  "from information_schema.views"

const columns = "select table_schema as `schema`, table_name as `table`, column_name as name, " +
  "ordinal_position as position, column_type as type, is_nullable as nullable, column_default as `default`, extra, " +
  "generation_expression as expression, collation_name as collation, column_comment as comment " +
  "from information_schema.columns"

const constraints = "select table_schema as `schema`, table_name as `table`, constraint_name as name, " +
  "constraint_type as type from information_schema.table_constraints"

const keys = "select table_schema as `schema`, table_name as `table`, constraint_name as name, " +
  "column_name as `column`, referenced_table_schema as otherSchema, referenced_table_name as otherTable, " +
  "referenced_column_name as otherColumn from information_schema.key_column_usage"

const actions = "select constraint_schema as `schema`, table_name as `table`, constraint_name as name, " +
  "delete_rule as onDelete, update_rule as onUpdate from information_schema.referential_constraints"

/** Makes the service. */
export const makeIntrospection = (
  sql: SqlClient,
  database: string,
  server: Effect.Effect<Server, SqlError>
): Introspection.Introspection => {
  const ask = <A extends object>(
    select: string,
    { params, text }: Condition,
    orderBy: string
  ): Effect.Effect<ReadonlyArray<A>, SqlError> =>
    sql.unsafe<A>(`${select} where ${text} order by ${orderBy}`, params).withoutTransform

  /** The same, of which the servers have different columns and write their names in different case. */
  const askAll = <A extends object>(
    table: string,
    condition: Condition,
    orderBy: string
  ): Effect.Effect<ReadonlyArray<A>, SqlError> =>
    Effect.map(
      ask<Record<string, unknown>>(`select * from information_schema.${table}`, condition, orderBy),
      (rows) =>
        rows.map((row) =>
          Object.fromEntries(Object.entries(row).map(([name, value]) => [name.toLowerCase(), value])) as A
        )
    )

  const exists = (table: string, { params, text }: Condition): Effect.Effect<boolean, SqlError> =>
    Effect.map(
      sql.unsafe<{ value: number | bigint }>(
        `select exists (select 1 from information_schema.${table} where ${text}) as value`,
        params
      ).withoutTransform,
      (rows) => Number(rows[0]!.value) === 1
    )

  const schemas = Effect.map(
    ask<{ readonly name: string }>(
      "select schema_name as name from information_schema.schemata",
      isOurs("schema_name"),
      "1"
    ),
    (rows) => rows.map((row) => row.name)
  )

  return {
    currentDatabase: Effect.flatMap(
      sql.unsafe<{ name: string | null }>("select database() as name").withoutTransform,
      ([row]) =>
        row!.name === null
          ? Effect.fail(unknownError(
            database,
            "the connection is with no database: name one in the URL or as `database`",
            undefined,
            "currentDatabase"
          ))
          : Effect.succeed(row!.name)
    ),
    databases: schemas,
    schemas,
    tables: Effect.fnUntraced(function*(filter): Effect.fn.Return<ReadonlyArray<Introspection.Table>, SqlError> {
      return toTables(
        yield* ask<TableRow>(tables, all(isTable, filtered(filter)), "1, 2"),
        yield* ask<ViewRow>(views, filtered(filter), "1, 2")
      )
    }),
    columns: (filter) =>
      Effect.flatMap(server, ({ isMariadb }) =>
        Effect.map(
          ask<ColumnRow>(columns, filtered(filter), "table_schema, table_name, ordinal_position"),
          (rows) => rows.map(toColumn(isMariadb))
        )),
    indexes: (filter) =>
      Effect.map(
        askAll<IndexRow>("statistics", filtered(filter), "table_schema, table_name, index_name, seq_in_index"),
        toIndexes
      ),
    constraints: Effect.fnUntraced(
      function*(filter): Effect.fn.Return<ReadonlyArray<Introspection.Constraint>, SqlError> {
        const { isMariadb } = yield* server
        return toConstraints(
          isMariadb,
          yield* ask<ConstraintRow>(constraints, filtered(filter), "1, 2, 3"),
          yield* ask<KeyRow>(keys, filtered(filter), "1, 2, 3, ordinal_position"),
          yield* ask<ActionRow>(actions, filtered(filter, "constraint_schema"), "1, 2, 3"),
          yield* askAll<CheckRow>(
            "check_constraints",
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
