/** What the front doors of both drivers are made of. */
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import { Adapter, type Idempotency, TypeId } from "../../Adapter.ts"
import * as Bulk from "../../bulk/Bulk.ts"
import { lazyBulk } from "../../bulk/lazy.ts"
import type { NodesOptions } from "../../cluster/ClusterAdapter.ts"
import * as Database from "../../Database.ts"
import { loaded } from "../../database/loaded.ts"
import { ConnectionLost } from "../../failure/ConnectionLost.ts"
import * as Outcome from "../../failure/Outcome.ts"
import * as Introspection from "../../introspection/Introspection.ts"
import { lazyIntrospection } from "../../introspection/lazy.ts"
import { Locks } from "../../locks/AdvisoryLock.ts"
import { lazyLocks } from "../../locks/lazy.ts"
import { InvalidOptions } from "../../options/InvalidOptions.ts"
import * as Pool from "../../pool/Pool.ts"
import type * as Transaction from "../../transaction/Transaction.ts"
import { withWholeRows } from "../../values/records.ts"
import { causalityOf } from "../cluster/causality.ts"
import { clusterOf } from "../cluster/cluster.ts"
import type { Driver } from "../driver/Driver.ts"
import { afterTheEnd, inTheMiddle, ruleOfError } from "../errors/errno.ts"
import { MysqlError, TransactionEnded, unknownError } from "../errors/errors.ts"
import { AllowImplicitCommit } from "../session/AllowImplicitCommit.ts"
import { mayLeaveOpen, needsConnection } from "../session/ownConnection.ts"
import { makeCompiler } from "../statement/Compiler.ts"
import { make as makeDialect } from "../statement/dialect.ts"
import type { Ok } from "../statement/results.ts"
import { profileOf } from "../statement/statements.ts"
import { resolve, type Resolved } from "./Config.ts"
import { makeConnect } from "./connect.ts"
import { MysqlClient, type Server, TypeId as ClientTypeId } from "./MysqlClient.ts"
import type { MysqlOptions } from "./MysqlOptions.ts"

/**
 * The options of a MySQL or MariaDB database with its pool.
 *
 * **Details**
 *
 * The size and the times of the pool can be given as `pool`, or under the names that `@effect/sql-mysql2` has for some
 * of them: `maxConnections` and `connectionTTL`, and as `minConnections` and `idleTimeout`.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions extends MysqlOptions, NodesOptions, Database.LayerOptions {
  /** `pool.max`. */
  readonly maxConnections?: number | undefined
  /** `pool.min`. */
  readonly minConnections?: number | undefined
  /** `pool.lifetime`. */
  readonly connectionTTL?: Duration.Input | undefined
  /** `pool.idleTimeout`. */
  readonly idleTimeout?: Duration.Input | undefined
}

/**
 * What a database layer provides.
 *
 * @category models
 * @since 0.1.0
 */
export type Services =
  | SqlClient
  | MysqlClient
  | Bulk.Bulk
  | Pool.Pool
  | Database.Database
  | Transaction.Manager
  | Adapter
  | Introspection.Introspection
  | Locks

/** What an adapter has learned of the server. */
interface Known {
  server: Server | undefined
}

/** What was in the transaction is rolled back; what came before it, in the same text, may have been committed. */
const leftOpen = (database: string): SqlError =>
  Outcome.mark(
    unknownError(
      database,
      "the statement leaves a transaction open, which is rolled back: end it with COMMIT, or use `Transaction.run`",
      undefined,
      "execute"
    ),
    { outcome: "Unknown", scope: "Never", ladder: "Conflict", phase: "Statement", about: "left open" }
  )

const fromConfig = (driver: Driver, config: Resolved, known: Known): Adapter => {
  const { options } = config
  return {
    [TypeId]: TypeId,
    driver: driver.name,
    name: config.name,
    compiler: withWholeRows(makeCompiler(options.transformQueryNames), {
      undefinedAsNull: options.undefined === "null"
    }),
    transformRows: options.transformResultNames === undefined
      ? undefined
      : Statement.defaultTransforms(options.transformResultNames, options.transformJson === true).array,
    spanAttributes: [
      ...Object.entries(options.spanAttributes ?? {}),
      ["db.system.name", driver.module.toLowerCase()],
      ...(config.database === undefined ? [] : [["db.namespace", config.database] as const]),
      ["server.address", config.socketPath ?? config.host],
      ...(config.socketPath === undefined ? [["server.port", config.port] as const] : [])
    ],
    maxConnections: undefined,
    controlTimeout: config.controlTimeout,
    connect: makeConnect(driver, config, (server) => {
      known.server = server
    }),
    isPermanent: (error) => !error.reason.isRetryable,
    ruleOf: (error) => ruleOf(error, known.server?.rollbackOnTimeout === true),
    refuseOnPool: (sql) => {
      const refused = needsConnection(sql, profileOf(sql))
      return refused && unknownError(config.name, refused.message, refused, "execute")
    },
    leftOpen: (sql) =>
      mayLeaveOpen(sql, profileOf(sql)) ? { probe: "DO 0", error: () => leftOpen(config.name) } : undefined,
    idempotency,
    resolveCommit: undefined,
    causality: causalityOf(config.database)
  }
}

const ruleOf = (error: SqlError, rollbackOnTimeout: boolean): Outcome.Rule | undefined => {
  const { cause } = error.reason
  if (cause instanceof TransactionEnded) return afterTheEnd
  const answer = cause instanceof ConnectionLost ? cause.serverError : cause
  if (!(answer instanceof MysqlError)) return undefined
  return answer.isPartial === true ? inTheMiddle : ruleOfError(answer, rollbackOnTimeout)
}

// Keys of any length, and equal only if every byte is. `IGNORE` tells by the count of rows, which is the only thing that
// means the same with and without `CLIENT_FOUND_ROWS`.
const idempotency: Idempotency = {
  createTable: (table) =>
    `CREATE TABLE IF NOT EXISTS ${table} (id BINARY(32) NOT NULL PRIMARY KEY, ` +
    "name VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL, " +
    "created_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, KEY (created_at)) ENGINE = InnoDB",
  insert: (table) =>
    `INSERT IGNORE INTO ${table} (id, name) ` +
    "SELECT UNHEX(SHA2(name, 256)), LEFT(name, 255) FROM (SELECT ? AS name) AS given",
  inserted: (result) => (result as Ok).affectedRows === 1,
  prune: (table) => `DELETE FROM ${table} WHERE created_at < NOW() - INTERVAL ? SECOND`
}

/** Makes the adapter of a server that is one of several. */
const makeNode = (driver: Driver, known: Known) => (options: MysqlOptions): Effect.Effect<Adapter, InvalidOptions> =>
  Effect.map(
    resolve(driver.module, options),
    (config) => fromConfig(driver, { ...config, tracksWritten: driver.tellsWritten }, known)
  )

/** Makes the adapter of a database. */
export const makeAdapter =
  (driver: Driver, known: Known = { server: undefined }) =>
  (options: MysqlOptions): Effect.Effect<Adapter, InvalidOptions> =>
    Effect.map(resolve(driver.module, options), (config) => fromConfig(driver, config, known))

/** Joins adapter, pool and client. */
export const layer = (driver: Driver) => (options: LayerOptions): Layer.Layer<Services, InvalidOptions | SqlError> =>
  Layer.unwrap(Effect.gen(function*() {
    const pool = yield* poolOptions(driver.module, options)
    const { adapter, database } = Database.separate(options)
    const { connectionTTL: _1, idleTimeout: _2, maxConnections: _3, minConnections: _4, ...given } = adapter
    const { nodes: _5, replicas: _6, zone: _7, ...mysql } = given
    const known: Known = { server: undefined }
    const adapterOf = makeAdapter(driver, known)
    const cluster = yield* clusterOf(driver.module, given, makeNode(driver, known))
    const client = clientLayer(mysql, known)
    if (cluster === undefined) {
      const own = Layer.effect(Adapter, adapterOf(mysql))
      return Layer.provideMerge(client, Database.layerOf(own, { ...database, pool }))
    }
    const { layerOf } = yield* Effect.promise(() => import("../../cluster/layers.ts"))
    return Layer.provideMerge(client, layerOf(cluster, { ...database, pool }))
  }))

/** The same from a `Config`. */
export const layerConfig = (driver: Driver) =>
(
  options: Config.Wrap<LayerOptions>
): Layer.Layer<Services, Config.ConfigError | InvalidOptions | SqlError> =>
  Layer.unwrap(Effect.map(Config.unwrap(options), layer(driver)))

/** The service that code is written for which knows the client of `@effect/sql-mysql2`. */
const UpstreamClient = Context.Service<MysqlClient>("@effect/sql-mysql2/MysqlClient")

/** Makes the client that is there into a `MysqlClient`, and what else works on it. */
const clientLayer = (
  config: MysqlOptions,
  known: Known
): Layer.Layer<MysqlClient | Bulk.Bulk | Introspection.Introspection | Locks, never, SqlClient | Pool.Pool | Adapter> =>
  Layer.effectContext(
    Effect.gen(function*() {
      const client = yield* SqlClient
      const pool = yield* Pool.Pool
      const adapter = yield* Adapter
      const server = Effect.suspend(() =>
        known.server === undefined
          ? Effect.flatMap(pool.use(() => Effect.void), () => Effect.sync(() => known.server!))
          : Effect.succeed(known.server)
      )
      const extended = Object.assign(
        client,
        { [ClientTypeId]: ClientTypeId, config, server },
        makeDialect(client, server, config.transformQueryNames)
      )
      const bulk = loaded(async () =>
        (await import("../bulk/bulk.ts")).makeBulk(adapter, client, config.transformQueryNames)
      )
      const introspection = loaded(async () =>
        (await import("../introspection/introspection.ts")).makeIntrospection(client, adapter.name, server)
      )
      const locks = loaded(async () => (await import("../locks/locks.ts")).makeLocks(adapter, server))
      return Context.make(MysqlClient, extended).pipe(
        Context.add(UpstreamClient, extended) as <R>(context: Context.Context<R>) => Context.Context<R>,
        Context.add(Bulk.Bulk, lazyBulk(bulk)),
        Context.add(Introspection.Introspection, lazyIntrospection(introspection)),
        Context.add(Locks, lazyLocks(locks))
      )
    })
  )

/** The pool's options, from under both their names. */
const poolOptions = (
  module: Driver["module"],
  options: LayerOptions
): Effect.Effect<Pool.Options, InvalidOptions> => {
  const pool: Record<string, unknown> = { ...options.pool }
  for (const [alias, name] of aliases) {
    const value = options[alias]
    if (value === undefined) continue
    if (pool[name] !== undefined) {
      return Effect.fail(
        new InvalidOptions({ module, option: alias, problem: `is given, and so is \`pool.${name}\`` })
      )
    }
    pool[name] = value
  }
  return Effect.succeed(pool)
}

const aliases = [
  ["maxConnections", "max"],
  ["minConnections", "min"],
  ["connectionTTL", "lifetime"],
  ["idleTimeout", "idleTimeout"]
] as const

/**
 * Lets statements commit the transaction that they stand in: DDL in migrations that Effect's `Migrator` runs.
 *
 * **Gotchas**
 *
 * What was done before such a statement cannot be rolled back any more, and what comes after it is in no transaction.
 *
 * @category combinators
 * @since 0.1.0
 */
export const allowImplicitCommit = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(effect, AllowImplicitCommit, true)
