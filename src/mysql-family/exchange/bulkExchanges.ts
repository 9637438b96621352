/**
 * The jobs of a session that carry many rows: one statement full of them, or a file that is written bit by bit.
 *
 * `LOAD DATA LOCAL` only warns where any other statement fails, and leaves out what it cannot insert. Therefore a
 * warning is a failure here. Notes are not: they tell of nothing that is lost.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import type { DriverConnection, FileWriter, LoadReceiver, Receiver } from "../driver/Driver.ts"
import { endsConnection } from "../errors/errno.ts"
import { describe, isConnectionError, type MysqlError, serverErrorOf, unknownError } from "../errors/errors.ts"
import type { Session } from "../session/Session.ts"
import type { Ok } from "../statement/results.ts"
import type { Profile } from "../statement/statements.ts"
import { Exchange } from "./Exchange.ts"
import { probe, probeFor, toDriverFailure } from "./exchanges.ts"

const rowNumbers = new WeakMap<SqlError, number>()

/** Which row of a statement the server has complained about, counted from 1, where it says so. */
export const rowNumberOf = (error: SqlError): number | undefined => rowNumbers.get(error)

const rowNumberIn = (message: unknown): number | undefined => {
  const match = typeof message === "string" ? / at row (\d+)\s*$/.exec(message) : null
  return match === null ? undefined : Number(match[1])
}

/** What a statement without rows has done, if it has answered with rows nevertheless. */
const nothing: Ok = { affectedRows: 0, changedRows: undefined, insertId: 0, warningStatus: 0, info: "" }

/** One statement with many rows. */
export class BulkExchange extends Exchange implements Receiver {
  readonly pipelines = false
  readonly canBeKilled = true
  readonly canBeDropped = true

  protected readonly session: Session
  private readonly profile: Profile
  private readonly run: (driver: DriverConnection, receiver: any) => void
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly settle: (effect: Effect.Effect<Ok, SqlError>) => void

  constructor(
    session: Session,
    profile: Profile,
    run: (driver: DriverConnection, receiver: any) => void,
    fiber: Fiber.Fiber<unknown, unknown>,
    settle: (effect: Effect.Effect<Ok, SqlError>) => void
  ) {
    super("bulk")
    this.session = session
    this.profile = profile
    this.run = run
    this.fiber = fiber
    this.settle = settle
  }

  get isWanted(): boolean {
    return !this.abandoned && !this.isDone
  }

  start(): void {
    if (!this.session.needsVerification) return this.send()
    this.session.driver.query(probe, probeFor(this.session, () => this.isDone || this.send()))
  }

  private send(): void {
    const { session } = this
    const objection = session.objectionTo(this.profile, this.fiber, this.operation)
    if (objection !== undefined) return this.end(Effect.fail(objection))
    session.noteSent(this.profile)
    this.sent = true
    const limit = session.shared.statementLimit
    if (limit !== Infinity) this.timer = setTimeout(() => session.expireStatement(this), limit)
    this.run(session.driver, this)
  }

  onOk(ok: Ok, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    if (ok.warningStatus === 0 || this.abandoned) return this.end(Effect.succeed(ok))
    const onWarnings = (warnings: ReadonlyArray<ReadonlyArray<unknown>>) => {
      if (!this.isDone) this.end(this.judge(ok, warnings))
    }
    // The next statement of anybody else would clear them.
    this.session.driver.query("SHOW WARNINGS", {
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
      if (error !== undefined) return Effect.fail(this.failureOf(error, message))
    } else if (warnings.length >= ok.warningStatus) return Effect.succeed(ok)
    return Effect.fail(unknownError(
      this.session.shared.database,
      `the server has ${ok.warningStatus} warnings about the rows, and does not tell what they are`,
      undefined,
      this.operation
    ))
  }

  private failureOf(error: MysqlError, message: unknown): SqlError {
    const failure = this.session.errorOf(error, this.operation)
    const row = rowNumberIn(message)
    if (row !== undefined) rowNumbers.set(failure, row)
    return failure
  }

  onRows(_rows: unknown, _decoder: unknown, status: number | undefined): void {
    this.onOk(nothing, status)
  }

  onMany(_results: unknown, status: number | undefined): void {
    this.onOk(nothing, status)
  }

  onError(error: unknown, sent: boolean): void {
    if (this.isDone) return
    const { session } = this
    const serverError = serverErrorOf(error, true)
    if (serverError === undefined) {
      if (!sent) this.sent = false
      if (isConnectionError(error)) return session.lose(`the connection failed: ${describe(error)}`, error)
      return this.end(Effect.fail(toDriverFailure(session, error, this.operation)))
    }
    if (endsConnection(serverError.errno)) {
      return session.lose(
        `the server ended the session: ${serverError.message} (${serverError.errno})`,
        error,
        serverError
      )
    }
    session.noteError(serverError, this.profile)
    const { message, sqlMessage } = error as { readonly message?: unknown; readonly sqlMessage?: unknown }
    this.end(Effect.fail(this.failureOf(serverError, sqlMessage ?? message)))
  }

  private end(effect: Effect.Effect<Ok, SqlError>): void {
    const { session } = this
    session.finish(this)
    if (!this.abandoned) this.settle(effect)
    session.next()
  }

  fail(error: SqlError): void {
    this.settle(Effect.fail(error))
  }
}

/** A `LOAD DATA LOCAL INFILE`. The server asks for the file, gets it bit by bit, and then answers. */
export class LoadExchange extends BulkExchange implements LoadReceiver {
  private file: FileWriter | undefined = undefined
  private exit: Effect.Effect<Ok, SqlError> | undefined = undefined
  private waiter: ((effect: Effect.Effect<any, SqlError>) => void) | undefined = undefined

  constructor(
    session: Session,
    profile: Profile,
    run: (driver: DriverConnection, receiver: LoadExchange) => void,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    super(session, profile, run, fiber, (exit) => {
      this.exit = exit
      this.wake(exit)
    })
  }

  private wake(effect: Effect.Effect<unknown, SqlError>): void {
    const { waiter } = this
    this.waiter = undefined
    waiter?.(effect)
  }

  private wait<A>(isOver: () => boolean): Effect.Effect<A, SqlError> {
    return Effect.callback((resume) => {
      if (this.exit !== undefined) return resume(this.exit as Effect.Effect<any, SqlError>)
      if (isOver()) return resume(Effect.void as Effect.Effect<any>)
      this.waiter = resume
    })
  }

  /** Ends when the server has asked for the file. */
  readonly requested: Effect.Effect<unknown, SqlError> = this.wait(() => this.file !== undefined)

  /** Writes a piece of the file. Ends when more can be written. */
  write(bytes: Buffer): Effect.Effect<unknown, SqlError> {
    return this.wait(() => this.file!.write(bytes))
  }

  /** Ends the file. Answers what the server has made of it. */
  readonly finish: Effect.Effect<Ok, SqlError> = this.wait(() => {
    this.file!.end()
    return false
  })

  /** Nobody writes any more. What has been loaded is for the end of the transaction to undo. */
  discard(): void {
    this.file?.end()
  }

  onRequest(file: FileWriter): void {
    this.file = file
    if (this.abandoned) file.end()
    else this.wake(Effect.void)
  }

  onDrain(): void {
    this.wake(Effect.void)
  }

  onForeignRequest(): void {
    this.session.lose("the server asked for a file that it was not to have, and got nothing", undefined)
  }
}
