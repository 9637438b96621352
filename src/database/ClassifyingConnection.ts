import * as Effect from "effect/Effect"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * A connection whose failures say what they mean.
 */
export class ClassifyingConnection implements SqlConnection.Connection {
  readonly base: Connection
  protected readonly adapter: Adapter

  constructor(base: Connection, adapter: Adapter) {
    this.base = base
    this.adapter = adapter
  }

  /** Says what a failure of this statement means. */
  protected judge(error: SqlError, sql: string): SqlError {
    const phase = !this.base.inTransaction ? "Statement" : endsTransaction(sql) ? "Commit" : "InTransaction"
    return SqlFailure.attach(Outcome.attach(error, phase, this.adapter.ruleOf), sql)
  }

  protected run<A>(sql: string, f: () => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.mapError(f(), (error) => this.judge(error, sql))
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(sql, () => this.base.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeRaw(sql, params))
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(sql, () => this.base.executeUnprepared(sql, params, transformRows))
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform): Stream.Stream<any, SqlError> {
    return Stream.mapError(this.base.executeStream(sql, params, transformRows), (error) => this.judge(error, sql))
  }
}

/**
 * Whether a statement ends a transaction by hand: if its answer is lost, nobody knows whether it has committed. Asked
 * of statements that failed, so it need not be quick, and may take an innocent one for a COMMIT.
 */
export const endsTransaction = (sql: string): boolean =>
  /^(?:\s|--[^\n]*\n|\/\*[\s\S]*?\*\/|\()*(?:commit|end|prepare\s+transaction)\b/i.test(sql)
