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
 * | succeeds    | COMMIT; not answered, then found missing | an error: nothing was applied               | is destroyed             |
 * | succeeds    | COMMIT; not answered, not to be resolved | `CommitUnknown`: not retryable              | is destroyed             |
 * | fails, dies | ROLLBACK; waited for                     | the exit of the body, unchanged             | goes back, or destroyed  |
 * | interrupted | ROLLBACK; not waited for                 | the interruption                            | goes back after ROLLBACK |
 *
 * A transaction that failed and may be repeated is repeated as a whole, see `Retry`. Inside another transaction of the
 * same database it is a savepoint by default, and only the outermost one is repeated.
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
 *     yield* sql`update account set cents = cents - ${cents} where id = ${from}`
 *     yield* sql`update account set cents = cents + ${cents} where id = ${to}`
 *   }).pipe(Transaction.run({ isolation: "serializable" }))
 * ```
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as Retry from "../failure/Retry.ts"
import { RolledBack } from "../failure/RolledBack.ts"
import { Holds, type Pool } from "../pool/Pool.ts"
import * as PoolError from "../pool/PoolError.ts"
import * as StatementTimeout from "./StatementTimeout.ts"
import {
  type Beginning,
  type Deadline,
  type EndObserver,
  toSqlError,
  TransactionConnection,
  transactionError,
  verdictAfter
} from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"
import * as TransactionSpec from "./TransactionSpec.ts"

/**
 * What a transaction is to be like.
 *
 * @category models
 * @since 0.1.0
 */
export interface Spec {
  /** How much it may see of the ones beside it. Default: as the server has it. */
  readonly isolation?: TransactionSpec.Isolation | undefined
  /** Whether it may write. Default: as the server has it, which is to say that it may. */
  readonly access?: TransactionSpec.Access | undefined
  /** PostgreSQL only, with `serializable` and `read only`: wait for a snapshot that cannot fail. Default: `false`. */
  readonly deferrable?: boolean | undefined
  /** The name of its span, by which it is found in traces and among the holders of connections. */
  readonly name?: string | undefined
  /** The time for all attempts together, without COMMIT, which has a deadline of its own. Default: no limit. */
  readonly deadline?: Duration.Input | undefined
  /**
   * The time for each statement, on the server and on our side, see `StatementTimeout`. Default: that of the database.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** What is repeated, and when. Default: what the database has as its `retry`. `Retry.never` repeats nothing. */
  readonly retry?: Retry.Policy | undefined
  /**
   * What it is inside another transaction of the same database: a `"savepoint"` in it (the default), a part of it
   * (`"join"`), one of its own on another connection (`"requiresNew"`), or an error (`"never"`). `"mandatory"` joins,
   * and is an error outside.
   */
  readonly nesting?: "savepoint" | "join" | "requiresNew" | "mandatory" | "never" | undefined
  /**
   * Whether a COMMIT without answer is looked into. `"free"` does so as far as preparing for it costs no round trip,
   * `"always"` prepares for it in any case, `"never"` reports `CommitUnknown` at once. Default: what the database has as
   * its `resolve`, which is `"free"` if nothing was said.
   */
  readonly resolve?: "free" | "always" | "never" | undefined
  /**
   * A key that makes sure that this transaction is applied once, whatever happens. It is written to the table
   * `watertight_transaction` in the same transaction. A COMMIT without answer is resolved by looking for it, also after
   * a failover, and a transaction whose key is there already fails with `AlreadyApplied`.
   */
  readonly idempotencyKey?: string | undefined
}

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
  /** What is repeated of transactions that do not say. Default: `Retry.defaults`. */
  readonly retry?: Retry.Policy | undefined
  /** Whether a COMMIT without answer is looked into, of transactions that do not say. Default: `"free"`. */
  readonly resolve?: Spec["resolve"]
  /** How long a COMMIT without answer is looked into. Default: 10 seconds. */
  readonly resolveTimeout?: Duration.Input | undefined
  /** Where `SqlClient` looks for the transaction that a statement belongs to. */
  readonly transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
}

/**
 * A COMMIT whose answer was lost.
 *
 * @category models
 * @since 0.1.0
 */
export interface LostCommit {
  /** Why there was no answer. */
  readonly error: SqlError
  /** What was found out about it. */
  readonly outcome: "Applied" | "NotApplied" | "Unknown"
}

/**
 * How often the answer to a COMMIT was lost, by database and by what was found out about it.
 *
 * @category metrics
 * @since 0.1.0
 */
export const lostCommits = Metric.counter("watertight.commits.lost", {
  description: "How often the answer to a COMMIT was lost, by what was found out about it",
  incremental: true
})

let nextId = 0

export type { EndObserver } from "./TransactionConnection.ts"

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
  const { adapter, budget, pool, resolveTimeout = Duration.seconds(10), transactionService } = options
  const database = adapter.name
  const keys = makeKeys(adapter, pool)
  /** Where nothing else is asked for. */
  const plain: Beginning = {
    begin: { resolvable: resolvable(options.resolve ?? "free"), lazy: true },
    resolve: options.resolve ?? "free",
    key: undefined,
    deadline: undefined
  }

  /**
   * What the transaction that is about to begin is to be like. One for each database: they may be nested. It ends where
   * the body begins, so that what the body lets run outside of the transaction is not begun like it.
   */
  const Beginning = Context.Reference<Beginning>(`watertight/Transaction/Beginning/${nextId++}`, {
    defaultValue: () => plain
  })

  /** The transaction that a fiber is in. */
  const current = (context: Context.Context<never>): TransactionConnection | undefined =>
    Context.getOrUndefined(context, transactionService)?.[0] as TransactionConnection | undefined

  const transact = SqlClient.makeWithTransaction<SqlClient.TransactionConnection, TransactionConnection>({
    transactionService: transactionService as never,
    spanAttributes: adapter.spanAttributes,
    // BEGIN stands here because only here it can be interrupted: a connection on which it was is not ready for the
    // next borrower, and the pool sees to that.
    acquireConnection: (restore) =>
      Effect.withFiber((fiber) => {
        const beginning = fiber.getRef(Beginning)
        const how = howToBegin(beginning.begin, fiber.getRef(SqlClient.BeginTransaction))
        const lease = Scope.makeUnsafe()
        let connection: TransactionConnection | undefined
        const open = Effect.flatMap(Scope.provide(pool.reserve, lease), (lent) => {
          connection = new TransactionConnection(lent, adapter, beginning)
          return Effect.as(connection.begin(how), connection)
        })
        // One finalizer for both, which costs less than two in one scope.
        const end = (exit: Exit.Exit<unknown, unknown>) =>
          connection === undefined
            ? Scope.close(lease, exit)
            : Effect.andThen(rollBack(connection, exit), Scope.close(lease, exit))
        return Effect.andThen(
          Scope.addFinalizerExit(Context.getUnsafe(fiber.context as Context.Context<any>, Scope.Scope), end),
          restore(within(open, beginning.deadline, () => connection === undefined ? "acquire" : "begin"))
        )
      }),
    begin: () => Effect.void,
    commit: (connection) => commit(connection),
    // The finalizer does it: there the exit is known, and so whether anybody waits for the answer.
    rollback: () => Effect.void,
    savepoint: (connection, id) =>
      Effect.andThen(
        connection.control(() => connection.base.savepoint(savepointName(id))),
        Effect.sync(() => connection.enter(id))
      ),
    // `nested` releases the savepoint of a body that succeeded.
    rollbackSavepoint: (connection, id) => rollBackTo(connection, id)
  })

  /** What the body of an outermost transaction runs with. */
  const inside = <A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.updateContext(body, (context: Context.Context<R>) => {
      const { base } = current(context as Context.Context<never>)!
      const held = Context.add(context, Holds, [...Context.get(context, Holds), base])
      return Context.get(context, Beginning) === plain ? held : Context.add(held, Beginning, plain)
    })

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  const commit = (connection: TransactionConnection): Effect.Effect<void, SqlError> => {
    connection.close()
    if (connection.gone !== undefined) return Effect.fail(aborted(connection, connection.gone, "Ended"))
    if (connection.isEndedInside) return refuse(new TransactionError.EndedInside({ database }))
    const committed = Effect.catch(connection.base.commit, (error) => notCommitted(connection, error))
    if (!connection.isObserved) return committed
    connection.tellCommit()
    return Effect.onExit(committed, (exit) => Effect.sync(() => connection.tellEnd(endOf(exit))))
  }

  /** COMMIT did not succeed: find out what that means. */
  const notCommitted = (connection: TransactionConnection, error: SqlError): Effect.Effect<void, SqlError> => {
    if (error.reason.cause instanceof RolledBack) return Effect.fail(aborted(connection, connection.failure, "Ended"))
    Outcome.attach(error, "Commit", adapter.ruleOf)
    if (!Outcome.isUnknown(error)) return Effect.fail(error)
    // What could not write has not.
    const answer = connection.beginning.begin.access === "read only"
      ? Effect.succeed<Answer>("NotApplied")
      : resolve(connection)
    return Effect.flatMap(Effect.tap(answer, (outcome) => lost({ error, outcome })), (outcome) => {
      if (outcome === "Applied") return Effect.void
      if (outcome === "NotApplied") return missing(error)
      const unknown = toSqlError(new TransactionError.CommitUnknown({ database, cause: error }), "commit")
      return Effect.fail(Outcome.mark(unknown, Outcome.of(error)!))
    })
  }

  const lost = (lost: LostCommit): Effect.Effect<void> => {
    options.onLost?.(lost)
    const attributes = { "watertight.database": database, "watertight.commit.outcome": words[lost.outcome] }
    return Metric.update(Metric.withAttributes(lostCommits, attributes), 1)
  }

  /** COMMIT was lost, and did nothing. */
  const missing = (error: SqlError): Effect.Effect<never, SqlError> =>
    Effect.fail(Outcome.mark(error, {
      outcome: "NotApplied",
      scope: "TransactionOnNewConnection",
      ladder: "Overload",
      phase: "Commit",
      about: "COMMIT was lost, and found not to be applied"
    }))

  /** The transaction has come to nothing because of a failure that was swallowed. It may be repeated if that may. */
  const aborted = (
    connection: TransactionConnection,
    swallowed: SqlError | undefined,
    phase: "InTransaction" | "Ended"
  ): SqlError => {
    const error = toSqlError(new TransactionError.Aborted({ database, cause: swallowed }), "commit")
    connection.failures.add(error)
    return Outcome.mark(error, verdictAfter(swallowed, phase))
  }

  /** Asks the database over another connection, as long as `resolveTimeout`. */
  const resolve = (connection: TransactionConnection): Effect.Effect<Answer> => {
    const { key, resolve } = connection.beginning
    const { resolveCommit } = adapter
    const token = connection.base.commitToken
    const questions: Array<(on: Connection) => Effect.Effect<Answer, SqlError>> = []
    if (resolve !== "never" && resolveCommit !== undefined && token !== undefined) {
      questions.push((on) => resolveCommit(token, on))
    }
    // Comes second, for it waits as long as the lost session holds the key, and the first question may end that.
    if (key !== undefined) questions.push(keys.wasApplied(key))
    if (questions.length === 0) return Effect.succeed("Unknown")
    return pool.use((on) =>
      Effect.reduce(
        questions,
        (): Answer => "Unknown",
        (answer, question) => answer === "Unknown" ? question(on) : Effect.succeed(answer)
      )
    ).pipe(
      Effect.retry({
        schedule: Retry.fullJitter({ base: "50 millis", cap: "1 second", times: 100 }),
        while: (error) => PoolError.fromSqlError(error)?.reason._tag !== "PoolClosed"
      }),
      Effect.timeoutOrElse({ duration: resolveTimeout, orElse: () => Effect.succeed<Answer>("Unknown") }),
      // The mask of COMMIT ends here: for whoever no longer waits for the answer it is unknown.
      Effect.interruptible,
      Effect.catchCause(() => Effect.succeed<Answer>("Unknown"))
    )
  }

  /** Ends the transaction of a body that did not succeed. The pool does it for one that nobody waits for. */
  const rollBack = (connection: TransactionConnection, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
    connection.close()
    // COMMIT has told the observers itself. Where it was not sent, only a statement can have applied anything.
    if (connection.isObserved) connection.tellEnd(connection.isEndedInside ? "Unknown" : "NotApplied")
    if (Exit.isSuccess(exit)) return Effect.void
    for (const reason of exit.cause.reasons) {
      const error = Cause.isFailReason(reason) ? Outcome.find(reason.error) : undefined
      // What failed in another transaction, or in another database, has not ended with this one.
      if (error !== undefined && connection.failures.has(error)) Outcome.ended(error)
    }
    return isHurried(exit.cause) || connection.gone !== undefined || !connection.base.inTransaction
      ? Effect.void
      : orDestroy(connection, connection.base.rollback)
  }

  /** Undoes a nested transaction. Nobody waits for it who was interrupted: the server keeps the order. */
  const rollBackTo = (connection: TransactionConnection, id: number): Effect.Effect<void> => {
    const hurry = connection.leave(id)
    if (connection.gone !== undefined || connection.isEndedInside) return Effect.void
    const name = savepointName(id)
    const both = orDestroy(
      connection,
      // Sent together.
      Effect.all([connection.base.rollbackSavepoint(name), connection.base.releaseSavepoint(name)], {
        concurrency: 2,
        discard: true
      })
    )
    return hurry ? Effect.asVoid(Effect.forkDetach(both, { startImmediately: true })) : both
  }

  /**
   * A statement that ends something must not replace what the body failed with. If it fails, nobody can say what state
   * the session is in, and the server ends the transaction together with it.
   */
  const orDestroy = (connection: TransactionConnection, effect: Effect.Effect<void, SqlError>): Effect.Effect<void> =>
    Effect.catchCause(
      effect,
      () => Effect.sync(() => connection.base.destroy("a statement that ends a transaction failed"))
    )

  // -------------------------------------------------------------------------------------------------------------------
  // The whole
  // -------------------------------------------------------------------------------------------------------------------

  /** A transaction inside of another one: a savepoint. */
  const nested = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    transact(Effect.withFiber((fiber) => {
      const connection = current(fiber.context)!
      const [, id] = Context.getUnsafe(fiber.context, transactionService)
      return Effect.onExit(self, (exit) => {
        if (Exit.isFailure(exit)) {
          if (isHurried(exit.cause)) connection.hurry(id)
          return Effect.void
        }
        // The savepoint is released here, where a refusal can be told to the caller: a failure was swallowed, and to
        // go on would only let the next statement fail.
        return connection.control(() => connection.base.releaseSavepoint(savepointName(id))).pipe(
          Effect.mapError((error) =>
            connection.failure === undefined ? error : aborted(connection, connection.failure, "InTransaction")
          ),
          Effect.andThen(Effect.sync(() => connection.leave(id)))
        )
      })
    }))

  const withTransaction = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> =>
    Effect.withFiber((fiber) => current(fiber.context) === undefined ? counted(transact(inside(self))) : nested(self))

  const counted = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.map(self, (value) => {
      options.onSuccess?.()
      return value
    })

  const run: Manager["run"] = (self, spec) =>
    spec.statementTimeout === undefined
      ? runSpec(self, spec)
      : StatementTimeout.within(runSpec(self, spec), spec.statementTimeout)

  const runSpec: Manager["run"] = (self, spec) =>
    Effect.withFiber((fiber) => {
      const outer = current(fiber.context)
      const nesting = spec.nesting ?? "savepoint"
      if (outer === undefined || nesting === "requiresNew") {
        if (nesting === "mandatory") return refuse(new TransactionError.NotInTransaction({ database }))
        const transaction = startingAt(
          spec.deadline ?? (spec.retry ?? options.retry)?.deadline,
          (startedAt) => counted(outermost(self, spec, outer !== undefined, startedAt))
        )
        return spec.idempotencyKey === undefined ? transaction : Effect.andThen(keys.prepare, transaction)
      }
      if (nesting === "never") return refuse(new TransactionError.AlreadyInTransaction({ database }))
      const problem = incompatible(outer.beginning.begin, spec)
      if (problem !== undefined) return refuse(new TransactionError.Incompatible({ database, problem }))
      return startingAt(spec.deadline, (startedAt) => {
        const body = within(self, deadlineOf(spec, startedAt), () => "body")
        return named(nesting === "savepoint" ? nested(body) : body, spec)
      })
    })

  const outermost = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    spec: Spec,
    insideAnother: boolean,
    startedAt: number | undefined
  ): Effect.Effect<A, E | SqlError, R> => {
    const { idempotencyKey: key, resolve = plain.resolve, retry = options.retry ?? Retry.defaults } = spec
    const deadline = deadlineOf(spec, startedAt)
    const begin = {
      isolation: spec.isolation,
      access: spec.access,
      deferrable: spec.deferrable,
      resolvable: resolvable(resolve),
      lazy: true
    }
    const claimed = key === undefined ? self : Effect.andThen(keys.claim(key, transactionService), self)
    // Waiting, BEGIN and the body are interrupted at the deadline. COMMIT cannot be, so what the caller is told never
    // contradicts what was applied.
    const body = inside(within(claimed, deadline, () => "body"))
    const once = named(
      Effect.provideService(
        insideAnother ? outside(transact(body), transactionService) : transact(body),
        Beginning,
        { begin, resolve, key, deadline }
      ),
      spec
    )
    if (retry === Retry.never) return once
    const policy = deadline === undefined ? retry : { ...retry, deadline: shorter(deadline, retry) }
    return Effect.catchCause(
      once,
      (cause) => Retry.recover(cause, once, { name: database, policy, budget, startedAt, onRepeat: options.onRepeat })
    )
  }

  const within = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    deadline: Deadline | undefined,
    during: () => TransactionError.DeadlineExceeded["during"]
  ): Effect.Effect<A, E | SqlError, R> =>
    deadline === undefined ? self : Effect.flatMap(Clock.currentTimeMillis, (now) =>
      Effect.timeoutOrElse(self, {
        duration: Math.max(0, deadline.at - now),
        orElse: () =>
          refuse(new TransactionError.DeadlineExceeded({ database, deadlineMillis: deadline.millis, during: during() }))
      }))

  const observe = (observer: EndObserver): Effect.Effect<boolean> =>
    Effect.withFiber((fiber) => {
      const connection = current(fiber.context)
      connection?.observe(observer)
      return Effect.succeed(connection !== undefined)
    })

  return {
    run,
    observe,
    prune: (age) => Effect.andThen(keys.prepare, keys.prune(Duration.fromInputUnsafe(age))),
    withTransaction
  }
}

type Answer = LostCommit["outcome"]

/** What the end of COMMIT says about the transaction. A COMMIT that was broken off may still be applied. */
const endOf = (exit: Exit.Exit<void, SqlError>): Answer => {
  if (Exit.isSuccess(exit)) return "Applied"
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  return error === undefined || Outcome.isUnknown(error) ? "Unknown" : "NotApplied"
}

const words: { readonly [answer in Answer]: string } = {
  Applied: "applied",
  NotApplied: "not_applied",
  Unknown: "unknown"
}

/** Without costs it is resolvable anyhow. */
const resolvable = (resolve: NonNullable<Spec["resolve"]>): TransactionSpec.Begin["resolvable"] =>
  resolve === "free" ? undefined : resolve

const savepointName = (id: number): string => `watertight_${id}`

const refuse = (reason: TransactionError.TransactionErrorReason): Effect.Effect<never, SqlError> =>
  Effect.suspend(() => Effect.fail(transactionError(reason)))

/** Whether nobody waits any more, or may wait. */
const isHurried = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) =>
    Cause.isInterruptReason(reason) ||
    (Cause.isFailReason(reason) && isSqlError(reason.error) &&
      TransactionError.fromSqlError(reason.error)?.reason._tag === "DeadlineExceeded")
  )

/** A statement that was given for all transactions gives way to what one of them asks for. */
const howToBegin = (begin: TransactionSpec.Begin, statement: string | undefined): TransactionSpec.Begin =>
  statement === undefined || begin.isolation !== undefined || begin.access !== undefined ||
    begin.deferrable !== undefined
    ? begin
    : { ...begin, statement }

/** The clock is read only for a transaction that is timed. */
const startingAt = <A, E, R>(
  deadline: Duration.Input | undefined,
  f: (startedAt: number | undefined) => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  deadline === undefined
    ? f(undefined)
    : Effect.flatMap(Clock.currentTimeMillis, f)

const deadlineOf = (spec: Spec, startedAt: number | undefined): Deadline | undefined => {
  if (spec.deadline === undefined || startedAt === undefined) return undefined
  const millis = Duration.toMillis(Duration.fromInputUnsafe(spec.deadline))
  return { at: startedAt + millis, millis }
}

const shorter = (deadline: Deadline, { deadline: other = Infinity }: Retry.Policy): number =>
  Math.min(deadline.millis, Duration.toMillis(Duration.fromInputUnsafe(other)))

const named = <A, E, R>(self: Effect.Effect<A, E, R>, spec: Spec): Effect.Effect<A, E, R> =>
  spec.name === undefined ? self : Effect.withSpan(self, spec.name) as Effect.Effect<A, E, R>

const outside = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  transactionService: Context.Key<any, any>
): Effect.Effect<A, E, R> =>
  Effect.updateContext(
    self,
    (context: Context.Context<R>) =>
      Context.omit(transactionService)(context as Context.Context<any>) as Context.Context<R>
  )

/** What a nested transaction asks for and the one around it does not give. */
const incompatible = (outer: TransactionSpec.Begin, inner: Spec): string | undefined => {
  if (inner.isolation !== undefined && outer.isolation !== undefined) {
    if (!TransactionSpec.satisfies(outer.isolation, inner.isolation)) {
      return `asks for "${inner.isolation}" inside "${outer.isolation}"`
    }
  } else if (inner.isolation !== undefined) {
    return `asks for "${inner.isolation}" inside a transaction that named no isolation`
  }
  if (outer.access === "read only" && inner.access === "read write") return `asks to write inside "read only"`
  if (inner.idempotencyKey !== undefined) return "has an idempotency key, which only an outermost one can have"
  return undefined
}

// ---------------------------------------------------------------------------------------------------------------------
// Idempotency keys
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The name of the table that holds the idempotency keys. It is made when it is first needed.
 *
 * @category constants
 * @since 0.1.0
 */
export const keyTable = "watertight_transaction"

const makeKeys = (adapter: Adapter, pool: Pool) => {
  const { idempotency } = adapter
  let exists = false

  const onOwnConnection = (statement: string, params: ReadonlyArray<unknown>): Effect.Effect<void, SqlError> =>
    Effect.mapError(
      pool.use((connection) => Effect.asVoid(connection.executeUnprepared(statement, params, undefined))),
      (error) => Outcome.attach(error, "Statement", adapter.ruleOf)
    )

  return {
    /** Makes the table, unless that was done. Must not be called with a connection in hand. */
    prepare: Effect.suspend(() =>
      exists ? Effect.void : onOwnConnection(idempotency.createTable(keyTable), []).pipe(
        // Whoever comes second while the table is being made may be told that its name is taken.
        Effect.retry({ times: 3, while: (error) => Outcome.of(error)?.phase === "Statement" }),
        // Whoever may not make a table can still use one that somebody else has made.
        Effect.catchIf((error) => error.reason._tag === "AuthorizationError", () => Effect.void),
        Effect.tap(() => Effect.sync(() => exists = true))
      )
    ),

    /** Forgets keys. */
    prune: (age: Duration.Duration): Effect.Effect<void, SqlError> =>
      onOwnConnection(idempotency.prune(keyTable), [Duration.toSeconds(age)]),

    /** Writes the key, or fails if it is there. Another transaction that is writing it is waited for. */
    claim: (
      key: string,
      transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
    ): Effect.Effect<void, SqlError> =>
      Effect.withFiber((fiber) => {
        const [connection] = Context.getUnsafe(fiber.context, transactionService)
        return Effect.flatMap(
          connection.executeRaw(idempotency.insert(keyTable), [key]),
          (result) =>
            idempotency.inserted(result)
              ? Effect.void
              : refuse(new TransactionError.AlreadyApplied({ database: adapter.name, idempotencyKey: key }))
        )
      }),

    /**
     * Whether the key was committed. It is written once more and rolled back: that waits for a transaction which still
     * holds it, where only looking would miss one that commits a moment later.
     */
    wasApplied: (key: string) => (connection: Connection): Effect.Effect<"Applied" | "NotApplied", SqlError> =>
      Effect.andThen(
        connection.begin({}),
        Effect.onExit(
          Effect.map(
            connection.executeRaw(idempotency.insert(keyTable), [key]),
            (result) => idempotency.inserted(result) ? "NotApplied" as const : "Applied" as const
          ),
          // Whoever stops waiting does not wait for this either: the pool sees to it.
          (exit) => Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(connection.rollback)
        )
      )
  }
}
