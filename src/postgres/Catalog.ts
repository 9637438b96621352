/**
 * What only PostgreSQL has: extensions, enums, partitions, sequences, policies, and how tables and indexes are used. The
 * rest is in `Introspection`, for all databases.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Filter } from "../introspection/Introspection.ts"
import { ask } from "./introspection/introspection.ts"
import { isOurs } from "./introspection/where.ts"
import { Sessions } from "./Sessions.ts"

const query = <A extends object>(
  sql: string,
  params: ReadonlyArray<unknown> = []
): Effect.Effect<ReadonlyArray<A>, SqlError, Sessions> =>
  Effect.flatMap(Sessions, (sessions) => ask<A>(sessions, sql, params))

const filtered = <A extends object>(sql: string) => (filter: Filter = {}) =>
  query<A>(sql, [filter.schema ?? null, filter.table ?? null])

const matches = (schema: string, table: string): string =>
  `(case when $1::text is null then ${isOurs(schema)} else ${schema} = $1 end) and ($2::text is null or ${table} = $2)`

/**
 * An extension.
 *
 * @category models
 * @since 0.1.0
 */
export interface Extension {
  readonly name: string
  readonly schema: string
  readonly version: string
  /** The newest version that the server has. */
  readonly available: string | undefined
}

/**
 * The extensions of the database.
 *
 * @category getters
 * @since 0.1.0
 */
export const extensions: Effect.Effect<ReadonlyArray<Extension>, SqlError, Sessions> = query(
  `select e.extname as name, n.nspname as schema, e.extversion as version, a.default_version as available
  from pg_catalog.pg_extension e
  join pg_catalog.pg_namespace n on n.oid = e.extnamespace
  left join pg_catalog.pg_available_extensions a on a.name = e.extname
  order by 1`
)

/**
 * An enum and its labels, in their order.
 *
 * @category models
 * @since 0.1.0
 */
export interface Enum {
  readonly schema: string
  readonly name: string
  readonly labels: ReadonlyArray<string>
  readonly comment: string | undefined
}

/**
 * The enums that users have made.
 *
 * @category getters
 * @since 0.1.0
 */
export const enums: Effect.Effect<ReadonlyArray<Enum>, SqlError, Sessions> = query(
  `select n.nspname as schema, t.typname as name,
    array(select e.enumlabel from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder) as labels,
    pg_catalog.obj_description(t.oid, 'pg_type') as comment
  from pg_catalog.pg_type t join pg_catalog.pg_namespace n on n.oid = t.typnamespace
  where t.typtype = 'e' and ${isOurs("n.nspname")}
  order by 1, 2`
)

/**
 * A partition of a table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Partition {
  readonly schema: string
  readonly name: string
  /** The table that it is a partition of. */
  readonly parentSchema: string
  readonly parent: string
  /** How the parent is partitioned: `"RANGE (at)"`. */
  readonly by: string
  /** Which rows are in it: `"FOR VALUES FROM (0) TO (10)"` or `"DEFAULT"`. */
  readonly bound: string
  readonly rowEstimate: number | undefined
  readonly bytes: number
}

/**
 * The partitions of the tables. The filter is about the parents.
 *
 * @category getters
 * @since 0.1.0
 */
export const partitions: (filter?: Filter) => Effect.Effect<ReadonlyArray<Partition>, SqlError, Sessions> = filtered(
  `select cn.nspname as schema, c.relname as name, pn.nspname as "parentSchema", p.relname as parent,
    pg_catalog.pg_get_partkeydef(p.oid) as by, pg_catalog.pg_get_expr(c.relpartbound, c.oid) as bound,
    case when c.reltuples >= 0 then c.reltuples::float8 end as "rowEstimate",
    pg_catalog.pg_total_relation_size(c.oid)::float8 as bytes
  from pg_catalog.pg_inherits i
  join pg_catalog.pg_class c on c.oid = i.inhrelid
  join pg_catalog.pg_namespace cn on cn.oid = c.relnamespace
  join pg_catalog.pg_class p on p.oid = i.inhparent
  join pg_catalog.pg_namespace pn on pn.oid = p.relnamespace
  where p.relkind = 'p' and c.relispartition and ${matches("pn.nspname", "p.relname")}
  order by 3, 4, 1, 2`
)

/**
 * A sequence.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sequence {
  readonly schema: string
  readonly name: string
  readonly type: string
  readonly start: bigint
  readonly increment: bigint
  readonly min: bigint
  readonly max: bigint
  readonly cycles: boolean
  /** What it gave out last, if it has given out anything. */
  readonly last: bigint | undefined
  /** The column that it belongs to. */
  readonly table: string | undefined
  readonly column: string | undefined
}

interface SequenceRow {
  readonly [name: string]: string | boolean | undefined
}

const big = (value: unknown): bigint | undefined => value === undefined ? undefined : BigInt(value as string)

/**
 * The sequences that users have made, also those of identity columns. The table of a filter is the one that they
 * belong to.
 *
 * @category getters
 * @since 0.1.0
 */
export const sequences = (filter?: Filter): Effect.Effect<ReadonlyArray<Sequence>, SqlError, Sessions> =>
  Effect.map(
    filtered<SequenceRow>(
      `select n.nspname as schema, c.relname as name, pg_catalog.format_type(s.seqtypid, null) as type,
        s.seqstart::text as start, s.seqincrement::text as increment, s.seqmin::text as min, s.seqmax::text as max,
        s.seqcycle as cycles, pg_catalog.pg_sequence_last_value(c.oid)::text as last,
        t.relname as "table", a.attname as "column"
      from pg_catalog.pg_sequence s
      join pg_catalog.pg_class c on c.oid = s.seqrelid
      join pg_catalog.pg_namespace n on n.oid = c.relnamespace
      left join pg_catalog.pg_depend d on d.classid = 'pg_catalog.pg_class'::regclass and d.objid = c.oid
        and d.refclassid = 'pg_catalog.pg_class'::regclass and d.deptype in ('a', 'i') and d.refobjsubid > 0
      left join pg_catalog.pg_class t on t.oid = d.refobjid
      left join pg_catalog.pg_attribute a on a.attrelid = d.refobjid and a.attnum = d.refobjsubid
      where ${matches("n.nspname", "t.relname")}
      order by 1, 2`
    )(filter),
    (rows) =>
      rows.map((row) =>
        ({
          ...row,
          start: big(row["start"]),
          increment: big(row["increment"]),
          min: big(row["min"]),
          max: big(row["max"]),
          last: big(row["last"])
        }) as never
      )
  )

/**
 * A policy of row-level security.
 *
 * @category models
 * @since 0.1.0
 */
export interface Policy {
  readonly schema: string
  readonly table: string
  readonly name: string
  readonly permissive: boolean
  readonly command: "all" | "select" | "insert" | "update" | "delete"
  readonly roles: ReadonlyArray<string>
  /** Which rows it lets see. */
  readonly using: string | undefined
  /** Which rows it lets write. */
  readonly check: string | undefined
  /** Whether the table has row-level security switched on. Without that a policy does nothing. */
  readonly enabled: boolean
}

/**
 * The policies of row-level security.
 *
 * @category getters
 * @since 0.1.0
 */
export const policies: (filter?: Filter) => Effect.Effect<ReadonlyArray<Policy>, SqlError, Sessions> = filtered(
  `select n.nspname as schema, c.relname as "table", p.polname as name, p.polpermissive as permissive,
    case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
      else 'all' end as command,
    array(select case when r = 0 then 'public' else pg_catalog.pg_get_userbyid(r)::text end from unnest(p.polroles) r)
      as roles,
    pg_catalog.pg_get_expr(p.polqual, p.polrelid) as using,
    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as check, c.relrowsecurity as enabled
  from pg_catalog.pg_policy p
  join pg_catalog.pg_class c on c.oid = p.polrelid
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
  where ${matches("n.nspname", "c.relname")}
  order by 1, 2, 3`
)

/**
 * How a table is used, as far as the server has counted since its statistics were reset.
 *
 * @category models
 * @since 0.1.0
 */
export interface TableStatistics {
  readonly schema: string
  readonly table: string
  readonly liveRows: number
  /** Rows that were deleted or replaced, and wait for a vacuum. */
  readonly deadRows: number
  readonly inserted: number
  readonly updated: number
  readonly deleted: number
  readonly sequentialScans: number
  readonly indexScans: number
  /** By a person or by itself, whichever came last; in milliseconds since 1970. */
  readonly lastVacuum: number | undefined
  readonly lastAnalyze: number | undefined
  /** With indexes and all. */
  readonly totalBytes: number
}

const millis = (...columns: ReadonlyArray<string>): string =>
  `(extract(epoch from greatest(${columns.join(", ")})) * 1000)::float8`

/**
 * How the tables are used.
 *
 * @category getters
 * @since 0.1.0
 */
export const tableStatistics: (
  filter?: Filter
) => Effect.Effect<ReadonlyArray<TableStatistics>, SqlError, Sessions> = filtered(
  `select schemaname as schema, relname as "table", n_live_tup::float8 as "liveRows", n_dead_tup::float8 as "deadRows",
    n_tup_ins::float8 as inserted, n_tup_upd::float8 as updated, n_tup_del::float8 as deleted,
    coalesce(seq_scan, 0)::float8 as "sequentialScans", coalesce(idx_scan, 0)::float8 as "indexScans",
    ${millis("last_vacuum", "last_autovacuum")} as "lastVacuum",
    ${millis("last_analyze", "last_autoanalyze")} as "lastAnalyze",
    pg_catalog.pg_total_relation_size(relid)::float8 as "totalBytes"
  from pg_catalog.pg_stat_all_tables
  where ${matches("schemaname", "relname")}
  order by 1, 2`
)

/**
 * How an index is used.
 *
 * @category models
 * @since 0.1.0
 */
export interface IndexStatistics {
  readonly schema: string
  readonly table: string
  readonly index: string
  readonly scans: number
  readonly rowsRead: number
  readonly rowsFetched: number
  readonly bytes: number
}

/**
 * How the indexes are used.
 *
 * @category getters
 * @since 0.1.0
 */
export const indexStatistics: (
  filter?: Filter
) => Effect.Effect<ReadonlyArray<IndexStatistics>, SqlError, Sessions> = filtered(
  `select schemaname as schema, relname as "table", indexrelname as index, coalesce(idx_scan, 0)::float8 as scans,
    idx_tup_read::float8 as "rowsRead", idx_tup_fetch::float8 as "rowsFetched",
    pg_catalog.pg_relation_size(indexrelid)::float8 as bytes
  from pg_catalog.pg_stat_all_indexes
  where ${matches("schemaname", "relname")}
  order by 1, 2, 3`
)
