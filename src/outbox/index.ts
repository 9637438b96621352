/**
 * Messages that are sent exactly when their transaction commits.
 *
 * @since 0.2.0
 */

/**
 * @since 0.2.0
 */
export * as Outbox from "./Outbox.ts"
