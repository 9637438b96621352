/**
 * Databases for tests.
 *
 * @since 0.2.0
 */

/**
 * @since 0.2.0
 */
export * as TestDatabase from "./TestDatabase.ts"
