/**
 * An exchange that carries a statement of a caller.
 *
 * This is the one place where such a statement is sent. The steps before it may take their time (a probe, a statement
 * that has to be cut, a file), so what may have changed meanwhile is asked here, last: whether the caller is still
 * there, whether the transaction is, and whether there are as many parameters as placeholders.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import { type DriverConnection, Miscounted, type Receiver } from "../driver/Driver.ts"
import { endsConnection } from "../errors/errno.ts"
import { describe, isConnectionError, type MysqlError, partial, serverErrorOf, unknownError } from "../errors/errors.ts"
import { isWide, maxPrepared, type Parameter } from "../statement/parameters.ts"
import type { Profile } from "../statement/statements.ts"
import { Exchange } from "./Exchange.ts"
import type { ExchangeHost } from "./ExchangeHost.ts"
import { packetSize } from "./packetSize.ts"

/** 1317: the query was killed. */
const killed = 1317

/** 1305: there is no savepoint of that name. */
const noSavepoint = 1305

const endedInside = "before that it had ended the transaction that it stands in, which may have been committed"

/** The savepoint ahead of a statement that runs others. */
const mark = "watertight_statement"

export abstract class CallerExchange extends Exchange {
  readonly canBeKilled = true
  readonly canBeDropped = true

  protected readonly host: ExchangeHost
  protected readonly fiber: Fiber.Fiber<unknown, unknown>
  protected profile: Profile
  /** Why its transaction was not begun. */
  private notBegun: SqlError | undefined = undefined
  /** A BEGIN ahead of it has not been answered. */
  private awaitsBegin = false
  /** A savepoint stands ahead of it, which goes with its transaction. */
  private isMarked = false

  constructor(host: ExchangeHost, operation: string, profile: Profile, fiber: Fiber.Fiber<unknown, unknown>) {
    super(operation)
    this.host = host
    this.profile = profile
    this.fiber = fiber
  }

  /** Whether the statement, or its next step, is still to be sent. */
  get isWanted(): boolean {
    return !this.abandoned && !this.isDone && this.notBegun === undefined
  }

  /** Whether BEGIN may be on the wire ahead of it, without having been answered. */
  protected get canFollowBegin(): boolean {
    return false
  }

  /** Gives the statement to the driver, which writes it. */
  protected abstract transmit(driver: DriverConnection): void

  /** Why the statement must not be sent: because of its text, its parameters, its size. */
  protected abstract objection(): SqlError | undefined

  /**
   * Whether a prepared statement can take these parameters. If not, they are written into its text. The drivers have no
   * common form for a decimal, and MySQL would take all later values of that statement for decimals.
   */
  protected canPrepare(params: ReadonlyArray<Parameter>): boolean {
    const { host } = this
    return host.prepares && params.length <= maxPrepared && !isWide(params) && host.driver.accepts(this.sql, params)
  }

  /** The text, as far as it tells something about limits of time. */
  protected abstract readonly sql: string

  /** Asks first whether the transaction is still open, where an error has left that unknown. */
  protected sendChecked(): void {
    const { host } = this
    host.withLimit(this.fiber, this, () => {
      if (host.needsProbe) host.driver.query(host.probeSql, probing(host, () => this.sendMarked()))
      else if (host.lacksAutocommit) this.switchAutocommit()
      else if (host.hasHeldBegin && !this.canFollowBegin && this.isWanted) {
        host.giveTime(this)
        this.begin(() => this.sendMarked())
      } else this.sendMarked()
    })
  }

  /**
   * What runs other statements, such as CALL, may end the transaction and begin another one, and the flags of its answer
   * are those of an open transaction then. A savepoint does not survive that.
   */
  private sendMarked(): void {
    const { host } = this
    if (!this.profile.runsOthers || !host.isInManaged || !this.isWanted) return this.send()
    host.giveTime(this)
    host.driver.query(
      `SAVEPOINT ${mark}`,
      flagsOf(host, "a savepoint cannot be set", (flags) => {
        host.noteFlags(flags)
        this.isMarked = true
        this.send()
      })
    )
  }

  /**
   * Calls `then` when it is known whether the transaction is still the one that the statement was sent in: with its error
   * if it was refused, which leaves open what was applied if the transaction is another one.
   */
  protected looked(then: (error: MysqlError | undefined) => void, refused?: MysqlError | undefined): void {
    const { host } = this
    const { isMarked } = this
    this.isMarked = false
    if (!isMarked || !host.isInManaged) return then(refused)
    host.giveTime(this)
    host.driver.query(
      `RELEASE SAVEPOINT ${mark}`,
      flagsOf(
        host,
        "the server does not say whether the transaction is still the same",
        (flags) => {
          host.noteFlags(flags)
          if (!this.isDone) then(refused)
        },
        ({ errno }) => {
          if (errno !== noSavepoint) return false
          const mayBeCommitted = host.noteReplaced(this.profile, refused)
          if (!this.isDone) then(mayBeCommitted && refused !== undefined ? partial(refused, endedInside) : refused)
          return true
        }
      )
    )
  }

  /** The statement is to be by itself. */
  private switchAutocommit(): void {
    const { host } = this
    host.giveTime(this)
    host.driver.query("SET autocommit=1", switching(host, () => this.send()))
  }

  /** Sends the BEGIN that has waited for this statement. */
  private begin(then?: (() => void) | undefined): void {
    const { host } = this
    this.awaitsBegin = true
    const ended = (refused: SqlError | undefined) => {
      this.awaitsBegin = false
      this.notBegun = refused
      if (then === undefined || this.isDone) return
      if (refused === undefined) then()
      else this.end(Effect.fail(refused))
    }
    const answered = (flags: number | undefined) => {
      host.noteFlags(flags)
      ended(host.beginAnswered())
    }
    host.driver.query(host.takeBegin(), {
      isWanted: true,
      onRows: (_rows, _columns, flags) => answered(flags),
      onOk: (_ok, flags) => answered(flags),
      onMany: (_results, flags) => answered(flags),
      onError: (error) => {
        const serverError = serverErrorOf(error)
        if (serverError === undefined || endsConnection(serverError.errno)) return host.broken(error)
        ended(host.beginRefused(serverError))
      }
    })
  }

  /**
   * Whether the answer to the statement is none, because the BEGIN ahead of it was refused. Without autocommit the server
   * has applied nothing of it.
   */
  protected wasNotBegun(): boolean {
    if (this.awaitsBegin) {
      this.host.giveUp("a statement was answered before the BEGIN ahead of it")
      return true
    }
    if (this.notBegun === undefined) return false
    this.end(Effect.fail(this.notBegun))
    return true
  }

  private send(): void {
    const { host } = this
    if (this.isDone) return
    // Without a caller nothing is sent, and nothing is told.
    if (this.abandoned) return this.end(Effect.void)
    const refused = host.objectionTo(this.profile, this.fiber, this.operation) ?? this.objection()
    if (refused !== undefined) return this.end(Effect.fail(refused))
    host.noteSent(this.profile)
    host.startLimit(this.fiber, this, this.sql, this.profile)
    this.sent = true
    this.writtenTo = Infinity
    if (!host.hasHeldBegin) return this.transmit(host.driver)
    host.driver.together!(() => {
      this.begin()
      this.transmit(host.driver)
    })
  }

  onWritten(end: number): void {
    this.writtenTo = end
  }

  protected end(effect: Effect.Effect<any, any>): void {
    const { host } = this
    host.finish(this)
    if (!this.abandoned) this.settle(effect)
    host.goOn()
  }

  /**
   * Takes what a driver reports. Calls `then` with the server's error if the session goes on after it; everything else
   * is dealt with here. `inlined` tells that the text of the statement had values in it that were parameters.
   */
  protected onServerError(error: unknown, sent: boolean, inlined: boolean, then: (error: MysqlError) => void): void {
    const { host } = this
    const serverError = serverErrorOf(error, inlined)
    if (serverError === undefined) {
      if (!sent) this.sent = false
      if (isConnectionError(error)) host.broken(error)
      else this.end(Effect.fail(this.driverFailure(error)))
      return
    }
    if (!endsConnection(serverError.errno)) return then(serverError)
    this.isAnswered = true
    host.ifAlive(serverError, () => {
      this.isAnswered = false
      if (!this.isDone) then(serverError)
    })
  }

  /** What the statement fails with, after an answer of the server. */
  protected failureFrom(error: MysqlError): SqlError {
    return this.expiredAfter !== undefined && error.errno === killed
      ? this.host.expiredError(this, error)
      : this.host.errorOf(error, this.operation)
  }

  private driverFailure(error: unknown): SqlError {
    return error instanceof Miscounted
      ? this.miscounted(error.placeholders, error.parameters)
      : this.failureOf(`the driver failed: ${describe(error)}`, error)
  }

  protected failureOf(message: string, cause?: unknown): SqlError {
    return unknownError(this.host.database, message, cause, this.operation)
  }

  /** Whether a packet is more than the server takes: it would end the session. */
  protected oversized(sql: string, params: ReadonlyArray<Parameter>): SqlError | undefined {
    const most = this.host.maxAllowedPacket
    const bytes = packetSize(sql, params, most)
    return bytes <= most ? undefined : this.failureOf(
      `the statement was not sent: it has ${bytes} bytes, and the server takes ${most} (max_allowed_packet)`
    )
  }

  protected miscounted(placeholders: number, parameters: number): SqlError {
    return this.failureOf(
      `the statement was not sent: it has ${placeholders} placeholders, but there are ${parameters} parameters`
    )
  }
}

/** Takes the flags of a question of ours. A server that refuses it costs the session, unless `takes` takes its error. */
const flagsOf = (
  host: ExchangeHost,
  refused: string,
  answered: (flags: number | undefined) => void,
  takes: (error: MysqlError) => boolean = () => false
): Receiver => ({
  isWanted: true,
  onRows: (_rows, _columns, flags) => answered(flags),
  onOk: (_ok, flags) => answered(flags),
  onMany: (_results, flags) => answered(flags),
  onError: (error) => {
    const serverError = serverErrorOf(error)
    if (serverError === undefined) host.broken(error)
    else if (!takes(serverError)) host.giveUp(refused, serverError)
  }
})

const stuck = "autocommit cannot be switched on"

/** Switches autocommit on for a statement that is by itself. */
const switching = (host: ExchangeHost, then: () => void): Receiver =>
  flagsOf(host, stuck, (flags) => {
    host.noteFlags(flags)
    if (host.lacksAutocommit) host.giveUp(stuck)
    else then()
  })

/** Asks for the status flags before a statement of a transaction. */
const probing = (host: ExchangeHost, then: () => void): Receiver =>
  flagsOf(host, "the server does not say whether the transaction is open", (flags) => {
    host.noteProbe(flags)
    then()
  })
