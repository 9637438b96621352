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
import * as SqlClient from "effect/sql/SqlClient"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "./Adapter.ts"
import { RolledBack } from "./core/RolledBack.ts"
import * as TransactionSpec from "./core/TransactionSpec.ts"
import { JudgedConnection } from "./internal/JudgedConnection.ts"
import * as Outcome from "./Outcome.ts"
import type { Pool } from "./Pool.ts"
import * as Retry from "./Retry.ts"
import * as TransactionError from "./TransactionError.ts"

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
  /** What is repeated, and when. Default: `Retry.defaults`. `Retry.never` repeats nothing. */
  readonly retry?: Retry.Policy | undefined
  /**
   * What it is inside another transaction of the same database: a `"savepoint"` in it (the default), a part of it
   * (`"join"`), one of its own on another connection (`"requiresNew"`), or an error (`"never"`). `"mandatory"` joins,
   * and is an error outside.
   */
  readonly nesting?: "savepoint" | "join" | "requiresNew" | "mandatory" | "never" | undefined
  /**
   * Whether a COMMIT without answer is looked into. `"free"` (the default) does so as far as preparing for it costs no
   * round trip, `"always"` prepares for it in any case, `"never"` reports `CommitUnknown` at once.
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
  /** Where `SqlClient` looks for the transaction that a statement belongs to. */
  readonly transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
}

let nextId = 0

/**
 * Makes what runs the transactions of one database, and the `withTransaction` of its client.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options): Manager & {
  readonly withTransaction: SqlClient.SqlClient["withTransaction"]
} => {
  const { adapter, budget, pool, transactionService } = options
  const database = adapter.name

  /** What the transaction that is about to begin is to be like. One for each database: they may be nested. */
  const Beginning = Context.Reference<Beginning>(`watertight/Transaction/Beginning/${nextId++}`, {
    defaultValue: () => plain
  })

  const transact = SqlClient.makeWithTransaction<SqlClient.TransactionConnection, TransactionConnection>({
    transactionService: transactionService as never,
    spanAttributes: adapter.spanAttributes,
    // BEGIN stands here because only here it can be interrupted: a connection on which it was is not ready for the
    // next borrower, and the pool sees to that.
    acquireConnection: (restore) =>
      Effect.withFiber((fiber) => {
        const { begin, key, resolve } = fiber.getRef(Beginning)
        const statement = fiber.getRef(SqlClient.BeginTransaction)
        return restore(Effect.flatMap(pool.reserve, (lent) => {
          const connection = new TransactionConnection(lent, adapter, resolve, key)
          return Effect.as(
            Effect.andThen(
              Effect.addFinalizer((exit) => rollBack(connection, exit)),
              judged("InTransaction", lent.begin(statement === undefined ? begin : { ...begin, statement }))
            ),
            connection
          )
        }))
      }),
    begin: () => Effect.void,
    commit: (connection) => commit(connection),
    // The finalizer does it: there the exit is known, and so whether anybody waits for the answer.
    rollback: () => Effect.void,
    savepoint: (connection, id) => judged("InTransaction", connection.base.savepoint(savepointName(id))),
    releaseSavepoint: (connection, id) => orDestroy(connection, connection.base.releaseSavepoint(savepointName(id))),
    rollbackSavepoint: (connection, id) =>
      Effect.andThen(
        orDestroy(connection, connection.base.rollbackSavepoint(savepointName(id))),
        Effect.sync(() => connection.failure = undefined)
      )
  })

  const judged = <A>(phase: Outcome.Phase, effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> =>
    Effect.mapError(effect, (error) => Outcome.attach(error, phase, adapter.ruleOf))

  /** Ends the transaction of a body that did not succeed. The pool does it for one that nobody waits for. */
  const rollBack = (connection: TransactionConnection, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
    if (Exit.isSuccess(exit)) return Effect.void
    for (const reason of exit.cause.reasons) {
      if (Cause.isFailReason(reason)) {
        const error = Outcome.find(reason.error)
        if (error !== undefined) Outcome.ended(error)
      }
    }
    return Exit.hasInterrupts(exit) || !connection.base.inTransaction
      ? Effect.void
      : orDestroy(connection, connection.base.rollback)
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

  const commit = (connection: TransactionConnection): Effect.Effect<void, SqlError> =>
    Effect.matchEffect(connection.base.commit, {
      onSuccess: () => Effect.void,
      onFailure: (error) => notCommitted(connection, error)
    })

  /** COMMIT did not succeed: find out what that means. */
  const notCommitted = (connection: TransactionConnection, error: SqlError): Effect.Effect<void, SqlError> => {
    if (error.reason.cause instanceof RolledBack) {
      const swallowed = connection.failure
      const scope = swallowed === undefined ? undefined : Outcome.of(swallowed)
      return Effect.fail(Outcome.mark(
        toSqlError(new TransactionError.Aborted({ database, cause: swallowed }), "commit"),
        // It may be repeated if what was swallowed may.
        { outcome: "NotApplied", scope: "Never", ladder: "Conflict", ...scope, phase: "Ended", about: "swallowed error" }
      ))
    }
    Outcome.attach(error, "Commit", adapter.ruleOf)
    if (!Outcome.isUnknown(error)) return Effect.fail(error)
    return Effect.flatMap(resolve(connection), (outcome) => {
      if (outcome === "Applied") return Effect.void
      if (outcome === "NotApplied") {
        return Effect.fail(Outcome.mark(error, {
          outcome: "NotApplied",
          scope: "TransactionOnNewConnection",
          ladder: "Overload",
          phase: "Commit",
          about: "COMMIT was lost, and found not to be applied"
        }))
      }
      const unknown = toSqlError(new TransactionError.CommitUnknown({ database, cause: error }), "commit")
      return Effect.fail(Outcome.mark(unknown, Outcome.of(error)!))
    })
  }

  /** Asks the database over another connection, as long as `resolveTimeout`. */
  const resolve = (connection: TransactionConnection): Effect.Effect<"Applied" | "NotApplied" | "Unknown"> => {
    if (connection.resolve === "never" && connection.key === undefined) return Effect.succeed("Unknown")
    const { resolveCommit } = adapter
    const token = connection.base.commitToken
    const ask = connection.key !== undefined
      ? keys.wasApplied(connection.key)
      : resolveCommit !== undefined && token !== undefined
      ? (on: Connection) => resolveCommit(token, on)
      : undefined
    if (ask === undefined) return Effect.succeed("Unknown")
    return pool.use(ask).pipe(
      Effect.retry({ schedule: Retry.fullJitter({ base: "50 millis", cap: "1 second", times: 100 }) }),
      Effect.timeoutOrElse({ duration: resolveTimeout, orElse: () => Effect.succeed("Unknown" as const) }),
      Effect.catchCause(() => Effect.succeed("Unknown" as const)),
      // The mask of COMMIT ends here: whoever no longer waits for the answer gets it as unknown.
      Effect.interruptible
    )
  }

  const keys = makeKeys(adapter, pool)

  const run: Manager["run"] = (self, spec) =>
    Effect.withFiber((fiber) => {
      const outer = Context.getOrUndefined(fiber.context, transactionService)
      const nesting = spec.nesting ?? "savepoint"
      if (outer !== undefined && nesting !== "requiresNew") {
        if (nesting === "never") return refuse(new TransactionError.AlreadyInTransaction({ database }))
        const problem = incompatible(fiber.getRef(Beginning).begin, spec)
        if (problem !== undefined) return refuse(new TransactionError.Incompatible({ database, problem }))
        return nesting === "savepoint" ? named(transact(self), spec) : self
      }
      if (nesting === "mandatory") return refuse(new TransactionError.NotInTransaction({ database }))
      const transaction = outermost(self, spec, outer !== undefined)
      return spec.idempotencyKey === undefined ? transaction : Effect.andThen(keys.prepare, transaction)
    })

  const outermost = <A, E, R>(
    self: Effect.Effect<A, E, R>,
    spec: Spec,
    insideAnother: boolean
  ): Effect.Effect<A, E | SqlError, R> => {
    const beginning: Beginning = {
      begin: {
        isolation: spec.isolation,
        access: spec.access,
        deferrable: spec.deferrable,
        resolvable: spec.resolve === "always"
      },
      resolve: spec.resolve ?? "free",
      key: spec.idempotencyKey
    }
    const policy = spec.retry ?? Retry.defaults
    const body = spec.idempotencyKey === undefined
      ? self
      : Effect.andThen(keys.claim(spec.idempotencyKey, transactionService), self)
    const attempt = (body: Effect.Effect<A, E | SqlError, R>): Effect.Effect<A, E | SqlError, R> =>
      Effect.provideService(
        insideAnother ? outside(transact(body), transactionService) : transact(body),
        Beginning,
        beginning
      )
    if (spec.deadline === undefined) {
      const once = named(attempt(body), spec)
      return policy === Retry.never ? once : Effect.catchCause(once, (cause) =>
        Retry.recover(cause, once, { name: database, policy, budget, onRepeat: options.onRepeat }))
    }
    const deadlineMillis = Duration.toMillis(Duration.fromInputUnsafe(spec.deadline))
    return Effect.flatMap(Clock.currentTimeMillis, (startedAt) => {
      const once = named(
        // Waiting, BEGIN and the body are interrupted at the deadline. COMMIT cannot be, so what the caller is told
        // never contradicts what was applied.
        Effect.flatMap(Clock.currentTimeMillis, (now) =>
          attempt(Effect.timeoutOrElse(body, {
            duration: startedAt + deadlineMillis - now,
            orElse: () => refuse(new TransactionError.DeadlineExceeded({ database, deadlineMillis }))
          }))),
        spec
      )
      return Effect.catchCause(once, (cause) =>
        Retry.recover(cause, once, {
          name: database,
          policy: { ...policy, deadline: policy.deadline ?? spec.deadline },
          budget,
          startedAt,
          onRepeat: options.onRepeat
        }))
    })
  }

  return {
    run,
    prune: (age) => Effect.andThen(keys.prepare, keys.prune(Duration.fromInputUnsafe(age))),
    withTransaction: transact
  }
}

interface Beginning {
  readonly begin: TransactionSpec.Begin
  readonly resolve: "free" | "always" | "never"
  readonly key: string | undefined
}

const plain: Beginning = { begin: {}, resolve: "free", key: undefined }

/** How long a COMMIT without answer is looked into, beside the deadline of the pool for a connection. */
const resolveTimeout = Duration.seconds(10)

const savepointName = (id: number): string => `watertight_${id}`

/** The connection of a transaction, and what must be known when it ends. */
class TransactionConnection extends JudgedConnection {
  readonly resolve: Beginning["resolve"]
  readonly key: string | undefined

  constructor(base: Connection, adapter: Adapter, resolve: Beginning["resolve"], key: string | undefined) {
    super(base, adapter)
    this.resolve = resolve
    this.key = key
  }

  // Also when the connection is gone by now, and with it the transaction.
  protected override get phase(): Outcome.Phase {
    return "InTransaction"
  }
}

const named = <A, E, R>(self: Effect.Effect<A, E, R>, spec: Spec): Effect.Effect<A, E, R> =>
  spec.name === undefined ? self : Effect.withSpan(self, spec.name) as Effect.Effect<A, E, R>

const outside = <A, E, R>(
  self: Effect.Effect<A, E, R>,
  transactionService: Context.Key<any, any>
): Effect.Effect<A, E, R> =>
  Effect.updateContext(
    self,
    (context: Context.Context<R>) => Context.omit(transactionService)(context as Context.Context<any>) as Context.Context<R>
  )

const refuse = (reason: TransactionError.TransactionErrorReason): Effect.Effect<never, SqlError> =>
  Effect.sync(() =>
    Outcome.mark(toSqlError(reason, "transaction"), {
      outcome: reason._tag === "AlreadyApplied" ? "Applied" : reason._tag === "DeadlineExceeded" ? "NotApplied" : "NotSent",
      scope: "Never",
      ladder: "Conflict",
      phase: "Ended",
      about: undefined
    })
  ).pipe(Effect.flatMap(Effect.fail))

const toSqlError = (reason: TransactionError.TransactionErrorReason, operation: string): SqlError => {
  const cause = new TransactionError.TransactionError({ reason })
  const props = { cause, message: cause.message, operation }
  return new SqlError({
    reason: reason._tag === "CommitUnknown" ? new ConnectionError(props) : new UnknownError(props)
  })
}

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
    pool.use((connection) => Effect.asVoid(connection.executeUnprepared(statement, params, undefined)))

  return {
    /** Makes the table, unless that was done. Must not be called with a connection in hand. */
    prepare: Effect.suspend(() =>
      exists ? Effect.void : onOwnConnection(idempotency.createTable(keyTable), []).pipe(
        // Whoever comes second while the table is being made may be told that its name is taken.
        Effect.retry({ times: 3 }),
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
          () => Effect.ignore(connection.rollback)
        )
      )
  }
}
