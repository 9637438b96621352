/**
 * PostgreSQL for Watertight.
 *
 * @since 0.1.0
 */

/**
 * COPY in both directions, as a sink and a stream of bytes.
 *
 * @since 0.1.0
 */
export * as Copy from "./Copy.ts"

/**
 * LISTEN and NOTIFY, over a connection that is renewed when it is lost.
 *
 * @since 0.1.0
 */
export * as Notifications from "./Notifications.ts"

/**
 * The front door: layers that provide `SqlClient`, `PgClient` and `Pool` on PostgreSQL.
 *
 * @since 0.1.0
 */
export * as Postgres from "./Postgres.ts"

/**
 * The sessions that the other modules work on.
 *
 * @since 0.1.0
 */
export * as Sessions from "./Sessions.ts"

/**
 * The values of PostgreSQL's types, and how to choose others.
 *
 * @since 0.1.0
 */
export * as Types from "./Types.ts"
