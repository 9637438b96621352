/**
 * MariaDB and MySQL over the MariaDB connector: the front door.
 *
 * **When to use**
 *
 * Use this by default, on MariaDB and on MySQL: the connector has several statements under way on a connection.
 *
 * **Example** (Opening a database)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Mariadb } from "watertight/mariadb"
 *
 * const DatabaseLive = Mariadb.layer({ url: Redacted.make("mariadb://app:secret@db/bank") })
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select * from account where id = ${"ann"}`
 * }).pipe(Effect.provide(DatabaseLive))
 * ```
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlError } from "effect/sql/SqlError"
import { Adapter } from "../Adapter.ts"
import * as front from "../mysql-family/adapter/layers.ts"
import type { LayerOptions, Services } from "../mysql-family/adapter/layers.ts"
import type { MysqlOptions } from "../mysql-family/adapter/MysqlOptions.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import { driver } from "./driver/driver.ts"

export { NeedsConnection } from "../failure/NeedsConnection.ts"
export { allowImplicitCommit, type LayerOptions, type Services } from "../mysql-family/adapter/layers.ts"
export { MysqlClient, type Server, type TableMessage } from "../mysql-family/adapter/MysqlClient.ts"
export type { MysqlOptions, SslMode } from "../mysql-family/adapter/MysqlOptions.ts"
export { type BulkMethod, CurrentBulkMethod } from "../mysql-family/bulk/BulkMethod.ts"
export { ImplicitCommit, MysqlError, TransactionEnded } from "../mysql-family/errors/errors.ts"
export { AllowImplicitCommit } from "../mysql-family/session/AllowImplicitCommit.ts"
export { type BeginOptions, beginStatement } from "../mysql-family/session/begin.ts"
export type { Ok } from "../mysql-family/statement/results.ts"

/**
 * Makes the adapter of a database. It connects to nothing yet.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeAdapter: (options: MysqlOptions) => Effect.Effect<Adapter, InvalidOptions> = front.makeAdapter(driver)

/**
 * Provides the adapter of a database. It connects to nothing yet.
 *
 * @category layers
 * @since 0.1.0
 */
export const adapter = (options: MysqlOptions): Layer.Layer<Adapter, InvalidOptions> =>
  Layer.effect(Adapter, makeAdapter(options))

/**
 * Provides a database: `SqlClient`, `MysqlClient`, what runs transactions, and the pool.
 *
 * **Details**
 *
 * Takes the place of `MysqlClient.layer` from `@effect/sql-mysql2`, with the same options.
 *
 * Fails with `InvalidOptions` if the options cannot work, and with a `SqlError` if the database refuses for good: a
 * wrong password, an unknown database, a certificate that does not fit. A database that cannot be reached just now
 * fails nothing: callers wait for it as long as `acquireTimeout` allows.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: (options: LayerOptions) => Layer.Layer<Services, InvalidOptions | SqlError> = front.layer(driver)

/**
 * Provides a database whose options come from the configuration.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig: (
  options: Config.Wrap<LayerOptions>
) => Layer.Layer<Services, Config.ConfigError | InvalidOptions | SqlError> = front.layerConfig(driver)
