/**
 * The end of a transaction: COMMIT and what its answer means, or ROLLBACK. The table is at the head of `Transaction`.
 */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Causal from "../cluster/Causal.ts"
import { doubtful } from "../cluster/route/following.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as Retry from "../failure/Retry.ts"
import type { Pool } from "../pool/Pool.ts"
import * as PoolError from "../pool/PoolError.ts"
import { timeoutOrElse } from "../timing/timeout.ts"
import { type makeKeys, withoutSettings } from "./idempotency.ts"
import * as StatementTimeout from "./StatementTimeout.ts"
import { toSqlError, type TransactionConnection, transactionError, verdictAfter } from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"

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

type Answer = LostCommit["outcome"]

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

const words: { readonly [answer in Answer]: string } = {
  Applied: "applied",
  NotApplied: "not_applied",
  Unknown: "unknown"
}

export interface Options {
  readonly adapter: Adapter
  readonly pool: Pool
  readonly keys: ReturnType<typeof makeKeys>
  readonly resolveTimeout: Duration.Input
  readonly onLost: ((lost: LostCommit) => void) | undefined
}

export class CommitProtocol {
  private readonly options: Options

  constructor(options: Options) {
    this.options = options
  }

  /** Ends the transaction of a body that has succeeded. */
  commit(connection: TransactionConnection): Effect.Effect<void, SqlError> {
    const { doomed } = connection.levels.root
    connection.close()
    // Of a COMMIT that is sent already only its answer tells what it did.
    if (!connection.isCommitting) {
      if (connection.gone !== undefined) return Effect.fail(this.aborted(connection, connection.gone, "Ended"))
      if (doomed !== undefined) return Effect.fail(doomed)
      if (connection.isEndedInside) {
        return Effect.fail(transactionError(new TransactionError.EndedInside({ database: this.database })))
      }
    }
    const committed = Effect.catch(this.send(connection), (error) => this.notCommitted(connection, error))
    if (!connection.isObserved) return committed
    connection.tellCommit()
    return Effect.onExit(committed, (exit) => Effect.sync(() => connection.tellEnd(endOf(exit))))
  }

  /** Sends COMMIT. Inside of `Causal` it is noted behind which place the transaction is. */
  private send(connection: TransactionConnection): Effect.Effect<void, SqlError> {
    const { base } = connection
    const { causality } = this.options.adapter
    if (causality === undefined || !Causal.isUsed()) return base.commit
    return Effect.withFiber((fiber) => {
      const region = fiber.getRef(Causal.Current)
      return region === undefined ? base.commit : Effect.map(
        doubtful(causality.commit(base), region, this.database),
        (position) => position === undefined ? region.doubt(this.database) : region.advance(position, causality)
      )
    })
  }

  /** Ends the transaction of a body that has not. The pool does it for one that no caller waits for. */
  rollBack(connection: TransactionConnection, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> {
    connection.close()
    // COMMIT has told the observers itself. Where it was not sent, only a statement can have applied anything.
    if (connection.isObserved) {
      connection.tellEnd(connection.isEndedInside || connection.isCommitting ? "Unknown" : "NotApplied")
    }
    if (Exit.isSuccess(exit)) return Effect.void
    for (const reason of exit.cause.reasons) {
      if (Cause.isFailReason(reason)) this.ended(connection, reason.error)
    }
    if (isHurried(exit.cause) || connection.gone !== undefined || !connection.base.inTransaction) return Effect.void
    // A caller that is interrupted now waits no longer. The pool rolls back what is not ready, as for one that was
    // interrupted in its body.
    return interruptible(orDestroy(connection, connection.base.rollback))
  }

  /** The transaction has ended with this failure. What failed in another one, or in another database, has not. */
  private ended(connection: TransactionConnection, failure: unknown): void {
    const found = Outcome.find(failure)
    if (found !== undefined && connection.failures.has(found)) return Outcome.ended(found)
    // A failure of the session that went past this connection, of a BEGIN that came with a COPY for example.
    if (found === undefined && isSqlError(failure) && Evidence.isKnown(failure)) {
      Outcome.ended(connection.judge(failure, ""))
    }
  }

  /** COMMIT did not succeed: find out what that means. */
  private notCommitted(connection: TransactionConnection, error: SqlError): Effect.Effect<void, SqlError> {
    const { adapter } = this.options
    if (Evidence.of(error).answer === "RolledBack") {
      return Effect.fail(this.aborted(connection, connection.failure, "Ended"))
    }
    Outcome.attach(error, "Commit", adapter.ruleOf)
    if (!Outcome.isUnknown(error)) return Effect.fail(error)
    // What could not write has not.
    const answer = connection.beginning.begin.access === "read only"
      ? Effect.succeed<Answer>("NotApplied")
      : this.resolve(connection)
    return Effect.flatMap(Effect.tap(answer, (outcome) => this.tellLost({ error, outcome })), (outcome) => {
      if (outcome === "Applied") return Effect.void
      const { database } = this
      if (outcome === "NotApplied") {
        return Effect.fail(Outcome.mark(
          toSqlError(new TransactionError.CommitNotApplied({ database, cause: error }), "commit"),
          missing
        ))
      }
      const unknown = toSqlError(new TransactionError.CommitUnknown({ database, cause: error }), "commit")
      return Effect.fail(Outcome.mark(unknown, Outcome.of(error)!))
    })
  }

  private tellLost(lost: LostCommit): Effect.Effect<void> {
    this.options.onLost?.(lost)
    const attributes = { "watertight.database": this.database, "watertight.commit.outcome": words[lost.outcome] }
    return Metric.update(Metric.withAttributes(lostCommits, attributes), 1)
  }

  /** The transaction has come to nothing because of a failure that was swallowed. It may be repeated if that may. */
  aborted(
    connection: TransactionConnection,
    swallowed: SqlError | undefined,
    phase: "InTransaction" | "Ended"
  ): SqlError {
    const error = toSqlError(new TransactionError.Aborted({ database: this.database, cause: swallowed }), "commit")
    connection.failures.add(error)
    return Outcome.mark(error, verdictAfter(swallowed, phase))
  }

  /** Asks the database over another connection, as long as `resolveTimeout`. */
  private resolve(connection: TransactionConnection): Effect.Effect<Answer> {
    const { adapter, keys, pool, resolveTimeout } = this.options
    const { resolveCommit } = adapter
    const { key, resolve } = connection.beginning
    const token = connection.base.commitToken
    const questions: Array<(on: Connection) => Effect.Effect<Answer, SqlError>> = []
    if (resolve !== "never" && resolveCommit !== undefined && token !== undefined) {
      questions.push((on) => resolveCommit(token, on))
    }
    // Comes second, for it waits as long as the lost session holds the key, and the first question may end that.
    if (key !== undefined) questions.push(keys.wasApplied(key))
    if (questions.length === 0) return Effect.succeed("Unknown")
    const asked = pool.use((on) =>
      Effect.reduce(
        questions,
        (): Answer => "Unknown",
        (answer, question) => answer === "Unknown" ? question(on) : Effect.succeed(answer)
      )
    )
    return withoutSettings(adapter, asked).pipe(
      Effect.retry({
        schedule: Retry.fullJitter({ base: "50 millis", cap: "1 second", times: 100 }),
        while: (error) => PoolError.fromSqlError(error)?.reason._tag !== "PoolClosed"
      }),
      (question) =>
        timeoutOrElse(question, { duration: resolveTimeout, orElse: () => Effect.succeed<Answer>("Unknown") }),
      // It may wait for a transaction that still holds the key: `resolveTimeout` is its limit.
      StatementTimeout.within(Duration.infinity),
      // The mask of COMMIT ends here: for a caller that no longer waits for the answer it is unknown.
      Effect.interruptible,
      Effect.catchCause(() => Effect.succeed<Answer>("Unknown"))
    )
  }

  private get database(): string {
    return this.options.adapter.name
  }
}

/** COMMIT was lost, and did nothing. */
const missing: Outcome.Verdict = {
  outcome: "NotApplied",
  scope: "TransactionOnNewConnection",
  ladder: "Overload",
  phase: "Commit",
  about: "COMMIT was lost, and found not to be applied"
}

/** What the end of COMMIT says about the transaction. A COMMIT that was broken off may still be applied. */
const endOf = (exit: Exit.Exit<void, SqlError>): Answer => {
  if (Exit.isSuccess(exit)) return "Applied"
  const error = Option.getOrUndefined(Cause.findErrorOption(exit.cause))
  return error === undefined || Outcome.isUnknown(error) ? "Unknown" : "NotApplied"
}

/** Whether no caller waits any more, or may wait. */
export const isHurried = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) =>
    Cause.isInterruptReason(reason) ||
    (Cause.isFailReason(reason) && isSqlError(reason.error) &&
      TransactionError.fromSqlError(reason.error)?.reason._tag === "DeadlineExceeded")
  )

/** Lets an interruption end the wait for an effect in a finalizer. What is under way is not undone by that. */
export const interruptible = (effect: Effect.Effect<void>): Effect.Effect<void> =>
  Effect.asVoid(Effect.exit(Effect.interruptible(effect)))

/**
 * A statement that ends something must not replace what the body failed with. If it fails, the state of the session is
 * not known any more, and the server ends the transaction together with it.
 */
export const orDestroy = (
  connection: TransactionConnection,
  effect: Effect.Effect<void, SqlError>
): Effect.Effect<void> =>
  Effect.catchCause(
    effect,
    (cause) =>
      Cause.hasInterruptsOnly(cause)
        ? Effect.interrupt
        : Effect.sync(() => connection.base.destroy("a statement that ends a transaction failed"))
  )
