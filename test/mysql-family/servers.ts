/**
 * The servers that each test of both drivers runs on. What differs between them is a line here, and not a condition in a
 * test. What one of them lacks is a line with a reason; `servers.test.ts` asks the servers whether it is true.
 */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { BulkMethod } from "../../src/mysql-family/bulk/BulkMethod.ts"
import {
  freshDatabase,
  MariadbServer,
  mariadbUrl,
  MysqlServer,
  mysqlUrl,
  type ServerError,
  type SharedServer
} from "../support/index.ts"

/** What not every server has. */
export type Feature =
  | "sequences"
  | "snapshot isolation"
  | "uuid and inet6"
  | "unix_socket"
  | "SET STATEMENT"
  | "RETURNING"
  | "ed25519"
  | "functional indexes"
  | "constraints that are not enforced"
  | "string_to_vector"
  | "LOAD DATA by default"
  | "tables that must have a key"

/** A kind of server, in its own words. */
export interface Kind {
  readonly name: "MySQL" | "MariaDB"
  readonly shared: SharedServer
  readonly isMariadb: boolean
  /** How it tells its version. */
  readonly version: RegExp
  /** The shared server's URL. */
  readonly url: () => string
  /** A new, empty database on the shared server. */
  readonly fresh: Effect.Effect<string, ServerError, Scope.Scope>
  /** A server of one's own. */
  readonly make: typeof MariadbServer.make
  /** What it does not have, and why the tests of that are left out. */
  readonly lacks: Partial<Record<Feature, string>>
  /** What has a column `seq` of 1 to this, in order. */
  readonly series: (count: number) => string
  /** A query that does not end by itself, and fails when it is ended. */
  readonly endless: string
  /** 1 in a transaction, and 0 outside. */
  readonly inTransaction: string
  /** Statements of which the last one says the level of the transaction that they begin. */
  readonly levelOfTransaction: ReadonlyArray<string>
  readonly isolationOfSession: string
  readonly readOnlySession: string
  /** What runs. */
  readonly processlist: string
  /** The table of the counters of a session. */
  readonly sessionStatus: string
  /** The variable of the time that a statement may take, and the time for so many seconds. */
  readonly timeLimit: { readonly variable: string; readonly of: (seconds: number) => number }
  /** `current_role()` where there is none. */
  readonly noRole: string | null
  /** Puts a table or a procedure in the place of another. */
  readonly replace: (what: string, name: string) => ReadonlyArray<string>
  readonly errnos: {
    readonly check: number
    readonly nowait: number
    readonly timeLimit: number
  }
  /** The methods of `Bulk` that it has, each with the settings of a server that it needs. */
  readonly bulk: Partial<Record<BulkMethod, MysqlServer.Settings>>
  /** Adds a unique index over an expression. */
  readonly uniqueExpression: (table: string, expression: string) => ReadonlyArray<string>
  /** More bytes than a packet may have. */
  readonly tooLarge: number
}

const digits = "(values row(0), row(1), row(2), row(3), row(4), row(5), row(6), row(7), row(8), row(9))"

const mysqlSeries = (count: number): string => {
  const places = Array.from({ length: Math.max(1, Math.ceil(Math.log10(count))) }, (_, place) => place)
  const number = places.map((place) => `${10 ** place} * d${place}.d`).join(" + ")
  // In this order of the tables the numbers come in order, unless they are joined by a hash.
  const tables = places.toReversed().map((place) => `${digits} as d${place}(d)`).join(" straight_join ")
  return `(select /*+ no_bnl() */ 1 + ${number} as seq from ${tables} where 1 + ${number} <= ${count}) as series`
}

const transaction = (column: string) =>
  `select ${column} from performance_schema.events_transactions_current where thread_id = ps_current_thread_id()`

export const mysql: Kind = {
  name: "MySQL",
  shared: "mysql",
  isMariadb: false,
  version: /^\d+\.\d+\.\d+/,
  url: mysqlUrl,
  fresh: freshDatabase("mysql"),
  make: MysqlServer.make,
  lacks: {
    sequences: "MySQL has no sequences, and nothing else that counts past a rollback",
    "snapshot isolation": "MySQL does not notice at a write that others have written since the snapshot",
    "uuid and inet6": "MySQL has no types uuid and inet6",
    unix_socket: "this MySQL has no plugin that asks the system who is there",
    "SET STATEMENT": "MySQL has no SET STATEMENT",
    RETURNING: "MySQL has no RETURNING",
    ed25519: "MySQL has no plugin for ed25519",
    "LOAD DATA by default": "MySQL has local_infile switched off by default"
  },
  series: mysqlSeries,
  endless: "select count(*) from information_schema.columns a join information_schema.columns b join " +
    "information_schema.columns c",
  inTransaction: `select count(*) from (${transaction("1")} and state = 'ACTIVE' and autocommit = 'NO') as t`,
  levelOfTransaction: ["start transaction", "select * from t", transaction("isolation_level")],
  isolationOfSession: "select @@transaction_isolation",
  readOnlySession: "select @@transaction_read_only",
  processlist: "performance_schema.processlist",
  sessionStatus: "performance_schema.session_status",
  timeLimit: { variable: "max_execution_time", of: (seconds) => seconds * 1000 },
  noRole: "NONE",
  replace: (what, name) => [`drop ${what} if exists ${name}`, `create ${what} ${name}`],
  errnos: { check: 3819, nowait: 3572, timeLimit: 3024 },
  bulk: { load: { local_infile: true }, statements: {} },
  uniqueExpression: (table, expression) => [`create unique index by_expression on ${table} ((${expression}))`],
  tooLarge: 70_000_000
}

export const mariadb: Kind = {
  name: "MariaDB",
  shared: "mariadb",
  isMariadb: true,
  version: /MariaDB/,
  url: mariadbUrl,
  fresh: freshDatabase("mariadb"),
  make: MariadbServer.make,
  lacks: {
    "functional indexes": "MariaDB has no expressions in indexes",
    "constraints that are not enforced": "MariaDB has no NOT ENFORCED",
    string_to_vector: "MariaDB has no vectors before 11.7, and other functions since",
    "tables that must have a key": "MariaDB demands primary keys of the whole server, or of nobody"
  },
  series: (count) => `seq_1_to_${count}`,
  endless: "select count(*) from seq_1_to_100000 a, seq_1_to_100000 b where a.seq + b.seq < 0",
  inTransaction: "select @@in_transaction",
  levelOfTransaction: [
    "start transaction",
    "select * from t",
    "select trx_isolation_level from information_schema.innodb_trx where trx_mysql_thread_id = connection_id()"
  ],
  isolationOfSession: "select @@tx_isolation",
  readOnlySession: "select @@tx_read_only",
  processlist: "information_schema.processlist",
  sessionStatus: "information_schema.session_status",
  timeLimit: { variable: "max_statement_time", of: (seconds) => seconds },
  noRole: null,
  replace: (what, name) => [`create or replace ${what} ${name}`],
  errnos: { check: 4025, nowait: 1205, timeLimit: 1969 },
  bulk: { load: {}, batch: {}, statements: {} },
  // Over a column that has its value.
  uniqueExpression: (table, expression) => [
    `alter table ${table} add expressed varchar(100) as (${expression}) virtual, add unique index (expressed)`
  ],
  tooLarge: 20_000_000
}
