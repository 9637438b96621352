/** MySQL and MariaDB, each over both entry points. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql/SqlClient"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { freshDatabase } from "../../support/index.ts"
import { type Dialect, instant, text } from "./dialects.ts"

/** Without TLS, which MySQL has by default: a proxy cannot look for words in what it cannot read. */
const clear = { sslmode: "disable", allowPublicKeyRetrieval: true } as const

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

const lacks = {
  "DDL in transactions": "the server commits the transaction that DDL stands in",
  "ON CONFLICT": "the server has ON DUPLICATE KEY instead",
  "shared locks and those of transactions": "`get_lock` knows neither"
}

const without = [
  "a table that is made in a transaction goes with it",
  "do not exclude who shares them",
  "of a transaction end with it",
  "a migration that fails leaves nothing behind",
  "EventJournal keeps what an effect that succeeded has written"
]

const onMariadb = {
  lacks,
  without,
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

const digits = "(select 0 as d union all select 1 union all select 2 union all select 3 union all select 4 union all " +
  "select 5 union all select 6 union all select 7 union all select 8 union all select 9)"

/** What differs on a MySQL server from one of MariaDB. */
const onMysql = {
  ...onMariadb,
  lacks: { ...lacks, RETURNING: "MySQL has no RETURNING" },
  without: ["answer with what they have written", ...without],
  // It has no table of numbers, and a recursive query ends at a thousand.
  series: (count) =>
    `(select n from (select 1 + d0.d + 10 * d1.d + 100 * d2.d + 1000 * d3.d + 10000 * d4.d as n from ${
      [0, 1, 2, 3, 4].map((place) => `${digits} d${place}`).join(" join ")
    }) as numbers where n <= ${count}) as series`,
  // `sleep` answers 1 when it is ended, as if nothing had happened.
  sleep: (seconds) =>
    `(select /* sleep(${seconds}) */ count(*) from information_schema.columns a join information_schema.columns b
      join information_schema.columns c)`,
  running: (text) =>
    `select id as session from performance_schema.processlist where id <> connection_id() and db = database()
      and info like '%${text}%'`,
  described: {
    ...onMariadb.described,
    integer: "int",
    expression: "(`age` + 1)",
    check: "(`age` > 0)",
    noAction: "no action"
  }
} satisfies Partial<Dialect>

/** With every character, as a database is to be made; the default of MariaDB is another one. */
const database = (server: "mysql" | "mariadb") =>
  Effect.tap(
    freshDatabase(server),
    (url) =>
      Effect.flatMap(SqlClient, (sql) => sql`alter database character set utf8mb4`).pipe(
        Effect.provide(Mariadb.layer({ url: Redacted.make(url), pool: { max: 1 } }))
      )
  )

const overMysql = {
  system: "mysql",
  at: (url, options) => Mysql.layer({ url: Redacted.make(url), ...clear, ...options }),
  allowDdl: Layer.succeed(Mysql.AllowImplicitCommit, true)
} satisfies Partial<Dialect>

const overMariadb = {
  system: "mariadb",
  at: (url, options) => Mariadb.layer({ url: Redacted.make(url), ...clear, ...options }),
  allowDdl: Layer.succeed(Mariadb.AllowImplicitCommit, true)
} satisfies Partial<Dialect>

const mysql = { database: database("mysql"), ...onMysql }
const mariadb = { database: database("mariadb"), ...onMariadb }

/** By server and entry point. */
export const mysqlOverMysql: Dialect = { name: "MySQL over watertight/mysql", ...mysql, ...overMysql }
export const mysqlOverMariadb: Dialect = { name: "MySQL over watertight/mariadb", ...mysql, ...overMariadb }
export const mariadbOverMysql: Dialect = { name: "MariaDB over watertight/mysql", ...mariadb, ...overMysql }
export const mariadbOverMariadb: Dialect = { name: "MariaDB over watertight/mariadb", ...mariadb, ...overMariadb }
