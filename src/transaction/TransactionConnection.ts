import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { ConnectionError, SqlError, UnknownError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, CommitBehind, Connection } from "../Adapter.ts"
import * as ClusterError from "../cluster/ClusterError.ts"
import { ClassifyingConnection, endsTransaction } from "../database/ClassifyingConnection.ts"
import { traceOn } from "../database/place.ts"
import type { StatementLog } from "../database/StatementLog.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import { LeaseEnded, toSqlError as poolError } from "../pool/PoolError.ts"
import { monotonicOf, timeoutOrElse } from "../timing/timeout.ts"
import { type Level, Levels } from "./Levels.ts"
import * as TransactionError from "./TransactionError.ts"
import type { Begin } from "./TransactionSpec.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** The moment by which a transaction must be done. */
export interface Deadline {
  /** In milliseconds of the monotonic clock. */
  readonly at: number
  readonly millis: number
}

/**
 * Is told about the end of a transaction, see `Transaction.observe`.
 *
 * @category models
 * @since 0.2.0
 */
export interface EndObserver {
  /** COMMIT is about to be sent. From here until `onEnd` the transaction may be applied at any moment. */
  readonly onCommit?: (() => void) | undefined
  /** The transaction has ended. Called exactly once. `"Unknown"`: COMMIT was sent, and its answer was lost. */
  readonly onEnd: (outcome: "Applied" | "NotApplied" | "Unknown") => void
}

/** How a transaction begins, and what must be known when it ends. */
export interface Beginning {
  readonly begin: Begin
  readonly resolve: "free" | "always" | "never"
  readonly key: string | undefined
  readonly deadline: Deadline | undefined
  /** Whether it may run on a replica, and writes nothing therefore. */
  readonly isInReads?: boolean | undefined
}

/** What the transactions of one database have in common. */
export interface Surroundings {
  readonly adapter: Adapter
  /** The level that a fiber is in. */
  readonly CurrentLevel: Context.Reference<Level | undefined>
  /** How long a statement waits for savepoints inside of its level, in milliseconds. */
  readonly turnLimit: Effect.Effect<number>
  /** Tells about statements, where that is asked for. */
  readonly log: StatementLog | undefined
}

/**
 * The connection of a transaction. It knows what has failed in it, and lets no statement through that would run outside
 * of it: after a failure that took the whole transaction along, after its end, or at the wrong level.
 */
export class TransactionConnection extends ClassifyingConnection {
  readonly beginning: Beginning
  readonly levels = new Levels()
  /** What failed in this transaction. */
  readonly failures = new WeakSet<SqlError>()
  /** The first failure, not counting what was undone with a savepoint. */
  failure: SqlError | undefined = undefined
  /** The failure with which the whole transaction has come to its end, savepoints and all. */
  gone: SqlError | undefined = undefined
  /** COMMIT or ROLLBACK is all that may come. */
  private closed = false
  private observers: Array<EndObserver> | undefined = undefined
  readonly surroundings: Surroundings
  /** A COMMIT that follows the statements of a batch, which need not be answered before it. */
  ride: CommitBehind | undefined = undefined

  constructor(base: Connection, surroundings: Surroundings, beginning: Beginning) {
    super(base, surroundings.adapter, surroundings.log)
    this.surroundings = surroundings
    this.beginning = beginning
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  observe(observer: EndObserver): void {
    this.observers ??= []
    this.observers.push(observer)
  }

  /** COMMIT is about to be sent. */
  tellCommit(): void {
    for (const observer of this.observers ?? []) observer.onCommit?.()
  }

  /** The transaction has ended. A second call does nothing, so each observer is told once. */
  tellEnd(outcome: "Applied" | "NotApplied" | "Unknown"): void {
    const { observers } = this
    this.observers = undefined
    for (const observer of observers ?? []) observer.onEnd(outcome)
  }

  get isObserved(): boolean {
    return this.observers !== undefined
  }

  /** What a forked fiber still sends from now on would be no part of the transaction. */
  close(): void {
    this.closed = true
    this.levels.leave(this.levels.root)
  }

  /** Whether COMMIT is on its way already, or answered. */
  get isCommitting(): boolean {
    return this.ride?.isAskedFor === true
  }

  /** Whether a statement has ended the transaction that was not meant to. */
  get isEndedInside(): boolean {
    return !this.isCommitting && !this.base.isClosed && !this.base.inTransaction
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Savepoints
  // -------------------------------------------------------------------------------------------------------------------

  /** A savepoint was set. */
  enter(id: number): void {
    this.levels.enter(id, this.failure)
  }

  /** A savepoint is gone, and with it what failed since it was set. */
  leave(level: Level): void {
    if (!level.isOpen) return
    this.failure = level.failureBefore
    this.levels.leave(level)
  }

  /** The level that a fiber is in. A level of another transaction is none of this one. */
  levelOf(fiber: Fiber.Fiber<unknown, unknown>): Level {
    const level = fiber.getRef(this.surroundings.CurrentLevel)
    let root = level
    while (root?.parent !== undefined) root = root.parent
    return level !== undefined && root === this.levels.root ? level : this.levels.root
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements
  // -------------------------------------------------------------------------------------------------------------------

  /** Runs BEGIN. */
  begin(how: Begin): Effect.Effect<void, SqlError> {
    return Effect.mapError(this.base.begin(how), (error) => this.judge(error, ""))
  }

  /** Runs a statement that sets a savepoint or releases it. */
  control(f: () => Effect.Effect<void, SqlError>): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const refusal = this.refusal()
      return refusal === undefined ? Effect.mapError(f(), (error) => this.judge(error, "")) : Effect.fail(refusal)
    })
  }

  protected override run<A>(
    sql: string,
    f: () => Effect.Effect<A, SqlError>,
    params: ReadonlyArray<unknown> = []
  ): Effect.Effect<A, SqlError> {
    return Effect.withFiber((fiber) => {
      const level = this.levelOf(fiber)
      if (level !== this.levels.innermost) return Effect.andThen(this.waitFor(level, fiber), this.run(sql, f, params))
      const refusal = this.refusal(level)
      traceOn(fiber, this.base)
      return refusal === undefined
        ? this.logged(sql, params, Effect.mapError(f(), (error) => this.judge(error, sql)))
        : Effect.fail(refusal)
    })
  }

  override executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: Transform
  ): Stream.Stream<any, SqlError> {
    return Stream.unwrap(Effect.map(this.turn, () =>
      // Each time that rows are asked for, the server may run a part of the statement.
      Stream.transformPull(
        super.executeStream(sql, params, transformRows),
        (pull) => Effect.succeed(Effect.andThen(this.turn, pull))
      )))
  }

  /** Waits until the fiber may run a statement of its own making on the session, and fails if it never may. */
  readonly turn: Effect.Effect<void, SqlError> = Effect.withFiber((fiber): Effect.Effect<void, SqlError> => {
    const level = this.levelOf(fiber)
    if (level !== this.levels.innermost) return Effect.andThen(this.waitFor(level, fiber), this.turn)
    const refusal = this.refusal(level)
    traceOn(fiber, this.base)
    return refusal === undefined ? Effect.void : Effect.fail(refusal)
  })

  /** Waits until the level is the innermost one. */
  private waitFor(level: Level, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, SqlError> {
    if (this.closed) return Effect.fail(this.refusal()!)
    if (!level.isOpen) return Effect.fail(transactionError(new TransactionError.NestedEnded({ database: this.name })))
    if (this.levels.isWaitingForItself(level, fiber)) return Effect.fail(this.nestedOpen(0))
    const now = monotonicOf(fiber.getRef(Clock.Clock))
    const since = now()
    return Effect.flatMap(this.surroundings.turnLimit, (limit) =>
      timeoutOrElse(this.levels.turn(level), {
        duration: limit,
        orElse: () => Effect.suspend(() => Effect.fail(this.nestedOpen(now() - since)))
      }))
  }

  private nestedOpen(waitedMillis: number): SqlError {
    const { id } = this.levels.innermost
    return transactionError(
      new TransactionError.NestedOpen({ database: this.name, savepoint: savepointName(id), waitedMillis })
    )
  }

  private get name(): string {
    return this.adapter.name
  }

  /** Why a statement of this level cannot run. Nothing of it reaches the server. */
  refusal(level: Level = this.levels.innermost): SqlError | undefined {
    if (this.closed) {
      return Outcome.attach(poolError(new LeaseEnded({ database: this.name })), "InTransaction", this.adapter.ruleOf)
    }
    if (this.gone !== undefined) return this.poisoned(this.gone)
    if (level.doomed !== undefined) return this.poisoned(level.doomed)
    if (this.isEndedInside) return transactionError(new TransactionError.EndedInside({ database: this.name }))
    return undefined
  }

  /** Says what a failure means, and remembers it, also that of something that went past this connection. */
  override judge(error: SqlError, sql: string): SqlError {
    const rule = this.adapter.ruleOf(error)
    Outcome.attach(error, endsTransaction(sql) ? "Commit" : "InTransaction", this.adapter.ruleOf)
    SqlFailure.attach(error, sql)
    const verdict = Outcome.of(error)!
    // Not a failure of the transaction.
    if (verdict.phase === "Acquire") return error
    if (verdict.scope === "OtherNode" && this.beginning.isInReads === true) {
      return this.remember(ClusterError.inReads(error, this.name))
    }
    // A server that may not write is not the wrong one for a transaction that asked not to.
    if (verdict.scope === "OtherNode" && this.beginning.begin.access === "read only") {
      Outcome.mark(error, { ...verdict, scope: "Never" })
    }
    return this.remember(rule?.poisoned === true ? this.poisoned(this.failure ?? error) : error)
  }

  private remember(judged: SqlError): SqlError {
    this.failures.add(judged)
    this.failure ??= judged
    if (this.base.isClosed || !this.base.inTransaction) this.gone ??= judged
    return judged
  }

  /** A statement after the failure that the transaction will not survive: it may be repeated if that may. */
  private poisoned(cause: SqlError): SqlError {
    const error = toSqlError(new TransactionError.Poisoned({ database: this.name, cause }), "execute")
    this.failures.add(error)
    return Outcome.mark(error, verdictAfter(cause, "InTransaction"))
  }
}

export const savepointName = (id: number): string => `watertight_${id}`

/** What it means for a transaction that this failure in it was swallowed. */
export const verdictAfter = (failure: SqlError | undefined, phase: "InTransaction" | "Ended"): Outcome.Verdict => {
  const verdict = failure === undefined ? undefined : Outcome.of(failure)
  return {
    outcome: verdict?.outcome === "Unknown" ? "Unknown" : "NotApplied",
    scope: verdict?.scope ?? "Never",
    ladder: verdict?.ladder ?? "Conflict",
    phase,
    about: verdict?.about
  }
}

/** The `SqlError` of a transaction that cannot do what was asked for, with what that means. */
export const transactionError = (reason: TransactionError.TransactionErrorReason): SqlError =>
  Outcome.mark(toSqlError(reason, "transaction"), {
    outcome: outcomeOf(reason),
    scope: "Never",
    ladder: "Conflict",
    phase: "Ended",
    about: undefined
  })

const outcomeOf = (reason: TransactionError.TransactionErrorReason): Outcome.Outcome => {
  switch (reason._tag) {
    case "AlreadyApplied":
    case "ResultsLost":
      return "Applied"
    case "DeadlineExceeded":
      return reason.during === "acquire" ? "NotSent" : "NotApplied"
    case "JoinFailed":
    case "CommitNotApplied":
      return "NotApplied"
    case "EndedInside":
      return "Unknown"
    default:
      return "NotSent"
  }
}

export const toSqlError = (reason: TransactionError.TransactionErrorReason, operation: string): SqlError => {
  const cause = new TransactionError.TransactionError({ reason })
  const props = { cause, message: cause.message, operation }
  const isLoss = reason._tag === "CommitUnknown" || reason._tag === "CommitNotApplied"
  const error = new SqlError({ reason: isLoss ? new ConnectionError(props) : new UnknownError(props) })
  return SqlFailure.attach(Evidence.attach(error, isLoss ? Evidence.of(reason.cause) : Evidence.make({})), "")
}
