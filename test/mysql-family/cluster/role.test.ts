/** A server that accepts no writes any more, as after a failover: the pool leaves it, and nobody else pays for it. */
import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Adapter, Database, Pool, Retry } from "watertight"
import type { MariadbServer } from "../../support/index.ts"
import { describeEach, eventually, serverError, sqlFailure, type Subject } from "../support.ts"

class Server extends Context.Service<Server, MariadbServer.MariadbServer>()("Server") {
  static readonly layer = (subject: Subject) =>
    Layer.effect(
      Server,
      Effect.gen(function*() {
        const server = yield* subject.server.make()
        // Whoever may do everything may write to a read-only server too.
        yield* server.query("create user app identified by 'app'")
        yield* server.query("grant all on test.* to app")
        yield* server.query("create table test.t (a int)")
        yield* server.logIn("app", "app")
        return server
      })
    )
}

const urlOf = (server: MariadbServer.MariadbServer) =>
  Redacted.make(`mysql://app:app@${server.host}:${server.port}/test`)

const readOnly = (server: MariadbServer.MariadbServer) =>
  Effect.acquireRelease(
    server.query("set global read_only = 1"),
    () => Effect.orDie(server.query("set global read_only = 0"))
  )

const insert = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`insert into t values (1)`)

/** As many connections as there are borrowers at a time. */
const open = (count: number) =>
  Effect.flatMap(Pool.Pool, (pool) =>
    Effect.andThen(
      Effect.all(
        Array.from(
          { length: count },
          () => pool.use((connection) => connection.execute("select sleep(0.1)", [], undefined))
        ),
        { concurrency: "unbounded" }
      ),
      Effect.map(pool.stats, (stats) => assert.strictEqual(stats.idle, count))
    ))

/** How many connections the pool has left after one write was refused. */
const retired = (subject: Subject, changed: (adapter: Adapter.Adapter) => Adapter.Adapter) =>
  Effect.gen(function*() {
    const server = yield* Server
    const adapter = yield* subject.module.makeAdapter({ url: urlOf(server) })
    return yield* Effect.gen(function*() {
      const pool = yield* Pool.Pool
      yield* open(3)
      yield* Effect.scoped(Effect.gen(function*() {
        yield* readOnly(server)
        assert.strictEqual(serverError(yield* sqlFailure(insert)).errno, 1290)
        // Whatever is to be pinged has been by then.
        yield* Effect.ignore(
          Effect.timeout(eventually(Effect.map(pool.stats, (stats) => stats.closed.Retired === 3)), "500 millis")
        )
      }))
      const { closed } = yield* pool.stats
      yield* insert
      return closed.Retired
    }).pipe(
      Effect.provide(
        Database.layerOf(Layer.succeed(Adapter.Adapter, changed(adapter)), {
          pool: { max: 3, validateAfter: "1 minute" },
          retry: Retry.never
        })
      )
    )
  })

/** A driver that says nothing of roles. */
const naive = (adapter: Adapter.Adapter): Adapter.Adapter => ({
  ...adapter,
  connect: Effect.map(adapter.connect, (connection) =>
    new Proxy(connection, {
      get: (target, name) => {
        if (name === "onRetire") return () => {}
        const value = Reflect.get(target, name, target)
        return typeof value === "function" ? value.bind(target) : value
      }
    }))
})

describeEach("A server that accepts no writes any more, over $name,", (subject) => {
  layer(Server.layer(subject), { excludeTestServices: true, timeout: 60_000 })((it) => {
    it.effect(
      "costs the pool its connections to it, without one more failed write for each",
      () =>
        Effect.gen(function*() {
          assert.strictEqual(yield* retired(subject, (adapter) => adapter), 3)
          assert.strictEqual(yield* retired(subject, naive), 0, "the check would not have noticed")
        }),
      30_000
    )

    it.effect("is not suspected because of what was asked not to write", () =>
      Effect.gen(function*() {
        const server = yield* Server
        yield* Effect.gen(function*() {
          const pool = yield* Pool.Pool
          const refused = (...statements: ReadonlyArray<string>) =>
            pool.use((connection) =>
              Effect.forEach(statements, (statement) => connection.executeUnprepared(statement, [], undefined)).pipe(
                Effect.andThen(sqlFailure(connection.execute("insert into t values (1)", [], undefined))),
                Effect.map((error) => assert.strictEqual(serverError(error).errno, 1792))
              )
            )
          yield* pool.use((connection) =>
            connection.begin({ access: "read only" }).pipe(
              Effect.andThen(sqlFailure(connection.execute("insert into t values (1)", [], undefined))),
              Effect.andThen(connection.rollback)
            )
          )
          yield* refused("start transaction read only")
          yield* refused("set transaction read only", "begin")
          yield* refused("set session transaction read only")
          yield* insert
          const stats = yield* pool.stats
          assert.deepStrictEqual([stats.closed.Retired, stats.created], [0, 1])
        }).pipe(Effect.provide(subject.module.layer({ url: urlOf(server), pool: { max: 1 } })))
      }), 30_000)

    it.effect("is not left by whoever came to it when it was so already", () =>
      Effect.gen(function*() {
        const server = yield* Server
        yield* readOnly(server)
        yield* Effect.gen(function*() {
          const pool = yield* Pool.Pool
          for (let i = 0; i < 3; i++) assert.strictEqual(serverError(yield* sqlFailure(insert)).errno, 1290)
          assert.strictEqual((yield* pool.stats).created, 1)
        }).pipe(Effect.provide(subject.module.layer({ url: urlOf(server), retry: Retry.never, pool: { max: 1 } })))
      }), 30_000)
  })
})
