/**
 * Statements that are known beforehand: how they run on the connection of a transaction, and what became of them.
 *
 * **Details**
 *
 * Where the database skips what comes after a failure, they are written together, and COMMIT behind them. So COMMIT may
 * be lost together with the answers of the statements, and the same is asked as for every lost COMMIT: was it applied? If
 * it was, and not all rows have arrived, the rows are gone, and the caller is told exactly that.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Result from "effect/Result"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { CurrentTransformer } from "effect/sql/Statement"
import type { CommitBehind } from "../Adapter.ts"
import * as Causal from "../cluster/Causal.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { field } from "../failure/record.ts"
import { type TransactionConnection, transactionError } from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"

export type Statements = ReadonlyArray<Effect.Effect<any, SqlError>>

/** What the body of a batch succeeds with. Without all rows it has still to be committed, and fails afterwards. */
export class Answers {
  readonly rows: ReadonlyArray<unknown>
  readonly missing: Cause.Cause<SqlError> | undefined

  constructor(rows: ReadonlyArray<unknown>, missing?: Cause.Cause<SqlError> | undefined) {
    this.rows = rows
    this.missing = missing
  }
}

const index = field<number>("batchIndex")

/** Which statement of a batch has failed, counted from 0. */
export const indexOf = (error: SqlError): number | undefined => index.get(error)

/** Runs the statements, and tells for each of them what became of it. */
export const each = (
  statements: Statements
): Effect.Effect<ReadonlyArray<Result.Result<any, SqlError>>> =>
  Effect.all(
    statements.map((statement, at) => Effect.result(Effect.mapError(statement, (error) => noted(error, at)))),
    {
      concurrency: "unbounded"
    }
  )

const failureIn = (cause: Cause.Cause<SqlError>): SqlError | undefined => {
  const error = Option.getOrUndefined(Cause.findErrorOption(cause))
  return isSqlError(error) ? error : undefined
}

/** Notes at a failure which statement it is about. */
const noted = (error: SqlError, at: number): SqlError => {
  index.set(error, at)
  return error
}

/** Runs the statements in the transaction of the connection; `isWhole` if they are all there is to it. */
export const run = (
  connection: TransactionConnection,
  statements: Statements,
  isWhole: boolean
): Effect.Effect<Answers, SqlError> => {
  if (connection.base.commitBehind === undefined) return oneByOne(statements)
  return Effect.withFiber((fiber) => {
    const { causality } = connection.surroundings.adapter
    const mayRide = isWhole && statements.length > 0 && connection.beginning.deadline === undefined &&
      // Both might run statements of their own.
      fiber.getRef(CurrentTransformer) === undefined && (causality === undefined || !Causal.isUsed())
    const ride = connection.ride = mayRide ? connection.base.commitBehind!(statements.length) : undefined
    const all = Effect.all(statements.map(Effect.exit), { concurrency: "unbounded" })
    return Effect.flatMap(
      ride === undefined ? all : Effect.onInterrupt(all, () => Effect.sync(() => ride.abandon())),
      (exits) => settled(connection, exits, ride)
    )
  })
}

/** A failure has to keep the ones behind it from running, which only the answer to each can. */
const oneByOne = (statements: Statements): Effect.Effect<Answers, SqlError> =>
  Effect.map(
    Effect.forEach(statements, (statement, at) => Effect.mapError(statement, (error) => noted(error, at))),
    (rows) => new Answers(rows)
  )

const settled = (
  connection: TransactionConnection,
  exits: ReadonlyArray<Exit.Exit<unknown, SqlError>>,
  ride: CommitBehind | undefined
): Effect.Effect<Answers, SqlError> => {
  const rows: Array<unknown> = []
  let failed: Cause.Cause<SqlError> | undefined
  for (const [at, exit] of exits.entries()) {
    if (Exit.isSuccess(exit)) rows.push(exit.value)
    else failed ??= Cause.map(exit.cause, (error) => noted(error, at))
  }
  if (ride?.isAskedFor !== true) {
    return failed === undefined ? Effect.succeed(new Answers(rows)) : Effect.failCause(failed)
  }
  // What became of COMMIT, the transaction tells at its end.
  if (failed === undefined) return Effect.succeed(new Answers(rows))
  return Effect.flatMap(ride.answered, (answer) => {
    if (!isRefused(connection, answer)) return Effect.succeed(new Answers(rows, failed))
    connection.ride = undefined
    return Effect.failCause(failed)
  })
}

/** Whether COMMIT has certainly not been done. */
const isRefused = (connection: TransactionConnection, answer: Exit.Exit<void, SqlError>): boolean => {
  if (Exit.isSuccess(answer)) return false
  const error = failureIn(answer.cause)
  return error !== undefined &&
    !Outcome.isUnknown(Outcome.attach(error, "Commit", connection.surroundings.adapter.ruleOf))
}

/** The transaction has been applied. If rows are missing all the same, they will never come. */
export const finished = (answers: Answers, database: string): Effect.Effect<ReadonlyArray<unknown>, SqlError> => {
  const { missing, rows } = answers
  if (missing === undefined) return Effect.succeed(rows)
  const error = failureIn(missing)
  if (error === undefined) return Effect.failCause(missing)
  if (Evidence.of(error).answer === "Done") {
    return Effect.fail(Outcome.mark(error, { ...Outcome.of(error)!, ...applied }))
  }
  return Effect.fail(transactionError(new TransactionError.ResultsLost({ database, cause: error })))
}

const applied = { outcome: "Applied", scope: "Never", phase: "Commit" } as const
