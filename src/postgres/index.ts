/**
 * PostgreSQL for Watertight.
 *
 * @since 0.1.0
 */

/**
 * Mutual exclusion among all processes that use a database.
 *
 * @since 0.1.0
 */
export * as AdvisoryLock from "../locks/AdvisoryLock.ts"

/**
 * Many values in one parameter.
 *
 * @since 0.1.0
 */
export * as Arrays from "./Arrays.ts"

/**
 * What only PostgreSQL has: extensions, enums, partitions, sequences, policies, statistics.
 *
 * @since 0.1.0
 */
export * as Catalog from "./Catalog.ts"

/**
 * COPY in both directions, as a sink and a stream of bytes.
 *
 * @since 0.1.0
 */
export * as Copy from "./Copy.ts"

/**
 * Fragments for `jsonb`: paths, containment, keys.
 *
 * @since 0.1.0
 */
export * as Json from "./Json.ts"

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
 * Files of SQL statements that are run as they are.
 *
 * @since 0.1.0
 */
export * as Script from "./Script.ts"

/**
 * What the server says of itself: its notices, its parameters, its version.
 *
 * @since 0.1.0
 */
export * as Server from "./Server.ts"

/**
 * The sessions that the other modules work on.
 *
 * @since 0.1.0
 */
export * as Sessions from "./Sessions.ts"

/**
 * Work for one tenant of many, by row-level security, by a role or by a schema.
 *
 * @since 0.2.0
 */
export * as Tenant from "./Tenant.ts"

/**
 * The values of PostgreSQL's types, and how to choose others.
 *
 * @since 0.1.0
 */
export * as Types from "./Types.ts"
