/**
 * A throwaway Galera cluster: MariaDB servers of this machine that replicate to each other over the loopback. Nodes can
 * be killed, and cut off from the others while they go on answering their clients.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Binaries from "../binaries.ts"
import * as MariadbServer from "../MariadbServer.ts"
import * as Family from "../mysqlFamily.ts"
import { live, ServerError } from "../ServerError.ts"
import * as ServerProcess from "../ServerProcess.ts"
import { balance } from "./balance.ts"

/** One server of a cluster. */
export interface Node extends MariadbServer.MariadbServer {
  /** Waits until the node is a member of a cluster that works, and has all of its data. */
  readonly synced: Effect.Effect<void, ServerError>
  /** Cuts the node off from the others, and waits until it has noticed. Its clients stay. */
  readonly cutOff: Effect.Effect<void, ServerError>
  /** Undoes `cutOff`, and waits until the node is a member again. */
  readonly rejoin: Effect.Effect<void, ServerError>
}

/** A throwaway cluster. */
export interface GaleraCluster {
  readonly nodes: ReadonlyArray<Node>
  /** Leads to each node in turn, if it takes connections. Whether it is of any use is for the client to find out. */
  readonly url: string
}

const libraries = [
  "/usr/lib/galera/libgalera_smm.so",
  "/usr/lib64/galera/libgalera_smm.so",
  "/usr/lib64/galera-4/libgalera_smm.so",
  "/opt/homebrew/lib/libgalera_smm.dylib"
]

const whatToDo = [
  `Galera is not installed: found none of ${libraries.join(", ")}. Install it:`,
  "  apt-get install galera-4 rsync"
].join("\n")

/** The library that makes a cluster of MariaDB servers: that of the server, where it was unpacked with one. */
export const locate: Effect.Effect<string, ServerError> = Effect.gen(function*() {
  const program = yield* Binaries.locate(MariadbServer.requirement)
  const own = path.join(path.dirname(program), "../lib/galera/libgalera_smm.so")
  const library = [own, ...libraries].find((file) => fs.existsSync(file))
  return library ?? (yield* Effect.fail(new ServerError({ message: whatToDo })))
})

// A node that is gone is given up after one and a half seconds instead of five; everything else is at the pace of that.
const providerOptions = {
  "evs.keepalive_period": "PT0.2S",
  "evs.inactive_check_period": "PT0.1S",
  "evs.suspect_timeout": "PT1.5S",
  "evs.inactive_timeout": "PT4S",
  "evs.install_timeout": "PT1.5S",
  "evs.join_retrans_period": "PT0.1S",
  "gmcast.peer_timeout": "PT1S",
  "gmcast.time_wait": "PT0.5S",
  "pc.announce_timeout": "PT0.5S",
  "pc.recovery": "no",
  "gcache.size": "16M"
}

/** Starts a cluster; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(size = 3): Effect.fn.Return<GaleraCluster, ServerError, Scope.Scope> {
    const library = yield* locate
    const ports = yield* Effect.forEach(Array.from({ length: 3 * size }), () => ServerProcess.freePort)
    const addressOf = (index: number) => `127.0.0.1:${ports[3 * index]!}`
    const members = Array.from({ length: size }, (_, index) => addressOf(index))
    let isFounded = false
    const settings = (index: number) => (): MariadbServer.Settings => ({
      // Its log is for what happens to the cluster, and not for clients that hang up.
      log_warnings: 1,
      binlog_format: "ROW",
      innodb_autoinc_lock_mode: 2,
      wsrep_on: true,
      // Newer servers can have a variable for each option instead, and then refuse those that are set below.
      loose_plugin_wsrep_provider: "OFF",
      wsrep_provider: library,
      wsrep_provider_options: Object.entries({
        ...providerOptions,
        "gmcast.listen_addr": `tcp://${addressOf(index)}`,
        "ist.recv_addr": `127.0.0.1:${ports[3 * index + 1]!}`
      }).map((option) => option.join("=")).join(";"),
      wsrep_cluster_name: "watertight",
      wsrep_cluster_address: `gcomm://${isFounded ? members.join() : ""}`,
      wsrep_node_name: `node${index}`,
      wsrep_node_address: "127.0.0.1",
      wsrep_sst_method: "rsync",
      wsrep_sst_receive_address: `127.0.0.1:${ports[3 * index + 2]!}`
    })

    // Those who begin with the same data need none from each other, which would take seconds.
    const first = yield* MariadbServer.make({ settings: settings(0) })
    yield* first.stop
    const dataFrom = yield* Family.copyData(first)
    yield* first.start
    isFounded = true
    const others = yield* Effect.forEach(
      Array.from({ length: size - 1 }),
      (_, index) => MariadbServer.make({ settings: settings(index + 1), dataFrom }),
      { concurrency: "unbounded" }
    )
    const servers = [first, ...others]
    const nodes = servers.map(nodeOf)
    yield* Effect.forEach(nodes, (node) => node.synced, { concurrency: "unbounded" })
    const url = new URL(first.url)
    url.port = String(yield* balance(servers.map((server) => server.port)))
    return { nodes, url: url.href }
  }
)

const nodeOf = (server: MariadbServer.MariadbServer): Node => {
  const statusOf = (name: string) =>
    Effect.map(server.query(`show status like '${name}'`), (rows) => rows[0]?.["Value"])
  const until = (name: string, value: string) =>
    Effect.repeat(Effect.orElseSucceed(statusOf(name), () => undefined), {
      until: (status) => status === value,
      schedule: Schedule.spaced("50 millis")
    }).pipe(
      Effect.asVoid,
      Effect.timeoutOrElse({
        duration: "90 seconds",
        orElse: () =>
          Effect.flatMap(server.log, (log) =>
            Effect.fail(new ServerError({ message: `${name} is not ${value} after 90 s\n${log}` })))
      }),
      live
    )
  const isolate = (isIsolated: 0 | 1) =>
    server.query(`set global wsrep_provider_options = 'gmcast.isolate=${isIsolated}'`)
  const synced = until("wsrep_local_state_comment", "Synced")
  return {
    ...server,
    synced,
    cutOff: Effect.andThen(isolate(1), until("wsrep_ready", "OFF")),
    rejoin: Effect.andThen(isolate(0), synced)
  }
}
