/** What applies migrations on a database. */
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as SqlClient from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../../Adapter.ts"
import type { Pool } from "../../pool/Pool.ts"
import type * as Transaction from "../../transaction/Transaction.ts"
import type { Migration } from "../Migration.ts"
import type * as MigrationsError from "../MigrationsError.ts"
import type { Ladder } from "../plan/ladder.ts"
import type { Journal, Place, Query, Row } from "./journal.ts"
import type { Tell } from "./site.ts"

/** How applying can fail. */
export type Failure = SqlError | MigrationsError.MigrationsError

/** What an engine works with. */
export interface Parts {
  readonly sql: SqlClient.SqlClient
  readonly adapter: Adapter
  readonly pool: Pool
  readonly transactions: Transaction.Manager
  readonly table: string
  readonly ladder: Ladder
  readonly tell: Tell
}

/** What became of a migration: another process has the turn, or has applied it meanwhile. */
export type Applied = "applied" | "already" | "busy"

/** The right to change what is recorded. It ends with its scope, and with the process. */
export interface Turn {
  readonly apply: (migration: Migration) => Effect.Effect<Applied, Failure, SqlClient.SqlClient>
  /** Writes to the journal, all or nothing. Answers whether it could. */
  readonly write: (queries: ReadonlyArray<Query>) => Effect.Effect<boolean, Failure>
}

/** A database that migrations are applied on. */
export interface Engine {
  /** Where the tables are, without making them. */
  readonly locate: Effect.Effect<Place, SqlError>
  readonly read: (journal: Journal) => Effect.Effect<ReadonlyArray<Row>, SqlError>
  /** Takes the turn; `undefined` if another process has it. */
  readonly turn: (journal: Journal) => Effect.Effect<Turn | undefined, Failure, Scope.Scope>
  /** Makes the tables. Answers whether it could, or another process is about to. */
  readonly prepare: (journal: Journal) => Effect.Effect<boolean, Failure>
  /** Who has the turn, as far as the server tells. */
  readonly holder: Effect.Effect<string | undefined>
}

/** The largest id that fits a column of Effect's table as that makes it on PostgreSQL. */
export const largestSmallId = 2_147_483_647
