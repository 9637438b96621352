/**
 * What must be renewed while a program runs: the authority that signs certificates, and passwords. The sessions of the
 * pool live for a moment only, so each step is met by many that connect. Nobody who asks for something fails.
 */
import { assert, describe, it } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql"
import * as fs from "node:fs"
import * as path from "node:path"
import { Pool } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { Postgres } from "watertight/postgres"
import { describeWith, MariadbServer, MysqlServer, PostgresServer, type ServerError } from "../support/index.ts"
import * as Certificates from "../support/servers/certificates.ts"
import { identityOf } from "../support/servers/ServerProcess.ts"

interface Server {
  readonly host: string
  readonly port: number
  readonly certificates: Certificates.Certificates | undefined
  readonly query: (statement: string) => Effect.Effect<unknown, ServerError>
}

interface Options {
  readonly host: string
  readonly port: number
  readonly username: string
  readonly password: Effect.Effect<Redacted.Redacted>
  readonly sslmode: "verify-full"
  readonly sslrootcert: string
  readonly pool: Pool.Options
}

interface Database {
  readonly need: "postgresql" | "mysql" | "mariadb"
  readonly runsAs: string
  readonly server: Effect.Effect<Server, ServerError, Scope.Scope>
  readonly layer: (options: Options) => Layer.Layer<SqlClient.SqlClient | Pool.Pool, unknown>
  /** Lets the server read its certificate again. */
  readonly reload: string
  readonly makeUser: (password: string) => string
  readonly setPassword: (password: string) => string
}

const user = "app"

const family = (module: typeof Mysql | typeof Mariadb, need: "mysql" | "mariadb"): Database => ({
  need,
  runsAs: "mysql",
  server: (need === "mysql" ? MysqlServer : MariadbServer).make({ tls: true }),
  layer: (options) => module.layer(options),
  reload: need === "mysql" ? "alter instance reload tls" : "flush ssl",
  makeUser: (password) => `create user ${user} identified by '${password}'`,
  setPassword: (password) => `alter user ${user} identified by '${password}'`
})

const databases: Readonly<Record<string, Database>> = {
  PostgreSQL: {
    need: "postgresql",
    runsAs: "postgres",
    server: PostgresServer.make({ tls: true, password: "admin" }),
    layer: (options) => Postgres.layer({ ...options, database: "postgres" }),
    reload: "select pg_reload_conf()",
    makeUser: (password) => `create role ${user} login password '${password}'`,
    setPassword: (password) => `alter role ${user} password '${password}'`
  },
  "mariadb on MariaDB": family(Mariadb, "mariadb"),
  "mysql2 on MySQL": family(Mysql, "mysql")
}

const callers = 6

/** Callers who ask without a pause, and what became of it. */
const load = Effect.fnUntraced(function*(services: Context.Context<SqlClient.SqlClient | Pool.Pool>) {
  const sql = Context.get(services, SqlClient.SqlClient)
  const pool = Context.get(services, Pool.Pool)
  const failures: Array<unknown> = []
  const ask = Effect.catch(Effect.asVoid(sql`select 1 as one`), (error) => Effect.sync(() => failures.push(error)))
  const fibers = yield* Effect.replicateEffect(Effect.forkChild(Effect.forever(ask)), callers)
  const created = Effect.map(pool.stats, (stats) => stats.created)
  /** Many sessions have been opened by now. */
  const goOn = Effect.flatMap(
    created,
    (before) =>
      Effect.repeat(Effect.sleep("5 millis"), { until: () => Effect.map(created, (now) => now >= before + 8) })
  )
  return { failures, goOn, stop: Fiber.interruptAll(fibers) }
})

describe.each(Object.entries(databases))("on %s", (_, database) => {
  describeWith(database.need)("under load", () => {
    it.live(
      "a new authority and a new password → nobody fails, and who does not follow is kept out",
      () =>
        Effect.gen(function*() {
          const server = yield* database.server
          const { ca, serverCertificate, serverKey } = server.certificates!
          const trusted = path.join(path.dirname(ca), "trusted.crt")
          fs.copyFileSync(ca, trusted)
          let password = "first"
          yield* server.query(database.makeUser(password))
          const options: Options = {
            host: "localhost",
            port: server.port,
            username: user,
            password: Effect.sync(() => Redacted.make(password)),
            sslmode: "verify-full",
            sslrootcert: trusted,
            pool: { max: 4, lifetime: "150 millis", acquireTimeout: "20 seconds" }
          }
          const build = (options: Options) =>
            Layer.build(Layer.fresh(Layer.provideMerge(database.layer(options), Logger.layer([]))))
          const { failures, goOn, stop } = yield* load(yield* build(options))
          yield* goOn

          // Clients trust both authorities, then the server shows what the new one signed, then the old one goes.
          const renewed = yield* Certificates.make({
            folder: path.join(path.dirname(ca), "renewed"),
            identity: identityOf(database.runsAs, "nobody"),
            names: ["DNS:localhost", "IP:127.0.0.1"],
            user
          })
          fs.writeFileSync(trusted, fs.readFileSync(ca, "utf8") + fs.readFileSync(renewed.ca, "utf8"))
          yield* goOn
          const former = fs.readFileSync(ca)
          fs.copyFileSync(renewed.ca, ca)
          fs.copyFileSync(renewed.serverCertificate, serverCertificate)
          fs.copyFileSync(renewed.serverKey, serverKey)
          yield* server.query(database.reload)
          yield* goOn
          fs.copyFileSync(renewed.ca, trusted)
          yield* goOn

          // The server has the new password before the program knows of it: who connects meanwhile waits.
          yield* server.query(database.setPassword("second"))
          yield* Effect.sleep("400 millis")
          password = "second"
          yield* goOn
          yield* stop
          assert.deepStrictEqual(failures, [])

          // Whoever goes on with what was before is not let in: the checks above are no accident.
          const stale = path.join(path.dirname(ca), "stale.crt")
          fs.writeFileSync(stale, former)
          for (
            const wrong of [
              { ...options, sslrootcert: stale },
              { ...options, password: Effect.succeed(Redacted.make("first")) }
            ]
          ) {
            const attempt = Effect.flatMap(
              build({ ...wrong, pool: { max: 1, acquireTimeout: "500 millis" } }),
              (services) => Context.get(services, SqlClient.SqlClient)`select 1 as one`
            )
            assert.isTrue((yield* Effect.exit(attempt))._tag === "Failure")
          }
        }).pipe(Effect.scoped),
      120_000
    )
  })
})
