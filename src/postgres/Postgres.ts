/**
 * PostgreSQL: the front door.
 *
 * @since 0.1.0
 */
import * as PgClient from "@effect/sql-pg/PgClient"
import type { Result } from "@effect/sql-pg/PgConnection"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { Adapter, type Idempotency, TypeId } from "../Adapter.ts"
import type { InvalidOptions } from "../InvalidOptions.ts"
import { type PostgresOptions, resolve, type Resolved } from "./Config.ts"
import { makeConnect } from "./internal/connect.ts"
import { ruleOf } from "./internal/rules.ts"

export type { PostgresOptions, SslMode } from "./Config.ts"

/**
 * Makes the adapter of a PostgreSQL database. It connects to nothing yet.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeAdapter = (options: PostgresOptions): Effect.Effect<Adapter, InvalidOptions> =>
  Effect.map(resolve(options), fromConfig)

/**
 * Provides the adapter of a PostgreSQL database. It connects to nothing yet.
 *
 * @category layers
 * @since 0.1.0
 */
export const adapter = (options: PostgresOptions): Layer.Layer<Adapter, InvalidOptions> =>
  Layer.effect(Adapter, makeAdapter(options))

const fromConfig = (config: Resolved): Adapter => {
  const { options } = config
  return {
    [TypeId]: TypeId,
    driver: "pg",
    name: config.name,
    compiler: PgClient.makeCompiler(options.transformQueryNames, options.transformJson),
    transformRows: options.transformResultNames === undefined
      ? undefined
      : Statement.defaultTransforms(options.transformResultNames, options.transformJson).array,
    spanAttributes: [
      ...Object.entries(options.spanAttributes ?? {}),
      ["db.system.name", "postgresql"],
      ["db.namespace", config.startup.database ?? config.startup.user],
      ["server.address", config.endpoint.path ?? config.endpoint.host],
      ["server.port", config.endpoint.port]
    ],
    maxConnections: undefined,
    connect: makeConnect(config),
    isPermanent,
    ruleOf,
    idempotency,
    resolveCommit: undefined
  }
}

const idempotency: Idempotency = {
  createTable: (table) =>
    `create table if not exists ${table} (key text primary key, created_at timestamptz not null default now())`,
  insert: (table) => `insert into ${table} (key) values ($1) on conflict (key) do nothing`,
  inserted: (result) => (result as Result).rowCount === 1,
  prune: (table) => `delete from ${table} where created_at < now() - make_interval(secs => $1)`
}

const isPermanent = (error: SqlError): boolean => {
  switch (error.reason._tag) {
    case "AuthenticationError":
    case "AuthorizationError":
      return true
    default:
      return !error.reason.isRetryable
  }
}
