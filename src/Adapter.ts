/**
 * What a database must provide so that the rest of the library can use it.
 *
 * **Details**
 *
 * The adapter is the only thing that the pool, the transactions and the client know of a database. It knows how to
 * connect, and every `Connection` that it opens knows how to run statements, to begin and end transactions, to answer
 * a ping, to get rid of what a borrower left behind, and to end. It knows nothing of pools or retries.
 *
 * **Gotchas**
 *
 * No effect of a `Connection` may wait for ever: each one that talks to the server has a deadline of its own, after
 * which the connection destroys itself and the effect fails with a `SqlError`.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type * as Statement from "effect/sql/Statement"
import type { Rule } from "./failure/Outcome.ts"
import type { SettingsReference } from "./transaction/TransactionSettings.ts"
import type { Begin } from "./transaction/TransactionSpec.ts"

/**
 * The runtime type identifier of `Adapter`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: TypeId = "~watertight/Adapter"

/**
 * The type-level identifier of `Adapter`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = "~watertight/Adapter"

/**
 * What is done about a statement that may leave a transaction open.
 *
 * @category models
 * @since 0.2.0
 */
export interface LeftOpen {
  /** A statement that does nothing, after which the connection knows whether a transaction is open. */
  readonly probe: string
  /** What the statement fails with. */
  readonly error: () => SqlError
}

/**
 * A database that connections can be opened to.
 *
 * @category models
 * @since 0.1.0
 */
export interface Adapter {
  readonly [TypeId]: TypeId

  /** The driver, as `SqlClient.driver` reports it, such as `"pg"` or `"pglite"`. */
  readonly driver: string

  /** The database as people should read it in an error or a metric: `"postgresql://db:5432/bank"`. Never a secret. */
  readonly name: string

  /** Compiles the statements of `SqlClient` into the dialect. */
  readonly compiler: Statement.Compiler

  /** Renames result columns, where the user asked for it. */
  readonly transformRows: (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

  /** The attributes of every span, under their OpenTelemetry names. */
  readonly spanAttributes: ReadonlyArray<readonly [string, unknown]>

  /**
   * The most connections that this database can serve at once, or `undefined` if only the server limits them. An
   * embedded database has one.
   */
  readonly maxConnections: number | undefined

  /**
   * How long a control statement, a ping or a reset for example, may take until the connection destroys itself, in
   * milliseconds. The pool, which has a limit of its own for whatever it asks, waits twice as long at least.
   */
  readonly controlTimeout?: number | undefined

  /**
   * Opens one connection.
   *
   * **Details**
   *
   * Fails with a `SqlError` when the database cannot be reached or refuses, at the latest at the adapter's own
   * connect timeout. It may be interrupted at any moment and leaves nothing behind then. The caller owns the
   * connection and must end it with `close` or `destroy`.
   */
  readonly connect: Effect.Effect<Connection, SqlError>

  /**
   * Whether a failed `connect` will fail again until a person changes something: a wrong password, an unknown
   * database, a refused certificate. A pool waits for the others to pass.
   */
  readonly isPermanent: (error: SqlError) => boolean

  /**
   * What the database's table of error codes says about an error, if it knows the code. Errors of the server carry
   * theirs in `error.reason.cause`; a lost connection has a `ConnectionLost` there.
   */
  readonly ruleOf: (error: SqlError) => Rule | undefined

  /**
   * Why a statement must not be run by itself on the pool: what it does belongs to a connection that the next statement
   * may not get, such as BEGIN by hand. Asked once for each text. `undefined` where the adapter has no such statements.
   */
  readonly refuseOnPool?: ((sql: string) => SqlError | undefined) | undefined

  /**
   * What is done about a statement that was run by itself on the pool and has left a transaction open, which is rolled
   * back before anybody else gets the connection. Asked once for each text; `undefined` for one that cannot, and where the
   * database does not take such statements.
   *
   * @since 0.2.0
   */
  readonly leftOpen?: ((sql: string) => LeftOpen | undefined) | undefined

  /**
   * Where the settings are found that the transactions of a fiber begin with. The connections begin with them, and run
   * nothing for a fiber whose settings are not those of the transaction. `undefined` where there are no such settings.
   */
  readonly settings?: SettingsReference | undefined

  /** The statements of idempotency keys, in the dialect. */
  readonly idempotency: Idempotency

  /**
   * Finds out, over another connection, what became of a COMMIT that was not answered. `undefined` if the database has
   * no way to tell.
   *
   * **Details**
   *
   * `token` is what the lost connection had as its `commitToken`. Answers `"Unknown"` when the evidence is not good
   * enough, for example because the server is another one by now, and never guesses.
   */
  readonly resolveCommit:
    | ((token: unknown, connection: Connection) => Effect.Effect<"Applied" | "NotApplied" | "Unknown", SqlError>)
    | undefined

  /** How a client can read its own writes on another server. `undefined` where the database offers no way. */
  readonly causality?: Causality | undefined
}

/**
 * A place in the history of a database, which a client can carry along and hold against what another server has.
 *
 * @category models
 * @since 0.2.0
 */
export interface Position {
  /** Whose history it is, see `Observation.lineage`. */
  readonly lineage: string
  /** Of which generation; `undefined` where the database has none. A place of an older one is looked for nowhere. */
  readonly generation: number | undefined
  /** A text of which nobody but the database knows the meaning. */
  readonly value: string
}

/**
 * What a database must know of its history, so that reads never go back in time.
 *
 * @category models
 * @since 0.2.0
 */
export interface Causality {
  /**
   * What the servers are called by in positions, where they have no identity that all of them agree on; otherwise that
   * is `Observation.lineage`. Begins with `name-`.
   */
  readonly lineage?: string | undefined
  /**
   * Commits as `connection.commit` does, and says behind what the transaction is: `undefined` if nobody knows. No further
   * round trip is awaited where the database can pipeline.
   */
  readonly commit: (connection: Connection) => Effect.Effect<Position | undefined, SqlError>
  /**
   * Where the server is, behind everything that was asked of this session before: on a primary what a replica needs to
   * have, on a replica what it has. `undefined` if nobody knows.
   */
  readonly position: (connection: Connection) => Effect.Effect<Position | undefined, SqlError>
  /**
   * Whether the server has all of this, asked on the connection that a read is about to use. Its answer must be older than
   * those of statements that are sent after it without waiting for it.
   */
  readonly reached: (connection: Connection, position: Position) => Effect.Effect<boolean, SqlError>
  /** Whether a text is the value of a position at all. It may come from outside. */
  readonly isPosition: (value: string) => boolean
  /** The least place that has both, of one generation. */
  readonly join: (a: string, b: string) => string
  /** Whether a server that is at one place has another, where that can be told without asking. */
  readonly includes?: ((at: string, wanted: string) => boolean) | undefined
}

/**
 * How the dialect keeps idempotency keys in a table.
 *
 * @category models
 * @since 0.1.0
 */
export interface Idempotency {
  /** Makes the table with a unique column for the key and one for the time, unless it is there. */
  readonly createTable: (table: string) => string
  /** Writes a key, its only parameter, unless it is there. Waits for a transaction that is writing it. */
  readonly insert: (table: string) => string
  /** Whether the raw result of `insert` says that the key was written. */
  readonly inserted: (result: unknown) => boolean
  /** Deletes the keys older than a number of seconds, its only parameter. */
  readonly prune: (table: string) => string
}

/**
 * One session with a database.
 *
 * **Details**
 *
 * The methods inherited from Effect's `Connection` run statements. An interrupted statement is cancelled on the server
 * when it is the only one on the connection, and left to finish otherwise; the interrupted fiber goes on at once in
 * both cases. Until the server is done with it, `isReady` is `false`.
 *
 * A statement has the time limit that `StatementTimeout.Current` says, read from its fiber; if that is `undefined`, the
 * one of the adapter's options. The session sets it on the server and on its own side, and a statement that is cut off
 * is stopped on the server first.
 *
 * @category models
 * @since 0.1.0
 */
export interface Connection extends SqlConnection.Connection {
  /** What the server calls this session, such as the process id of PostgreSQL's backend. */
  readonly id: string

  /** Whether statements may be written before the ones ahead of them were answered. */
  readonly canPipeline: boolean

  /** Whether the session has ended, for whatever reason. */
  readonly isClosed: boolean

  /**
   * Whether the next borrower may use the session as it is: alive, no statement in flight, no transaction open, and
   * nothing changed that outlives a borrower.
   */
  readonly isReady: boolean

  /**
   * The borrower is gone. Returns whether the next one may use the session, as `isReady` does; but what the borrower
   * changed need not be undone yet, if that is on its way to the server ahead of whatever the next one asks for. If it
   * answers `false`, `reset` does what is to be done.
   *
   * `reset` says how much is undone: what can be seen to have changed, everything after every borrower, or nothing but
   * an open transaction.
   */
  readonly handBack: (reset: "detect" | "always" | "never") => boolean

  /**
   * Whether a transaction is open, also one of which the server accepts nothing but its end. Not one that the server
   * has ended by itself, so that the next statement would be outside of it: after a deadlock on MySQL, for example.
   */
  readonly inTransaction: boolean

  /**
   * Calls `listener` once when the session ends other than by `close` or `destroy`: the socket was cut, the server
   * ended it, the protocol was violated. Called at once if that has already happened.
   */
  readonly onLost: (listener: (error: SqlError) => void) => void

  /**
   * Calls `listener` when the session finds that its server is not any more what it was when the session began, above
   * all that it accepts no writes any more. The session can still be used; the pool retires it. Never, where the database does
   * not tell.
   */
  readonly onRetire: (listener: () => void) => void

  /** Asks the server for a sign of life. */
  readonly ping: Effect.Effect<void, SqlError>

  /**
   * Asks the server whether it still is what it was when the session began; fails if not, and if it does not answer.
   * The same as `ping` where a sign of life is all that can be asked for.
   */
  readonly verify: Effect.Effect<void, SqlError>

  /**
   * Makes the session ready for the next borrower: waits for abandoned statements, rolls an open transaction back and
   * undoes what the borrower changed. When it fails, the session must be destroyed.
   */
  readonly reset: Effect.Effect<void, SqlError>

  /**
   * Begins a transaction. What `how` asks for holds for this transaction only, also if it fails or is interrupted half
   * way. Without an answer in time the session destroys itself.
   *
   * **Details**
   *
   * One that is `lazy` may be written together with the first statement, so that both run or neither. The session is in
   * the transaction from the start, and what refuses BEGIN fails the statement.
   */
  readonly begin: (how: Begin) => Effect.Effect<void, SqlError>

  /**
   * Commits. Fails with a `RolledBack` as cause if the server answered that it rolled back instead. When no answer
   * arrives in time, the session destroys itself and the cause is a `ConnectionLost`.
   */
  readonly commit: Effect.Effect<void, SqlError>

  /**
   * Has COMMIT follow the next so many statements, without waiting for their answers: either all of them run and are
   * committed, or none is. `commit` then waits for that answer. `undefined` where the database does not skip what
   * comes after a failure, and for a transaction whose COMMIT has to wait.
   */
  readonly commitBehind?: ((statements: number) => CommitBehind | undefined) | undefined

  /**
   * What identifies the transaction to `resolveCommit`, as far as it is known: it stays after a COMMIT without answer.
   */
  readonly commitToken: unknown

  /** Rolls the transaction back. */
  readonly rollback: Effect.Effect<void, SqlError>

  /** Sets a savepoint. `name` is an identifier that needs no quoting. */
  readonly savepoint: (name: string) => Effect.Effect<void, SqlError>

  /** Releases a savepoint. */
  readonly releaseSavepoint: (name: string) => Effect.Effect<void, SqlError>

  /** Rolls back to a savepoint, which stays set. */
  readonly rollbackSavepoint: (name: string) => Effect.Effect<void, SqlError>

  /**
   * Says goodbye to the server and ends when the socket is closed, at the latest after a second. Statements in flight
   * fail.
   */
  readonly close: Effect.Effect<void>

  /** Destroys the socket at once. Statements in flight fail. */
  readonly destroy: (reason: string) => void

  /** Asks the server to give up whatever runs on this session. Never fails; bounded by the connect timeout. */
  readonly cancel: Effect.Effect<void>
}

/**
 * A COMMIT that follows statements which have not been answered.
 *
 * @category models
 * @since 0.2.0
 */
export interface CommitBehind {
  /** Whether COMMIT was asked for. If not, a statement was in its way, and `commit` sends it as always. */
  readonly isAskedFor: boolean
  /** Waits for its answer, after which the transaction is over. Only for a COMMIT that was asked for. */
  readonly answered: Effect.Effect<Exit.Exit<void, SqlError>>
  /** No caller waits for it any more. What is not written yet never is. */
  readonly abandon: () => void
}

/**
 * The service of `Adapter`.
 *
 * @category services
 * @since 0.1.0
 */
export const Adapter = Context.Service<Adapter>("watertight/Adapter")
