/**
 * Watertight data access for Effect.
 *
 * @since 0.1.0
 */

/**
 * What a database must provide so that the rest of the library can use it.
 *
 * @since 0.1.0
 */
export * as Adapter from "./Adapter.ts"

/**
 * Mutual exclusion among all processes that use a database.
 *
 * @since 0.1.0
 */
export * as AdvisoryLock from "./locks/AdvisoryLock.ts"

/**
 * Several statements in as few round trips as the database allows.
 *
 * @since 0.2.0
 */
export * as Batch from "./transaction/Batch.ts"

/**
 * Many rows at once, as fast as the database takes them.
 *
 * @since 0.1.0
 */
export * as Bulk from "./bulk/Bulk.ts"

/**
 * Turns callers away while a database is in trouble, with Effect's own circuit breaker.
 *
 * @since 0.1.0
 */
export * as Breaker from "./breaker/Breaker.ts"

/**
 * Reads that never go back in time.
 *
 * @since 0.2.0
 */
export * as Causal from "./cluster/Causal.ts"

/**
 * Several servers of one database that are used as one.
 *
 * @since 0.2.0
 */
export * as Cluster from "./cluster/Cluster.ts"

/**
 * Why a cluster could not give a connection.
 *
 * @since 0.2.0
 */
export * as ClusterError from "./cluster/ClusterError.ts"

/**
 * The evidence that a lost connection leaves behind.
 *
 * @since 0.1.0
 */
export { ConnectionLost } from "./failure/ConnectionLost.ts"

/**
 * The database that a program talks to: an adapter and a pool, joined into Effect's `SqlClient`.
 *
 * @since 0.1.0
 */
export * as Database from "./Database.ts"

/**
 * What is known about a failure: who ended the session or the statement, and what is proved by that.
 *
 * @since 0.2.0
 */
export * as Evidence from "./failure/Evidence.ts"

/**
 * Whether a pool does its work, with reasons.
 *
 * @since 0.1.0
 */
export * as Health from "./pool/Health.ts"

/**
 * The error of options that cannot work.
 *
 * @since 0.1.0
 */
export { InvalidOptions } from "./options/InvalidOptions.ts"

/**
 * What is in a database, in one shape for all databases.
 *
 * @since 0.1.0
 */
export * as Introspection from "./introspection/Introspection.ts"

/**
 * What a failure means: whether the work was applied, and what may be repeated.
 *
 * @since 0.1.0
 */
export * as Outcome from "./failure/Outcome.ts"

/**
 * Lends the connections that an adapter opens, for as long as an effect runs and never longer.
 *
 * @since 0.1.0
 */
export * as Pool from "./pool/Pool.ts"

/**
 * Why a pool could not lend a connection.
 *
 * @since 0.1.0
 */
export * as PoolError from "./pool/PoolError.ts"

/**
 * Many databases of one kind, for tenants, shards or regions, within one budget of connections.
 *
 * @since 0.1.0
 */
export * as Pools from "./pool/Pools.ts"

/**
 * Reads that may be served by a replica.
 *
 * @since 0.2.0
 */
export * as Reads from "./cluster/Reads.ts"

/**
 * Repeating what failed, where that can help and cannot do the work twice.
 *
 * @since 0.1.0
 */
export * as Retry from "./failure/Retry.ts"

/**
 * A time limit for the statements of one piece of work.
 *
 * @since 0.2.0
 */
export * as StatementTimeout from "./transaction/StatementTimeout.ts"

/**
 * What a failed statement looks like: to a person who reads a log, and to a program that asks for fields.
 *
 * @since 0.2.0
 */
export * as SqlFailure from "./failure/SqlFailure.ts"

/**
 * Transactions: what they ask for, how they begin and end, and what is repeated.
 *
 * @since 0.1.0
 */
export * as Transaction from "./transaction/Transaction.ts"

/**
 * Why a transaction did not do what was asked for.
 *
 * @since 0.1.0
 */
export * as TransactionError from "./transaction/TransactionError.ts"
