/**
 * The database that a program talks to: an adapter and a pool, joined into Effect's `SqlClient`.
 *
 * **Details**
 *
 * A statement goes `sql` → `Database` → `Breaker` → `Pool.share` → connection, and its rows come straight back. It may share its
 * connection with other statements. A stream, a transaction and `sql.reserve` have a connection for themselves, until
 * their scope closes. How a transaction goes is told in `Transaction`.
 *
 * A statement outside a transaction that failed is repeated only where that cannot do its work twice: the server has
 * not seen it, or answered that it was undone. Inside `Retry.idempotent` it is repeated also when nobody knows.
 *
 * Every failure can be asked what it means with `Outcome.of`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Reactivity from "effect/reactivity/Reactivity"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Adapter } from "./Adapter.ts"
import * as Breaker from "./breaker/Breaker.ts"
import { guardReads, standingOf } from "./cluster/oneNode.ts"
import { ClassifyingConnection } from "./database/ClassifyingConnection.ts"
import { loaded } from "./database/loaded.ts"
import { PooledConnection } from "./database/PooledConnection.ts"
import { reachable, reachableBeside } from "./database/reachable.ts"
import { SettledConnection } from "./database/SettledConnection.ts"
import { shorten } from "./database/ShortStatement.ts"
import { makeNamer } from "./database/spanName.ts"
import { type LogOptions, type StatementForm, StatementLog } from "./database/StatementLog.ts"
import * as Outcome from "./failure/Outcome.ts"
import * as Retry from "./failure/Retry.ts"
import * as SqlFailure from "./failure/SqlFailure.ts"
import type { InvalidOptions } from "./options/InvalidOptions.ts"
import * as Checks from "./options/Options.ts"
import { layer as poolLayer, type Options as PoolOptions, Pool } from "./pool/Pool.ts"
import { policy, resolve as resolveCheck } from "./transaction/spec.ts"
import * as Transaction from "./transaction/Transaction.ts"

/**
 * The options of a database.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** What is repeated, and when, of statements, and of transactions that name no other. Default: `Retry.defaults`. */
  readonly retry?: Retry.Policy | undefined
  /** How much may be repeated before the failures are final. */
  readonly budget?: Retry.BudgetOptions | undefined
  /**
   * The options of the circuit breaker, or `false` for none. Default: one that opens for a second or more when half of
   * the last calls have failed because the database could not be reached or had no room, see `Breaker`.
   */
  readonly breaker?: Breaker.Options | false | undefined
  /**
   * Whether a COMMIT without answer is looked into, of transactions that do not say. Default: `"free"`, see
   * `Transaction.Spec`.
   */
  readonly resolve?: Transaction.Spec["resolve"]
  /**
   * How long a COMMIT without answer is looked into before it is reported as unknown. Default: 10 seconds, which most
   * restarts and failovers stay below.
   */
  readonly resolveTimeout?: Duration.Input | undefined
  /**
   * What is told about statements: each of them, those that are slow, and those that one span repeats. Default: nothing.
   */
  readonly log?: LogOptions | undefined
}

/**
 * What is told about statements.
 *
 * @category options
 * @since 0.2.0
 */
export type { LogOptions }

/**
 * What statements of one form have taken.
 *
 * @category models
 * @since 0.2.0
 */
export type { StatementForm }

/**
 * Something was repeated.
 *
 * @category models
 * @since 0.1.0
 */
export interface Repeated extends Retry.Attempt {
  readonly _tag: "Repeated"
  readonly database: string
}

/**
 * The answer to a COMMIT was lost.
 *
 * @category models
 * @since 0.1.0
 */
export interface CommitLost extends Transaction.LostCommit {
  readonly _tag: "CommitLost"
  readonly database: string
}

/**
 * A database.
 *
 * @category models
 * @since 0.1.0
 */
export interface Database {
  /** The database, as people should read it. */
  readonly name: string
  readonly client: SqlClient.SqlClient
  readonly transactions: Transaction.Manager
  /** What turns callers away while the database is in trouble. `undefined` if it was switched off. */
  readonly breaker: Breaker.Breaker | undefined
  /**
   * What statements have taken, by their form; `undefined` where nothing is told about statements: see `log`.
   *
   * @since 0.2.0
   */
  readonly statements: Effect.Effect<ReadonlyArray<StatementForm>> | undefined
  /** What is repeated, and the COMMITs whose answers are lost, from now on. */
  readonly events: Stream.Stream<Repeated | CommitLost>
}

/**
 * The service of `Database`.
 *
 * @category services
 * @since 0.1.0
 */
export const Database = Context.Service<Database>("watertight/Database")

const checks = Checks.make<Pick<Options, "retry" | "resolve" | "resolveTimeout">>()("Database", {
  retry: policy,
  resolve: resolveCheck,
  resolveTimeout: Checks.duration({ default: "10 seconds", positive: true })
})

let nextId = 0

/** `sql.insert([])` would be a statement without columns. Effect fails on it with a text that names nothing of this. */
const insertSome = (insert: SqlClient.SqlClient["insert"]): SqlClient.SqlClient["insert"] =>
  ((value: Parameters<typeof insert>[0]) => {
    if (Array.isArray(value) && value.length === 0) {
      throw new TypeError("sql.insert was given no rows, and needs at least one: leave the statement out")
    }
    return insert(value as never)
  }) as never

/** Tells those who listen what has been repeated and lost, and the log of deadlocks that come back. */
class Notices {
  private readonly database: string
  private readonly events: PubSub.PubSub<Repeated | CommitLost>
  private readonly runFork: ReturnType<typeof Effect.runForkWith<never>>
  // It is loaded with the first deadlock.
  private readonly deadlocks = loaded(() =>
    import("./database/DeadlockWatch.ts").then(({ DeadlockWatch }) => new DeadlockWatch(this.database))
  )

  constructor(database: string, context: Context.Context<never>, events: PubSub.PubSub<Repeated | CommitLost>) {
    this.database = database
    this.events = events
    this.runFork = Effect.runForkWith(context)
  }

  readonly onRepeat = (attempt: Retry.Attempt): void => {
    if (attempt.error.reason._tag === "DeadlockError") {
      this.runFork(Effect.flatMap(this.deadlocks, (watch) => watch.note(attempt.error)))
    }
    PubSub.publishUnsafe(this.events, { _tag: "Repeated", database: this.database, ...attempt })
  }

  readonly onLost = (lost: Transaction.LostCommit): void => {
    PubSub.publishUnsafe(this.events, { _tag: "CommitLost", database: this.database, ...lost })
  }
}

/** Has the log ask the server for the plans of reads that are slow, where it is to tell them. */
const explainSlowReads = (
  log: StatementLog,
  database: string,
  client: SqlClient.SqlClient,
  context: Context.Context<never>
): void =>
  log.explainWith((showsValues) => {
    const explainer = loaded(() =>
      import("./database/explain.ts").then(({ Explainer }) => new Explainer(database, client, showsValues))
    )
    return (sql, params) => void Effect.runForkWith(context)(Effect.flatMap(explainer, (one) => one.tell(sql, params)))
  })

/**
 * Joins an adapter and a pool.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  adapter: Adapter,
  given: Pool,
  options: Options = {}
): Effect.fn.Return<Database, InvalidOptions, Reactivity.Reactivity | Scope.Scope> {
  const pool = guardReads(given, adapter)
  const { resolve, resolveTimeout, retry } = yield* checks.resolve({
    retry: options.retry,
    resolve: options.resolve,
    resolveTimeout: options.resolveTimeout
  })
  /** What the budget earns from: calls that have succeeded. */
  const tally = { successes: 0 }
  const budget = yield* Retry.makeBudget(options.budget ?? {}, () => tally.successes)
  const events = yield* Effect.acquireRelease(PubSub.sliding<Repeated | CommitLost>(256), PubSub.shutdown)
  const context = yield* Effect.context<never>()
  const notices = new Notices(adapter.name, context, events)
  const { onLost, onRepeat } = notices
  const log = options.log === undefined
    ? undefined
    : yield* Effect.fromResult(StatementLog.make(adapter.name, options.log))
  const transactionService = Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>(
    `watertight/Database/Transaction/${nextId++}`
  )
  const breaker = options.breaker === false
    ? undefined
    : yield* Breaker.make(adapter, options.breaker, {
      probe: reachable(pool, adapter),
      witness: reachableBeside(adapter)
    })
  if (breaker !== undefined) yield* pool.guardedBy(breaker)
  // A caller that wants a whole connection is turned away or not while it waits. What it does with it is not counted.
  const judged = Effect.mapError(
    pool.reserve,
    (error) => SqlFailure.attach(Outcome.attach(error, "Acquire", adapter.ruleOf), "")
  )
  const reserve = breaker === undefined ? judged : breaker.execute(judged)
  const { withTransaction, ...transactions } = Transaction.make({
    adapter,
    pool: { ...pool, reserve },
    budget,
    onRepeat,
    onLost,
    onSuccess: () => {
      tally.successes++
    },
    log,
    reads: standingOf(given),
    transactionService,
    retry,
    resolve,
    resolveTimeout
  })
  const policyOfAll = retry ?? Retry.defaults
  const pooled = new PooledConnection(
    { ...pool, reserve },
    adapter,
    breaker,
    tally,
    (cause, once) => Retry.recover(cause, once, { name: adapter.name, policy: policyOfAll, budget, onRepeat }),
    log
  )
  const { settings } = adapter
  const settled = new SettledConnection(pooled, withTransaction, transactionService)
  /** What a statement of a fiber is run on outside of a transaction. */
  const connectionOf = (fiber: Fiber.Fiber<unknown, unknown>): SqlConnection.Connection => {
    const wanted = settings === undefined ? undefined : fiber.getRef(settings)
    return wanted === undefined || wanted === "none" ? pooled : settled
  }
  const client = yield* SqlClient.make({
    acquirer: Effect.withFiber((fiber) => Effect.succeed(connectionOf(fiber))),
    borrower: (f) => Effect.withFiber((fiber) => f(connectionOf(fiber))),
    transactionAcquirer: Effect.map(reserve, (connection) => new ClassifyingConnection(connection, adapter, log)),
    transactionService,
    compiler: adapter.compiler,
    transformRows: adapter.transformRows as never,
    driver: adapter.driver,
    spanAttributes: adapter.spanAttributes
  })
  const { transformRows } = adapter
  if (log !== undefined) explainSlowReads(log, adapter.name, client, context)
  return {
    name: adapter.name,
    client: shorten(Object.assign(client, { withTransaction, insert: insertSome(client.insert) }), {
      transactionService,
      transformRows,
      namer: makeNamer(Statement.spanName(adapter.spanAttributes)),
      know: (text) => pooled.profile(text),
      run: (statement, fiber) => {
        const { args, plan } = statement
        const connection = connectionOf(fiber)
        return connection === pooled
          ? pooled.runIn(fiber, plan.known, args, statement)
          : connection.execute(plan.text, args, transformRows)
      }
    }),
    transactions,
    breaker,
    statements: log === undefined ? undefined : Effect.sync(() => log.statements),
    events: Stream.fromPubSub(events)
  }
})

/**
 * Provides the database of the adapter and the pool in the context, its client, and what runs its transactions.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: Options = {}
): Layer.Layer<Database | SqlClient.SqlClient | Transaction.Manager, InvalidOptions, Adapter | Pool> =>
  Layer.effectContext(
    Effect.flatMap(
      Adapter,
      (adapter) =>
        Effect.flatMap(
          Pool,
          (pool) =>
            Effect.map(make(adapter, pool, options), (database) =>
              Context.make(Database, database).pipe(
                Context.add(SqlClient.SqlClient, database.client),
                Context.add(Transaction.Manager, database.transactions)
              ))
        )
    )
  ).pipe(Layer.provide(Reactivity.layer))

/**
 * The options of a whole database layer, beside those of its adapter.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions extends Options {
  /** The options of the pool, for example `Pool.webApplication`. */
  readonly pool?: PoolOptions | undefined
}

/**
 * Tells the options of the database layer from those of its adapter, where both are given as one object.
 *
 * @category options
 * @since 0.1.0
 */
export const separate = <O extends LayerOptions>(
  options: O
): { readonly database: LayerOptions; readonly adapter: Omit<O, keyof LayerOptions> } => {
  const { breaker, budget, log, pool, resolve, resolveTimeout, retry, ...adapter } = options
  return { database: { breaker, budget, log, pool, resolve, resolveTimeout, retry }, adapter }
}

/**
 * Provides the database of an adapter over a pool of its own.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerOf = <E, R>(
  adapter: Layer.Layer<Adapter, E, R>,
  options: LayerOptions = {}
): Layer.Layer<
  Database | SqlClient.SqlClient | Transaction.Manager | Pool | Adapter,
  E | InvalidOptions | SqlError,
  R
> =>
  layer(options).pipe(
    Layer.provideMerge(poolLayer(options.pool)),
    Layer.provideMerge(adapter)
  )
