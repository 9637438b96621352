import * as Effect from "effect/Effect"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../Outcome.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * A connection whose failures say what they mean, and that remembers the first one of its transaction.
 */
export class JudgedConnection implements SqlConnection.Connection {
  readonly base: Connection
  private readonly adapter: Adapter
  /** The first statement that failed in the transaction. */
  failure: SqlError | undefined = undefined

  constructor(base: Connection, adapter: Adapter) {
    this.base = base
    this.adapter = adapter
  }

  /** Where a statement is that runs on it. */
  protected get phase(): Outcome.Phase {
    return this.base.inTransaction ? "InTransaction" : "Statement"
  }

  protected readonly judge = (error: SqlError): SqlError => {
    const judged = Outcome.attach(error, this.phase, this.adapter.ruleOf)
    this.failure ??= judged
    return judged
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Effect.mapError(this.base.execute(sql, params, transformRows), this.judge)
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return Effect.mapError(this.base.executeRaw(sql, params), this.judge)
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return Effect.mapError(this.base.executeValues(sql, params), this.judge)
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return Effect.mapError(this.base.executeValuesUnprepared(sql, params), this.judge)
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Effect.mapError(this.base.executeUnprepared(sql, params, transformRows), this.judge)
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return Stream.mapError(this.base.executeStream(sql, params, transformRows), this.judge)
  }
}
