/** What is looked at on MySQL and MariaDB. All of it is read, and nothing is written. */
import * as Effect from "effect/Effect"
import { keyTable } from "../../transaction/idempotency.ts"
import { type Line, look, ok, problem, warning } from "./Check.ts"
import { connections, latency, limit, type Probe, skew } from "./Probe.ts"
import { serverVersion } from "./versions.ts"

/** All checks, in order. */
export const mysqlChecks = (probe: Probe): Effect.Effect<ReadonlyArray<Line>> =>
  Effect.gen(function*() {
    const { row } = probe
    const text = String((yield* row("select version() as version"))["version"])
    const isMariadb = /mariadb/i.test(text)
    const version = /^(?:5\.5\.5-)?([\d.]+)/.exec(text)?.[1] ?? ""
    const lines = yield* Effect.all([
      look("server", serverVersion(isMariadb ? "MariaDB" : "MySQL", version)),
      look("pooler", pooler(probe)),
      look("latency", latency(probe)),
      look("connections", room(probe)),
      look("limits", limits(probe, isMariadb)),
      look("clock", skew(probe, "unix_timestamp(now(6)) * 1000")),
      look("isolation", isolation(probe, isMariadb)),
      look("role", role(probe, isMariadb)),
      ...(isMariadb
        ? [look("replication", Effect.map(probe.row(applying), (row) => applies("replication", row)))]
        : []),
      look("keys", keys(probe)),
      look("modes", modes(probe))
    ])
    return lines.flat()
  }).pipe(
    Effect.catch((error) =>
      Effect.succeed([problem("server", String(error).split("\n", 1)[0]!, "look into the log of the server")])
    )
  )

/** A proxy gives out a number of its own for the connection. */
const pooler = ({ connection, row }: Probe) =>
  Effect.map(row("select connection_id() as id"), (found) =>
    String(found["id"]) === connection.id
      ? ok("pooler", "none: the server's own connection answers")
      : warning(
        "pooler",
        "a proxy is in between",
        "give migrations a direct URL; if it cannot prepare, set `disablePreparedStatements`"
      ))

const status = (name: string): string =>
  `(select variable_value from performance_schema.global_status where variable_name = '${name}')`

const room = (probe: Probe) =>
  Effect.map(
    Effect.catch(
      probe.row(
        "select @@max_connections as allowed, @@max_user_connections as own, " +
          `coalesce((select count(*) from information_schema.processlist), ${status("Threads_connected")}) as used`
      ),
      () => probe.row("select @@max_connections as allowed, @@max_user_connections as own, 1 as used")
    ),
    (found) => {
      const own = Number(found["own"])
      return connections(probe, {
        allowed: own > 0 ? Math.min(own, Number(found["allowed"])) : Number(found["allowed"]),
        used: Number(found["used"])
      })
    }
  )

const limits = ({ row }: Probe, isMariadb: boolean) =>
  Effect.map(
    row(`select @@global.${isMariadb ? "max_statement_time" : "max_execution_time"} as statement,
      @@global.innodb_lock_wait_timeout as row_lock, @@global.lock_wait_timeout as lock_wait,
      @@global.wait_timeout as idle${isMariadb ? ", @@global.idle_transaction_timeout as idle_transaction" : ""}`),
    (found): ReadonlyArray<Line> => [
      limit(
        "statements",
        isMariadb ? "max_statement_time" : "max_execution_time",
        isMariadb ? `${Number(found["statement"])} s` : `${found["statement"]} ms`,
        Number(found["statement"]) === 0,
        "set `statementTimeout` of the layer, so that no statement runs for ever"
      ),
      Number(found["lock_wait"]) > 3600
        ? warning(
          "locks",
          `rows for ${found["row_lock"]} s, definitions for ${found["lock_wait"]} s`,
          "lower `lock_wait_timeout`: a definition that waits keeps everybody waiting behind it"
        )
        : ok("locks", `rows for ${found["row_lock"]} s, definitions for ${found["lock_wait"]} s`),
      ...(isMariadb
        ? [
          limit(
            "idle transactions",
            "idle_transaction_timeout",
            `${found["idle_transaction"]} s`,
            Number(found["idle_transaction"]) === 0,
            "set it: a transaction that was forgotten keeps its locks"
          )
        ]
        : []),
      Number(found["idle"]) < 600
        ? warning(
          "idle connections",
          `the server ends them after ${found["idle"]} s`,
          "set `pool.idleTimeout` below that, or raise `wait_timeout`"
        )
        : ok("idle connections", `the server ends them after ${found["idle"]} s`)
    ]
  )

const isolation = ({ row }: Probe, isMariadb: boolean) =>
  Effect.map(
    row(`select @@global.${isMariadb ? "tx_isolation" : "transaction_isolation"} as isolation,
      @@innodb_flush_log_at_trx_commit as flush, @@log_bin as binlog, @@sync_binlog as sync`),
    (found) => {
      const text = `${String(found["isolation"]).toLowerCase().replaceAll("-", " ")}, ` +
        `innodb_flush_log_at_trx_commit ${found["flush"]}`
      return Number(found["flush"]) === 1
        ? ok("isolation", text)
        : warning("isolation", text, "a crash of the server loses what it has just committed: set it to 1")
    }
  )

const role = ({ row }: Probe, isMariadb: boolean) =>
  Effect.map(
    row(
      `select @@global.read_only as "readonly"${isMariadb ? "" : ", @@global.super_read_only as super"}`.replaceAll(
        "\"",
        "`"
      )
    ),
    (found) =>
      /^(?:1|ON)$/i.test(String(found["readonly"])) || /^(?:1|ON)$/i.test(String(found["super"]))
        ? warning("role", "read only: it takes no writes", "name the primary, unless you only read")
        : ok("role", "takes writes")
  )

/** How a replica of MariaDB applies what its primary has written. MySQL knows no variable of this name. */
export const applying = "select @@global.slave_parallel_threads as threads, @@global.read_only as follows"

/** With one thread a replica does not keep up with a primary that has several writers. Nothing of a primary itself. */
export const applies = (check: string, { follows, threads }: Readonly<Record<string, unknown>>): ReadonlyArray<Line> =>
  Number(follows) === 0
    ? []
    : Number(threads) > 0
    ? [ok(check, `slave_parallel_threads ${threads}`)]
    : [
      warning(
        check,
        "slave_parallel_threads 0: it does not keep up with several writers, and is ejected",
        "set slave_parallel_threads to 4 or more, and slave_parallel_mode to optimistic"
      )
    ]

const keys = ({ row }: Probe) =>
  Effect.gen(function*() {
    const { found, name } = yield* row(`select database() as name, (select count(*) from information_schema.tables
      where table_schema = database() and table_name = '${keyTable}') as found`)
    if (name === null || name === undefined) {
      return problem("keys", "the URL names no database", "name one behind the host")
    }
    const rights = yield* row(`select
      (select count(*) from information_schema.user_privileges where privilege_type in ('CREATE', 'INSERT', 'SELECT',
        'DELETE')) + (select count(*) from information_schema.schema_privileges where privilege_type in ('CREATE',
        'INSERT', 'SELECT', 'DELETE') and database() like table_schema) as all_rights,
      (select count(*) from information_schema.table_privileges where table_schema = database()
        and table_name = '${keyTable}' and privilege_type in ('INSERT', 'SELECT', 'DELETE')) as own_rights`)
    const mayAll = Number(rights["all_rights"]) >= 4
    if (Number(found) > 0) {
      return mayAll || Number(rights["own_rights"]) >= 3
        ? ok("keys", `${keyTable} is there, and may be used`)
        : problem("keys", `${keyTable} may not be used`, `grant select, insert, delete on ${keyTable} to the user`)
    }
    return mayAll
      ? ok("keys", `${keyTable} is made when a transaction first has a key`)
      : warning(
        "keys",
        `the user may not make ${keyTable}`,
        "let somebody who may run one transaction with a key, then grant select, insert, delete"
      )
  })

const modes = ({ row }: Probe) =>
  Effect.map(
    row(`select @@global.sql_mode as mode, @@character_set_database as charset, @@max_prepared_stmt_count as prepared`),
    (found): ReadonlyArray<Line> => [
      /STRICT_(?:TRANS|ALL)_TABLES/.test(String(found["mode"]))
        ? ok("sql_mode", "strict")
        : warning(
          "sql_mode",
          "not strict: other programs may write values that do not fit",
          "add STRICT_TRANS_TABLES; the sessions of this library are strict anyway"
        ),
      String(found["charset"]) === "utf8mb4"
        ? ok("characters", "utf8mb4")
        : warning(
          "characters",
          `${found["charset"]}: not every character fits`,
          "alter the database and its tables to utf8mb4"
        )
    ]
  )
