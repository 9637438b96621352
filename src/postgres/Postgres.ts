/**
 * PostgreSQL: the front door.
 *
 * @since 0.1.0
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import { Adapter } from "../Adapter.ts"
import type { NodesOptions } from "../cluster/ClusterAdapter.ts"
import * as Database from "../Database.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import type * as Pool from "../pool/Pool.ts"
import type * as Transaction from "../transaction/Transaction.ts"
import type { SettingsReference } from "../transaction/TransactionSettings.ts"
import * as Internal from "./adapter/adapter.ts"
import { type Features, layer as clientLayer } from "./adapter/client.ts"
import { clusterOf } from "./adapter/cluster.ts"
import { resolve } from "./adapter/Config.ts"
import { makeConnect, makeSettings } from "./adapter/connect.ts"
import type { PostgresOptions } from "./adapter/PostgresOptions.ts"
import { ServerIdentity } from "./session/transaction/CommitEvidence.ts"
import { resolveCommit } from "./session/transaction/resolveCommit.ts"

export type { NodesOptions } from "../cluster/ClusterAdapter.ts"
export { NeedsConnection } from "../failure/NeedsConnection.ts"

export type { PostgresOptions, SslMode } from "./adapter/PostgresOptions.ts"

/**
 * Makes the adapter of a PostgreSQL database. It connects to nothing yet.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeAdapter = (options: PostgresOptions): Effect.Effect<Adapter, InvalidOptions> =>
  adapterWith(options, makeSettings())

/** The servers of a cluster are one database, for which a fiber has its settings in one place. */
const adapterWith = (options: PostgresOptions, settings: SettingsReference): Effect.Effect<Adapter, InvalidOptions> =>
  Effect.map(resolve(options), (config) =>
    Internal.makeAdapter({
      driver: "pg",
      name: config.name,
      client: options,
      spanAttributes: [
        ["db.namespace", config.startup.database ?? config.startup.user],
        ["server.address", config.endpoint.path ?? config.endpoint.host],
        ["server.port", config.endpoint.port]
      ],
      maxConnections: undefined,
      connect: makeConnect(config, { identity: new ServerIdentity(!config.prepare), settings }),
      settings,
      controlTimeout: config.controlTimeout,
      resolveCommit
    }))

/**
 * Provides the adapter of a PostgreSQL database. It connects to nothing yet.
 *
 * @category layers
 * @since 0.1.0
 */
export const adapter = (options: PostgresOptions): Layer.Layer<Adapter, InvalidOptions> =>
  Layer.effect(Adapter, makeAdapter(options))

/**
 * The options of a PostgreSQL database with its pool.
 *
 * **Details**
 *
 * The size and the times of the pool can be given as `pool`, or under the names that `PgClient.layer` has for some of
 * them: `maxConnections`, `minConnections`, `idleTimeout` and `connectionTTL`. `multiplex: false` switches the sharing
 * of connections off, and `multiplexConcurrency` is the pool's `pipelineDepth`.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions extends PostgresOptions, NodesOptions, Database.LayerOptions {}

/**
 * What a database layer provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services =
  | SqlClient.SqlClient
  | PgClient.PgClient
  | Pool.Pool
  | Database.Database
  | Transaction.Manager
  | Adapter
  | Features

/**
 * Provides a PostgreSQL database: `SqlClient`, `PgClient`, what runs transactions, and the pool.
 *
 * **Details**
 *
 * Takes the place of `PgClient.layer` from `@effect/sql-pg`, with the same options.
 *
 * Fails with `InvalidOptions` if the options cannot work, and with a `SqlError` if the database refuses for good: a
 * wrong password, an unknown database, a certificate that does not fit. A database that cannot be reached just now
 * fails nothing: callers wait for it as long as `acquireTimeout` allows.
 *
 * **Example** (A database for a web application)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import { Pool } from "watertight"
 * import { Postgres } from "watertight/postgres"
 *
 * const DatabaseLive = Postgres.layer({
 *   url: Redacted.make("postgres://app:secret@db/shop?sslmode=verify-full"),
 *   statementTimeout: "30 seconds",
 *   pool: Pool.webApplication
 * })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: LayerOptions): Layer.Layer<Services, InvalidOptions | SqlError> =>
  Layer.unwrap(Effect.gen(function*() {
    const pool = yield* poolOptions(options)
    const { adapter: given, database } = Database.separate(options)
    const { nodes: _, replicas: __, zone: ___, ...own } = given
    const settings = makeSettings()
    const cluster = yield* clusterOf(given, (options) => adapterWith(options, settings), settings)
    if (cluster === undefined) {
      return clientLayer(own).pipe(Layer.provideMerge(Database.layerOf(adapter(own), { ...database, pool })))
    }
    const { layerOf } = yield* Effect.promise(() => import("../cluster/layers.ts"))
    return clientLayer(own).pipe(Layer.provideMerge(layerOf(cluster, { ...database, pool })))
  }))

/**
 * Provides a PostgreSQL database whose options come from the configuration.
 *
 * **Example** (From the environment)
 *
 * ```ts
 * import { Config } from "effect"
 * import { Postgres } from "watertight/postgres"
 *
 * const DatabaseLive = Postgres.layerConfig({ url: Config.Redacted("DATABASE_URL") })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = (
  options: Config.Wrap<LayerOptions>
): Layer.Layer<Services, Config.ConfigError | InvalidOptions | SqlError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer))

/** The pool's options, from under both their names. */
const poolOptions = (options: LayerOptions): Effect.Effect<Pool.Options, InvalidOptions> => {
  const aliases = {
    maxConnections: "max",
    minConnections: "min",
    idleTimeout: "idleTimeout",
    connectionTTL: "lifetime",
    multiplexConcurrency: "pipelineDepth"
  } as const
  const pool: Record<string, unknown> = { ...options.pool }
  for (const [alias, name] of Object.entries(aliases) as Array<[keyof typeof aliases, keyof Pool.Options]>) {
    const value = options[alias]
    if (value === undefined) continue
    if (pool[name] !== undefined) {
      return Effect.fail(
        new InvalidOptions({ module: "Postgres", option: alias, problem: `is given, and so is \`pool.${name}\`` })
      )
    }
    pool[name] = value
  }
  if (options.multiplex === false) pool["pipelineDepth"] ??= 1
  return Effect.succeed(pool)
}
