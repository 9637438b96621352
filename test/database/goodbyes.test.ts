/**
 * A server that ends all sessions and takes new ones at once, and one that restarts in order: no call fails but those
 * of which nobody can know what became, and no call because of them.
 *
 * What is known differs. PostgreSQL says goodbye, and what it ends instead of completing it has undone. A server of
 * MySQL or MariaDB that is told to kill a session closes it without a word, so what was under way is unknown, and is
 * repeated only where that was allowed.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql"
import type { SqlError } from "effect/sql/SqlError"
import { Breaker, Outcome, type Pool, Retry, Transaction } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import * as Evidence from "../../src/failure/Evidence.ts"
import {
  describeWith,
  freshDatabase,
  MariadbServer,
  MysqlServer,
  PostgresServer,
  type SharedServer
} from "../support/index.ts"

type Services = SqlClient.SqlClient | Transaction.Manager

interface Options {
  readonly pool?: Pool.Options
}

interface Database {
  readonly server: SharedServer
  readonly layer: (url: string, options?: Options) => Layer.Layer<Services, unknown>
  readonly others: string
  readonly end: (id: unknown) => string
  /** Whether the server proves what became of everything that it ends. */
  readonly saysGoodbye: boolean
}

const quiet = <A, E>(layer: Layer.Layer<A, E>) => Layer.provideMerge(layer, Logger.layer([]))

const ofMysql = (
  module: typeof Mysql | typeof Mariadb,
  server: SharedServer
): Database => ({
  server,
  layer: (url, options) => quiet(module.layer({ url: Redacted.make(url), ...options })),
  others: "select id from information_schema.processlist where db = database() and id <> connection_id()",
  end: (id) => `kill connection ${id}`,
  saysGoodbye: false
})

const databases: { readonly [name: string]: Database } = {
  PostgreSQL: {
    server: "postgresql",
    layer: (url, options) => quiet(Postgres.layer({ url: Redacted.make(url), ...options })),
    others: "select pid as id from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()",
    end: (id) => `select pg_terminate_backend(${id})`,
    saysGoodbye: true
  },
  "mariadb on MariaDB": ofMysql(Mariadb, "mariadb"),
  "mysql2 on MariaDB": ofMysql(Mysql, "mariadb"),
  "mysql2 on MySQL": ofMysql(Mysql, "mysql")
}

/** What a caller does in turn. */
const select = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select 1`)
const kinds = {
  "a statement": select,
  "a statement that may be repeated": Retry.idempotent(select),
  "a transaction": Transaction.run(select)
}
type Kind = keyof typeof kinds

interface Load {
  /** How many calls each caller has begun. */
  readonly calls: ReadonlyArray<number>
  readonly failures: ReadonlyArray<readonly [kind: Kind, error: SqlError]>
  readonly stop: Effect.Effect<void>
}

/** Callers that ask again after a pause, whatever happens. */
const load = Effect.fnUntraced(function*(services: Context.Context<Services>, callers: number, pause: number) {
  const failures: Array<readonly [Kind, SqlError]> = []
  const calls = Array.from({ length: callers }, () => 0)
  const names = Object.keys(kinds) as ReadonlyArray<Kind>
  const caller = (n: number) =>
    Effect.forever(Effect.suspend(() => {
      const kind = names[(n + calls[n]!++) % names.length]!
      return kinds[kind].pipe(
        Effect.provideContext(services),
        Effect.catch((error) => Effect.sync(() => failures.push([kind, error]))),
        Effect.andThen(Effect.sleep(pause))
      )
    }))
  const fibers = yield* Effect.forEach(calls, (_, n) => Effect.forkChild(caller(n)))
  const made: Load = { calls, failures, stop: Fiber.interruptAll(fibers) }
  return made
})

/** Each caller has asked a few times more, so that no call lives through more than two events. */
const goesOn = ({ calls }: Load) =>
  Effect.suspend(() => {
    const before = [...calls]
    return Effect.repeat(Effect.sleep("5 millis"), { while: () => calls.some((count, n) => count < before[n]! + 3) })
  })

const open = (database: Database, url: string, options?: Options): Effect.Effect<
  Context.Context<Services>,
  unknown,
  Scope.Scope
> => Layer.build(Layer.fresh(database.layer(url, options)))

/** The process has no time for its sockets. */
const busy = (millis: number) =>
  Effect.map(Clock.currentTimeMillis, () => {
    const until = performance.now() + millis
    while (performance.now() < until);
  })

/** What is wrong about failures: all of them, but those that are unknown where nobody can know. */
const wrong = (database: Database, failures: Load["failures"]): ReadonlyArray<string> =>
  failures.filter(([kind, error]) => {
    // Losses are one event only where the time of each is known.
    const { session } = Evidence.of(error)
    if (session !== undefined) assert.isAtLeast(session.endedAt, session.openedAt)
    return Breaker.find(error) !== undefined || !Outcome.isUnknown(error) || database.saysGoodbye ||
      kind === "a statement that may be repeated"
  }).map(([kind, error]) => `${kind}: ${Outcome.of(error)?.outcome}: ${error.message}`)

const rounds = 20

for (const [name, database] of Object.entries(databases)) {
  describeWith(`url-${database.server}`)(`all sessions of ${name} are ended, ${rounds} times`, () => {
    for (const [callers, pause] of [[20, 2], [60, 10]] as const) {
      for (const loop of [false, true]) {
        const title = `${callers} callers, pauses of ${pause} ms${loop ? ", while the process is busy" : ""}`
        it.live(`${title}: only what nobody can know fails`, () =>
          Effect.gen(function*() {
            const url = yield* freshDatabase(database.server)
            const running = yield* load(yield* open(database, url), callers, pause)
            const outsider = yield* open(database, url, { pool: { max: 1 } })
            const connection = yield* Context.get(outsider, SqlClient.SqlClient).reserve
            for (let round = 0; round < rounds; round++) {
              yield* goesOn(running)
              const others = yield* connection.executeUnprepared(database.others, [], undefined)
              for (const { id } of others as ReadonlyArray<{ readonly id: unknown }>) {
                yield* Effect.exit(connection.executeUnprepared(database.end(id), [], undefined))
              }
              if (loop) yield* busy(100)
            }
            yield* goesOn(running)
            yield* running.stop
            assert.deepStrictEqual(wrong(database, running.failures), [])
          }), 90_000)
      }
    }
  })
}

/** A few in the suite, `WATERTIGHT_RESTARTS=20` by hand: each takes seconds. */
const restarts = Number(process.env["WATERTIGHT_RESTARTS"] ?? 2)

describe(`a server that restarts in order, ${restarts} times`, () => {
  const callers = 20

  const survives = (
    database: Database,
    url: string,
    restart: Effect.Effect<void, unknown>
  ) =>
    Effect.gen(function*() {
      // Whoever waits longer than that may fail.
      const running = yield* load(yield* open(database, url, { pool: { acquireTimeout: "1 minute" } }), callers, 5)
      for (let round = 0; round < restarts; round++) {
        yield* goesOn(running)
        yield* restart
      }
      yield* goesOn(running).pipe(Effect.timeout("1 minute"))
      yield* running.stop
      assert.deepStrictEqual(wrong(database, running.failures), [])
    })

  const limit = 60_000 + restarts * 20_000

  describeWith("postgresql")("PostgreSQL", () => {
    it.live("only what nobody can know fails", () =>
      Effect.gen(function*() {
        const server = yield* PostgresServer.make()
        yield* survives(databases["PostgreSQL"]!, server.url, server.restart("fast"))
      }), limit)
  })

  describeWith("mariadb")("MariaDB", () => {
    for (const name of ["mariadb on MariaDB", "mysql2 on MariaDB"]) {
      it.live(`${name}: only what nobody can know fails`, () =>
        Effect.gen(function*() {
          const server = yield* MariadbServer.make()
          yield* survives(databases[name]!, server.url, server.restart)
        }), limit)
    }
  })

  describeWith("mysql")("MySQL", () => {
    it.live("mysql2 on MySQL: only what nobody can know fails", () =>
      Effect.gen(function*() {
        const server = yield* MysqlServer.make()
        yield* survives(databases["mysql2 on MySQL"]!, server.url, server.restart)
      }), limit)
  })
})
