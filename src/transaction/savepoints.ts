/**
 * Transactions inside of other ones: savepoints, and transactions that join.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type { SqlError } from "effect/sql/SqlError"
import * as Outcome from "../failure/Outcome.ts"
import { type CommitProtocol, interruptible, isHurried, orDestroy } from "./commit.ts"
import type { Level } from "./Levels.ts"
import { savepointName, toSqlError, type TransactionConnection } from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"

/** Sets a savepoint. */
export const enter = (connection: TransactionConnection, id: number): Effect.Effect<void, SqlError> =>
  Effect.andThen(
    connection.control(() => connection.base.savepoint(savepointName(id))),
    Effect.sync(() => connection.enter(id))
  )

/**
 * Releases the savepoint of a body that has succeeded, here, where a refusal can be told to the caller: a failure was
 * swallowed, and to go on would only let the next statement fail.
 */
export const release = (
  protocol: CommitProtocol,
  connection: TransactionConnection,
  level: Level
): Effect.Effect<void, SqlError> => {
  if (level.doomed !== undefined) return Effect.fail(level.doomed)
  return connection.control(() => connection.base.releaseSavepoint(savepointName(level.id))).pipe(
    Effect.mapError((error) =>
      connection.failure === undefined ? error : protocol.aborted(connection, connection.failure, "InTransaction")
    ),
    Effect.andThen(Effect.sync(() => connection.leave(level)))
  )
}

/**
 * Undoes a nested transaction. A caller that is interrupted does not wait for it: the server keeps the order. Statements
 * of the level around it run when this has been sent, never before.
 */
export const rollBack = (connection: TransactionConnection, id: number): Effect.Effect<void> =>
  Effect.suspend(() => {
    const level = connection.levels.find(id)
    if (level === undefined) return Effect.void
    if (connection.gone !== undefined || connection.isEndedInside) {
      connection.leave(level)
      return Effect.void
    }
    const name = savepointName(id)
    const both = orDestroy(
      connection,
      // Sent together.
      Effect.all([connection.base.rollbackSavepoint(name), connection.base.releaseSavepoint(name)], {
        concurrency: 2,
        discard: true
      })
    )
    return Effect.flatMap(Effect.forkDetach(both, { startImmediately: true }), (fiber) => {
      connection.leave(level)
      return level.hurried ? Effect.void : interruptible(Fiber.join(fiber))
    })
  })

/** Notes how the body of a nested transaction has ended. */
export const noteEnd = (level: Level, exit: Exit.Exit<unknown, unknown>): void => {
  if (Exit.isFailure(exit) && isHurried(exit.cause)) level.hurried = true
}

/** The body of a transaction that has joined another one has failed: what it was a part of cannot be kept. */
export const doom = (
  connection: TransactionConnection,
  level: Level,
  database: string,
  cause: Cause.Cause<unknown>
): void => {
  const failure = Option.getOrUndefined(Cause.findErrorOption(cause))
  const error = toSqlError(new TransactionError.JoinFailed({ database, cause: failure }), "transaction")
  connection.failures.add(error)
  const verdict = Outcome.of(failure)
  level.doomed ??= Outcome.mark(error, {
    outcome: "NotApplied",
    scope: verdict?.scope ?? "Never",
    ladder: verdict?.ladder ?? "Conflict",
    phase: "InTransaction",
    about: verdict?.about
  })
}
