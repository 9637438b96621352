/**
 * The database that a program talks to: an adapter and a pool, joined into Effect's `SqlClient`.
 *
 * **Details**
 *
 * A statement goes `sql` → `Database` → `Pool.share` → connection, and its rows come straight back. It may share its
 * connection with other statements. A stream, a transaction and `sql.reserve` have a connection for themselves, until
 * their scope closes.
 *
 * A transaction is `Pool.reserve`, `BEGIN`, the body, and then one of these:
 *
 * | the body    | what is sent                             | what the caller gets                | the connection           |
 * | ----------- | ---------------------------------------- | ----------------------------------- | ------------------------ |
 * | succeeds    | COMMIT; acknowledged                     | the value of the body               | goes back                |
 * | succeeds    | COMMIT; refused, or answered by ROLLBACK | the error: nothing was applied      | goes back when clean     |
 * | succeeds    | COMMIT; not answered in time             | an error that says so: not retryable| is destroyed             |
 * | fails, dies | ROLLBACK; waited for                     | the exit of the body, unchanged     | goes back, or destroyed  |
 * | interrupted | ROLLBACK; not waited for                 | the interruption                    | goes back after ROLLBACK |
 *
 * **Gotchas**
 *
 * A failed ROLLBACK changes nothing of what the caller gets: the server rolls back when the connection ends. Waiting
 * for a connection and BEGIN can be interrupted at once, COMMIT cannot, but has a deadline.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Reactivity from "effect/reactivity/Reactivity"
import * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Adapter, type Connection } from "./Adapter.ts"
import { StatementProfile } from "./core/PoolState.ts"
import { Pool } from "./Pool.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

let nextId = 0

/**
 * Makes the client of a database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  adapter: Adapter,
  pool: Pool
): Effect.fn.Return<SqlClient.SqlClient, never, Reactivity.Reactivity> {
  const pooled = new PooledConnection(pool)
  const transactionService = Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>(
    `watertight/Database/Transaction/${nextId++}`
  )
  const client = yield* SqlClient.make({
    acquirer: Effect.succeed(pooled),
    borrower: (f) => f(pooled),
    transactionAcquirer: pool.reserve,
    transactionService,
    compiler: adapter.compiler,
    transformRows: adapter.transformRows as never,
    driver: adapter.driver,
    spanAttributes: adapter.spanAttributes
  })
  return Object.assign(client, { withTransaction: makeWithTransaction(adapter, pool, transactionService) })
})

/**
 * Provides the client of the adapter and the pool in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: Layer.Layer<SqlClient.SqlClient, never, Adapter | Pool> = Layer.effect(
  SqlClient.SqlClient,
  Effect.flatMap(Adapter, (adapter) => Effect.flatMap(Pool, (pool) => make(adapter, pool)))
).pipe(Layer.provide(Reactivity.layer))

/** What statements outside transactions are run on: the pool, in the shape of a connection. */
class PooledConnection implements SqlConnection.Connection {
  private readonly pool: Pool
  private readonly profiles = new Map<string, StatementProfile>()

  constructor(pool: Pool) {
    this.pool = pool
  }

  private profile(sql: string): StatementProfile {
    let profile = this.profiles.get(sql)
    if (profile === undefined) {
      profile = new StatementProfile()
      // Statements that are built from values would otherwise stay for ever.
      if (this.profiles.size >= maxProfiles) this.profiles.delete(this.profiles.keys().next().value!)
      this.profiles.set(sql, profile)
    }
    return profile
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.pool.share(this.profile(sql), (connection) => connection.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.pool.share(this.profile(sql), (connection) => connection.executeRaw(sql, params))
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.pool.share(this.profile(sql), (connection) => connection.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.pool.share(this.profile(sql), (connection) => connection.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.pool.share(this.profile(sql), (connection) => connection.executeUnprepared(sql, params, transformRows))
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.unwrap(
      Effect.map(this.pool.reserve, (connection) => connection.executeStream(sql, params, transformRows))
    )
  }
}

const maxProfiles = 1000

const makeWithTransaction = (
  adapter: Adapter,
  pool: Pool,
  transactionService: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
): SqlClient.SqlClient["withTransaction"] =>
  SqlClient.makeWithTransaction<SqlClient.TransactionConnection, Connection>({
    transactionService: transactionService as never,
    spanAttributes: adapter.spanAttributes,
    // BEGIN stands here because only here it can be interrupted: a connection on which it was is not ready for the
    // next borrower, and the pool sees to that.
    acquireConnection: (restore) =>
      restore(Effect.withFiber((fiber) =>
        Effect.flatMap(pool.reserve, (connection) =>
          Effect.as(
            Effect.andThen(
              Effect.addFinalizer((exit) => rollBack(connection, exit)),
              connection.begin({ statement: fiber.getRef(SqlClient.BeginTransaction) })
            ),
            connection
          ))
      )),
    begin: () => Effect.void,
    commit: (connection) => connection.commit,
    // The finalizer does it: there the exit is known, and so whether anybody waits for the answer.
    rollback: () => Effect.void,
    savepoint: (connection, id) => connection.savepoint(savepointName(id)),
    releaseSavepoint: (connection, id) => orDestroy(connection, connection.releaseSavepoint(savepointName(id))),
    rollbackSavepoint: (connection, id) => orDestroy(connection, connection.rollbackSavepoint(savepointName(id)))
  })

const savepointName = (id: number): string => `watertight_${id}`

/** Ends the transaction of a body that did not succeed. The pool does it for one that nobody waits for. */
const rollBack = (connection: Connection, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> =>
  Exit.isSuccess(exit) || Exit.hasInterrupts(exit) || !connection.inTransaction
    ? Effect.void
    : orDestroy(connection, connection.rollback)

/**
 * A statement that ends something must not replace what the body failed with. If it fails, nobody can say what state
 * the session is in, and the server ends the transaction together with it.
 */
const orDestroy = (connection: Connection, effect: Effect.Effect<void, SqlError>): Effect.Effect<void> =>
  Effect.catchCause(effect, () => Effect.sync(() => connection.destroy("a statement that ends a transaction failed")))
