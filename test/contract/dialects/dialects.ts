/**
 * What differs between the databases that the contract is tested on. It is a line of a dialect, and not a condition in a
 * test; what one of them does not have is a line with its reason.
 */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { SqlClient } from "effect/sql/SqlClient"
import type { Row } from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import type { RecordUpdateHelper, Statement } from "effect/sql/Statement"
import type {
  Adapter,
  AdvisoryLock,
  Bulk,
  Database,
  Introspection,
  InvalidOptions,
  Pool,
  Transaction
} from "watertight"
import type { ServerError } from "../../support/index.ts"

/** What each database layer provides. */
export type Services =
  | SqlClient
  | Pool.Pool
  | Database.Database
  | Transaction.Manager
  | Adapter.Adapter
  | Bulk.Bulk
  | Introspection.Introspection
  | AdvisoryLock.Locks

/** What is asked of a client beside the place of its database. */
export interface Options {
  readonly controlTimeout?: Duration.Input | undefined
  readonly statementTimeout?: Duration.Input | undefined
  readonly pool?: Pool.Options | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
}

/** What a test may need that not every database has. */
export type Capability =
  | "clients"
  | "connections"
  | "wire"
  | "cancelling"
  | "DDL in transactions"
  | "ON CONFLICT"
  | "RETURNING"
  | "locks of sessions"
  | "limits of sessions"
  | "shared locks and those of transactions"

/** A column and what it holds; `read` where that is not what was written. */
export interface Column {
  readonly type: string
  readonly given: unknown
  readonly read?: unknown
}

/** A database under the contract. Statements and types are in its own words. */
export interface Dialect {
  readonly name: string
  /** A new, empty database, and where it is. */
  readonly database: Effect.Effect<string, ServerError | InvalidOptions | SqlError, Scope.Scope>
  /** A client of the database that is there. */
  readonly at: (url: string, options?: Options) => Layer.Layer<Services, InvalidOptions | SqlError>
  /** What it does not have, and why. */
  readonly lacks: Partial<Record<Capability, string>>
  /** The tests that this leaves out. */
  readonly without: ReadonlyArray<string>

  /** As spans have it. */
  readonly system: string
  /** Whether a transaction goes on after a statement of it has failed. */
  readonly survivesErrors: boolean
  /** Lets DDL pass that Effect's own modules run in transactions. */
  readonly allowDdl: Layer.Layer<never>
  /** Whether the runners of a cluster lock shards by rows instead of by locks of sessions. */
  readonly locksShardsByRows: boolean

  /** A primary key that counts up. */
  readonly key: string
  readonly instant: string
  /** What a parameter is cast to. */
  readonly integer: string
  /** A table with a column `n` of 1 to this. */
  readonly series: (count: number) => string
  /** What is a text, or can be one, after so many seconds. */
  readonly sleep: (seconds: number) => string
  /** Which session this is. */
  readonly session: string
  readonly kill: (session: unknown) => string
  /** Lets the server look for a deadlock of this transaction soon. */
  readonly seeDeadlocks: string
  /** The sessions that run a statement in this database that contains a text. */
  readonly running: (text: string) => string
  /** Sets the names of people to those of a table of values. */
  readonly rename: (sql: SqlClient, values: RecordUpdateHelper) => Statement<Row>
  /** One of each common type. */
  readonly columns: Readonly<Record<string, Column>>
  readonly described: Described
}

/** What `Introspection` says of a schema, in the words of the database. */
export interface Described {
  readonly integer: string
  readonly name: string
  readonly default: string
  readonly expression: string
  readonly check: string
  readonly primary: string
  readonly noAction: Introspection.ReferenceAction
}

/** An instant that every database can hold. */
export const instant = new Date(1_700_000_000_123)
/** Every kind of character. */
export const text = "é 漢字 😀 \\ ' \" ` \n $1 ? :a -- /* x"
