/**
 * The exchange of one statement that is full of rows.
 *
 * `LOAD DATA LOCAL` only warns where any other statement fails, and leaves out what it cannot insert. Therefore a
 * warning is a failure here. Notes are not: they tell of nothing that is lost.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import { field } from "../../failure/record.ts"
import type { DriverConnection, Receiver } from "../driver/Driver.ts"
import { type MysqlError, serverErrorOf } from "../errors/errors.ts"
import type { Ok } from "../statement/results.ts"
import type { Profile } from "../statement/statements.ts"
import { CallerExchange } from "./CallerExchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"

const rowNumber = field<number>("rowNumber")

/** Which row of a statement the server has complained about, counted from 1, where it says so. */
export const rowNumberOf = (error: SqlError): number | undefined => rowNumber.get(error)

const rowNumberIn = (message: unknown): number | undefined => {
  const match = typeof message === "string" ? / at row (\d+)\s*$/.exec(message) : null
  return match === null ? undefined : Number(match[1])
}

/** What a statement without rows has done, if it was answered with rows nevertheless. */
const nothing: Ok = { affectedRows: 0, changedRows: undefined, insertId: 0, warningStatus: 0, info: "" }

export class BulkExchange extends CallerExchange implements Receiver {
  readonly pipelines = false
  protected readonly sql = ""

  private readonly run: (driver: DriverConnection, receiver: any) => void
  private readonly resume: (effect: Effect.Effect<Ok, SqlError>) => void

  constructor(
    host: ExchangeHost,
    profile: Profile,
    run: (driver: DriverConnection, receiver: any) => void,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<Ok, SqlError>) => void
  ) {
    super(host, "bulk", profile, fiber)
    this.run = run
    this.resume = resume
  }

  settle(effect: Effect.Effect<Ok, SqlError>): void {
    this.resume(effect)
  }

  start(): void {
    this.sendChecked()
  }

  /** The rows have been checked, and cut to what the server takes. */
  protected objection(): undefined {
    return undefined
  }

  protected transmit(driver: DriverConnection): void {
    this.run(driver, this)
  }

  onOk(ok: Ok, flags: number | undefined): void {
    if (this.isDone) return
    this.host.noteAnswer(flags, this.profile, this.fiber)
    if (ok.warningStatus === 0 || this.abandoned) return this.end(Effect.succeed(ok))
    const onWarnings = (warnings: ReadonlyArray<ReadonlyArray<unknown>>) => {
      if (!this.isDone) this.end(this.judge(ok, warnings))
    }
    // The next statement on the session would clear them.
    this.host.driver.query("SHOW WARNINGS", {
      isWanted: true,
      onRows: onWarnings,
      onOk: () => onWarnings([]),
      onMany: () => onWarnings([]),
      onError: (error, sent) => this.onError(error, sent)
    })
  }

  private judge(ok: Ok, warnings: ReadonlyArray<ReadonlyArray<unknown>>): Effect.Effect<Ok, SqlError> {
    const warning = warnings.find(([level]) => level !== "Note")
    if (warning !== undefined) {
      const [, errno, message] = warning
      const error = serverErrorOf({ errno: Number(errno), sqlMessage: message }, true)
      if (error !== undefined) return Effect.fail(this.rowFailureOf(error, message))
    } else if (warnings.length >= ok.warningStatus) return Effect.succeed(ok)
    return Effect.fail(this.failureOf(
      `the server has ${ok.warningStatus} warnings about the rows, and does not tell what they are`
    ))
  }

  private rowFailureOf(error: MysqlError, message: unknown): SqlError {
    const failure = this.failureFrom(error)
    const row = rowNumberIn(message)
    if (row !== undefined) rowNumber.set(failure, row)
    return failure
  }

  onRows(_rows: unknown, _decoder: unknown, flags: number | undefined): void {
    this.onOk(nothing, flags)
  }

  onMany(_results: unknown, flags: number | undefined): void {
    this.onOk(nothing, flags)
  }

  onError(error: unknown, sent: boolean): void {
    if (this.isDone) return
    this.onServerError(error, sent, true, (serverError) => {
      this.host.noteError(serverError, this.profile)
      const { message, sqlMessage } = error as { readonly message?: unknown; readonly sqlMessage?: unknown }
      this.end(Effect.fail(this.rowFailureOf(serverError, sqlMessage ?? message)))
    })
  }
}
