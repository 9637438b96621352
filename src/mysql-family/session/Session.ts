/**
 * One session with a MySQL or MariaDB server, over either driver.
 *
 * A call of the pool or of a caller becomes an exchange. The `Scheduler` gives it its turn, the exchange asks the
 * driver and takes the answer, and tells the session what follows from it: for the transaction (`TransactionTracker`),
 * for the next borrower (`SessionResidue`), for the session itself (`Termination`). What runs in vain is stopped by the
 * `Stopper`. How these are joined is in `SessionCore`.
 */
import * as Channel from "effect/Channel"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Connection } from "../../Adapter.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import type { DriverConnection } from "../driver/Driver.ts"
import { unknownError } from "../errors/errors.ts"
import { BulkExchange } from "../exchange/BulkExchange.ts"
import { LoadExchange } from "../exchange/LoadExchange.ts"
import { ResultShape, type RowTransform, StatementExchange } from "../exchange/StatementExchange.ts"
import { StreamExchange } from "../exchange/StreamExchange.ts"
import * as Parameters from "../statement/parameters.ts"
import type { Ok } from "../statement/results.ts"
import type { Profile } from "../statement/statements.ts"
import { SessionCore } from "./SessionCore.ts"
import type { ResetPolicy } from "./SessionResidue.ts"
import { TransactionControl } from "./TransactionControl.ts"

export class Session extends SessionCore implements Connection {
  readonly commitToken = undefined
  private readonly transactions = new TransactionControl(this)

  /**
   * The server answers a reset before anything else can be relied upon, so nothing is sent to wait behind one: the pool
   * has it done while other sessions are lent.
   */
  handBack(policy: ResetPolicy): boolean {
    this.residue.policy = policy
    return this.isReady
  }

  onLost(listener: (error: SqlError) => void): void {
    this.termination.onLost(listener)
  }

  onRetire(listener: () => void): void {
    this.retireListeners.push(listener)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements
  // -------------------------------------------------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: RowTransform): Effect.Effect<any, SqlError> {
    return this.statement(ResultShape.Rows, sql, params, transformRows, true)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<unknown, SqlError> {
    return this.statement(ResultShape.Raw, sql, params, undefined, true)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.statement(ResultShape.Values, sql, params, undefined, true)
  }

  executeUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Effect.Effect<any, SqlError> {
    return this.statement(ResultShape.Rows, sql, params, transformRows, false)
  }

  executeValuesUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.statement(ResultShape.Values, sql, params, undefined, false)
  }

  private check(sql: string, params: ReadonlyArray<unknown>) {
    return Parameters.check(params, {
      sql,
      noBackslashEscapes: this.noBackslashEscapes,
      undefinedIsNull: this.context.undefinedIsNull,
      renameKeys: this.context.renameKeys
    })
  }

  private statement(
    shape: ResultShape,
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform,
    prepare: boolean
  ): Effect.Effect<any, SqlError> {
    return Effect.withFiber((fiber) =>
      Effect.callback((resume) => {
        const checked = this.check(sql, params)
        if (Result.isFailure(checked)) return resume(Effect.fail(this.refusedParameter(checked.failure, "execute")))
        return this.scheduler.submit(
          new StatementExchange(this, shape, sql, checked.success, transformRows, prepare, fiber, resume)
        )
      })
    )
  }

  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Stream.Stream<any, SqlError> {
    const stream = Stream.fromChannel(Channel.fromTransform((_, scope) =>
      Effect.withFiber((fiber) => {
        const checked = this.check(sql, params)
        if (Result.isFailure(checked)) return Effect.fail(this.refusedParameter(checked.failure, "stream"))
        const exchange = new StreamExchange(this, sql, checked.success, fiber)
        return Effect.as(
          Effect.andThen(
            Scope.addFinalizer(scope, Effect.sync(() => this.scheduler.abandon(exchange))),
            Effect.sync(() => void this.scheduler.submit(exchange))
          ),
          exchange.pull
        )
      })
    )) as Stream.Stream<any, SqlError>
    return transformRows === undefined
      ? stream
      : Stream.mapArray(stream, (rows) => transformRows(rows) as typeof rows)
  }

  /** Runs a statement that is full of rows, and fails also where the server has only warned. */
  executeBulk(
    profile: Profile,
    run: (driver: DriverConnection, receiver: BulkExchange) => void
  ): Effect.Effect<Ok, SqlError> {
    return Effect.withFiber((fiber) =>
      Effect.callback((resume) => this.scheduler.submit(new BulkExchange(this, profile, run, fiber, resume)))
    )
  }

  /** Loads a file that is written while it is loaded. What is not finished when the scope closes ends there. */
  load(
    profile: Profile,
    run: (driver: DriverConnection, receiver: LoadExchange) => void
  ): Effect.Effect<LoadExchange, SqlError, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const exchange = new LoadExchange(this, profile, run, fiber)
      return Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => void this.scheduler.submit(exchange)),
          () => Effect.sync(() => this.scheduler.abandon(exchange))
        ),
        Effect.as(exchange.requested, exchange)
      )
    })
  }

  private refusedParameter(refused: Parameters.Refused, operation: string): SqlError {
    const what = `the statement was not sent: parameter ${refused.position}: ${refused.problem}`
    return unknownError(this.database, what, undefined, operation)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Control
  // -------------------------------------------------------------------------------------------------------------------

  begin(how: Begin): Effect.Effect<void, SqlError> {
    return this.transactions.begin(how)
  }

  get commit(): Effect.Effect<void, SqlError> {
    return this.transactions.commit
  }

  /** Commits, and asks in the same write where the server is behind that; `undefined` if it has not said it. */
  commitAt(question: string): Effect.Effect<string | undefined, SqlError> {
    return this.transactions.commitAt(question)
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return this.transactions.rollback
  }

  savepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transactions.savepoint(name)
  }

  releaseSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transactions.endSavepoint("releaseSavepoint", `RELEASE SAVEPOINT ${name}`)
  }

  rollbackSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transactions.endSavepoint("rollbackSavepoint", `ROLLBACK TO SAVEPOINT ${name}`)
  }

  get ping(): Effect.Effect<void, SqlError> {
    return this.care.ping
  }

  get verify(): Effect.Effect<void, SqlError> {
    return this.care.verify
  }

  get reset(): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => this.isReady ? Effect.void : this.care.reset)
  }

  get cancel(): Effect.Effect<void> {
    return this.stopper.cancel
  }

  get close(): Effect.Effect<void> {
    return this.termination.close(() => this.driver.quit())
  }

  destroy(reason: string): void {
    this.termination.destroy(reason)
  }
}
