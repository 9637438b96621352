/**
 * The databases that the contract is tested on. What differs between them is a line here, and not a condition in a
 * test; what one of them does not have is a line with its reason.
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import type { Row } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { RecordUpdateHelper, Statement } from "effect/sql/Statement"
import type { Adapter, Bulk, Database, Introspection, InvalidOptions, Pool, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Pglite } from "watertight/pglite"
import { Postgres } from "watertight/postgres"
import { freshDatabase, PgBouncer, type ServerError } from "../support/index.ts"

/** What each database layer provides. */
export type Services =
  | SqlClient
  | Pool.Pool
  | Database.Database
  | Transaction.Manager
  | Adapter.Adapter
  | Bulk.Bulk
  | Introspection.Introspection

/** What is asked of a client beside the place of its database. */
export interface Options {
  readonly controlTimeout?: Duration.Input | undefined
  readonly pool?: Pool.Options | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
}

/** What a test may need that not every database has. */
export type Capability =
  | "clients"
  | "connections"
  | "wire"
  | "cancelling"
  | "DDL in transactions"
  | "ON CONFLICT"

/** A column and what it holds; `read` where that is not what was written. */
export interface Column {
  readonly type: string
  readonly given: unknown
  readonly read?: unknown
}

/** A database under the contract. Statements and types are in its own words. */
export interface Dialect {
  readonly name: string
  /** A new, empty database, and where it is. */
  readonly database: Effect.Effect<string, ServerError | InvalidOptions | SqlError, Scope.Scope>
  /** A client of the database that is there. */
  readonly at: (url: string, options?: Options) => Layer.Layer<Services, InvalidOptions | SqlError>
  /** What it does not have, and why. */
  readonly lacks: Partial<Record<Capability, string>>
  /** The tests that this leaves out. */
  readonly without: ReadonlyArray<string>

  /** As spans have it. */
  readonly system: string
  /** Whether a transaction goes on after a statement of it has failed. */
  readonly survivesErrors: boolean
  /** Lets DDL pass that Effect's own modules run in transactions. */
  readonly allowDdl: Layer.Layer<never>
  /** Whether the runners of a cluster lock shards by rows instead of by locks of sessions. */
  readonly locksShardsByRows: boolean

  /** A primary key that counts up. */
  readonly key: string
  readonly instant: string
  /** What a parameter is cast to. */
  readonly integer: string
  /** A table with a column `n` of 1 to this. */
  readonly series: (count: number) => string
  /** What is a text, or can be one, after so many seconds. */
  readonly sleep: (seconds: number) => string
  /** Which session this is. */
  readonly session: string
  readonly kill: (session: unknown) => string
  /** Lets the server look for a deadlock of this transaction soon. */
  readonly seeDeadlocks: string
  /** The sessions that run a statement in this database that contains a text. */
  readonly running: (text: string) => string
  /** Sets the names of people to those of a table of values. */
  readonly rename: (sql: SqlClient, values: RecordUpdateHelper) => Statement<Row>
  /** One of each common type. */
  readonly columns: Readonly<Record<string, Column>>
  readonly described: Described
}

/** What `Introspection` says of a schema, in the words of the database. */
export interface Described {
  readonly integer: string
  readonly name: string
  readonly default: string
  readonly expression: string
  readonly check: string
  readonly primary: string
  readonly noAction: Introspection.ReferenceAction
}

const instant = new Date(1_700_000_000_123)
const text = "é 漢字 😀 \\ ' \" ` \n $1 ? :a -- /* x"

const postgresColumns: Dialect["columns"] = {
  text: { type: "text", given: text },
  empty: { type: "varchar(10)", given: "" },
  integer: { type: "int", given: -7 },
  small: { type: "bigint", given: 5, read: 5n },
  large: { type: "bigint", given: 9_007_199_254_740_993n },
  decimal: { type: "numeric(30, 10)", given: "12345678901234567890.0123456789" },
  double: { type: "double precision", given: 0.1 },
  truth: { type: "boolean", given: true },
  bytes: { type: "bytea", given: new Uint8Array([0, 1, 92, 39, 255]) },
  document: { type: "jsonb", given: "{\"a\":[1,\"é\"]}", read: { a: [1, "é"] } },
  day: { type: "date", given: "2024-02-29" },
  instant: { type: "timestamptz(3)", given: instant },
  nothing: { type: "int", given: null }
}

const mysqlColumns: Dialect["columns"] = {
  text: { type: "text", given: text },
  empty: { type: "varchar(10)", given: "" },
  integer: { type: "int", given: -7 },
  small: { type: "bigint", given: 5 },
  large: { type: "bigint", given: 9_007_199_254_740_993n },
  decimal: { type: "decimal(30, 10)", given: "12345678901234567890.0123456789" },
  double: { type: "double", given: 0.1 },
  truth: { type: "boolean", given: true, read: 1 },
  bytes: { type: "varbinary(20)", given: new Uint8Array([0, 1, 92, 39, 255]) },
  document: { type: "json", given: "{\"a\":[1,\"é\"]}", read: { a: [1, "é"] } },
  day: { type: "date", given: "2024-02-29" },
  instant: { type: "datetime(3)", given: instant },
  nothing: { type: "int", given: null }
}

const onPostgres = {
  system: "postgresql",
  survivesErrors: false,
  allowDdl: Layer.empty,
  locksShardsByRows: false,
  key: "int generated always as identity primary key",
  instant: "timestamptz(3)",
  integer: "int",
  series: (count) => `(select n::int from generate_series(1, ${count}) as given(n)) as series`,
  sleep: (seconds) => `pg_sleep(${seconds})::text`,
  session: "pg_backend_pid()",
  seeDeadlocks: "set local deadlock_timeout = '20ms'",
  kill: (session) => `select pg_terminate_backend(${session})`,
  running: (text) =>
    `select pid as session from pg_stat_activity where state = 'active' and pid <> pg_backend_pid()
      and datname = current_database() and query like '%${text}%'`,
  rename: (sql, values) => sql`update people set name = data.name from ${values} where people.id = data.id::int`,
  columns: postgresColumns,
  described: {
    integer: "integer",
    name: "character varying(20)",
    default: "'nobody'::character varying",
    expression: "(age + 1)",
    check: "(age > 0)",
    primary: "parent_pkey",
    noAction: "no action"
  }
} satisfies Partial<Dialect>

const onMariadb = {
  survivesErrors: true,
  locksShardsByRows: false,
  key: "int auto_increment primary key",
  instant: "datetime(3)",
  integer: "signed",
  series: (count) => `(select seq as n from seq_1_to_${count}) as series`,
  sleep: (seconds) => `sleep(${seconds})`,
  session: "connection_id()",
  seeDeadlocks: "select 1",
  kill: (session) => `kill ${session}`,
  running: (text) =>
    `select id as session from information_schema.processlist where id <> connection_id() and db = database()
      and info like '%${text}%'`,
  rename: (sql, values) => sql`update people join ${values} on people.id = data.id set people.name = data.name`,
  columns: mysqlColumns,
  described: {
    integer: "int(11)",
    name: "varchar(20)",
    default: "'nobody'",
    expression: "`age` + 1",
    check: "`age` > 0",
    primary: "PRIMARY",
    noAction: "restrict"
  }
} satisfies Partial<Dialect>

/** With every character, as a database is to be made; the server's default is another one. */
const mariadbDatabase = Effect.tap(
  freshDatabase("mariadb"),
  (url) =>
    Effect.flatMap(SqlClient, (sql) => sql`alter database character set utf8mb4`).pipe(
      Effect.provide(Mariadb.layer({ url: Redacted.make(url), pool: { max: 1 } }))
    )
)

const mariadbLacks: Pick<Dialect, "lacks" | "without"> = {
  lacks: {
    "DDL in transactions": "the server commits the transaction that DDL stands in",
    "ON CONFLICT": "the server has ON DUPLICATE KEY instead"
  },
  without: [
    "a table that is made in a transaction goes with it",
    "a migration that fails leaves nothing behind",
    "EventJournal keeps what an effect that succeeded has written"
  ]
}

export const postgres: Dialect = {
  ...onPostgres,
  name: "PostgreSQL",
  database: freshDatabase(),
  at: (url, options) => Postgres.layer({ url: Redacted.make(url), ...options }),
  lacks: {},
  without: []
}

export const pgbouncer: Dialect = {
  ...onPostgres,
  name: "PostgreSQL behind PgBouncer in transaction mode",
  database: Effect.flatMap(freshDatabase(), (url) => PgBouncer.make(url, "transaction")),
  at: (url, options) => Postgres.layer({ url: Redacted.make(url), pooler: "transaction", ...options }),
  locksShardsByRows: true,
  lacks: {},
  without: []
}

export const pglite: Dialect = {
  ...onPostgres,
  name: "PGlite",
  database: Effect.succeed(""),
  at: (_, options) => Pglite.layer(options),
  locksShardsByRows: true,
  lacks: {
    clients: "each client has a database of its own",
    connections: "all connections are one session",
    wire: "the database is in the process",
    cancelling: "nothing else in the process runs while a statement runs"
  },
  without: [
    "have the names that the program gives them",
    "are not seen before they are committed",
    "that are serializable are repeated until none has lost an update, and less than that loses one",
    "that wait for each other are repeated, unless nothing is to be",
    "of a statement goes on at once, and the server gives it up",
    "of a statement on a connection that has streamed to the end stops it too",
    "a transaction whose connection is killed is repeated on another, and one that repeats nothing fails",
    "a write whose connection is killed while it runs is not repeated, and costs nobody else",
    "connections that are cut while nobody uses them cost nobody anything",
    "callers wait for a server that is away, as long as they said, and are served when it is back",
    "a transaction with a key is applied once when COMMIT is lost before the server has it",
    "a transaction with a key is applied once when COMMIT is lost after the server has it",
    "a COMMIT that is lost and not looked into is unknown; whoever just tries again does it twice",
    "a server that is silent costs a caller no more than its patience"
  ]
}

export const mysql: Dialect = {
  ...onMariadb,
  name: "MariaDB over mysql2",
  system: "mysql",
  database: mariadbDatabase,
  at: (url, options) => Mysql.layer({ url: Redacted.make(url), ...options }),
  allowDdl: Layer.succeed(Mysql.AllowImplicitCommit, true),
  ...mariadbLacks
}

export const mariadb: Dialect = {
  ...onMariadb,
  name: "MariaDB over its connector",
  system: "mariadb",
  database: mariadbDatabase,
  at: (url, options) => Mariadb.layer({ url: Redacted.make(url), ...options }),
  allowDdl: Layer.succeed(Mariadb.AllowImplicitCommit, true),
  ...mariadbLacks
}
