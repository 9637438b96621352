/** What is looked at on PostgreSQL. All of it is read, and nothing is written. */
import * as Effect from "effect/Effect"
import { keyTable } from "../../transaction/idempotency.ts"
import { type Line, look, ok, problem, skipped, warning } from "./Check.ts"
import { connections, latency, limit, type Probe, skew } from "./Probe.ts"
import { serverVersion } from "./versions.ts"

/** All checks, in order. */
export const postgresChecks = (probe: Probe): Effect.Effect<ReadonlyArray<Line>> =>
  Effect.map(
    Effect.all([
      look("server", version(probe)),
      look("pooler", pooler(probe)),
      look("latency", latency(probe)),
      look("connections", room(probe)),
      look("limits", limits(probe)),
      look("clock", skew(probe, "extract(epoch from pg_catalog.clock_timestamp())::float8 * 1000")),
      look("isolation", isolation(probe)),
      look("role", role(probe)),
      look("keys", keys(probe)),
      look("health", health(probe))
    ]),
    (lines) => lines.flat()
  )

const setting = (name: string): string => `pg_catalog.current_setting('${name}', true)`

const version = ({ row }: Probe) =>
  Effect.flatMap(
    row(`select ${setting("server_version")} as version`),
    (found) => serverVersion("PostgreSQL", /^[\d.]+/.exec(String(found["version"]))?.[0] ?? "")
  )

/** A pooler gives out a number of its own for the connection, and not that of the server's process. */
const pooler = ({ connection, row }: Probe) =>
  Effect.map(row("select pg_catalog.pg_backend_pid()::text as pid"), (found) =>
    found["pid"] === connection.id
      ? ok("pooler", "none: the server's own process answers")
      : warning(
        "pooler",
        "there is one in between",
        "in transaction mode give the pool `pooler: \"transaction\"`, and migrations and `LISTEN` a direct URL"
      ))

const room = (probe: Probe) =>
  Effect.map(
    probe.row(`select ${setting("max_connections")}::int - ${setting("superuser_reserved_connections")}::int
      - coalesce(${setting("reserved_connections")}::int, 0) as allowed,
      (select count(*)::int from pg_catalog.pg_stat_activity where backend_type = 'client backend') as used,
      (select rolconnlimit from pg_catalog.pg_roles where rolname = current_user) as role,
      (select datconnlimit from pg_catalog.pg_database where datname = pg_catalog.current_database()) as database`),
    (found) => {
      const limits = [found["allowed"], found["role"], found["database"]].map(Number).filter((limit) => limit >= 0)
      return connections(probe, { allowed: Math.min(...limits), used: Number(found["used"]) })
    }
  )

const limits = ({ row }: Probe) =>
  Effect.map(
    row(`select ${setting("statement_timeout")} as statement, ${setting("lock_timeout")} as lock,
      ${setting("idle_in_transaction_session_timeout")} as idle`),
    ({ idle, lock, statement }) => [
      limit(
        "statements",
        "statement_timeout",
        String(statement),
        statement === "0",
        "set `statementTimeout` of the layer, so that no statement runs for ever"
      ),
      limit(
        "locks",
        "lock_timeout",
        String(lock),
        lock === "0",
        "set `lockTimeout` of the layer, so that nobody waits for ever"
      ),
      limit(
        "idle transactions",
        "idle_in_transaction_session_timeout",
        String(idle),
        idle === "0",
        "set `idleInTransactionTimeout` of the layer: a transaction that was forgotten keeps its locks"
      )
    ]
  )

const isolation = ({ row }: Probe) =>
  Effect.map(
    row(`select ${setting("default_transaction_isolation")} as isolation, ${setting("synchronous_commit")} as commit,
      ${setting("fsync")} as fsync`),
    ({ commit, fsync, isolation }) => {
      const found = `${isolation}, synchronous_commit ${commit}`
      return fsync === "off"
        ? problem("isolation", `${found}, fsync off`, "switch fsync on: a crash of the machine loses the database")
        : commit === "off"
        ? warning("isolation", found, "a crash of the server loses what it has just committed")
        : ok("isolation", found)
    }
  )

const role = ({ row }: Probe) =>
  Effect.map(
    row(`select pg_catalog.pg_is_in_recovery() as replica, ${setting("default_transaction_read_only")} as readonly,
      (select count(*)::int from pg_catalog.pg_stat_replication) as replicas,
      ${setting("synchronous_standby_names")} as synchronous`),
    (found) =>
      found["replica"] === true
        ? warning("role", "a replica: it takes no writes", "name the primary, unless you only read")
        : found["readonly"] === "on"
        ? warning(
          "role",
          "transactions are read only",
          "`default_transaction_read_only` is on for this user or database"
        )
        : ok(
          "role",
          `the primary, with ${found["replicas"]} ${found["replicas"] === 1 ? "replica" : "replicas"}${
            found["synchronous"] === "" ? "" : `, synchronous: ${found["synchronous"]}`
          }`
        )
  )

const keys = ({ row }: Probe) =>
  Effect.map(
    row(`select pg_catalog.to_regclass('${keyTable}')::text as found, pg_catalog.current_schema() as schema,
      pg_catalog.has_schema_privilege(pg_catalog.current_schema(), 'create') as "mayCreate",
      coalesce(pg_catalog.has_table_privilege(pg_catalog.to_regclass('${keyTable}'), 'select')
        and pg_catalog.has_table_privilege(pg_catalog.to_regclass('${keyTable}'), 'insert')
        and pg_catalog.has_table_privilege(pg_catalog.to_regclass('${keyTable}'), 'delete'), false) as "mayUse"`),
    (found) => {
      if (found["found"] !== null && found["found"] !== undefined) {
        return found["mayUse"] === true
          ? ok("keys", `${keyTable} is there, and may be used`)
          : problem("keys", `${keyTable} may not be used`, `grant select, insert, delete on ${keyTable} to the user`)
      }
      if (found["schema"] === null || found["schema"] === undefined) {
        return problem("keys", "no schema of the search path is there", "create it, or set `search_path`")
      }
      return found["mayCreate"] === true
        ? ok("keys", `${keyTable} is made when a transaction first has a key`)
        : warning(
          "keys",
          `the user may not make ${keyTable} in ${found["schema"]}`,
          "let somebody who may run one transaction with a key, then grant select, insert, delete"
        )
    }
  )

const health = ({ row }: Probe): Effect.Effect<ReadonlyArray<Line>, unknown> =>
  Effect.map(
    row(
      `select coalesce((select extract(epoch from max(pg_catalog.now() - xact_start))::int from pg_catalog.pg_stat_activity
        where backend_type = 'client backend' and state <> 'idle' and pid <> pg_catalog.pg_backend_pid()), 0) as oldest,
      (select count(*)::int from pg_catalog.pg_stat_activity where cardinality(pg_catalog.pg_blocking_pids(pid)) > 0)
        as blocked,
      (select age(datfrozenxid)::int from pg_catalog.pg_database where datname = pg_catalog.current_database()) as age,
      (select coalesce(pg_catalog.string_agg(indexrelid::regclass::text, ', '), '') from pg_catalog.pg_index
        where not indisvalid) as invalid`
    ),
    ({ age, blocked, invalid, oldest }) => [
      oldest > 300
        ? warning(
          "transactions",
          `the oldest is ${oldest} s old`,
          "look who has it: nothing that is younger can be vacuumed"
        )
        : blocked > 0
        ? warning("transactions", `${blocked} wait for locks of others`, "look at `pg_blocking_pids`")
        : ok("transactions", "none is old, and none waits"),
      ...(invalid === ""
        ? []
        : [
          problem(
            "indexes",
            `the server does not use ${invalid}`,
            "a CREATE INDEX CONCURRENTLY has failed: drop it and build it again"
          )
        ]),
      ...(age > 1_000_000_000
        ? [problem("vacuum", `the oldest row is ${age} transactions old`, "vacuum: at two billion the server stops")]
        : [])
    ]
  )

/** What PGlite has of all this. */
export const embeddedChecks = (probe: Probe): Effect.Effect<ReadonlyArray<Line>> =>
  Effect.map(
    Effect.all([look("server", version(probe)), look("keys", keys(probe))]),
    (lines) => [...lines.flat(), skipped("limits", "PGlite runs in this process and has none")]
  )
