/** PostgreSQL, behind PgBouncer too, and PGlite. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Pglite } from "watertight/pglite"
import { Postgres } from "watertight/postgres"
import { freshDatabase, PgBouncer } from "../../support/index.ts"
import { type Dialect, instant, text } from "./dialects.ts"

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
  lacks: {
    "locks of sessions": "the pooler gives a session to somebody else after each transaction",
    "limits of sessions": "the pooler gives a session to somebody else after each transaction"
  },
  without: [
    "a key is waited for longer than a statement may take, and not for an answer that was lost",
    "exclude each other by their key, and end with their scope",
    "of keys that look alike are different locks, and 7 is 7n",
    "are those of one database",
    "keep no connection from the work that they guard",
    "of who is interrupted while waiting leave nothing on the server",
    "are waited for longer than a statement may take",
    "that are lost interrupt the work",
    "do not exclude who shares them"
  ]
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
    cancelling: "nothing else in the process runs while a statement runs",
    "locks of sessions": "the one session keeps nobody out"
  },
  without: [
    "have the names that the program gives them",
    "are not seen before they are committed",
    "that are serializable are repeated until none has lost an update, and less than that loses one",
    "that wait for each other are repeated, unless nothing is to be",
    "are committed by themselves where they are to be a transaction of their own",
    "of a statement goes on at once, and the server gives it up",
    "of a statement on a connection that has streamed to the end stops it too",
    "a transaction whose connection is killed is repeated on another, and one that repeats nothing fails",
    "a write whose connection is killed whenever it runs fails at last, is not there, and costs nobody else",
    "connections that are cut while nobody uses them cost nobody anything",
    "callers wait for a server that is away, as long as they said, and are served when it is back",
    "a transaction with a key is applied once when COMMIT is lost before the server has it",
    "a transaction with a key is applied once when COMMIT is lost after the server has it",
    "a key is waited for longer than a statement may take, and not for an answer that was lost",
    "a COMMIT that is lost and not looked into is unknown; whoever just tries again does it twice",
    "a server that is silent costs a caller no more than its patience",
    "tables, columns, keys and errors have the names of the program",
    "exclude each other by their key, and end with their scope",
    "of keys that look alike are different locks, and 7 is 7n",
    "are those of one database",
    "keep no connection from the work that they guard",
    "of who is interrupted while waiting leave nothing on the server",
    "are waited for longer than a statement may take",
    "that are lost interrupt the work",
    "do not exclude who shares them"
  ]
}
