/**
 * Migrations for Watertight.
 *
 * @since 0.2.0
 */

/**
 * Files of SQL or code that bring a schema up to date, in their order and each of them once.
 *
 * @since 0.2.0
 */
export * as Migrations from "./Migrations.ts"

/**
 * Why migrations did not do what was asked for, and what to do about it.
 *
 * @since 0.2.0
 */
export * as MigrationsError from "./MigrationsError.ts"

/**
 * Looks for statements that have stopped programs, before they are run.
 *
 * @since 0.2.0
 */
export * as Lint from "./Lint.ts"
