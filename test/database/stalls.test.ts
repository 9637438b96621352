/**
 * A process that stands still, for twice as long as each limit, and a wall clock that is set an hour ahead or back:
 * nothing fails that was answered in time, and nothing of it counts in the circuit breaker.
 */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import { CircuitBreaker } from "effect/persistence"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import { isSqlError } from "effect/sql/SqlError"
import { spawn } from "node:child_process"
import { Database, Pool, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { describeWith, FaultProxy, freshDatabase, type SharedServer } from "../support/index.ts"

type Services = SqlClient.SqlClient | Transaction.Manager | Pool.Pool | Database.Database

/** Every limit, in milliseconds. */
const limit = 800
/** What the client gives the server's own limit in addition. */
const grace = 1_000

/** What takes longer than this counts as a failure, and the first one opens the circuit. */
const slowCall = limit + 300

const options = {
  breaker: { slowCall, tripPolicy: CircuitBreaker.consecutive(1) },
  statementTimeout: limit,
  resolveTimeout: limit,
  controlTimeout: limit,
  connectTimeout: limit,
  pool: { max: 1, acquireTimeout: limit, shutdownTimeout: limit }
} as const

const quiet = <A, E>(layer: Layer.Layer<A, E>) => Layer.provideMerge(layer, Logger.layer([]))

const databases: {
  readonly [name: string]: {
    readonly server: SharedServer
    readonly layer: (url: string) => Layer.Layer<Services, unknown>
    readonly sleep: (seconds: number) => string
  }
} = {
  PostgreSQL: {
    server: "postgresql",
    layer: (url) => quiet(Postgres.layer({ url: Redacted.make(url), ...options })),
    sleep: (seconds) => `select pg_sleep(${seconds})`
  },
  mariadb: {
    server: "mariadb",
    layer: (url) => quiet(Mariadb.layer({ url: Redacted.make(url), ...options })),
    sleep: (seconds) => `select sleep(${seconds})`
  },
  mysql2: {
    server: "mariadb",
    layer: (url) => quiet(Mysql.layer({ url: Redacted.make(url), ...options })),
    sleep: (seconds) => `select sleep(${seconds})`
  }
}

/** The ways to stand still, each made ready for it. */
const stalls: { readonly [name: string]: (millis: number) => Effect.Effect<Effect.Effect<void>> } = {
  "a busy loop": (millis) =>
    Effect.succeed(Effect.sync(() => {
      const until = performance.now() + millis
      while (performance.now() < until);
    })),
  SIGSTOP: (millis) =>
    Effect.callback((resume) => {
      const { pid } = process
      // It is there when it is needed: starting it may take longer than a limit.
      const script = `echo ready; read go; kill -STOP ${pid}; sleep ${millis / 1_000}; kill -CONT ${pid}`
      const shell = spawn("sh", ["-c", script], { stdio: ["pipe", "pipe", "ignore"] })
      const stand = Effect.callback<void>((resume) => {
        shell.on("close", () => resume(Effect.void))
        shell.stdin.end("go\n")
      })
      shell.stdout.once("data", () => resume(Effect.succeed(stand)))
    })
}

const sql = (text: string) => Effect.flatMap(SqlClient.SqlClient, (sql) => sql.unsafe(text).unprepared)

/** What is under way while the process stands still. The server answers within a fraction of the limit. */
const kinds: {
  readonly [name: string]: {
    readonly run: (quick: string) => Effect.Effect<unknown, unknown, Services>
    readonly limit: number
  }
} = {
  "a statement": { run: (quick) => sql(quick), limit: limit + grace },
  "BEGIN, COMMIT and their deadline": {
    run: (quick) => Transaction.run(sql(quick), { deadline: limit }),
    limit
  },
  "waiting for a connection": {
    run: (quick) => Effect.all([Transaction.run(sql(quick)), Transaction.run(sql(quick))], { concurrency: 2 }),
    limit
  },
  "connecting": {
    run: (quick) => Effect.andThen(Effect.flatMap(Pool.Pool, (pool) => pool.clear()), sql(quick)),
    limit
  },
  "a ping": { run: () => Effect.flatMap(Pool.Pool, (pool) => pool.use((connection) => connection.ping)), limit },
  "shutting down": {
    run: (quick) =>
      Effect.gen(function*() {
        const pool = yield* Pool.Pool
        const running = yield* Effect.forkChild(sql(quick), { startImmediately: true })
        const { cut } = yield* pool.shutdown
        assert.deepStrictEqual(cut, [])
        yield* Fiber.join(running)
      }),
    limit
  }
}

for (const [name, database] of Object.entries(databases)) {
  describeWith(`url-${database.server}`)(`over ${name}`, () => {
    for (const [kind, { limit, run }] of Object.entries(kinds)) {
      for (const [stall, prepare] of Object.entries(stalls)) {
        it.live(
          `${kind}, ${stall} of twice the limit: what was answered in time succeeds`,
          () =>
            Effect.gen(function*() {
              const url = yield* freshDatabase(database.server)
              yield* Effect.gen(function*() {
                yield* Effect.retry(sql("select 1"), { times: 10 })
                const stand = yield* prepare(2 * limit)
                const fiber = yield* Effect.forkChild(run(database.sleep(0.05)), { startImmediately: true })
                // It goes on the wire in this tick or the next one.
                yield* Effect.promise(() => new Promise((resolve) => setImmediate(() => setImmediate(resolve))))
                yield* stand
                yield* Fiber.join(fiber)
                const { breaker } = yield* Database.Database
                assert.strictEqual((yield* breaker!.state)._tag, "Closed")
              }).pipe(Effect.provide(database.layer(url)))
            }),
          30_000
        )
      }
    }

    for (const [stall, prepare] of Object.entries(stalls)) {
      it.live(
        `finding out about a lost COMMIT, ${stall} of twice the limit: it is found out`,
        () =>
          Effect.gen(function*() {
            const proxy = yield* FaultProxy.make(yield* freshDatabase(database.server))
            yield* Effect.gen(function*() {
              yield* Effect.retry(sql("create table t (n int)"), { times: 10 })
              const write = Transaction.run(sql("insert into t values (1)"), { idempotencyKey: "once" })
              // The table of keys is there.
              yield* Transaction.run(sql("select 1"), { idempotencyKey: "first" })
              const rule = yield* proxy.when("COMMIT", "after")
              const stand = yield* prepare(2 * limit)
              const fiber = yield* Effect.forkChild(write, { startImmediately: true })
              yield* rule.fired
              yield* stand
              yield* Fiber.join(fiber)
            }).pipe(Effect.provide(database.layer(proxy.url)))
          }),
        30_000
      )
    }

    it.live("the check bites: what the server does not answer in time fails", () =>
      Effect.gen(function*() {
        const url = yield* freshDatabase(database.server)
        const error = yield* Effect.flip(
          Effect.andThen(Effect.retry(sql("select 1"), { times: 10 }), sql(database.sleep(5))).pipe(
            Effect.provide(database.layer(url))
          )
        )
        assert.isTrue(isSqlError(error) && error.reason._tag === "StatementTimeoutError", String(error))
      }), 30_000)

    for (const hours of [-1, 1]) {
      it.live(
        `a wall clock that is set ${hours} h: limits and deadlines are as long as before`,
        () =>
          Effect.gen(function*() {
            const url = yield* freshDatabase(database.server)
            yield* Effect.gen(function*() {
              yield* Effect.retry(sql("select 1"), { times: 10 })
              const now = Date.now
              const stepped = Effect.acquireRelease(
                Effect.sync(() => {
                  Date.now = () => now() + hours * 3_600_000
                }),
                () =>
                  Effect.sync(() => {
                    Date.now = now
                  })
              )
              yield* Effect.scoped(Effect.gen(function*() {
                const early = yield* Effect.forkChild(
                  Transaction.run(sql(database.sleep(0.2)), { deadline: "20 seconds" }),
                  { startImmediately: true }
                )
                yield* stepped
                yield* Fiber.join(early)
                yield* sql(database.sleep(0.05))
                const late = yield* Effect.forkChild(
                  Effect.flip(Transaction.run(Effect.sleep("10 seconds"), { deadline: limit })),
                  { startImmediately: true }
                )
                yield* Effect.timeout(Fiber.join(late), "5 seconds")
                const { breaker } = yield* Database.Database
                assert.strictEqual((yield* breaker!.state)._tag, "Closed")
              }))
            }).pipe(Effect.provide(database.layer(url)))
          }),
        30_000
      )
    }
  })
}
