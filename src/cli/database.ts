/** Opens the database that a URL names. Only its own driver is loaded, and said how to be had if it is missing. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import * as Predicate from "effect/Predicate"
import * as Redacted from "effect/Redacted"
import type { SqlError } from "effect/sql/SqlError"
import type { Introspection } from "../introspection/Introspection.ts"
import type { Services } from "../migrations/Migrations.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import { Usage } from "./problems.ts"

/** A database that commands work on. */
export type DatabaseLayer = Layer.Layer<Services | Introspection, SqlError | InvalidOptions>

/** The same when it is open. */
export type Database = Context.Context<Services | Introspection>

/** What is asked of every database: few connections, and an answer within a moment if it cannot be reached. */
const options = (url: Redacted.Redacted) => ({
  url,
  connectTimeout: "10 seconds",
  breaker: false,
  pool: { min: 0, max: 4, acquireTimeout: "10 seconds" }
} as const)

/** What has to be installed for each scheme. */
const drivers: { readonly [scheme: string]: string } = {
  postgres: "@effect/sql-pg",
  postgresql: "@effect/sql-pg",
  pglite: "@electric-sql/pglite @effect/sql-pg",
  mysql: "mysql2",
  mariadb: "mariadb"
}

/** The driver that a URL needs. */
export const driverOf = (url: Redacted.Redacted): string =>
  (drivers[schemeOf(Redacted.value(url))] ?? "").split(" ", 1)[0]!

const schemeOf = (url: string): string => /^([a-z]+):/.exec(url)?.[1] ?? ""

/** The layer of a URL. */
export const databaseOf = (url: Redacted.Redacted): Effect.Effect<DatabaseLayer, Usage> => {
  const text = Redacted.value(url)
  const scheme = schemeOf(text)
  return Effect.tryPromise({
    try: () => load(scheme, text, url),
    catch: (cause) => problemOf(scheme, cause)
  })
}

const load = (scheme: string, text: string, url: Redacted.Redacted): Promise<DatabaseLayer> => {
  switch (scheme) {
    case "postgres":
    case "postgresql":
      return import("../postgres/index.ts").then(({ Postgres }) => Postgres.layer(options(url)))
    case "pglite": {
      const dataDir = text.slice("pglite:".length).replace(/^\/\//, "")
      return import("../pglite/index.ts").then(({ Pglite }) => Pglite.layer(dataDir === "" ? {} : { dataDir }))
    }
    case "mysql":
      return import("../mysql/index.ts").then(({ Mysql }) => Mysql.layer(options(url)))
    case "mariadb":
      return import("../mariadb/index.ts").then(({ Mariadb }) => Mariadb.layer(options(url)))
    default:
      return Promise.reject(
        new Usage({ problem: "the URL begins with none of postgres:, mysql:, mariadb: and pglite:" })
      )
  }
}

const problemOf = (scheme: string, cause: unknown): Usage => {
  if (cause instanceof Usage) return cause
  const isMissing = Predicate.hasProperty(cause, "code") && cause.code === "ERR_MODULE_NOT_FOUND"
  return new Usage({
    problem: isMissing
      ? `the driver for ${scheme}: is not installed: npm install ${drivers[scheme]}`
      : `the driver for ${scheme}: cannot be loaded: ${String(cause)}`
  })
}
