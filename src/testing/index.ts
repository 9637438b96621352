/**
 * Databases for tests, faults by name, and a database that only pretends.
 *
 * @since 0.2.0
 */

/**
 * @since 0.2.0
 */
export * as FakeAdapter from "./FakeAdapter.ts"

/**
 * @since 0.2.0
 */
export * as FaultProxy from "./FaultProxy.ts"

/**
 * @since 0.2.0
 */
export * as Faults from "./Faults.ts"

/**
 * @since 0.2.0
 */
export * as TestDatabase from "./TestDatabase.ts"
