/**
 * A cache of query results that knows what became of a COMMIT.
 *
 * @since 0.2.0
 */

/**
 * @since 0.2.0
 */
export * as Cached from "./Cached.ts"
