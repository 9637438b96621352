/**
 * Callers wait in vain for connections that are all in use. Whether these are at work or hang is found out by a
 * connection beside the pool, and by nothing else.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { CircuitBreaker } from "effect/persistence"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import { Database, Pool, PoolError } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { describeWith, FaultProxy, freshDatabase, type SharedServer } from "../support/index.ts"

const failures = 3
const max = 2

const options = {
  connectTimeout: "1 second",
  breaker: { tripPolicy: CircuitBreaker.consecutive(failures), openDuration: "100 millis" },
  pool: { max, acquireTimeout: "150 millis", shutdownTimeout: "100 millis" }
} as const

const databases: {
  readonly [name: string]: {
    readonly server: SharedServer
    readonly layer: (
      url: string
    ) => Layer.Layer<SqlClient.SqlClient | Pool.Pool | Database.Database, unknown>
    readonly sleep: string
  }
} = {
  PostgreSQL: {
    server: "postgresql",
    layer: (url) => Postgres.layer({ url: Redacted.make(url), ...options }),
    sleep: "select pg_sleep(30)"
  },
  mariadb: {
    server: "mariadb",
    layer: (url) => Mariadb.layer({ url: Redacted.make(url), ...options }),
    sleep: "select sleep(30)"
  },
  mysql2: {
    server: "mariadb",
    layer: (url) => Mysql.layer({ url: Redacted.make(url), ...options }),
    sleep: "select sleep(30)"
  }
}

/** Everybody who has a connection is at work, and nobody else gets one. */
const occupied = (sleep: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const pool = yield* Pool.Pool
    const holder = Effect.ignore(sql.withTransaction(sql.unsafe(sleep)))
    const fibers = yield* Effect.replicateEffect(Effect.forkChild(holder), max)
    yield* Effect.repeat(Effect.andThen(Effect.yieldNow, pool.stats), { until: ({ used }) => used === max })
    return Fiber.interruptAll(fibers)
  })

const callInVain = Effect.flatMap(SqlClient.SqlClient, (sql) => Effect.flip(Effect.scoped(sql.reserve)))
const state = Effect.flatMap(Database.Database, ({ breaker }) => Effect.map(breaker!.state, ({ _tag }) => _tag))

for (const [name, { layer, server, sleep }] of Object.entries(databases)) {
  describeWith(`url-${server}`)(`all connections of ${name} are in use`, () => {
    const quiet = (url: string) => Layer.provideMerge(layer(url), Logger.layer([]))

    it.live("and hang: the circuit opens, health says so, and both recover", () =>
      Effect.gen(function*() {
        const proxy = yield* FaultProxy.make(yield* freshDatabase(server))
        yield* Effect.gen(function*() {
          const pool = yield* Pool.Pool
          const end = yield* occupied(sleep)
          yield* proxy.blackhole
          yield* Effect.repeat(Effect.andThen(callInVain, state), { until: (tag) => tag !== "Closed" })
          // Between two probes, as long as the circuit is open.
          yield* Effect.repeat(Effect.andThen(callInVain, pool.health), { until: ({ _tag }) => _tag === "Critical" })
          // The probe finds the same: the connections still hang, and no other one can be opened.
          yield* Effect.sleep("100 millis")
          yield* callInVain
          assert.notStrictEqual(yield* state, "Closed")
          yield* proxy.heal
          yield* Effect.forkChild(end)
          yield* Effect.repeat(
            Effect.andThen(
              Effect.exit(Effect.scoped(Effect.flatMap(SqlClient.SqlClient, (sql) => sql.reserve))),
              state
            ),
            {
              until: (tag) => tag === "Closed"
            }
          )
        }).pipe(Effect.provide(quiet(proxy.url)), Effect.timeout("15 seconds"))
      }), 30_000)

    it.live(
      "and are at work: nothing counts, and one connection a second is opened beside the pool",
      () =>
        Effect.gen(function*() {
          const proxy = yield* FaultProxy.make(yield* freshDatabase(server))
          yield* Effect.gen(function*() {
            const end = yield* occupied(sleep)
            const before = proxy.attempts()
            const startedAt = performance.now()
            for (let call = 0; call < 3 * failures; call++) {
              const error = yield* callInVain
              assert.strictEqual(PoolError.fromSqlError(error)?.reason._tag, "AcquireTimeout")
            }
            const seconds = (performance.now() - startedAt) / 1_000
            assert.strictEqual(yield* state, "Closed")
            const opened = proxy.attempts() - before
            assert.isAtLeast(opened, 1)
            assert.isAtMost(opened, 1 + Math.ceil(seconds))
            yield* Effect.forkChild(end)
          }).pipe(Effect.provide(quiet(proxy.url)))
        }),
      30_000
    )
  })
}

describe("while others get connections", () => {
  it.live("nobody doubts", () =>
    Effect.gen(function*() {
      const proxy = yield* FaultProxy.make(yield* freshDatabase())
      yield* Effect.gen(function*() {
        const sql = yield* SqlClient.SqlClient
        const turns = Effect.forever(sql.withTransaction(sql`select pg_sleep(0.02)`))
        const busy = yield* Effect.replicateEffect(Effect.forkChild(Effect.ignore(turns)), 200)
        const pool = yield* Pool.Pool
        // More wait than are served in time.
        yield* Effect.repeat(Effect.andThen(Effect.sleep("20 millis"), pool.stats), {
          until: ({ failed }) => failed.AcquireTimeout >= 20
        })
        assert.strictEqual(proxy.attempts(), max)
        assert.strictEqual(yield* state, "Closed")
        yield* Fiber.interruptAll(busy)
      }).pipe(Effect.provide(Layer.provideMerge(
        // Long enough that somebody is served within it, whatever else this machine does.
        Postgres.layer({
          url: Redacted.make(proxy.url),
          ...options,
          pool: { ...options.pool, acquireTimeout: "1 second" }
        }),
        Logger.layer([])
      )))
    }), 30_000)
})
