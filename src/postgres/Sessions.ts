/**
 * The sessions that the modules of PostgreSQL work on: what `Copy`, `Notifications`, `AdvisoryLock` and the others
 * require, and every PostgreSQL layer provides.
 *
 * **Details**
 *
 * Inside a transaction of the same database they work on the transaction's session, like any statement. Outside of one
 * they borrow a session from the pool.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import type { Pool } from "../pool/Pool.ts"
import type { TransactionConnection } from "../transaction/TransactionConnection.ts"
import type { SettingsReference } from "../transaction/TransactionSettings.ts"
import { unknownError } from "./errors/errors.ts"
import { Session } from "./session/Session.ts"

/**
 * Where sessions come from.
 *
 * @category models
 * @since 0.1.0
 */
export interface Sessions {
  /** The database, as people should read it. */
  readonly database: string
  /** The session of the transaction that is open, or one from the pool until the scope closes. */
  readonly borrow: Effect.Effect<Session, SqlError, Scope.Scope>
  /** A session from the pool until the scope closes, whether a transaction is open or not. */
  readonly reserve: Effect.Effect<Session, SqlError, Scope.Scope>
  /** A session beside the pool, which nobody has to wait for and that keeps nobody waiting, until the scope closes. */
  readonly open: Effect.Effect<Session, SqlError, Scope.Scope>
  /** Whether a transaction is open where this is asked. */
  readonly inTransaction: Effect.Effect<boolean>
  /** Runs an effect in a transaction; inside another one, in a savepoint. */
  readonly transaction: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
  /** Where the settings are found that the transactions of a fiber begin with. */
  readonly settings: SettingsReference
  /** Says what the failure of a statement on a session means, where `Outcome.of` finds it. Default: one beside the pool. */
  readonly judge: (session?: Session) => (error: SqlError) => SqlError
}

/**
 * The service of `Sessions`.
 *
 * @category services
 * @since 0.1.0
 */
export const Sessions = Context.Service<Sessions>("watertight/postgres/Sessions")

/**
 * Makes the sessions of a database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (
  adapter: Adapter,
  pool: Pool,
  client: SqlClient.SqlClient,
  pooler?: "transaction"
): Sessions => {
  const transaction = Effect.serviceOption(client.transactionService)
  const settings = adapter.settings!
  // What fails on a session that a transaction has lent is a failure of that transaction.
  const transactions = new WeakMap<Session, TransactionConnection>()
  const judged = (phase: Outcome.Phase) => (error: SqlError): SqlError => Outcome.attach(error, phase, adapter.ruleOf)
  /** Nothing was asked of a session that could not be opened. What only a person can change is not tried again. */
  const notOpened = (error: SqlError): SqlError => {
    const isPermanent = adapter.isPermanent(error)
    judged("Connect")(error)
    return isPermanent ? Outcome.mark(error, { ...Outcome.of(error)!, scope: "Never" }) : error
  }
  const reserve = Effect.mapBoth(pool.reserve, {
    onFailure: judged("Acquire"),
    onSuccess: (connection) => {
      const session = sessionOf(connection)
      transactions.delete(session)
      return session
    }
  })
  return {
    database: adapter.name,
    reserve,
    borrow: Effect.flatMap(transaction, (open): Effect.Effect<Session, SqlError, Scope.Scope> => {
      if (Option.isNone(open)) return reserve
      const connection = open.value[0] as TransactionConnection
      return Effect.map(connection.turn, () => {
        const session = sessionOf(connection)
        transactions.set(session, connection)
        return session
      })
    }),
    open: Effect.suspend(() => {
      const problem = adapter.driver === "pglite" ? embedded : pooler === "transaction" ? pooled : undefined
      return problem === undefined
        ? Effect.acquireRelease(adapter.connect, (connection: Connection) => connection.close).pipe(
          Effect.map(sessionOf),
          Effect.tap((session) =>
            Effect.provideService(session.executeValuesUnprepared(unlimited, []), settings, "none")
          ),
          Effect.mapError(notOpened)
        )
        : Effect.fail(unknownError(adapter.name, problem, undefined, "connect"))
    }),
    inTransaction: Effect.map(transaction, Option.isSome),
    transaction: client.withTransaction,
    settings,
    judge: (session) => {
      const transaction = session === undefined ? undefined : transactions.get(session)
      return transaction === undefined
        ? judged(session?.inTransaction === true ? "InTransaction" : "Statement")
        : (error) => transaction.judge(error, "")
    }
  }
}

/** What waits on purpose beside the pool, for a lock or for notifications, must not be ended for waiting. */
const unlimited = "select pg_catalog.set_config(name, '0', false) from pg_catalog.pg_settings " +
  "where name in ('statement_timeout', 'idle_session_timeout')"

const pooled = "a transaction pooler gives nobody a session to keep: " +
  "listening and locks of sessions need a connection to the server itself"

const embedded = "the embedded database has one session, which no lock of its own keeps out: " +
  "take AdvisoryLock.inTransaction, or Effect's Semaphore"

/** The session behind whatever the parts above it have made of it. */
const sessionOf = (connection: unknown): Session => {
  let current = connection as { readonly base?: unknown }
  while (!(current instanceof Session)) {
    if (typeof current?.base !== "object" || current.base === null) {
      throw new Error("This connection is none of PostgreSQL's")
    }
    current = current.base as typeof current
  }
  return current
}
