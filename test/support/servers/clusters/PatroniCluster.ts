/**
 * A throwaway PostgreSQL cluster under Patroni, with etcd as the place where it agrees who leads. The agent of a node and
 * its server can be killed and paused together or alone, and each way of a node to the others can be cut.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import * as FaultProxy from "../../faultProxy.ts"
import * as Binaries from "../binaries.ts"
import * as PostgresServer from "../PostgresServer.ts"
import { live, ServerError, within } from "../ServerError.ts"
import * as ServerProcess from "../ServerProcess.ts"

/** What a cluster looks like. Everything has a default. */
export interface Options {
  /** Three when nothing is said. */
  readonly size?: number | undefined
  /** Whether a COMMIT waits until a standby has it, and only such a standby may take over. */
  readonly synchronous?: boolean | undefined
  /** Settings of all servers. */
  readonly settings?: PostgresServer.Options["settings"]
}

/** A process that can be stopped in its tracks. */
export interface Stoppable {
  readonly kill: Effect.Effect<void, ServerError>
  readonly pause: Effect.Effect<void>
  readonly resume: Effect.Effect<void>
}

/** One node: an agent of Patroni, and the server that it runs. */
export interface Node extends Stoppable {
  readonly name: string
  /** The server's own address, past the proxy. */
  readonly host: string
  readonly port: number
  readonly query: PostgresServer.PostgresServer["query"]
  /** What clients come through. */
  readonly clients: FaultProxy.FaultProxy
  /** The agent alone: while it is paused its server goes on, whatever the others agree on. */
  readonly agent: Stoppable
  /** The server alone. Its agent starts it again. */
  readonly server: Stoppable
  /** Cuts it off from etcd and from the other nodes; its clients stay. */
  readonly isolate: Effect.Effect<void, ServerError>
  /** Cuts it off from everybody. */
  readonly cutOff: Effect.Effect<void, ServerError>
  /** Undoes `isolate` and `cutOff`. What was connected is reset. */
  readonly reconnect: Effect.Effect<void, ServerError>
  /** Starts the agent after a kill, which starts the server. */
  readonly start: Effect.Effect<void, ServerError>
  /** Makes another node the primary instead of this one, in order: one that has everything. */
  readonly handOver: Effect.Effect<void, ServerError>
  /** Waits until it is the primary and takes writes. */
  readonly leads: Effect.Effect<void, ServerError>
  /** Waits until it is a standby that follows the primary. */
  readonly follows: Effect.Effect<void, ServerError>
  /** The last lines of the agent's log. */
  readonly log: Effect.Effect<string>
}

/** A throwaway cluster. */
export interface PatroniCluster {
  readonly nodes: ReadonlyArray<Node>
  /** The URL of all nodes, as libpq writes it, through what clients come through. */
  readonly url: string
  /** The node that takes writes. Where several do, the one with the highest timeline. */
  readonly primary: Effect.Effect<Node, ServerError>
}

/** What Patroni needs from this machine. */
export const requirement: Binaries.Requirement = {
  name: "Patroni",
  programs: ["patroni"],
  byName: true,
  folders: () => ["/usr/bin"],
  debian: {
    name: "patroni",
    packages: ["patroni", "python3-etcd", "etcd-server"],
    programs: ["usr/bin/python3", "usr/bin/patroni", "usr/bin/etcd"]
  },
  install: "apt-get install patroni python3-etcd etcd-server"
}

const host = "127.0.0.1"

interface Programs {
  readonly patroni: string
  readonly etcd: string
  readonly postgres: string
}

const programsOf: Effect.Effect<Programs, ServerError> = Effect.gen(function*() {
  const patroni = yield* Binaries.locate(requirement)
  const postgres = path.dirname(yield* Binaries.locate(PostgresServer.requirement))
  const etcd = Binaries.which(["etcd"], [path.dirname(patroni), "/usr/bin"])
  if (etcd === undefined) return yield* Effect.fail(new ServerError({ message: `Found ${patroni}, and no etcd` }))
  return { patroni, etcd, postgres }
})

/** The agent, if etcd and PostgreSQL can be had too. */
export const locate: Effect.Effect<string, ServerError> = Effect.map(programsOf, ({ patroni }) => patroni)

/** Starts a cluster; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<PatroniCluster, ServerError, Scope.Scope> {
    const programs = yield* programsOf
    const etcd = yield* makeEtcd(programs)
    const names = Array.from({ length: options.size ?? 3 }, (_, index) => `node${index}`)
    const nodes = yield* Effect.forEach(names, (name) => makeNode(programs, etcd, name, options))
    // The first one is the primary; the others copy it.
    yield* nodes[0]!.start
    yield* nodes[0]!.leads
    yield* Effect.forEach(nodes.slice(1), (node) => Effect.andThen(node.start, node.follows), {
      concurrency: "unbounded"
    })
    const hosts = nodes.map(({ clients }) => `${clients.host}:${clients.port}`).join()
    return {
      nodes,
      url: `postgres://postgres@${hosts}/postgres`,
      primary: primaryOf(nodes)
    }
  }
)

const makeEtcd = Effect.fnUntraced(function*({ etcd }: Programs) {
  const identity = ServerProcess.identityOf("postgres", "nobody")
  const folder = yield* ServerProcess.temporaryFolder(identity)
  const logFile = path.join(folder, "etcd.log")
  const port = yield* ServerProcess.freePort
  const url = `http://${host}:${port}`
  const peers = `http://${host}:${yield* ServerProcess.freePort}`
  const process = yield* ServerProcess.spawn(etcd, [
    "--name=etcd",
    `--data-dir=${path.join(folder, "data")}`,
    `--listen-client-urls=${url}`,
    `--advertise-client-urls=${url}`,
    `--listen-peer-urls=${peers}`,
    `--initial-advertise-peer-urls=${peers}`,
    `--initial-cluster=etcd=${peers}`,
    "--unsafe-no-fsync"
  ], { identity, cwd: folder, logFile, quit: "SIGKILL" })
  yield* Effect.addFinalizer(() => Effect.orDie(process.kill))
  yield* ServerProcess.awaitReady(process, request(`${url}/health`), { name: "etcd", logFile, timeout: 30 })
  return { host, port }
})

/** Asks over HTTP; anything but a 2xx is an error that says what was answered. */
const request = (url: string, body?: unknown): Effect.Effect<string, ServerError> =>
  Effect.tryPromise({
    try: async (signal) => {
      const answer = await fetch(url, {
        signal,
        ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) })
      })
      const text = await answer.text()
      if (!answer.ok) throw new Error(`${answer.status}: ${text}`)
      return text
    },
    catch: (cause) => new ServerError({ message: `${url}: ${cause}`, cause })
  })

const makeNode = Effect.fnUntraced(function*(
  programs: Programs,
  etcd: { readonly host: string; readonly port: number },
  name: string,
  options: Options
): Effect.fn.Return<Node, ServerError, Scope.Scope> {
  const identity = ServerProcess.identityOf("postgres", "nobody")
  const folder = yield* ServerProcess.temporaryFolder(identity)
  const logFile = path.join(folder, "patroni.log")
  const dataFolder = path.join(folder, "data")
  const port = yield* ServerProcess.freePort
  const apiPort = yield* ServerProcess.freePort
  const clients = yield* FaultProxy.make(`postgres://postgres@${host}:${port}/postgres`)
  // Its ways to the others, and theirs to it.
  const agreement = yield* FaultProxy.make(etcd)
  const followers = yield* FaultProxy.make({ host, port })
  const api = yield* FaultProxy.make({ host, port: apiPort })
  const settings = path.join(folder, "patroni.json")
  fs.writeFileSync(
    settings,
    JSON.stringify(
      configuration({ programs, name, folder, dataFolder, port, apiPort, agreement, followers, api, options })
    )
  )

  let agent: ServerProcess.ServerProcess | undefined
  const query = PostgresServer.ask({ host: folder, port })
  const serverPid = () => {
    const file = path.join(dataFolder, "postmaster.pid")
    return fs.existsSync(file) ? Number(fs.readFileSync(file, "utf8").split("\n")[0]) : undefined
  }
  const ofServer = <E>(act: (pid: number) => Effect.Effect<void, E>) =>
    Effect.suspend(() => {
      const pid = serverPid()
      return pid === undefined || !ServerProcess.isAlive(pid) ? Effect.void : act(pid)
    })
  const ofAgent = <E>(act: (agent: ServerProcess.ServerProcess) => Effect.Effect<void, E>) =>
    Effect.suspend(() => agent === undefined || !agent.isRunning() ? Effect.void : act(agent))
  const server: Stoppable = {
    kill: ofServer(ServerProcess.killFamily),
    pause: ofServer(ServerProcess.pauseFamily),
    resume: ofServer(ServerProcess.resumeFamily)
  }
  const itself: Stoppable = {
    kill: ofAgent((agent) => agent.kill),
    pause: ofAgent((agent) => agent.pause),
    resume: ofAgent((agent) => agent.resume)
  }
  // The agent first: it would start its server again.
  const kill = Effect.andThen(itself.kill, server.kill)
  yield* Effect.addFinalizer(() => Effect.orDie(kill))

  const ways = [agreement, followers, api]
  const until = (question: string, what: string) =>
    Effect.repeat(Effect.orElseSucceed(query(question), () => []), {
      until: ([row]) => row?.["holds"] === true,
      schedule: Schedule.spaced("50 millis")
    }).pipe(
      Effect.asVoid,
      Effect.timeoutOrElse({
        duration: "90 seconds",
        orElse: () =>
          Effect.fail(new ServerError({ message: `${name} ${what} after 90 s\n${ServerProcess.tailOf(logFile)}` }))
      }),
      live
    )
  return {
    name,
    host,
    port,
    query,
    clients,
    agent: itself,
    server,
    kill,
    pause: Effect.andThen(itself.pause, server.pause),
    resume: Effect.andThen(server.resume, itself.resume),
    isolate: Effect.forEach(ways, (way) => way.blackhole, { discard: true }),
    cutOff: Effect.forEach([clients, ...ways], (way) => way.blackhole, { discard: true }),
    reconnect: Effect.forEach(
      [clients, ...ways],
      (way) => way.mode() === "forward" ? Effect.void : Effect.andThen(way.cutAll, way.heal),
      { discard: true }
    ),
    start: Effect.gen(function*() {
      if (agent?.isRunning() === true) return
      agent = yield* ServerProcess.spawn(programs.patroni, [settings], {
        identity,
        cwd: folder,
        logFile,
        quit: "SIGTERM"
      })
    }),
    leads: until("select not pg_is_in_recovery() as holds", "does not lead"),
    follows: until(
      "select exists (select from pg_stat_wal_receiver where status = 'streaming') as holds",
      "does not follow"
    ),
    // At first Patroni knows of no standby that has everything, and refuses.
    handOver: request(`http://${host}:${apiPort}/switchover`, { leader: name }).pipe(
      Effect.retry({
        schedule: Schedule.spaced("200 millis"),
        while: ({ message }) => message.includes("can not find sync_standby")
      }),
      Effect.asVoid,
      within("60 seconds", () => `Patroni does not switch over from ${name}`)
    ),
    log: Effect.sync(() => ServerProcess.tailOf(logFile))
  }
})

interface Wanted {
  readonly programs: Programs
  readonly name: string
  readonly folder: string
  readonly dataFolder: string
  readonly port: number
  readonly apiPort: number
  readonly agreement: FaultProxy.FaultProxy
  readonly followers: FaultProxy.FaultProxy
  readonly api: FaultProxy.FaultProxy
  readonly options: Options
}

/** The settings of an agent. JSON is YAML. */
const configuration = (wanted: Wanted) => {
  const { agreement, api, apiPort, dataFolder, folder, followers, name, options, port, programs } = wanted
  const synchronous = options.synchronous ?? false
  const rules = ["local all all trust", `host all all ${host}/32 trust`, `host replication all ${host}/32 trust`]
  return {
    scope: "watertight",
    name,
    log: { level: "INFO" },
    restapi: { listen: `${host}:${apiPort}`, connect_address: `${host}:${api.port}` },
    // The members of etcd are not asked for their addresses: ours leads through a proxy.
    etcd3: { hosts: [`${host}:${agreement.port}`], use_proxies: true },
    bootstrap: {
      // The least that Patroni takes.
      dcs: {
        ttl: 20,
        loop_wait: 1,
        retry_timeout: 3,
        maximum_lag_on_failover: 1_048_576,
        // A server that was killed is not waited for.
        master_start_timeout: 0,
        primary_start_timeout: 0,
        synchronous_mode: synchronous,
        postgresql: {
          use_pg_rewind: true,
          use_slots: true,
          parameters: {
            fsync: "off",
            full_page_writes: "off",
            shared_buffers: "32MB",
            max_connections: 200,
            max_wal_size: "256MB",
            wal_keep_size: "64MB",
            // One that follows a primary that is cut off notices it.
            wal_receiver_timeout: "10s",
            wal_sender_timeout: "10s",
            ...options.settings
          }
        }
      },
      initdb: [{ encoding: "UTF8" }, { locale: "C" }, { auth: "trust" }, { "wal-segsize": "1" }, "no-sync"],
      pg_hba: rules
    },
    postgresql: {
      listen: `${host}:${port}`,
      connect_address: `${host}:${followers.port}`,
      data_dir: dataFolder,
      bin_dir: programs.postgres,
      pgpass: path.join(folder, "pgpass"),
      pg_hba: rules,
      parameters: { unix_socket_directories: folder },
      authentication: { superuser: { username: "postgres" }, replication: { username: "postgres" } },
      use_unix_socket: true,
      remove_data_directory_on_rewind_failure: true,
      remove_data_directory_on_diverged_timelines: true
    }
  }
}

/** Of several that take writes, each node of a higher timeline came later. */
const primaryOf = (nodes: ReadonlyArray<Node>): Effect.Effect<Node, ServerError> => {
  const timeline = (node: Node) =>
    node.query(
      "select ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int as t where not pg_is_in_recovery()"
    ).pipe(
      Effect.timeout("1 second"),
      live,
      Effect.match({ onFailure: () => 0, onSuccess: ([row]) => Number(row?.["t"] ?? 0) })
    )
  const look = Effect.gen(function*() {
    const seen = yield* Effect.forEach(
      nodes,
      (node) => Effect.map(timeline(node), (timeline) => ({ node, timeline })),
      { concurrency: "unbounded" }
    )
    return seen.filter(({ timeline }) => timeline > 0).toSorted((a, b) => b.timeline - a.timeline)[0]?.node
  })
  return look.pipe(
    Effect.repeat({ until: (found) => found !== undefined, schedule: Schedule.spaced("100 millis") }),
    Effect.map((found) => found!),
    within("90 seconds", () => "The cluster has no primary after 90 s")
  )
}
