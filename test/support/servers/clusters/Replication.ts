/**
 * A throwaway primary of MySQL or MariaDB with replicas that follow it by GTID. Nobody decides who is the primary but the
 * test: it kills, pauses and cuts off, promotes, and lets an old primary come back as it was or as a replica.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { inspect } from "node:util"
import * as FaultProxy from "../../faultProxy.ts"
import * as MariadbServer from "../MariadbServer.ts"
import * as Family from "../mysqlFamily.ts"
import * as MysqlServer from "../MysqlServer.ts"
import { live, ServerError } from "../ServerError.ts"

/** What it looks like. Everything has a default. */
export interface Options {
  /** How many follow the primary. One when nothing is said. */
  readonly replicas?: number | undefined
  /** System variables of all servers. */
  readonly settings?: Family.Settings | undefined
}

/** One server of several. Its own `url` leads past the proxy. */
export interface Node extends Family.Server {
  /** What clients come through. */
  readonly clients: FaultProxy.FaultProxy
  /** What replicas follow it through. */
  readonly followers: FaultProxy.FaultProxy
  /** Cuts it off from its clients and from those who follow it: it goes on, and nobody hears of it. */
  readonly cutOff: Effect.Effect<void, ServerError>
  /** Undoes `cutOff`. What was connected is reset, as it has lost bytes. */
  readonly reconnect: Effect.Effect<void, ServerError>
  /** Waits until it has what the other one has written so far. */
  readonly catchUp: (primary: Node) => Effect.Effect<void, ServerError>
  /** Makes a replica a server of its own, which takes writes. It stays one when it is started again. */
  readonly promote: Effect.Effect<void, ServerError>
  /** Takes no writes any more; it follows nobody yet. What is under way is refused at its COMMIT. */
  readonly demote: Effect.Effect<void, ServerError>
  /** Follows another one from where it is. What it has alone is an error of replication. */
  readonly follow: (primary: Node) => Effect.Effect<void, ServerError>
  /** Applies what it is sent so many seconds later; at once again with 0. */
  readonly delay: (seconds: number) => Effect.Effect<void, ServerError>
  /** Applies nothing until `goOn`; what it is sent waits. */
  readonly standStill: Effect.Effect<void, ServerError>
  readonly goOn: Effect.Effect<void, ServerError>
  /** Throws its data away, and follows another one from the beginning. */
  readonly rejoin: (primary: Node) => Effect.Effect<void, ServerError>
}

/** A throwaway primary with its replicas. */
export interface Replication {
  /** The first one was made as the primary. */
  readonly nodes: ReadonlyArray<Node>
}

/** What MySQL and MariaDB say differently. */
interface Dialect {
  readonly make: (options: Family.Options) => Effect.Effect<Family.Server, ServerError, Scope.Scope>
  readonly settings: Family.Settings
  readonly readOnly: string
  /** What it has written and replayed. */
  readonly position: string
  /** Whether it has all of a position. */
  readonly has: string
  readonly status: string
  readonly stop: ReadonlyArray<string>
  /** How the part of it is called that applies what it is sent. */
  readonly applier: string
  readonly delay: (seconds: number) => ReadonlyArray<string>
  readonly follow: (
    source: { readonly host: string; readonly port: number },
    server: Family.Server
  ) => ReadonlyArray<string>
}

const mysql: Dialect = {
  make: MysqlServer.make,
  settings: { gtid_mode: "ON", enforce_gtid_consistency: "ON", replica_net_timeout: 2 },
  readOnly: "super_read_only",
  position: "select @@global.gtid_executed as position",
  has: "select gtid_subset(?, @@global.gtid_executed) as has",
  status: "show replica status",
  stop: ["stop replica", "reset replica all"],
  applier: "replica sql_thread",
  delay: (seconds) => [
    "stop replica sql_thread",
    `change replication source to source_delay = ${seconds}`,
    "start replica sql_thread"
  ],
  follow: ({ host, port }, { password, user }) => [
    `change replication source to source_host = '${host}', source_port = ${port}, source_user = '${user}',
      source_password = '${password}', source_auto_position = 1, get_source_public_key = 1,
      source_connect_retry = 1, source_retry_count = 1000, source_heartbeat_period = 0.5`,
    "start replica"
  ]
}

const mariadb: Dialect = {
  make: MariadbServer.make,
  settings: { log_bin: "log", binlog_format: "ROW", log_slave_updates: true, slave_net_timeout: 2 },
  readOnly: "read_only",
  position: "select @@global.gtid_current_pos as position",
  // Of a position that it has written itself, a server knows nothing by MASTER_GTID_WAIT.
  has: "select master_gtid_wait(?, 0) = 0 as has",
  status: "show slave status",
  stop: ["stop slave", "reset slave all"],
  applier: "slave sql_thread",
  // For this one it must not even receive.
  delay: (seconds) => ["stop slave", `change master to master_delay = ${seconds}`, "start slave"],
  follow: ({ host, port }, { password, user }) => [
    `change master to master_host = '${host}', master_port = ${port}, master_user = '${user}',
      master_password = '${password}', master_use_gtid = slave_pos, master_connect_retry = 1,
      master_heartbeat_period = 0.5`,
    "start slave"
  ]
}

const dialects = { mysql, mariadb }

/** Starts a primary and its replicas; they end with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(
    kind: keyof typeof dialects,
    { replicas = 1, settings }: Options = {}
  ): Effect.fn.Return<Replication, ServerError, Scope.Scope> {
    const dialect = dialects[kind]
    // All begin with the same data: an empty log, and the users.
    const dataFrom = yield* Effect.flatMap(Effect.tap(dialect.make({}), (server) => server.stop), Family.copyData)
    const nodes = yield* Effect.forEach(
      Array.from({ length: 1 + replicas }, (_, index) => index + 1),
      (number) => makeNode(dialect, { ...dialect.settings, ...settings }, dataFrom, number),
      { concurrency: "unbounded" }
    )
    for (const replica of nodes.slice(1)) yield* replica.follow(nodes[0]!)
    return { nodes }
  }
)

const makeNode = Effect.fnUntraced(function*(
  dialect: Dialect,
  settings: Family.Settings,
  dataFrom: string,
  number: number
): Effect.fn.Return<Node, ServerError, Scope.Scope> {
  let isReadOnly = number > 1
  let id = number
  const server = yield* dialect.make({
    dataFrom,
    settings: () => ({ ...settings, server_id: id, [dialect.readOnly]: isReadOnly })
  })
  const clients = yield* FaultProxy.make(server.url)
  const followers = yield* FaultProxy.make(server)
  const setReadOnly = (value: boolean) =>
    Effect.suspend(() => {
      isReadOnly = value
      // On MySQL, who takes writes again has been forbidden both.
      return server.query(value ? `set global ${dialect.readOnly} = 1` : "set global read_only = 0")
    })
  const say = (statements: ReadonlyArray<string>) => Effect.forEach(statements, (each) => server.query(each))
  const follow = (primary: Node) =>
    setReadOnly(true).pipe(
      Effect.andThen(say(dialect.stop)),
      Effect.andThen(Effect.suspend(() => say(dialect.follow(primary.followers, primary)))),
      Effect.asVoid
    )
  return {
    ...server,
    clients,
    followers,
    cutOff: Effect.andThen(clients.blackhole, followers.blackhole),
    reconnect: Effect.forEach([clients, followers], (proxy) => Effect.andThen(proxy.cutAll, proxy.heal), {
      discard: true
    }),
    catchUp: Effect.fnUntraced(function*(primary: Node) {
      const [row] = yield* primary.query(dialect.position)
      const has = Effect.map(server.query(dialect.has, [row!["position"]]), ([row]) => Number(row!["has"]) === 1)
      yield* Effect.repeat(has, { until: (has) => has, schedule: Schedule.spaced("10 millis") }).pipe(
        Effect.timeoutOrElse({
          duration: "30 seconds",
          orElse: () =>
            Effect.flatMap(server.query(dialect.status), (status) =>
              Effect.fail(
                new ServerError({
                  message: `A replica has not got ${row!["position"]} after 30 s: ${inspect(status[0])}`
                })
              ))
        }),
        live
      )
    }),
    promote: say(dialect.stop).pipe(Effect.andThen(setReadOnly(false)), Effect.asVoid),
    demote: Effect.asVoid(setReadOnly(true)),
    follow,
    delay: (seconds) => Effect.asVoid(say(dialect.delay(seconds))),
    standStill: Effect.asVoid(say([`stop ${dialect.applier}`])),
    goOn: Effect.asVoid(say([`start ${dialect.applier}`])),
    rejoin: (primary) =>
      Effect.suspend(() => {
        isReadOnly = true
        // A replica does not repeat what a server of its own id has written.
        id += 100
        return Effect.andThen(server.startAfresh, follow(primary))
      })
  }
})
