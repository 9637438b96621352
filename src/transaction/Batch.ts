/**
 * Several statements that are known beforehand, in as few round trips as the database allows.
 *
 * **Details**
 *
 * | database                         | `run`: all or nothing                              | `each`: each by itself            |
 * | -------------------------------- | -------------------------------------------------- | --------------------------------- |
 * | PostgreSQL, PGlite               | BEGIN, the statements and COMMIT in one round trip | one round trip                    |
 * | MySQL, MariaDB over `mariadb`    | one round trip for each statement, one for COMMIT  | one round trip                    |
 * | MySQL, MariaDB over `mysql2`     | the same, and one for START TRANSACTION            | one round trip for each statement |
 *
 * MySQL and MariaDB go on with what follows a failure, also outside of the transaction that the failure has ended. So a
 * statement of `run` waits there for the answer to the one before.
 *
 * A statement that the server has not seen on this connection is described first, which takes one more round trip.
 *
 * **Example** (Two changes in one round trip)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Batch } from "watertight"
 *
 * const book = (id: number, cents: number) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     const [[account]] = yield* Batch.run([
 *       sql<{ cents: number }>`update account set cents = cents + ${cents} where id = ${id} returning cents`,
 *       sql`insert into entry ${sql.insert({ account: id, cents })}`
 *     ])
 *     return account?.cents
 *   })
 * ```
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import { indexOf as indexOfStatement } from "./batchRun.ts"
import type { Spec } from "./spec.ts"
import { Manager } from "./Transaction.ts"

/**
 * The rows of each statement.
 *
 * @category models
 * @since 0.2.0
 */
export type Rows<Statements extends ReadonlyArray<Statement<any>>> = {
  readonly [K in keyof Statements]: Statements[K] extends Statement<infer A> ? ReadonlyArray<A> : never
}

/**
 * What became of each statement.
 *
 * @category models
 * @since 0.2.0
 */
export type Results<Statements extends ReadonlyArray<Statement<any>>> = {
  readonly [K in keyof Statements]: Statements[K] extends Statement<infer A> ? Result.Result<ReadonlyArray<A>, SqlError>
    : never
}

/**
 * Runs statements as one transaction: all of them are applied, or none is.
 *
 * **Details**
 *
 * It asks for what `Transaction.run` can ask for, and fails like it; `indexOf` tells which statement it was. It is
 * repeated as a whole where that is safe. Inside another transaction it is a savepoint, unless `nesting` says otherwise.
 *
 * COMMIT travels with the statements if neither a `deadline` nor `resolve: "always"` is asked for: both have to know more
 * before COMMIT is sent.
 *
 * **Gotchas**
 *
 * - It can be interrupted at any time, and what it runs is cancelled on the server. As with a single statement outside of
 *   a transaction it may have been applied then. With a `deadline` it has not.
 * - When the connection is lost, the id of the transaction may be lost with the other answers, and then nobody can be
 *   asked what became of it: `CommitUnknown`. With an `idempotencyKey` that can be found out in any case, and with
 *   `resolve: "always"` the id is known before COMMIT is sent.
 * - If the lost COMMIT is found to be applied, rows that were lost with it are gone: `ResultsLost`, whose outcome is
 *   `Applied`.
 *
 * @category combinators
 * @since 0.2.0
 */
export const run = <const Statements extends ReadonlyArray<Statement<any>>>(
  statements: Statements,
  spec: Spec = {}
): Effect.Effect<Rows<Statements>, SqlError, Manager> =>
  Effect.flatMap(Manager, (manager) => manager.batch(statements, spec) as Effect.Effect<any, SqlError>)

/**
 * Runs statements on one connection, each by itself, and tells for each of them what became of it.
 *
 * **Details**
 *
 * It fails only if there is no connection. A statement that fails disturbs none of the others, and is not repeated:
 * `Outcome.of` tells what became of it. Inside a transaction they are statements of the transaction.
 *
 * **Gotchas**
 *
 * The statements must not depend on each other: one that the server has to describe first may run after those behind it.
 *
 * @category combinators
 * @since 0.2.0
 */
export const each = <const Statements extends ReadonlyArray<Statement<any>>>(
  statements: Statements
): Effect.Effect<Results<Statements>, SqlError, Manager> =>
  Effect.flatMap(Manager, (manager) => manager.each(statements) as Effect.Effect<any, SqlError>)

/**
 * Which statement of a batch has failed, counted from 0. `undefined` for a failure that is about none of them, such as
 * that of COMMIT.
 *
 * @category accessors
 * @since 0.2.0
 */
export const indexOf: (error: SqlError) => number | undefined = indexOfStatement
