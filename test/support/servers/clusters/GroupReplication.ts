/**
 * A throwaway group of MySQL servers that replicate to each other over the loopback, with one member that takes writes
 * or with all of them. Members can be killed, and be expelled while their clients stay.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { randomUUID } from "node:crypto"
import * as Family from "../mysqlFamily.ts"
import * as MysqlServer from "../MysqlServer.ts"
import { live, ServerError } from "../ServerError.ts"
import * as ServerProcess from "../ServerProcess.ts"
import { balance } from "./balance.ts"

/** What a group looks like. */
export interface Options {
  /** Three when nothing is said. */
  readonly size?: number | undefined
  /** Whether every member takes writes, instead of one. */
  readonly multiPrimary?: boolean | undefined
}

/** One server of a group. */
export interface Member extends MysqlServer.MysqlServer {
  /** Waits until the member is one of the group and has all of its data. */
  readonly online: Effect.Effect<void, ServerError>
  /** Stops the process until the others have expelled it, and lets it run again: it does not know that it is out. */
  readonly expel: Effect.Effect<void, ServerError>
  /** Starts the server if it does not run, and makes it a member again. */
  readonly rejoin: Effect.Effect<void, ServerError>
}

/** A throwaway group. */
export interface GroupReplication {
  readonly members: ReadonlyArray<Member>
  /** A member that takes writes, as the group sees it; of several the first. */
  readonly primary: Effect.Effect<Member, ServerError>
  /** Leads to each member in turn, if it takes connections. Whether it takes writes is for the client to find out. */
  readonly url: string
}

/** Starts a group; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<GroupReplication, ServerError, Scope.Scope> {
    const { multiPrimary = false, size = 3 } = options
    const ports = yield* Effect.forEach(Array.from({ length: size }), () => ServerProcess.freePort)
    const group = randomUUID()
    const settings = (index: number): MysqlServer.Settings => ({
      server_id: index + 1,
      report_host: "127.0.0.1",
      gtid_mode: "ON",
      enforce_gtid_consistency: "ON",
      // Every table of a group has a primary key.
      sql_generate_invisible_primary_key: true,
      plugin_load_add: "group_replication.so",
      group_replication_group_name: group,
      group_replication_start_on_boot: "OFF",
      group_replication_local_address: `127.0.0.1:${ports[index]}`,
      group_replication_group_seeds: ports.map((port) => `127.0.0.1:${port}`).join(),
      group_replication_recovery_get_public_key: "ON",
      // Who is silent is suspected after five seconds, and expelled at once.
      group_replication_member_expel_timeout: 0,
      group_replication_single_primary_mode: multiPrimary ? "OFF" : "ON",
      group_replication_enforce_update_everywhere_checks: multiPrimary ? "ON" : "OFF"
    })

    // Those who begin with the same data need none from each other.
    const first = yield* MysqlServer.make({ settings: settings(0) })
    yield* first.stop
    const dataFrom = yield* Family.copyData(first)
    yield* first.start
    const others = yield* Effect.forEach(
      Array.from({ length: size - 1 }),
      (_, index) => MysqlServer.make({ settings: settings(index + 1), dataFrom }),
      { concurrency: "unbounded" }
    )
    const servers = [first, ...others]
    for (const server of servers) yield* prepare(server)
    yield* first.query("set global group_replication_bootstrap_group = ON")
    yield* first.query("start group_replication")
    yield* first.query("set global group_replication_bootstrap_group = OFF")
    const members = servers.map((server) => memberOf(server, servers))
    yield* members[0]!.online
    for (const other of others) yield* other.query("start group_replication")
    yield* Effect.forEach(members, (member) => member.online, { concurrency: "unbounded" })

    const url = new URL(first.url)
    url.port = String(yield* balance(servers.map((server) => server.port)))
    return { members, primary: primaryOf(members), url: url.href }
  }
)

/** How a member gets from the others what it has missed. */
const prepare = (server: MysqlServer.MysqlServer) =>
  server.query(
    `change replication source to source_user = '${server.user}', source_password = '${server.password}'
      for channel 'group_replication_recovery'`
  )

const until = <E>(
  server: MysqlServer.MysqlServer,
  what: string,
  condition: Effect.Effect<boolean, E>
): Effect.Effect<void, ServerError> =>
  Effect.repeat(Effect.orElseSucceed(condition, () => false), {
    until: (holds) => holds,
    schedule: Schedule.spaced("50 millis")
  }).pipe(
    Effect.asVoid,
    Effect.timeoutOrElse({
      duration: "60 seconds",
      orElse: () =>
        Effect.flatMap(server.log, (log) => Effect.fail(new ServerError({ message: `${what} after 60 s\n${log}` })))
    }),
    live
  )

const states = (server: MysqlServer.MysqlServer) =>
  server.query(
    "select member_port as port, member_state as state, member_role as role " +
      "from performance_schema.replication_group_members"
  )

const memberOf = (server: MysqlServer.MysqlServer, all: ReadonlyArray<MysqlServer.MysqlServer>): Member => {
  const isOnline = (seenBy: MysqlServer.MysqlServer) =>
    Effect.map(
      states(seenBy),
      (rows) => rows.some((row) => Number(row["port"]) === server.port && row["state"] === "ONLINE")
    )
  const online = until(server, `The server at ${server.port} is no member of its group`, isOnline(server))
  const others = all.filter((other) => other !== server)
  const isOut = Effect.map(
    Effect.forEach(others, (other) => Effect.orElseSucceed(isOnline(other), () => false)),
    (seen) => !seen.includes(true)
  )
  return {
    ...server,
    online,
    expel: server.pause.pipe(
      Effect.andThen(until(server, `The server at ${server.port} was not expelled`, isOut)),
      Effect.andThen(server.resume)
    ),
    rejoin: server.start.pipe(
      Effect.andThen(Effect.ignore(server.query("stop group_replication"))),
      Effect.andThen(server.query("start group_replication")),
      Effect.andThen(online)
    )
  }
}

const primaryOf = (members: ReadonlyArray<Member>): Effect.Effect<Member, ServerError> => {
  const look = Effect.gen(function*() {
    for (const member of members) {
      if ((yield* member.pid) === undefined) continue
      const rows = yield* Effect.orElseSucceed(states(member), () => [])
      const self = rows.find((row) => Number(row["port"]) === member.port)
      if (self?.["state"] === "ONLINE" && self["role"] === "PRIMARY") return member
    }
    return undefined
  })
  return Effect.flatMap(look, (member) => member === undefined ? Effect.fail("none yet") : Effect.succeed(member)).pipe(
    Effect.retry(Schedule.spaced("50 millis")),
    Effect.mapError(() => new ServerError({ message: "The group has no primary" })),
    Effect.timeoutOrElse({
      duration: "60 seconds",
      orElse: () => Effect.fail(new ServerError({ message: "The group has no primary after 60 s" }))
    }),
    live
  )
}
