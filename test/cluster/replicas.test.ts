/** Replicas that stand still, lag and come back, while others read. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { ReplicaOptions } from "../../src/cluster/ClusterAdapter.ts"
import { Reads } from "../../src/index.ts"
import { Postgres } from "../../src/postgres/index.ts"
import { describeWith } from "../support/needs.ts"
import { PostgresServer } from "../support/servers/index.ts"
import { ready } from "./clients.ts"

const layerOf = (servers: ReadonlyArray<PostgresServer.PostgresServer>, replicas: ReplicaOptions) =>
  Postgres.layer({
    nodes: servers.map(({ host, port }) => ({ host, port })),
    username: "postgres",
    database: "postgres",
    replicas: { probe: "200 millis", ...replicas }
  })

/** The port of the server that a statement runs on. */
const where = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ port: number }>`select current_setting('port')::int as port`
  return row!.port
})

describeWith("standby")("a replica", () => {
  it.live(
    "that stands still fails no read and holds none up, and serves again when it goes on",
    () =>
      Effect.gen(function*() {
        const primary = yield* PostgresServer.make()
        const first = yield* primary.standby()
        const second = yield* primary.standby()
        yield* Effect.gen(function*() {
          yield* ready(3)
          const seen = (count: number) =>
            Effect.map(
              Effect.all(Array.from({ length: count }, () => where.pipe(Reads.replica)), { concurrency: 8 }),
              (ports) => [...new Set(ports)].toSorted((a, b) => a - b)
            )
          const both = [first.port, second.port].toSorted((a, b) => a - b)
          yield* Effect.repeat(seen(100), {
            until: (ports) => ports.length === 2,
            schedule: Schedule.spaced("20 millis")
          })
          // Those that are there when it stops, and those that come later: all are done before it goes on.
          const under = yield* Effect.forkChild(seen(3_000), { startImmediately: true })
          yield* first.pause
          assert.includeMembers([...both], yield* Fiber.join(under))
          assert.deepStrictEqual(yield* seen(200), [second.port])
          yield* first.resume
          yield* Effect.repeat(seen(100), {
            until: (ports) => ports.length === 2,
            schedule: Schedule.spaced("20 millis")
          })
        }).pipe(Effect.provide(layerOf([primary, first, second], { warmUp: "1 second" })), Effect.timeout("60 seconds"))
      }).pipe(Effect.scoped),
    90_000
  )

  it.live("that lags is left for the primary, and comes back when it has caught up", () =>
    Effect.gen(function*() {
      const primary = yield* PostgresServer.make()
      const standby = yield* primary.standby()
      yield* primary.query("create table item (id serial)")
      yield* Effect.gen(function*() {
        const cluster = yield* ready(2)
        const sql = yield* SqlClient.SqlClient
        yield* Effect.forkChild(
          Effect.repeat(sql`insert into item default values`, Schedule.spaced("20 millis")),
          { startImmediately: true }
        )
        assert.strictEqual(yield* where.pipe(Reads.prefer), standby.port)
        const told = yield* Effect.forkChild(
          cluster.events.pipe(
            Stream.filter(({ _tag }) => _tag === "NodeEjected" || _tag === "NodeReturned"),
            Stream.take(2),
            Stream.runCollect
          ),
          { startImmediately: true }
        )
        const lag = (time: string) =>
          Effect.andThen(
            standby.query(`alter system set recovery_min_apply_delay = '${time}'`),
            standby.query("select pg_reload_conf()")
          )
        const served = (port: number) =>
          Effect.repeat(where.pipe(Reads.prefer), {
            until: (found) => found === port,
            schedule: Schedule.spaced("20 millis")
          })
        yield* lag("4s")
        yield* served(primary.port)
        // It stays away: what was 2 seconds behind once is not taken back at 1.9.
        for (let i = 0; i < 20; i++) assert.strictEqual(yield* where.pipe(Reads.prefer), primary.port)
        yield* lag("0")
        yield* served(standby.port)
        assert.deepStrictEqual(
          (yield* Fiber.join(told)).map((event) => [event._tag, "reason" in event ? event.reason : undefined]),
          [["NodeEjected", "Behind"], ["NodeReturned", undefined]]
        )
      }).pipe(
        Effect.provide(layerOf([primary, standby], { maxStaleness: "2 seconds", warmUp: "1 second" })),
        Effect.timeout("60 seconds")
      )
    }).pipe(Effect.scoped), 90_000)
})
