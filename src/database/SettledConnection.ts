import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as SqlClient from "effect/sql/SqlClient"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * What single statements are run on where the fiber has settings for its transactions: each is a transaction, because
 * settings end with one.
 */
export class SettledConnection implements SqlConnection.Connection {
  private readonly pooled: SqlConnection.Connection
  private readonly withTransaction: SqlClient.SqlClient["withTransaction"]
  private readonly service: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>

  constructor(
    pooled: SqlConnection.Connection,
    withTransaction: SqlClient.SqlClient["withTransaction"],
    service: Context.Service<SqlClient.TransactionConnection, SqlClient.TransactionConnection.Service>
  ) {
    this.pooled = pooled
    this.withTransaction = withTransaction
    this.service = service
  }

  private run<A>(f: (connection: SqlConnection.Connection) => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return this.withTransaction(
      Effect.withFiber((fiber) => f(Context.getUnsafe(fiber.context as Context.Context<any>, this.service)[0]))
    )
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run((connection) => connection.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((connection) => connection.executeRaw(sql, params))
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((connection) => connection.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((connection) => connection.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run((connection) => connection.executeUnprepared(sql, params, transformRows))
  }
  /** Its rows may be read for as long as the reader likes, so its transaction is for the caller to open. */
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.pooled.executeStream(sql, params, transformRows)
  }
}
