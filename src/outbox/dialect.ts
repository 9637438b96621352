/** The statements of the outbox, where the databases differ. */
import type * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"

export interface Row {
  readonly id: string | number | bigint
  readonly key: string | null
  readonly payload: string
  readonly attempts: number | bigint
  readonly error: string | null
}

interface StatsRow {
  readonly waiting: unknown
  readonly failed: unknown
  readonly oldest: unknown
}

export interface Dialect {
  readonly schema: ReadonlyArray<string>
  /** The first message that may be handled now, locked. */
  readonly take: (topic: string) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** Writes down that an attempt has failed. Without a pause it was the last one. */
  readonly note: (
    id: string,
    attempts: number,
    error: string,
    pauseMillis: number | undefined
  ) => Effect.Effect<unknown, SqlError>
  readonly failed: (topic: string, limit: number) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  readonly requeue: (topic: string, ids: ReadonlyArray<string> | undefined) => Effect.Effect<unknown, SqlError>
  readonly stats: (topic: string) => Effect.Effect<ReadonlyArray<StatsRow>, SqlError>
}

const postgresSchema = [
  `create table if not exists watertight_outbox (
  id bigint generated always as identity primary key,
  topic text not null,
  ordering_key text,
  payload text not null,
  attempts int not null default 0,
  added_at timestamptz not null default now(),
  available_at timestamptz not null default now(),
  failed_at timestamptz,
  error text
)`,
  "create index if not exists watertight_outbox_waiting on watertight_outbox (topic, id) where failed_at is null",
  "create index if not exists watertight_outbox_keys on watertight_outbox (topic, ordering_key, id) " +
  "where failed_at is null and ordering_key is not null"
]

const mysqlSchema = [
  `create table if not exists watertight_outbox (
  id bigint auto_increment primary key,
  topic varchar(191) not null,
  ordering_key varchar(191),
  payload longtext not null,
  attempts int not null default 0,
  added_at datetime(6) not null default current_timestamp(6),
  available_at datetime(6) not null default current_timestamp(6),
  failed_at datetime(6),
  error text,
  key watertight_outbox_waiting (topic, failed_at, id),
  key watertight_outbox_keys (topic, ordering_key, failed_at, id)
) engine = InnoDB default charset = utf8mb4 collate = utf8mb4_bin`
]

const postgres = (sql: SqlClient): Dialect => ({
  schema: postgresSchema,
  take: (topic) =>
    sql<Row>`select m.id, m.ordering_key as key, m.payload, m.attempts, m.error
      from watertight_outbox m
      where m.topic = ${topic} and m.failed_at is null and m.available_at <= now() and not exists (
        select 1 from watertight_outbox earlier
        where earlier.topic = m.topic and earlier.ordering_key = m.ordering_key and earlier.failed_at is null
          and earlier.id < m.id
      )
      order by m.id limit 1 for update skip locked`.withoutTransform,
  note: (id, attempts, error, pause) =>
    pause === undefined
      ? sql`update watertight_outbox set attempts = ${attempts}, error = ${error}, failed_at = now() where id = ${id}`
      : sql`update watertight_outbox set attempts = ${attempts}, error = ${error},
          available_at = clock_timestamp() + make_interval(secs => ${pause / 1000}) where id = ${id}`,
  failed: (topic, limit) =>
    sql<Row>`select id, ordering_key as key, payload, attempts, error from watertight_outbox
      where topic = ${topic} and failed_at is not null order by id limit ${limit}`.withoutTransform,
  requeue: (topic, ids) =>
    sql`update watertight_outbox set failed_at = null, attempts = 0, available_at = now()
      where topic = ${topic} and failed_at is not null ${ids === undefined ? sql`` : sql`and id in ${sql.in(ids)}`}`,
  stats: (topic) =>
    sql<StatsRow>`select count(*) filter (where failed_at is null)::int as waiting,
      count(*) filter (where failed_at is not null)::int as failed,
      coalesce(extract(epoch from now() - min(added_at) filter (where failed_at is null)), 0)::float8 * 1000 as oldest
      from watertight_outbox where topic = ${topic}`.withoutTransform
})

const mysql = (sql: SqlClient): Dialect => ({
  schema: mysqlSchema,
  take: (topic) =>
    sql<Row>`select m.id, m.ordering_key as ${sql("key")}, m.payload, m.attempts, m.error
      from watertight_outbox m
      where m.topic = ${topic} and m.failed_at is null and m.available_at <= now(6) and not exists (
        select 1 from watertight_outbox earlier
        where earlier.topic = m.topic and earlier.ordering_key = m.ordering_key and earlier.failed_at is null
          and earlier.id < m.id
      )
      order by m.id limit 1 for update skip locked`.withoutTransform,
  note: (id, attempts, error, pause) =>
    pause === undefined
      ? sql`update watertight_outbox set attempts = ${attempts}, error = ${error}, failed_at = now(6) where id = ${id}`
      : sql`update watertight_outbox set attempts = ${attempts}, error = ${error},
          available_at = date_add(now(6), interval ${Math.round(pause * 1000)} microsecond) where id = ${id}`,
  failed: (topic, limit) =>
    sql<Row>`select id, ordering_key as ${sql("key")}, payload, attempts, error from watertight_outbox
      where topic = ${topic} and failed_at is not null order by id limit ${limit}`.withoutTransform,
  requeue: (topic, ids) =>
    sql`update watertight_outbox set failed_at = null, attempts = 0, available_at = now(6)
      where topic = ${topic} and failed_at is not null ${ids === undefined ? sql`` : sql`and id in ${sql.in(ids)}`}`,
  stats: (topic) =>
    sql<StatsRow>`select coalesce(sum(failed_at is null), 0) as waiting,
      coalesce(sum(failed_at is not null), 0) as failed,
      coalesce(timestampdiff(microsecond, min(case when failed_at is null then added_at end), now(6)), 0) / 1000 as oldest
      from watertight_outbox where topic = ${topic}`.withoutTransform
})

export const dialectOf = (sql: SqlClient): Dialect =>
  sql.onDialectOrElse({ mysql: () => mysql(sql), orElse: () => postgres(sql) })
