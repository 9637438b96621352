/**
 * @since 0.2.0
 */

/**
 * A live view of a running program's database layer.
 *
 * @since 0.2.0
 */
export * as Monitor from "./Monitor.ts"
