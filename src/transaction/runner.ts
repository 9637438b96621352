/**
 * How a transaction runs, from its spec to its end.
 *
 * **Details**
 *
 * `run` looks where it is: outside of a transaction of the same database, or with `requiresNew`, it runs an outermost
 * one, which is repeated as a whole; otherwise a nested one, which is not. `SqlClient.makeWithTransaction` of Effect
 * keeps the order of acquire, BEGIN, body, COMMIT and callbacks; what each of them does stands here, in `commit` and in
 * `savepoints`.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import * as Reads from "../cluster/Reads.ts"
import { ClassifyingConnection } from "../database/ClassifyingConnection.ts"
import type { StatementLog } from "../database/StatementLog.ts"
import * as Retry from "../failure/Retry.ts"
import { Holds, type Pool } from "../pool/Pool.ts"
import { guardOf, monotonicOf, timeoutOrElse } from "../timing/timeout.ts"
import * as Batch from "./batchRun.ts"
import type { CommitProtocol } from "./commit.ts"
import type { makeKeys } from "./idempotency.ts"
import type { Level } from "./Levels.ts"
import * as savepoints from "./savepoints.ts"
import * as Specs from "./spec.ts"
import type { Spec } from "./spec.ts"
import * as StatementTimeout from "./StatementTimeout.ts"
import {
  type Beginning,
  type Deadline,
  type EndObserver,
  type Surroundings,
  TransactionConnection,
  transactionError
} from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"
import type { Begin } from "./TransactionSpec.ts"

export interface Options {
  readonly adapter: Adapter
  readonly pool: Pool
  readonly budget: Retry.Budget
  readonly keys: ReturnType<typeof makeKeys>
  readonly protocol: CommitProtocol
  readonly retry: Retry.Policy
  readonly resolve: "free" | "always" | "never"
  readonly onRepeat: ((attempt: Retry.Attempt) => void) | undefined
  readonly onSuccess: () => void
  readonly log: StatementLog | undefined
  /** Which replicas may run what is outside of any policy. */
  readonly reads: Reads.Policy | undefined
  readonly transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
}

type Run = <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>

let nextId = 0

export class Runner {
  private readonly options: Options
  private readonly database: string
  private readonly surroundings: Surroundings
  /** Where nothing else is asked for. */
  private readonly plain: Beginning
  /**
   * What the transaction that is about to begin is to be like. One for each database: they may be nested. It ends where
   * the body begins, so that what the body lets run outside of the transaction is not begun like it.
   */
  private readonly Beginning: Context.Reference<Beginning>
  private readonly transact: Run

  constructor(options: Options) {
    const id = nextId++
    const plain: Beginning = {
      begin: { resolvable: Specs.resolvable(options.resolve), lazy: true },
      resolve: options.resolve,
      key: undefined,
      deadline: undefined
    }
    this.options = options
    this.database = options.adapter.name
    this.plain = plain
    this.Beginning = Context.Reference<Beginning>(`watertight/Transaction/Beginning/${id}`, {
      defaultValue: () => plain
    })
    this.surroundings = {
      adapter: options.adapter,
      CurrentLevel: Context.Reference<Level | undefined>(`watertight/Transaction/Level/${id}`, {
        defaultValue: () => undefined
      }),
      turnLimit: Effect.map(options.pool.stats, (stats) => stats.acquireTimeoutMillis),
      log: options.log
    }
    const { protocol, transactionService } = options
    this.transact = SqlClient.makeWithTransaction<SqlClient.TransactionConnection, TransactionConnection>({
      transactionService: transactionService as never,
      spanAttributes: options.adapter.spanAttributes,
      acquireConnection: (restore) => this.acquire(restore),
      begin: () => Effect.void,
      commit: (connection) => protocol.commit(connection),
      // The finalizer does it: there the exit is known, and so whether a caller waits for the answer.
      rollback: () => Effect.void,
      savepoint: savepoints.enter,
      // `nested` releases the savepoint of a body that succeeded.
      rollbackSavepoint: savepoints.rollBack
    })
  }

  readonly withTransaction: Run = (self) =>
    Effect.withFiber((fiber) =>
      this.current(fiber) === undefined ? this.counted(this.transact(this.inside(self))) : this.nested(self)
    )

  run<A, E, R>(self: Effect.Effect<A, E, R>, spec: Spec): Effect.Effect<A, E | SqlError, R> {
    return Effect.withFiber((fiber): Effect.Effect<A, E | SqlError, R> => {
      const checked = Specs.check(spec)
      if (Result.isFailure(checked)) return Effect.fail(checked.failure)
      const resolved = checked.success
      const limited = resolved.statementTimeout === undefined
        ? self
        : Effect.provideService(self, StatementTimeout.Current, resolved.statementTimeout)
      const outer = this.current(fiber)
      return outer === undefined || resolved.nesting === "requiresNew"
        ? this.outermost(limited, resolved, outer !== undefined, fiber)
        : this.inner(limited, resolved, outer, fiber)
    })
  }

  /** Runs statements as one transaction. */
  batch(statements: Batch.Statements, spec: Spec): Effect.Effect<ReadonlyArray<any>, SqlError> {
    return Effect.withFiber((fiber) => {
      const isWhole = this.current(fiber) === undefined || spec.nesting === "requiresNew"
      const body = Effect.withFiber((inside) => Batch.run(this.current(inside)!, statements, isWhole))
      return Effect.flatMap(this.run(body, spec), (answers) => Batch.finished(answers, this.database))
    })
  }

  /** Runs statements on one connection, each by itself. */
  each(statements: Batch.Statements): Effect.Effect<ReadonlyArray<Result.Result<any, SqlError>>, SqlError> {
    const { adapter, budget, log, onRepeat, pool, retry: policy, transactionService } = this.options
    const all = Batch.each(statements)
    return Effect.withFiber((fiber) => {
      const settings = adapter.settings === undefined ? undefined : fiber.getRef(adapter.settings)
      // With settings each statement is a transaction of its own.
      if (this.current(fiber) !== undefined || settings !== undefined && settings !== "none") return all
      const once = Effect.scoped(
        Effect.flatMap(
          pool.reserve,
          (lent) => Effect.provideService(all, transactionService, [new ClassifyingConnection(lent, adapter, log), 0])
        )
      )
      // What fails is only that there is no connection.
      return Effect.catchCause(
        once,
        (cause) => Retry.recover(cause, once, { name: this.database, policy, budget, onRepeat })
      )
    })
  }

  observe(observer: EndObserver): Effect.Effect<boolean> {
    return Effect.withFiber((fiber) => {
      const connection = this.current(fiber)
      connection?.observe(observer)
      return Effect.succeed(connection !== undefined)
    })
  }

  /** The transaction that a fiber is in. */
  private current(fiber: Fiber.Fiber<unknown, unknown>): TransactionConnection | undefined {
    return Context.getOrUndefined(fiber.context, this.options.transactionService)?.[0] as
      | TransactionConnection
      | undefined
  }

  private counted<A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.map(self, (value) => {
      this.options.onSuccess()
      return value
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Outermost
  // -------------------------------------------------------------------------------------------------------------------

  private outermost<A, E, R>(
    self: Effect.Effect<A, E, R>,
    spec: Specs.Resolved,
    insideAnother: boolean,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<A, E | SqlError, R> {
    if (spec.nesting === "mandatory") {
      return this.refuse(new TransactionError.NotInTransaction({ database: this.database }))
    }
    const { keys, resolve: resolveOfAll, retry: retryOfAll, transactionService } = this.options
    const { idempotencyKey: key, resolve = resolveOfAll, retry = retryOfAll } = spec
    // The clock is read only for a transaction that is timed.
    const isTimed = spec.deadline !== undefined || retry.deadline !== undefined
    const startedAt = isTimed ? nowOf(fiber) : undefined
    const deadline = deadlineOf(spec, startedAt)
    const { access, deferrable, isolation } = spec
    const begin = { isolation, access, deferrable, resolvable: Specs.resolvable(resolve), lazy: true }
    const claimed = key === undefined ? self : Effect.andThen(keys.claim(key, transactionService), self)
    // Waiting, BEGIN and the body are interrupted at the deadline. COMMIT cannot be, so what the caller is told never
    // contradicts what was applied.
    const body = this.inside(this.within(claimed, deadline, () => "body"))
    const transaction = insideAnother ? Specs.outside(this.transact(body), this.omitTransaction) : this.transact(body)
    const beginning = Effect.provideService(transaction, this.Beginning, { begin, resolve, key, deadline })
    const began = spec.reads === undefined ? beginning : spec.reads(beginning)
    const once = Specs.named(
      key === undefined
        ? began
        : Effect.andThen(this.within(keys.prepare, deadline, () => "acquire"), keys.inTurns(began)),
      spec.name
    )
    if (retry === Retry.never) return this.counted(once)
    const policy = deadline === undefined ? retry : { ...retry, deadline: shorter(deadline, retry) }
    const { budget, onRepeat } = this.options
    return this.counted(Effect.catchCause(
      once,
      (cause) => Retry.recover(cause, once, { name: this.database, policy, budget, startedAt, onRepeat })
    ))
  }

  private readonly omitTransaction = (context: Context.Context<any>): Context.Context<any> =>
    Context.omit(this.options.transactionService)(context)

  /**
   * Gets a connection and begins. BEGIN stands here because only here it can be interrupted: a connection on which it
   * was is not ready for the next borrower, and the pool sees to that.
   */
  private acquire(
    restore: <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  ): Effect.Effect<TransactionConnection, SqlError, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const reads = fiber.getRef(Reads.Current) ?? this.options.reads
      const asked = fiber.getRef(this.Beginning)
      if (reads !== undefined && asked.begin.access === "read write") {
        return this.refuse(
          new TransactionError.Incompatible({ database: this.database, problem: "asks to write inside `Reads`" })
        )
      }
      const beginning = reads === undefined ? asked : forReads(asked)
      const how = this.withSettings(
        Specs.howToBegin(beginning.begin, fiber.getRef(SqlClient.BeginTransaction)),
        fiber
      )
      const lease = Scope.makeUnsafe()
      let connection: TransactionConnection | undefined
      const { pool } = this.options
      const reserve = reads === undefined ? pool.reserve : reservedForReads(pool, how)
      const open = Effect.flatMap(Scope.provide(reserve, lease), (lent) => {
        const opened = connection = new TransactionConnection(lent, this.surroundings, beginning)
        return Effect.as(opened.begin(how), opened)
      })
      // One finalizer for both, which costs less than two in one scope.
      const end = (exit: Exit.Exit<unknown, unknown>) =>
        connection === undefined
          ? Scope.close(lease, exit)
          : Effect.andThen(this.options.protocol.rollBack(connection, exit), Scope.close(lease, exit))
      return Effect.andThen(
        Scope.addFinalizerExit(Context.getUnsafe(fiber.context as Context.Context<any>, Scope.Scope), end),
        restore(this.within(open, beginning.deadline, () => connection === undefined ? "acquire" : "begin"))
      )
    })
  }

  private withSettings(begin: Begin, fiber: Fiber.Fiber<unknown, unknown>): Begin {
    const { settings: reference } = this.options.adapter
    const settings = reference === undefined ? undefined : fiber.getRef(reference)
    return settings === undefined || settings === "none" ? begin : { ...begin, settings }
  }

  /** What the body of an outermost transaction runs with. */
  private inside<A, E, R>(body: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.updateContext(body, (context: Context.Context<R>) => {
      const [connection] = Context.getUnsafe(context as Context.Context<any>, this.options.transactionService)
      const { base, levels } = connection as TransactionConnection
      const held = Context.add(context, Holds, [...Context.get(context, Holds), base]).pipe(
        Context.add(this.surroundings.CurrentLevel, levels.root)
      )
      return Context.get(context, this.Beginning) === this.plain ? held : Context.add(held, this.Beginning, this.plain)
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Nested
  // -------------------------------------------------------------------------------------------------------------------

  private inner<A, E, R>(
    self: Effect.Effect<A, E, R>,
    spec: Specs.Resolved,
    outer: TransactionConnection,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<A, E | SqlError, R> {
    const { database } = this
    if (spec.nesting === "never") return this.refuse(new TransactionError.AlreadyInTransaction({ database }))
    const problem = Specs.incompatible(outer.beginning.begin, spec)
    if (problem !== undefined) return this.refuse(new TransactionError.Incompatible({ database, problem }))
    const startedAt = spec.deadline === undefined ? undefined : nowOf(fiber)
    const body = this.within(self, deadlineOf(spec, startedAt), () => "body")
    const isJoin = spec.nesting === "join" || spec.nesting === "mandatory"
    return Specs.named(isJoin ? this.joined(body, outer, outer.levelOf(fiber)) : this.nested(body), spec.name)
  }

  /** A part of the transaction around it, which cannot be kept without this part. */
  private joined<A, E, R>(
    self: Effect.Effect<A, E, R>,
    outer: TransactionConnection,
    level: Level
  ): Effect.Effect<A, E, R> {
    return Effect.onExit(self, (exit) =>
      Exit.isSuccess(exit)
        ? Effect.void
        : Effect.sync(() => savepoints.doom(outer, level, this.database, exit.cause)))
  }

  /** A savepoint. */
  private readonly nested: Run = <A, E, R>(self: Effect.Effect<A, E, R>) =>
    this.transact(Effect.withFiber((fiber): Effect.Effect<A, E | SqlError, R> => {
      const connection = this.current(fiber)!
      const level = connection.levels.innermost
      level.owner = fiber
      return Effect.onExit(Effect.provideService(self, this.surroundings.CurrentLevel, level), (exit) => {
        savepoints.noteEnd(level, exit)
        return Exit.isSuccess(exit) ? savepoints.release(this.options.protocol, connection, level) : Effect.void
      })
    }))

  // -------------------------------------------------------------------------------------------------------------------
  // Deadlines
  // -------------------------------------------------------------------------------------------------------------------

  private within<A, E, R>(
    self: Effect.Effect<A, E, R>,
    deadline: Deadline | undefined,
    during: () => TransactionError.DeadlineExceeded["during"]
  ): Effect.Effect<A, E | SqlError, R> {
    if (deadline === undefined) return self
    return Effect.withFiber((fiber) =>
      timeoutOrElse(self, {
        duration: timeLeft(deadline, fiber),
        orElse: () =>
          Effect.suspend(() =>
            this.refuse(
              new TransactionError.DeadlineExceeded({
                database: this.database,
                deadlineMillis: deadline.millis,
                during: during()
              })
            )
          )
      })
    )
  }

  private refuse(reason: TransactionError.TransactionErrorReason): Effect.Effect<never, SqlError> {
    return Effect.fail(transactionError(reason))
  }
}

/** What may run on a replica writes nothing, wherever it runs. */
const forReads = (beginning: Beginning): Beginning => ({
  ...beginning,
  begin: { ...beginning.begin, access: "read only" },
  isInReads: true
})

/** The transaction itself sees to it that nothing is written. No standby of PostgreSQL has serializable ones. */
const reservedForReads = (pool: Pool, { isolation }: Begin): Pool["reserve"] => {
  const guarded = Effect.provideService(pool.reserve, Reads.IsGuarded, true)
  return isolation === "serializable" ? Reads.primary(guarded) : guarded
}

const nowOf = (fiber: Fiber.Fiber<unknown, unknown>): number => monotonicOf(fiber.getRef(Clock.Clock))()

/** What is left of a deadline. The time during which this process stood still was not the caller's. */
const timeLeft = ({ at, millis }: Deadline, fiber: Fiber.Fiber<unknown, unknown>): number => {
  const clock = fiber.getRef(Clock.Clock)
  const now = monotonicOf(clock)()
  return Math.max(0, at - now + (guardOf(clock)?.stalledBetween(at - millis, now) ?? 0))
}

const deadlineOf = (spec: Specs.Resolved, startedAt: number | undefined): Deadline | undefined =>
  spec.deadline === undefined || startedAt === undefined
    ? undefined
    : { at: startedAt + spec.deadline, millis: spec.deadline }

const shorter = (deadline: Deadline, retry: Retry.Policy): number =>
  Math.min(deadline.millis, Retry.deadlineMillis(retry))
