/**
 * Kysely over this library.
 *
 * @since 0.2.0
 */

/**
 * @since 0.2.0
 */
export * as KyselyClient from "./KyselyClient.ts"
