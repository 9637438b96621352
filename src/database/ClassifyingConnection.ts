import * as Effect from "effect/Effect"
import type * as SqlConnection from "effect/sql/SqlConnection"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import type { StatementLog } from "./StatementLog.ts"

const none: ReadonlyArray<unknown> = []

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * A connection whose failures say what they mean.
 */
export class ClassifyingConnection implements SqlConnection.Connection {
  readonly base: Connection
  protected readonly adapter: Adapter

  protected readonly log: StatementLog | undefined

  constructor(base: Connection, adapter: Adapter, log?: StatementLog | undefined) {
    this.base = base
    this.adapter = adapter
    this.log = log
  }

  /** Says what a failure of this statement means. */
  protected judge(error: SqlError, sql: string): SqlError {
    const phase = !this.base.inTransaction ? "Statement" : endsTransaction(sql) ? "Commit" : "InTransaction"
    return SqlFailure.attach(Outcome.attach(error, phase, this.adapter.ruleOf), sql)
  }

  protected run<A>(
    sql: string,
    f: () => Effect.Effect<A, SqlError>,
    params: ReadonlyArray<unknown> = none
  ): Effect.Effect<A, SqlError> {
    return this.logged(sql, params, Effect.mapError(f(), (error) => this.judge(error, sql)))
  }

  /** The statement, with a line in the log if that is asked for. Control statements have no text here, and no line. */
  protected logged<A>(
    sql: string,
    params: ReadonlyArray<unknown>,
    run: Effect.Effect<A, SqlError>
  ): Effect.Effect<A, SqlError> {
    return this.log === undefined || sql === "" ? run : this.log.around(sql, params, run)
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(sql, () => this.base.execute(sql, params, transformRows), params)
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeRaw(sql, params), params)
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeValues(sql, params), params)
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.run(sql, () => this.base.executeValuesUnprepared(sql, params), params)
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run(sql, () => this.base.executeUnprepared(sql, params, transformRows), params)
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform): Stream.Stream<any, SqlError> {
    const rows = Stream.mapError(
      this.base.executeStream(sql, params, transformRows),
      (error) => this.judge(error, sql)
    )
    return this.log === undefined ? rows : this.log.aroundStream(sql, params, rows)
  }
}

/**
 * Whether a statement ends a transaction by hand: if its answer is lost, nobody knows whether it has committed. Asked
 * of statements that failed, so it need not be quick, and may take an innocent one for a COMMIT.
 */
export const endsTransaction = (sql: string): boolean =>
  /^(?:\s|--[^\n]*\n|\/\*(?:[^*]|\*(?!\/))*\*\/|\()*(?:commit|end|prepare\s+transaction)\b/i.test(sql)
