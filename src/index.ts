/**
 * Watertight data access for Effect.
 *
 * @since 0.1.0
 */

/**
 * What a database must provide so that the rest of the library can use it.
 *
 * @since 0.1.0
 */
export * as Adapter from "./Adapter.ts"

/**
 * The evidence that a lost connection leaves behind.
 *
 * @since 0.1.0
 */
export { ConnectionLost } from "./core/ConnectionLost.ts"

/**
 * The database that a program talks to: an adapter and a pool, joined into Effect's `SqlClient`.
 *
 * @since 0.1.0
 */
export * as Database from "./Database.ts"

/**
 * The error of options that cannot work.
 *
 * @since 0.1.0
 */
export { InvalidOptions } from "./InvalidOptions.ts"

/**
 * Lends the connections that an adapter opens, for as long as an effect runs and never longer.
 *
 * @since 0.1.0
 */
export * as Pool from "./Pool.ts"

/**
 * Why a pool could not lend a connection.
 *
 * @since 0.1.0
 */
export * as PoolError from "./PoolError.ts"
