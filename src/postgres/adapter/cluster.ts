/**
 * Several PostgreSQL servers as one: which of them is the primary, and how far each one is.
 *
 * What a server says is asked for in one statement that an ordinary role may run. A standby does not know its timeline for
 * sure: of what its control file and its receiver say, the newest counts, which is never too new. The receiver is shown to
 * roles that have `pg_read_all_stats`; without that right a standby is used again after a failover only when its control
 * file has caught up.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../../Adapter.ts"
import type { Candidates, ClusterAdapter, NodeOptions, NodesOptions, Target } from "../../cluster/ClusterAdapter.ts"
import type { Observation } from "../../cluster/state/Observation.ts"
import type { InvalidOptions } from "../../options/InvalidOptions.ts"
import { unwrap } from "../../pool/LeasedConnection.ts"
import type { SettingsReference } from "../../transaction/TransactionSettings.ts"
import { attachHub, NoticeHub } from "../errors/notices.ts"
import type { Session } from "../session/Session.ts"
import { invalid } from "./invalid.ts"
import { positionOf } from "./logPosition.ts"
import type { PostgresOptions } from "./PostgresOptions.ts"
import * as Url from "./url.ts"

const targets: ReadonlyArray<Target> = ["any", "read-write", "read-only", "primary", "standby", "prefer-standby"]

/** The cluster that the options name; `undefined` if they name one server, of whatever kind. */
export const clusterOf = (
  options: PostgresOptions & NodesOptions,
  adapterOf: (options: PostgresOptions) => Effect.Effect<Adapter, InvalidOptions>,
  settings: SettingsReference
): Effect.Effect<ClusterAdapter | undefined, InvalidOptions> =>
  Effect.fromResult(Result.gen(function*() {
    const { nodes, replicas, zone, ...own } = options
    // Whatever is wrong with it is said where the options are checked.
    const url = Redacted.isRedacted(options.url) && typeof Redacted.value(options.url) === "string"
      ? Result.getOrElse(Url.parse(Redacted.value(options.url)), (): Url.UrlOptions => ({}))
      : {}
    const target = (url.target ?? "primary") as Target
    if (!targets.includes(target)) {
      yield* invalid("url", `has a target_session_attrs that is not one of ${targets.join(", ")}`)
    }
    const hosts = options.host === undefined ? url.hosts : undefined
    if (hosts !== undefined && url.balance === "disable" && target !== "primary" && target !== "read-write") {
      yield* invalid(
        "url",
        "asks for its hosts in their order with load_balance_hosts=disable: reads are spread over them"
      )
    }
    const isChecked = url.target !== undefined && target !== "any"
    if (nodes === undefined && hosts === undefined && !isChecked) {
      if (zone !== undefined) yield* invalid("zone", "only makes sense with several `nodes`")
      if (replicas !== undefined) yield* invalid("replicas", "only makes sense with several `nodes`")
      return undefined
    }
    if (
      nodes !== undefined && (options.host !== undefined || options.path !== undefined || options.stream !== undefined)
    ) {
      yield* invalid("nodes", "cannot be given together with `host`, `path` or `stream`")
    }
    const candidates = nodes ?? hosts?.map(({ host, port }) => ({ host, port })) ??
      [{
        host: options.host ?? url.host ?? "localhost",
        port: options.port ?? (url.port === undefined ? undefined : Number(url.port))
      }]
    const port = options.port ?? 5432
    const hub = new NoticeHub()
    const { database = url.database ?? own.username ?? url.username ?? "" } = options
    return {
      name: `postgresql://${namesOf(candidates, port)}/${database}`,
      candidates,
      target,
      zone,
      replicas,
      adapterOf: (node: NodeOptions) =>
        Effect.map(
          adapterOf({ ...own, host: node.host, port: node.port ?? options.port ?? 5432 }),
          (adapter) => telling(adapter, hub)
        ),
      together: (adapter: Adapter) => attachHub(adapter, hub),
      isPrimary,
      // Whoever asks works for no tenant.
      observe: (connection, positions) => Effect.provideService(observe(connection, positions), settings, "none")
    }
  }))

const namesOf = (candidates: Candidates, port: number): string =>
  Array.isArray(candidates)
    ? (candidates as ReadonlyArray<NodeOptions>).map((node) => `${node.host}:${node.port ?? port}`).join(",")
    : "cluster"

/** What the servers have to say goes to one place. */
const telling = (adapter: Adapter, hub: NoticeHub): Adapter => ({
  ...adapter,
  connect: Effect.map(adapter.connect, (connection) => {
    sessionOf(connection).onNotice((fields) => hub.publish(connection.id, fields))
    return connection
  })
})

const sessionOf = (connection: Connection): Session => unwrap(connection) as Session

/** Since PostgreSQL 14 a server says at the start of a session whether it is a standby, and when that changes. */
const isPrimary = (connection: Connection): boolean | undefined => {
  const standby = sessionOf(connection).parameters.get("in_hot_standby")
  return standby === undefined ? undefined : standby === "off"
}

/** The same for all sessions, whatever their settings are. */
const who =
  "coalesce(pg_catalog.host(pg_catalog.inet_server_addr()) || ':' || pg_catalog.inet_server_port(), '') || ' ' || " +
  "extract(epoch from pg_catalog.pg_postmaster_start_time())"

const question = "select pg_catalog.pg_is_in_recovery(), " +
  "(select system_identifier from pg_catalog.pg_control_system())::text, " +
  "case when not pg_catalog.pg_is_in_recovery() " +
  "then substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_lsn()), 1, 8) end, " +
  "greatest((select timeline_id from pg_catalog.pg_control_checkpoint()), " +
  "(select min_recovery_end_timeline from pg_catalog.pg_control_recovery()), " +
  "(select received_tli from pg_catalog.pg_stat_wal_receiver)), " +
  "(case when pg_catalog.pg_is_in_recovery() then pg_catalog.pg_last_wal_replay_lsn() " +
  "else pg_catalog.pg_current_wal_insert_lsn() end)::text, " +
  `pg_catalog.pg_size_bytes(pg_catalog.current_setting('wal_segment_size'))::text, ${who}`

const observe = (
  connection: Connection,
  positions: ReadonlyArray<string>
): Effect.Effect<Observation, SqlError> =>
  Effect.map(connection.executeValuesUnprepared(question, []), ([row = []]) => {
    const [standby, lineage, timeline, known, lsn, segment, server] = row as ReadonlyArray<any>
    const position = lsn === null ? undefined : positionOf(lsn, Number(segment))
    const has = standby === true && position !== undefined
      ? positions.findIndex((wanted) => position >= Number(wanted))
      : -1
    return {
      role: standby === true ? "replica" : "primary",
      server: String(server),
      lineage: String(lineage),
      generation: standby === true ? known as number : Number.parseInt(timeline, 16),
      position: position === undefined ? undefined : String(position),
      has: has < 0 ? undefined : has
    }
  })
