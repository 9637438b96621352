/** The exchange of BEGIN, COMMIT and the like: one or more steps, which are finished also without a caller. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Receiver, Result as DriverResult, Rows } from "../driver/Driver.ts"
import { endsConnection } from "../errors/errno.ts"
import { type MysqlError, serverErrorOf } from "../errors/errors.ts"
import type { Ok } from "../statement/results.ts"
import { Exchange } from "./Exchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

/** What a control exchange is for. */
export type Purpose =
  | "begin"
  | "commit"
  | "rollback"
  | "savepoint"
  | "releaseSavepoint"
  | "rollbackSavepoint"
  | "ping"
  | "verify"
  | "reset"
  | "probe"

export class ControlExchange extends Exchange implements Receiver {
  readonly pipelines = false
  readonly canBeKilled = false
  readonly isWanted = true
  readonly purpose: Purpose
  /** The first value of the rows that a step was answered with. */
  answer: unknown = undefined

  /** What it is for is done. What it still waits for can only fail by itself. */
  hasSucceeded = false

  private readonly host: ExchangeHost
  private readonly script: (exchange: ControlExchange) => void
  private readonly resume: ((effect: Effect.Effect<void, SqlError>) => void) | undefined
  private step: ((error: MysqlError | undefined) => void) | undefined = undefined
  private isProbing = false
  /** What it fails with, also if the session ends because of it. */
  private refusal: SqlError | undefined = undefined

  constructor(
    host: ExchangeHost,
    purpose: Purpose,
    script: (exchange: ControlExchange) => void,
    resume?: (effect: Effect.Effect<void, SqlError>) => void
  ) {
    super(purpose)
    this.purpose = purpose
    this.host = host
    this.script = script
    this.resume = resume
  }

  /** A reset and a rollback are for the session, not for the one that asked for them. */
  get canBeDropped(): boolean {
    switch (this.purpose) {
      case "reset":
      case "rollback":
      case "rollbackSavepoint":
        return false
      default:
        return true
    }
  }

  start(): void {
    this.script(this)
  }

  /** Runs a statement of ours as a step. */
  query(sql: string, then: (error: MysqlError | undefined) => void): void {
    this.sent = true
    this.writtenTo = Infinity
    this.step = then
    this.host.driver.query(sql, this)
  }

  /** Asks for one value beside the steps, which may be on the wire before it; `undefined` if the server refuses. */
  question(sql: string, then: (answer: unknown) => void): void {
    const nothing = () => then(undefined)
    this.host.driver.query(sql, {
      isWanted: true,
      onRows: (rows) => then(rows[0]?.[0]),
      onOk: nothing,
      onMany: nothing,
      onError: (error) => serverErrorOf(error) === undefined ? this.host.broken(error) : nothing()
    })
  }

  onWritten(end: number): void {
    this.writtenTo = end
  }

  /** Finds out first whether the transaction is still open, where an error has left that unknown. */
  verified(then: () => void): void {
    if (!this.host.needsProbe) return then()
    this.isProbing = true
    this.query(this.host.probeSql, (error) => {
      this.isProbing = false
      if (error !== undefined) {
        return this.host.giveUp("the server does not say whether the transaction is open", error)
      }
      then()
    })
    // What the exchange is about comes after it.
    this.sent = false
  }

  onRows(rows: Rows, _decoder: unknown, flags: number | undefined): void {
    this.answer = rows[0]?.[0]
    this.onFlags(flags)
  }

  onOk(_ok: Ok, flags: number | undefined): void {
    this.onFlags(flags)
  }

  onMany(_results: ReadonlyArray<DriverResult>, flags: number | undefined): void {
    this.onFlags(flags)
  }

  private onFlags(flags: number | undefined): void {
    if (this.isDone) return
    if (this.isProbing) this.host.noteProbe(flags)
    else this.host.noteFlags(flags)
    this.step!(undefined)
  }

  onError(error: unknown): void {
    if (this.isDone) return
    const serverError = serverErrorOf(error)
    if (serverError === undefined || endsConnection(serverError.errno)) return this.host.broken(error)
    this.step!(serverError)
  }

  succeed(): void {
    this.end(Effect.void)
  }

  /** A step says that it has failed, and that the session must not be used any more. */
  giveUp(what: string, error: SqlError, serverError: MysqlError): void {
    this.refusal = error
    this.host.giveUp(what, serverError)
  }

  override fail(error: SqlError): void {
    if (this.hasSucceeded) return this.settle(Effect.void)
    super.fail(this.refusal ?? error)
  }

  /** A step says that it has failed. */
  refuse(error: SqlError): void {
    this.end(Effect.fail(error))
  }

  private end(effect: Effect.Effect<void, SqlError>): void {
    if (this.isDone) return
    const { host } = this
    host.finish(this)
    if (!this.abandoned) this.settle(effect)
    host.goOn()
  }

  settle(effect: Effect.Effect<void, SqlError>): void {
    this.resume?.(effect)
  }
}
