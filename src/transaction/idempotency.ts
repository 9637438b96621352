/**
 * Idempotency keys: a table with a row for each transaction that was applied under a key.
 *
 * **Details**
 *
 * The key is written in the transaction itself. So a transaction whose key is there was applied, also after a failover,
 * and one that is repeated under the same key is refused.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import type { Pool } from "../pool/Pool.ts"
import { monotonicOf } from "../timing/timeout.ts"
import * as StatementTimeout from "./StatementTimeout.ts"
import { transactionError } from "./TransactionConnection.ts"
import * as TransactionError from "./TransactionError.ts"

/**
 * The name of the table that holds the idempotency keys. It is made when it is first needed.
 *
 * @category constants
 * @since 0.1.0
 */
export const keyTable = "watertight_transaction"

/** What making the table failed with, as a failure of the transaction that needs it. What passes may be tried again. */
const notSent = (error: SqlError): SqlError => {
  const verdict = Outcome.of(error)
  if (verdict === undefined || verdict.outcome === "NotSent") return error
  const passes = verdict.outcome === "Unknown" || Outcome.isSafe(verdict)
  return Outcome.mark(error, { ...verdict, outcome: "NotSent", scope: passes ? "Connect" : "Never", phase: "Connect" })
}

/** Runs work of our own, which is not that of the fiber's settings. */
export const withoutSettings = <A, E, R>(adapter: Adapter, self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  adapter.settings === undefined ? self : Effect.provideService(self, adapter.settings, "none")

/**
 * How long a session waits for another transaction with the same key before it begins anew, in milliseconds.
 *
 * A server that waits says no more than one whose answer was lost, so the wait is cut into turns. A turn that was waited
 * out is followed by the next one, and a lost answer costs one turn.
 */
const turn = 5_000

/** How many turns there are in all: ten minutes, if there is no deadline. */
const turns = 120

/** Reads and writes the idempotency keys of a database. */
export const makeKeys = (adapter: Adapter, pool: Pool) => {
  const { idempotency } = adapter
  let exists = false
  /** Failures that say no more than that a turn is over. */
  const waitedOut = new WeakSet<object>()

  const onOwnConnection = (statement: string, params: ReadonlyArray<unknown>): Effect.Effect<void, SqlError> =>
    Effect.mapError(
      withoutSettings(
        adapter,
        pool.use((connection) => Effect.asVoid(connection.executeUnprepared(statement, params, undefined)))
      ),
      (error) => Outcome.attach(error, "Statement", adapter.ruleOf)
    )

  return {
    /** Makes the table, unless that was done. Must not be called with a connection in hand. */
    prepare: Effect.suspend(() =>
      exists ? Effect.void : onOwnConnection(idempotency.createTable(keyTable), []).pipe(
        // Of two that make the table at the same time, one may be told that its name is taken.
        Effect.retry({ times: 3, while: (error) => Outcome.of(error)?.phase === "Statement" }),
        // A user who may not make a table can still use one that is there.
        Effect.catchIf((error) => error.reason._tag === "AuthorizationError", () => Effect.void),
        Effect.tap(() => Effect.sync(() => exists = true)),
        // Nothing of the transaction itself was sent.
        Effect.mapError((error) => notSent(error))
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
        const now = monotonicOf(fiber.getRef(Clock.Clock))
        const since = now()
        return Effect.flatMap(
          // `deadline` decides how long it waits for another one with the key, not the limit of statements.
          Effect.tapError(
            StatementTimeout.within(connection.executeRaw(idempotency.insert(keyTable), [key]), turn),
            (error) =>
              Effect.sync(() => {
                // A person who cancels it does not mean that it should be tried again.
                if (error.reason._tag === "StatementTimeoutError" && now() - since > 0.9 * turn) waitedOut.add(error)
                // The table may have been dropped. The next transaction looks again.
                else exists = false
              })
          ),
          (result) =>
            idempotency.inserted(result)
              ? Effect.void
              : Effect.fail(
                transactionError(new TransactionError.AlreadyApplied({ database: adapter.name, idempotencyKey: key }))
              )
        )
      }),

    /** Runs a transaction that claims a key until its turn has not been waited out. Nothing of its body has run by then. */
    inTurns: <A, E, R>(transaction: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
      Effect.retry(transaction, {
        times: turns - 1,
        while: (error) => typeof error === "object" && error !== null && waitedOut.has(error)
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
          // A caller that stops waiting does not wait for this either: the pool sees to it.
          (exit) => Exit.hasInterrupts(exit) ? Effect.void : Effect.ignore(connection.rollback)
        )
      )
  }
}
