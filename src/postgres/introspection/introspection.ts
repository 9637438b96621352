/** `Introspection` on PostgreSQL. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type * as Introspection from "../../introspection/Introspection.ts"
import type { Sessions } from "../Sessions.ts"
import { oneRow } from "../statement/results.ts"
import { type ColumnTypeRow, columnTypes, toColumnType, toTypes, type TypeRow, types } from "./types.ts"
import { isOurs } from "./where.ts"

/** Runs a question on the catalogue. */
export const ask = <A extends object>(
  sessions: Sessions,
  sql: string,
  params: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<A>, SqlError> =>
  Effect.scoped(Effect.flatMap(sessions.borrow, (session) =>
    Effect.mapError(
      Effect.map(session.execute(sql, params, undefined), (rows: ReadonlyArray<Record<string, unknown>>) =>
        rows.map((row) => {
          const tidy: Record<string, unknown> = {}
          for (const name of Object.keys(row)) {
            tidy[name] = row[name] ?? undefined
          }
          return tidy as A
        })),
      sessions.judge(session)
    )))

const where = (schema: string, table: string): string =>
  `(case when $1::text is null then ${isOurs(schema)} else ${schema} = $1 end) and ($2::text is null or ${table} = $2)`

const paramsOf = (filter: Introspection.Filter = {}): ReadonlyArray<unknown> => [
  filter.schema ?? null,
  filter.table ?? null
]

const tables = `select n.nspname as schema, c.relname as name,
  case c.relkind when 'r' then 'table' when 'p' then 'partitioned table' when 'v' then 'view'
    when 'm' then 'materialized view' else 'foreign table' end as kind, c.relispartition as partition,
  pg_catalog.obj_description(c.oid, 'pg_class') as comment,
  case when c.reltuples >= 0 and c.relkind <> 'v' then c.reltuples::float8 end as "rowEstimate",
  case when c.relkind in ('r', 'm') then pg_catalog.pg_table_size(c.oid)::float8 end as "dataBytes",
  case when c.relkind in ('r', 'm') then pg_catalog.pg_indexes_size(c.oid)::float8 end as "indexBytes",
  case when c.relkind in ('v', 'm') then pg_catalog.pg_get_viewdef(c.oid) end as definition
from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'v', 'm', 'f') and ${where("n.nspname", "c.relname")}
order by 1, 2`

const columns = `select n.nspname as schema, c.relname as "table", a.attname as name,
  (row_number() over (partition by a.attrelid order by a.attnum))::int4 as position,
  pg_catalog.format_type(a.atttypid, a.atttypmod) as type,
  not a.attnotnull or exists (select from pg_catalog.pg_constraint v where v.conrelid = a.attrelid and v.contype = 'n'
    and v.conkey = array[a.attnum] and not v.convalidated) as nullable,
  case when a.attgenerated = '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as default,
  case when a.attidentity <> '' then 'identity' when a.attgenerated = 's' then 'stored'
    when a.attgenerated = 'v' then 'virtual' end as generated,
  case when a.attgenerated <> '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as expression,
  l.collname as collation, pg_catalog.col_description(c.oid, a.attnum) as comment
from pg_catalog.pg_attribute a
join pg_catalog.pg_class c on c.oid = a.attrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_type t on t.oid = a.atttypid
left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
left join pg_catalog.pg_collation l on l.oid = a.attcollation and a.attcollation <> t.typcollation
where c.relkind in ('r', 'p', 'v', 'm', 'f') and a.attnum > 0 and not a.attisdropped
  and ${where("n.nspname", "c.relname")}
order by 1, 2, 4`

const indexes = `select n.nspname as schema, c.relname as "table", i.relname as name,
  array(select pg_catalog.pg_get_indexdef(x.indexrelid, k::int4, true) from generate_series(1, x.indnkeyatts) k)
    as columns,
  x.indisunique as unique, x.indisprimary as primary, m.amname as method,
  pg_catalog.pg_get_expr(x.indpred, x.indrelid) as condition, x.indisvalid as valid,
  pg_catalog.pg_relation_size(i.oid)::float8 as bytes
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_class c on c.oid = x.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
join pg_catalog.pg_am m on m.oid = i.relam
where c.relkind in ('r', 'p', 'm') and ${where("n.nspname", "c.relname")}
order by 1, 2, 3`

const indexDefinitions = `select n.nspname as schema, c.relname as "table", i.relname as name,
  pg_catalog.substring(pg_catalog.pg_get_indexdef(x.indexrelid), ' USING (.*)$') as definition
from pg_catalog.pg_index x
join pg_catalog.pg_class i on i.oid = x.indexrelid
join pg_catalog.pg_class c on c.oid = x.indrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p', 'm') and ${where("n.nspname", "c.relname")}
order by 1, 2, 3`

const action = (column: string): string =>
  `case ${column} when 'a' then 'no action' when 'r' then 'restrict' when 'c' then 'cascade' when 'n' then 'set null'
    when 'd' then 'set default' end`

const names = (relation: string, numbers: string): string =>
  `array(select a.attname from unnest(${numbers}) with ordinality p(n, o)
    join pg_catalog.pg_attribute a on a.attrelid = ${relation} and a.attnum = p.n order by p.o)`

// The column exists since PostgreSQL 18.
const enforced = "coalesce((pg_catalog.to_jsonb(k) ->> 'conenforced')::boolean, true)"

const constraints = `select n.nspname as schema, c.relname as "table", k.conname as name,
  case k.contype when 'p' then 'primary key' when 'u' then 'unique' when 'f' then 'foreign key' when 'c' then 'check'
    else 'exclusion' end as kind,
  ${names("k.conrelid", "k.conkey")} as columns,
  fn.nspname as "fSchema", f.relname as "fTable", ${names("k.confrelid", "k.confkey")} as "fColumns",
  ${action("k.confdeltype")} as "onDelete", ${action("k.confupdtype")} as "onUpdate",
  case when k.contype = 'c' then pg_catalog.pg_get_expr(k.conbin, k.conrelid)
    else pg_catalog.pg_get_constraintdef(k.oid) end as definition,
  ${enforced} as enforced, k.convalidated as validated
from pg_catalog.pg_constraint k
join pg_catalog.pg_class c on c.oid = k.conrelid
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
left join pg_catalog.pg_class f on f.oid = k.confrelid
left join pg_catalog.pg_namespace fn on fn.oid = f.relnamespace
where k.contype in ('p', 'u', 'f', 'c', 'x') and ${where("n.nspname", "c.relname")}
order by 1, 2, 3`

interface ConstraintRow extends Introspection.Constraint {
  readonly fSchema: string | undefined
  readonly fTable: string | undefined
  readonly fColumns: ReadonlyArray<string>
  readonly onDelete: Introspection.ReferenceAction
  readonly onUpdate: Introspection.ReferenceAction
}

const toConstraint = (row: ConstraintRow): Introspection.Constraint => {
  const { fColumns, fSchema, fTable, onDelete, onUpdate, ...constraint } = row
  return {
    ...constraint,
    references: fSchema === undefined || fTable === undefined
      ? undefined
      : { schema: fSchema, table: fTable, columns: fColumns, onDelete, onUpdate }
  }
}

export const makeIntrospection = (sessions: Sessions): Introspection.Introspection => {
  const first = <A>(sql: string, params: ReadonlyArray<unknown> = []): Effect.Effect<A, SqlError> =>
    ask<{ readonly value: A }>(sessions, sql, params).pipe(
      Effect.flatMap((rows) => oneRow(sessions.database, rows)),
      Effect.map((row) => row.value)
    )
  const all = (sql: string): Effect.Effect<ReadonlyArray<string>, SqlError> =>
    Effect.map(ask<{ readonly value: string }>(sessions, sql), (rows) => rows.map((row) => row.value))
  // Where names are looked up, a name in a schema that comes later is hidden by the same one in an earlier schema.
  const visible = `(case when $2::text is null then pg_catalog.pg_table_is_visible(c.oid) else n.nspname = $2 end)
    and c.relname = $1 and c.relkind in ('r', 'p', 'v', 'm', 'f')`
  return {
    currentDatabase: first("select pg_catalog.current_database() as value"),
    databases: all("select datname as value from pg_catalog.pg_database where not datistemplate order by 1"),
    schemas: all(`select nspname as value from pg_catalog.pg_namespace where ${isOurs("nspname")} order by 1`),
    tables: (filter) => ask(sessions, tables, paramsOf(filter)),
    columns: (filter) => ask(sessions, columns, paramsOf(filter)),
    indexDefinitions: (filter) => ask(sessions, indexDefinitions, paramsOf(filter)),
    columnTypes: (filter) =>
      Effect.map(
        ask<ColumnTypeRow>(sessions, columnTypes(where("n.nspname", "c.relname")), paramsOf(filter)),
        (rows) => rows.map(toColumnType)
      ),
    types: Effect.map(ask<TypeRow>(sessions, types), toTypes),
    indexes: (filter) => ask(sessions, indexes, paramsOf(filter)),
    constraints: (filter) =>
      Effect.map(ask<ConstraintRow>(sessions, constraints, paramsOf(filter)), (rows) => rows.map(toConstraint)),
    hasSchema: (schema) =>
      first("select exists (select from pg_catalog.pg_namespace where nspname = $1) as value", [schema]),
    hasTable: (table, schema) =>
      first(
        `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          where ${visible}) as value`,
        [table, schema ?? null]
      ),
    hasColumn: (table, column, schema) =>
      first(
        `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          join pg_catalog.pg_attribute a on a.attrelid = c.oid and a.attname = $3 and a.attnum > 0 and not a.attisdropped
          where ${visible}) as value`,
        [table, schema ?? null, column]
      ),
    hasIndex: (table, index, schema) =>
      first(
        `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          join pg_catalog.pg_index x on x.indrelid = c.oid
          join pg_catalog.pg_class i on i.oid = x.indexrelid and i.relname = $3
          where ${visible}) as value`,
        [table, schema ?? null, index]
      ),
    hasConstraint: (table, constraint, schema) =>
      first(
        `select exists (select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
          join pg_catalog.pg_constraint k on k.conrelid = c.oid and k.conname = $3
          where ${visible}) as value`,
        [table, schema ?? null, constraint]
      )
  }
}
