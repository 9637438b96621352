/**
 * PGlite, an embedded PostgreSQL, for Watertight.
 *
 * @since 0.1.0
 */

/**
 * The front door: layers that provide `SqlClient`, `PgClient` and `Pool` on an embedded PostgreSQL.
 *
 * @since 0.1.0
 */
export * as Pglite from "./Pglite.ts"
