import { assert, it } from "@effect/vitest"
import { Effect, Layer, Logger, Redacted, Schedule } from "effect"
import { CircuitBreaker } from "effect/persistence"
import { SqlClient } from "effect/sql"
import { Breaker, Database, Outcome } from "watertight"
import { Postgres } from "watertight/postgres"
import { FaultProxy, postgresUrl } from "../support/index.ts"

const layerOf = (proxy: FaultProxy.FaultProxy, options: Partial<Postgres.LayerOptions>) =>
  Layer.provideMerge(
    Postgres.layer({ url: Redacted.make(proxy.url), pool: { max: 2, acquireTimeout: "150 millis" }, ...options }),
    Logger.layer([])
  )

const breaker: Breaker.Options = { tripPolicy: CircuitBreaker.consecutive(3), openDuration: "400 millis" }

it.live("while the database is away callers are turned away at once, and served again soon after it is back", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      yield* sql`select 1`
      yield* proxy.refuse
      yield* proxy.cutAll
      for (let i = 0; i < 3; i++) yield* Effect.flip(sql`select 1`)

      const started = performance.now()
      const errors = yield* Effect.replicateEffect(Effect.flip(sql`select 1`), 100)
      assert.isBelow((performance.now() - started) / 100, 20)
      for (const error of errors) {
        assert.strictEqual(Breaker.find(error)?.reason._tag, "CircuitOpen")
        assert.isTrue(Outcome.isNotSent(error))
      }
      const transaction = yield* Effect.flip(sql.withTransaction(sql`select 1`))
      assert.strictEqual(Breaker.find(transaction)?.reason._tag, "CircuitOpen")

      yield* proxy.heal
      const served = yield* Effect.retry(sql`select 1 as one`, { schedule: Schedule.spaced("10 millis") }).pipe(
        Effect.timeout("3 seconds")
      )
      assert.deepStrictEqual(served, [{ one: 1 }])
    }).pipe(Effect.provide(layerOf(proxy, { breaker })))
  }))

it.live("what a server answers to statements that are wrong opens nothing", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { breaker } = yield* Database.Database
      yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.flip(sql`select no_such_column`))
      yield* Effect.forEach(Array.from({ length: 50 }), () => Effect.flip(sql`select 1 / 0`))
      assert.strictEqual((yield* breaker!.state)._tag, "Closed")
    }).pipe(Effect.provide(layerOf(proxy, { breaker })))
  }))

it.live("a database can be isolated by hand, and comes back when it is reset", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const sql = yield* SqlClient.SqlClient
      const { breaker } = yield* Database.Database
      yield* breaker!.isolate
      assert.strictEqual(Breaker.find(yield* Effect.flip(sql`select 1`))?.reason._tag, "Isolated")
      yield* breaker!.reset
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
    }).pipe(Effect.provide(layerOf(proxy, {})))
  }))

it.live("a database without a breaker has none", () =>
  Effect.gen(function*() {
    const proxy = yield* FaultProxy.make(postgresUrl())
    yield* Effect.gen(function*() {
      const { breaker } = yield* Database.Database
      assert.isUndefined(breaker)
      const sql = yield* SqlClient.SqlClient
      assert.deepStrictEqual(yield* sql`select 1 as one`, [{ one: 1 }])
    }).pipe(Effect.provide(layerOf(proxy, { breaker: false })))
  }))
