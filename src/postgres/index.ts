/**
 * PostgreSQL for Watertight.
 *
 * @since 0.1.0
 */

/**
 * The front door: layers that provide `SqlClient`, `PgClient` and `Pool` on PostgreSQL.
 *
 * @since 0.1.0
 */
export * as Postgres from "./Postgres.ts"
