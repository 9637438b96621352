/**
 * A throwaway PostgreSQL primary with standbys that follow it. Nobody decides who is the primary but the test: it
 * kills, pauses and cuts off, promotes, and lets an old primary come back as it was or as a standby.
 */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as FaultProxy from "../../faultProxy.ts"
import * as PostgresServer from "../PostgresServer.ts"
import { type ServerError, within } from "../ServerError.ts"

/** What a cluster looks like. Everything has a default. */
export interface Options {
  /** How many follow the primary. One when nothing is said. */
  readonly standbys?: number | undefined
  /** Whether a COMMIT waits until one of the standbys has it. */
  readonly synchronous?: boolean | undefined
  /** Settings of all servers. */
  readonly settings?: PostgresServer.Options["settings"]
}

/** One server of a cluster. Its own `url` leads past the proxy. */
export interface Node extends PostgresServer.PostgresServer {
  /** Its name in `pg_stat_replication`. */
  readonly name: string
  /** What clients come through. */
  readonly clients: FaultProxy.FaultProxy
  /** What standbys follow it through. */
  readonly followers: FaultProxy.FaultProxy
  /** Cuts it off from its clients and from those who follow it: it goes on, and nobody hears of it. */
  readonly cutOff: Effect.Effect<void, ServerError>
  /** Undoes `cutOff`. What was connected is reset, as it has lost bytes. */
  readonly reconnect: Effect.Effect<void, ServerError>
  /** Waits until it has what the other one has written so far. */
  readonly catchUp: (primary: Node) => Effect.Effect<void, ServerError>
  /** Throws its data away and follows another one, through that one's `followers`. */
  readonly rejoin: (primary: Node) => Effect.Effect<void, ServerError>
}

/** A throwaway cluster. */
export interface PostgresCluster {
  /** The first one was made as the primary. */
  readonly nodes: ReadonlyArray<Node>
  /** The URL of all nodes, as libpq writes it, through what clients come through. */
  readonly url: string
}

/** Starts a cluster; it ends with the scope, and with this process. */
export const make = Effect.fnUntraced(
  function*(options: Options = {}): Effect.fn.Return<PostgresCluster, ServerError, Scope.Scope> {
    const { standbys = 1, synchronous = false } = options
    const names = Array.from({ length: 1 + standbys }, (_, index) => `node${index}`)
    const server = yield* PostgresServer.make({
      settings: {
        // A connection between servers that was cut is noticed while a test waits for it.
        wal_receiver_timeout: "10s",
        wal_sender_timeout: "10s",
        wal_retrieve_retry_interval: "100ms",
        // Of these, a server never has itself as a standby.
        ...(synchronous ? { synchronous_standby_names: `ANY 1 (${names.join()})` } : {}),
        ...options.settings
      }
    })
    const primary = yield* nodeOf(server, names[0]!)
    const others = yield* Effect.forEach(
      names.slice(1),
      (name) => Effect.flatMap(server.standby({ from: sourceOf(primary, name) }), (standby) => nodeOf(standby, name)),
      { concurrency: "unbounded" }
    )
    const nodes = [primary, ...others]
    yield* Effect.forEach(others, (standby) => standby.catchUp(primary))
    const hosts = nodes.map(({ clients }) => `${clients.host}:${clients.port}`).join()
    return { nodes, url: server.url.replace(/@[^/]*/, `@${hosts}`) }
  }
)

/** How a standby of this name follows a node. */
const sourceOf = ({ followers: { host, port } }: Node, name: string): PostgresServer.Source => ({ host, port, name })

const nodeOf = Effect.fnUntraced(function*(
  server: PostgresServer.PostgresServer,
  name: string
): Effect.fn.Return<Node, ServerError, Scope.Scope> {
  const clients = yield* FaultProxy.make(server.url)
  const followers = yield* FaultProxy.make(server)
  const catchUp = (primary: Node) =>
    primary.query("select pg_current_wal_lsn()::text as position").pipe(
      Effect.flatMap(([row]) =>
        Effect.repeat(
          server.query("select pg_last_wal_replay_lsn() >= $1::pg_lsn as has", [row!["position"]]),
          { until: ([row]) => row!["has"] === true, schedule: Schedule.spaced("10 millis") }
        )
      ),
      Effect.asVoid,
      within("30 seconds", () => `${name} has not caught up with ${primary.name} after 30 s`)
    )
  return {
    ...server,
    name,
    clients,
    followers,
    cutOff: Effect.andThen(clients.blackhole, followers.blackhole),
    reconnect: Effect.forEach([clients, followers], (proxy) => Effect.andThen(proxy.cutAll, proxy.heal), {
      discard: true
    }),
    catchUp,
    rejoin: (primary) => Effect.andThen(server.follow(sourceOf(primary, name)), Effect.suspend(() => catchUp(primary)))
  }
})
