/**
 * Transactions: what they ask for, how they begin and end, and what is repeated.
 *
 * **Details**
 *
 * `run` gives an effect a transaction. All statements of the same database inside it belong to it. It ends like this:
 *
 * | the body    | what is sent                             | what the caller gets                        | the connection           |
 * | ----------- | ---------------------------------------- | ------------------------------------------- | ------------------------ |
 * | succeeds    | COMMIT; acknowledged                     | the value of the body                       | goes back                |
 * | succeeds    | COMMIT; answered by ROLLBACK             | `Aborted`, with the failure that was swallowed | goes back             |
 * | succeeds    | COMMIT; refused                          | the server's error: nothing was applied     | goes back when clean     |
 * | succeeds    | COMMIT; not answered, then found applied | the value of the body                       | is destroyed             |
 * | succeeds    | COMMIT; not answered, then found missing | `CommitNotApplied`: nothing was applied     | is destroyed             |
 * | succeeds    | COMMIT; not answered, not to be resolved | `CommitUnknown`: not retryable              | is destroyed             |
 * | fails, dies | ROLLBACK; waited for                     | the exit of the body, unchanged             | goes back, or destroyed  |
 * | interrupted | ROLLBACK; not waited for                 | the interruption                            | goes back after ROLLBACK |
 *
 * A transaction that failed and may be repeated is repeated as a whole, see `Retry`. Inside another transaction of the
 * same database it is a savepoint by default, and only the outermost one is repeated.
 *
 * While a nested transaction is open, statements of the transaction around it wait: they would be undone with it. One
 * that would wait for longer than a caller waits for a connection fails with `NestedOpen`. A transaction that joins
 * another one is a part of it: when it fails, the other one is rolled back as well, with `JoinFailed` if it went on.
 *
 * **Gotchas**
 *
 * COMMIT cannot be interrupted once it is sent, but has a deadline. A timeout around a transaction can therefore hit
 * after COMMIT was applied: use `deadline`, which knows the difference.
 *
 * **Example** (Moving money)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Transaction } from "watertight"
 *
 * const transfer = (from: string, to: string, cents: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     // In one order, so that two opposing transfers wait for each other instead of deadlocking.
 *     const changes = [{ id: from, by: -cents }, { id: to, by: cents }].sort((a, b) => a.id < b.id ? -1 : 1)
 *     for (const { id, by } of changes) yield* sql`update account set cents = cents + ${by} where id = ${id}`
 *   }).pipe(Transaction.run({ deadline: "5 seconds" }))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Result from "effect/Result"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import type * as Reads from "../cluster/Reads.ts"
import type { StatementLog } from "../database/StatementLog.ts"
import * as Retry from "../failure/Retry.ts"
import type { Pool } from "../pool/Pool.ts"
import { CommitProtocol, type LostCommit } from "./commit.ts"
import { makeKeys } from "./idempotency.ts"
import { Runner } from "./runner.ts"
import type { Spec } from "./spec.ts"
import type { EndObserver } from "./TransactionConnection.ts"

export { type LostCommit, lostCommits } from "./commit.ts"
export { keyTable } from "./idempotency.ts"

/**
 * What a transaction asks for.
 *
 * @category options
 * @since 0.1.0
 */
export type { Spec }

/**
 * The evidence that a transaction is open in which may be read.
 *
 * @category services
 * @since 0.1.0
 */
export class ReadTransaction
  extends Context.Service<ReadTransaction, { readonly spec: Spec }>()("watertight/Transaction/ReadTransaction")
{}

/**
 * The evidence that a transaction is open in which may be written. A function with this among its requirements can
 * only be run inside `Transaction.run`, and not inside one that is `read only`.
 *
 * @category services
 * @since 0.1.0
 */
export class Transaction
  extends Context.Service<Transaction, { readonly spec: Spec }>()("watertight/Transaction/Transaction")
{}

/**
 * What runs the transactions of one database. Each database layer provides it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Manager {
  readonly run: <A, E, R>(self: Effect.Effect<A, E, R>, spec: Spec) => Effect.Effect<A, E | SqlError, R>
  /** Tells `observer` how the transaction of the fiber ends. Returns whether the fiber is in one. */
  readonly observe: (observer: EndObserver) => Effect.Effect<boolean>
  /** Runs statements as one transaction, see `Batch.run`. */
  readonly batch: (
    statements: ReadonlyArray<Effect.Effect<any, SqlError>>,
    spec: Spec
  ) => Effect.Effect<ReadonlyArray<any>, SqlError>
  /** Runs statements on one connection, each by itself, see `Batch.each`. */
  readonly each: (
    statements: ReadonlyArray<Effect.Effect<any, SqlError>>
  ) => Effect.Effect<ReadonlyArray<Result.Result<any, SqlError>>, SqlError>
  /** Forgets the idempotency keys that are older than `age`. */
  readonly prune: (age: Duration.Input) => Effect.Effect<void, SqlError>
}

/**
 * The service of `Manager`.
 *
 * @category services
 * @since 0.1.0
 */
export const Manager = Context.Service<Manager>("watertight/Transaction/Manager")

type Provided<S extends Spec> = S extends { readonly access: "read only" } ? ReadTransaction
  : Transaction | ReadTransaction

/**
 * Runs an effect in a transaction.
 *
 * **Details**
 *
 * Fails with what the effect fails with, and with a `SqlError`: of the database, with a `PoolError` as cause if there
 * was no connection, or with a `TransactionError` as cause. `Outcome.of` tells what became of the work.
 *
 * @category combinators
 * @since 0.1.0
 */
export const run: {
  <const S extends Spec = {}>(
    spec?: S
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, Exclude<R, Provided<S>> | Manager>
  <A, E, R, const S extends Spec = {}>(
    self: Effect.Effect<A, E, R>,
    spec?: S
  ): Effect.Effect<A, E | SqlError, Exclude<R, Provided<S>> | Manager>
} = dual(
  (args) => Effect.isEffect(args[0]),
  (self: Effect.Effect<unknown, unknown>, spec: Spec = {}) =>
    Effect.flatMap(Manager, (manager) => manager.run(provideEvidence(self, spec), spec))
)

/**
 * Forgets the idempotency keys that are older than `age`. A transaction whose key is forgotten can be applied again.
 *
 * @category combinators
 * @since 0.1.0
 */
export const prune = (age: Duration.Input): Effect.Effect<void, SqlError, Manager> =>
  Effect.flatMap(Manager, (manager) => manager.prune(age))

const provideEvidence = <A, E, R>(self: Effect.Effect<A, E, R>, spec: Spec): Effect.Effect<A, E, R> =>
  Effect.updateContext(self, (context: Context.Context<R>) => {
    const readable = Context.add(context, ReadTransaction, { spec })
    return spec.access === "read only" ? readable : Context.add(readable, Transaction, { spec })
  })

// ---------------------------------------------------------------------------------------------------------------------
// The manager
// ---------------------------------------------------------------------------------------------------------------------

/**
 * What the transactions of a database need.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  readonly adapter: Adapter
  readonly pool: Pool
  readonly budget: Retry.Budget
  readonly onRepeat?: ((attempt: Retry.Attempt) => void) | undefined
  /** Told of each COMMIT without answer, and what was found out about it. */
  readonly onLost?: ((lost: LostCommit) => void) | undefined
  /** Told of each transaction that has succeeded. */
  readonly onSuccess?: (() => void) | undefined
  /** Tells about statements, where that is asked for. */
  readonly log?: StatementLog | undefined
  /** Which replicas may run transactions that are outside of any policy. Default: they run on the primary. */
  readonly reads?: Reads.Policy | undefined
  /** What is repeated of transactions that do not say. Default: `Retry.defaults`. */
  readonly retry?: Retry.Policy | undefined
  /** Whether a COMMIT without answer is looked into, of transactions that do not say. Default: `"free"`. */
  readonly resolve?: Spec["resolve"]
  /** How long a COMMIT without answer is looked into. Default: 10 seconds. */
  readonly resolveTimeout?: Duration.Input | undefined
  /** Where `SqlClient` looks for the transaction that a statement belongs to. */
  readonly transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
}

export type { EndObserver } from "./TransactionConnection.ts"

export { catchReason } from "./catchReason.ts"

/**
 * Tells `observer` about the end of the transaction that the fiber is in.
 *
 * **When to use**
 *
 * Use it for what must follow a COMMIT of which the answer was lost, such as the invalidation of a cache:
 * `SqlClient.afterCommit` runs only after an acknowledged COMMIT.
 *
 * **Details**
 *
 * The observer belongs to the outermost transaction, also when it was added in a savepoint that was rolled back. Each
 * attempt of a transaction that is repeated is a transaction of its own: an observer that the body adds is added again.
 *
 * Succeeds with `false`, and does nothing, outside of a transaction.
 *
 * **Gotchas**
 *
 * The callbacks run synchronously and must not throw.
 *
 * @category combinators
 * @since 0.2.0
 */
export const observe = (observer: EndObserver): Effect.Effect<boolean, never, Manager> =>
  Effect.flatMap(Manager, (manager) => manager.observe(observer))

/**
 * Makes what runs the transactions of one database, and the `withTransaction` of its client.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Manager & {
  readonly withTransaction: SqlClient.SqlClient["withTransaction"]
} => {
  const { adapter, budget, onLost, onRepeat, pool, transactionService } = options
  const keys = makeKeys(adapter, pool)
  const protocol = new CommitProtocol({
    adapter,
    pool,
    keys,
    resolveTimeout: options.resolveTimeout ?? "10 seconds",
    onLost
  })
  const runner = new Runner({
    adapter,
    pool,
    budget,
    keys,
    protocol,
    retry: options.retry ?? Retry.defaults,
    resolve: options.resolve ?? "free",
    onRepeat,
    onSuccess: options.onSuccess ?? (() => {}),
    log: options.log,
    reads: options.reads,
    transactionService
  })
  return {
    run: (self, spec) => runner.run(self, spec),
    batch: (statements, spec) => runner.batch(statements, spec),
    each: (statements) => runner.each(statements),
    observe: (observer) => runner.observe(observer),
    prune: (age) => Effect.andThen(keys.prepare, keys.prune(Duration.fromInputUnsafe(age))),
    withTransaction: runner.withTransaction
  }
}
