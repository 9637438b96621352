/** Several real PostgreSQL servers as one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Redacted, Schedule, Stream } from "effect"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import * as Cluster from "../../src/cluster/Cluster.ts"
import * as ClusterError from "../../src/cluster/ClusterError.ts"
import { Outcome, Pool, Reads, Transaction } from "../../src/index.ts"
import { Postgres } from "../../src/postgres/index.ts"
import { describeWith } from "../support/needs.ts"
import { PostgresServer } from "../support/servers/index.ts"

type Server = PostgresServer.PostgresServer

const pair = Effect.gen(function*() {
  const primary = yield* PostgresServer.make()
  const standby = yield* primary.standby()
  yield* primary.query("create table item (id int primary key, note text)")
  return { primary, standby }
})

const replicas = { probe: "200 millis", maxStaleness: "5 seconds" } as const

const layerOf = (servers: ReadonlyArray<Server>, options: Partial<Postgres.LayerOptions> = {}) =>
  Postgres.layer({
    nodes: servers.map(({ host, port }) => ({ host, port })),
    username: "postgres",
    database: "postgres",
    replicas,
    ...options
  })

/** The port of the server that a statement runs on. */
const where = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ port: number }>`select current_setting('port')::int as port`
  return row!.port
})

const cluster = Effect.map(Effect.serviceOption(Cluster.Cluster), (found) => {
  if (found._tag === "None") throw new Error("no cluster")
  return found.value
})

/** Waits until the topology is as wanted. */
const until = (is: (topology: Cluster.Topology) => boolean) =>
  Effect.gen(function*() {
    const { topology } = yield* cluster
    return yield* Effect.repeat(topology, { until: is, schedule: Schedule.spaced("20 millis") })
  }).pipe(Effect.timeout("20 seconds"))

const statusOf = (topology: Cluster.Topology, server: Server) =>
  topology.nodes.find(({ name }) => name.endsWith(`:${server.port}`))!.status

const serving = (...servers: ReadonlyArray<Server>) =>
  until((topology) =>
    servers.every((server) => {
      const node = topology.nodes.find(({ name }) => name.endsWith(`:${server.port}`))!
      return node.status === "Replica" && node.staleMillis < Infinity
    })
  )

const reasonOf = (error: unknown) => ClusterError.find(error)?.reason._tag

describeWith("standby")("a primary and a standby", () => {
  it.live("reads go to the standby where they say so, everything else to the primary", () =>
    Effect.gen(function*() {
      const { primary, standby } = yield* pair
      yield* Effect.gen(function*() {
        yield* serving(standby)
        const sql = yield* SqlClient.SqlClient
        assert.strictEqual(yield* where, primary.port)
        assert.strictEqual(yield* where.pipe(Reads.replica), standby.port)
        assert.strictEqual(yield* where.pipe(Reads.prefer), standby.port)
        assert.strictEqual(yield* where.pipe(Reads.within("2 seconds")), standby.port)
        assert.strictEqual(yield* where.pipe(Reads.primary, Reads.replica), primary.port)
        // Transactions, also those of `SqlClient`, and streams.
        assert.strictEqual(yield* where.pipe(Transaction.run({ access: "read only" })), primary.port)
        assert.strictEqual(
          yield* where.pipe(Transaction.run({ access: "read only", reads: Reads.replica })),
          standby.port
        )
        assert.strictEqual(yield* where.pipe(sql.withTransaction, Reads.replica), standby.port)
        const rows = yield* sql<{ port: number }>`select current_setting('port')::int as port`.stream.pipe(
          Stream.runCollect,
          Reads.replica
        )
        assert.deepStrictEqual(rows.map(({ port }) => port), [standby.port])
        // Everything of a transaction stays where it is.
        const ports = yield* Effect.all([where, Reads.replica(where)]).pipe(Transaction.run())
        assert.deepStrictEqual(ports, [primary.port, primary.port])
        // No standby has serializable transactions.
        assert.strictEqual(
          yield* where.pipe(Transaction.run({ access: "read only", isolation: "serializable", reads: Reads.replica })),
          primary.port
        )
      }).pipe(Effect.provide(layerOf([primary, standby])))
    }).pipe(Effect.scoped), 60_000)

  it.live("a write inside Reads fails, wherever it is sent", () =>
    Effect.gen(function*() {
      const { primary, standby } = yield* pair
      const write = Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        yield* sql`insert into item values (1, 'x') on conflict do nothing`
      })
      const writes: Record<string, Effect.Effect<void, SqlError, SqlClient.SqlClient | Transaction.Manager>> = {
        statement: write,
        transaction: write.pipe(Transaction.run()),
        "read only transaction": write.pipe(Transaction.run({ access: "read only" })),
        stream: Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* Stream.runDrain(sql`insert into item values (1, 'x') returning id`.stream)
        })
      }
      const check = (policy: Reads.Policy, place: string) =>
        Effect.forEach(Object.entries(writes), ([name, write]) =>
          Effect.gen(function*() {
            const error = yield* Effect.flip(policy(write))
            assert.strictEqual(reasonOf(error), "WriteInReads", `${name} on ${place}: ${error.message}`)
            assert.isTrue(Outcome.isNotApplied(error), name)
          }), { discard: true })
      yield* Effect.andThen(serving(standby), check(Reads.replica, "the standby")).pipe(
        Effect.provide(layerOf([primary, standby]))
      )
      yield* check(Reads.prefer, "the primary").pipe(Effect.provide(layerOf([primary])))
      yield* check(Reads.prefer, "the only server").pipe(
        Effect.provide(Postgres.layer({ url: Redacted.make(primary.url) }))
      )
      const refused = yield* write.pipe(Transaction.run({ access: "read write" }), Reads.prefer, Effect.flip).pipe(
        Effect.provide(layerOf([primary]))
      )
      assert.isTrue(Outcome.isNotSent(refused))
      assert.deepStrictEqual(yield* primary.query("select * from item"), [])
    }).pipe(Effect.scoped), 60_000)

  it.live(
    "without a replica that is fit, the primary serves or the read fails, as was asked",
    () =>
      Effect.gen(function*() {
        const { primary, standby } = yield* pair
        yield* Effect.gen(function*() {
          yield* serving(standby)
          yield* standby.query("select pg_wal_replay_pause()")
          yield* primary.query("insert into item values (7, 'new')")
          const { topology } = yield* cluster
          // The standby hangs on. Nothing is wrong with it but that it does not go on.
          yield* Effect.repeat(topology, {
            until: ({ nodes }) => nodes.some(({ staleMillis }) => staleMillis > 600 && staleMillis < Infinity),
            schedule: Schedule.spaced("20 millis")
          })
          assert.strictEqual(yield* where.pipe(Reads.within("500 millis")), primary.port)
          const error = yield* where.pipe(Reads.within("500 millis", { otherwise: "fail" }), Effect.flip)
          assert.strictEqual(reasonOf(error), "NoReplica")
          assert.include(error.message, `127.0.0.1:${standby.port} is a replica at most`)
          assert.strictEqual(yield* where.pipe(Reads.replica), standby.port)
          yield* standby.query("select pg_wal_replay_resume()")
          const back = where.pipe(Reads.within("500 millis"))
          yield* Effect.repeat(back, { until: (port) => port === standby.port, schedule: Schedule.spaced("20 millis") })
        }).pipe(Effect.provide(layerOf([primary, standby])), Effect.timeout("30 seconds"))
      }).pipe(Effect.scoped),
    60_000
  )

  it.live(
    "writers wait for the new primary, and the old one is fenced when it comes back",
    () =>
      Effect.gen(function*() {
        const { primary, standby } = yield* pair
        yield* Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          yield* serving(standby)
          yield* sql`insert into item values (1, 'before')`
          yield* primary.kill
          const waiting = yield* Effect.forkChild(
            Effect.forEach(
              Array.from({ length: 20 }, (_, i) => i),
              (i) => sql`insert into item values (${100 + i}, 'after')`,
              { concurrency: "unbounded" }
            )
          )
          // Reads go on.
          assert.strictEqual(yield* where.pipe(Reads.replica), standby.port)
          yield* until((topology) => topology.primary === undefined)
          yield* standby.promote
          yield* Fiber.join(waiting)
          assert.strictEqual(yield* where, standby.port)
          yield* primary.start
          yield* until((topology) => statusOf(topology, primary) === "Fenced")
          for (let i = 0; i < 20; i++) yield* sql`insert into item values (${200 + i}, 'after')`
          assert.deepStrictEqual(yield* primary.query("select id from item where id >= 100"), [])
          const [count] = yield* standby.query("select count(*)::int as n from item where id >= 100")
          assert.strictEqual(count!["n"], 40)
        }).pipe(Effect.provide(layerOf([primary, standby], { pool: { acquireTimeout: "20 seconds" } })))
      }).pipe(Effect.scoped),
    90_000
  )

  it.live("a planned switch-over loses no call", () =>
    Effect.gen(function*() {
      const { primary, standby } = yield* pair
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const pool = yield* Pool.Pool
        yield* serving(standby)
        let id = 0
        let isOver = false
        const writer = Effect.suspend(() => sql`insert into item values (${++id}, 'x')`).pipe(
          Effect.repeat({ until: () => isOver }),
          Effect.as("done")
        )
        const writers = yield* Effect.forkChild(Effect.all([writer, writer, writer], { concurrency: "unbounded" }))
        yield* Effect.repeat(Effect.sync(() => id), { until: (id) => id > 20, schedule: Schedule.spaced("5 millis") })
        yield* pool.drain()
        yield* primary.stop("fast")
        yield* standby.promote
        yield* pool.resume
        yield* until((topology) => topology.primary?.endsWith(`:${standby.port}`) === true)
        const before = id
        yield* Effect.repeat(Effect.sync(() => id), {
          until: (id) => id > before + 20,
          schedule: Schedule.spaced("5 millis")
        })
        isOver = true
        assert.deepStrictEqual(yield* Fiber.join(writers), ["done", "done", "done"])
        const [count] = yield* standby.query("select count(*)::int as n from item")
        assert.strictEqual(count!["n"], id)
      }).pipe(Effect.provide(layerOf([primary, standby], { pool: { acquireTimeout: "20 seconds" } })))
    }).pipe(Effect.scoped), 90_000)

  it.live("hosts of a URL, as libpq has them", () =>
    Effect.gen(function*() {
      const { primary, standby } = yield* pair
      const at = `postgres://postgres@127.0.0.1:${standby.port},127.0.0.1:${primary.port}/postgres`
      for (
        const [url, port] of [
          [at, primary.port],
          [`${at}?target_session_attrs=primary`, primary.port],
          [`${at}?target_session_attrs=read-write&load_balance_hosts=random`, primary.port],
          [`${at}?target_session_attrs=standby`, standby.port],
          [`${at}?target_session_attrs=prefer-standby`, standby.port],
          [`postgres://postgres@127.0.0.1:${standby.port}/postgres?target_session_attrs=read-only`, standby.port],
          [`postgres://postgres@/postgres?host=127.0.0.1,127.0.0.1&port=${standby.port},${primary.port}`, primary.port]
        ] as const
      ) {
        assert.strictEqual(yield* where.pipe(Effect.provide(Postgres.layer({ url: Redacted.make(url) }))), port, url)
      }
      const wrong = yield* where.pipe(
        Effect.provide(Postgres.layer({
          url: Redacted.make(`postgres://postgres@127.0.0.1:${standby.port}/postgres?target_session_attrs=primary`),
          pool: { acquireTimeout: "300 millis" }
        })),
        Effect.flip
      )
      assert.strictEqual(reasonOf(wrong), "NoPrimary")
      assert.include((wrong as Error).message, "is a replica")
    }).pipe(Effect.scoped), 90_000)
})

describe("the options", () => {
  for (
    const [name, options, problem] of [
      ["an unknown target", { url: "postgres://a,b/db?target_session_attrs=master" }, "target_session_attrs"],
      [
        "an order of standbys",
        { url: "postgres://a,b/db?target_session_attrs=standby&load_balance_hosts=disable" },
        "load_balance_hosts"
      ],
      ["ports that do not fit", { url: "postgres://a:1,b:2,c/db?port=1,2" }, "one port for all hosts"],
      ["nodes and a host", { host: "a", nodes: [{ host: "b" }] }, "together with `host`"],
      ["a zone without nodes", { host: "a", zone: "x" }, "several `nodes`"],
      ["replicas that do not exist", { nodes: [{ host: "b" }], replicas: { lag: 1 } as any }, "lag"],
      ["no node at all", { nodes: [] }, "one node at least"]
    ] as const
  ) {
    it.live(`refuse ${name}`, () =>
      Effect.gen(function*() {
        const url = "url" in options ? { url: Redacted.make(options.url) } : {}
        const error = yield* where.pipe(
          Effect.provide(Postgres.layer({ ...options, ...url } as Postgres.LayerOptions)),
          Effect.flip
        )
        assert.strictEqual((error as { readonly _tag: string })._tag, "InvalidOptions")
        assert.include(error.message, problem)
      }))
  }
})
