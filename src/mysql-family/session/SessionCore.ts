/**
 * What a session is made of, and what its parts see of it: state, exchanges and their turns, the end.
 *
 * The parts know each other only through the interfaces that this class implements.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { type SqlError } from "effect/sql/SqlError"
import type { Socket } from "node:net"
import type { Address } from "../driver/Canceller.ts"
import { type DriverConnection, Status } from "../driver/Driver.ts"
import { endsTransaction } from "../errors/errno.ts"
import { ImplicitCommit, type MysqlError, statementError, unknownError } from "../errors/errors.ts"
import { ControlExchange, type Purpose } from "../exchange/ControlExchange.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import { type ExchangeHost, probe } from "../exchange/ExchangeHost.ts"
import { streamOverflow } from "../exchange/StreamExchange.ts"
import type { Profile, Profiles } from "../statement/statements.ts"
import { AllowImplicitCommit } from "./AllowImplicitCommit.ts"
import type { ControlHost } from "./ControlHost.ts"
import { endingOf } from "./ending.ts"
import { Scheduler, type SchedulerHost } from "./Scheduler.ts"
import { SessionCare } from "./SessionCare.ts"
import type { ServerInfo, SessionContext } from "./SessionContext.ts"
import { SessionResidue } from "./SessionResidue.ts"
import { Stopper, type StopperHost } from "./Stopper.ts"
import { Termination } from "./Termination.ts"
import { TransactionTracker } from "./TransactionTracker.ts"

export abstract class SessionCore implements ExchangeHost, ControlHost, SchedulerHost, StopperHost {
  readonly context: SessionContext
  readonly id: string
  readonly threadId: number
  readonly database: string
  readonly profiles: Profiles
  readonly dateStrings: boolean
  readonly canPipeline: boolean
  readonly maxAllowedPacket: number
  readonly server: ServerInfo
  readonly address: Address
  readonly driver: DriverConnection
  readonly transaction: TransactionTracker = new TransactionTracker()
  readonly residue: SessionResidue = new SessionResidue()

  protected readonly stopper: Stopper
  protected readonly scheduler: Scheduler
  protected readonly termination: Termination
  protected readonly care: SessionCare
  /** What the server says when it ends a session, while it is not known whether it has. */
  private lastWord: MysqlError | undefined = undefined
  protected readonly retireListeners: Array<() => void> = []

  constructor(
    context: SessionContext,
    server: ServerInfo,
    driver: DriverConnection,
    socket: Socket,
    address: Address
  ) {
    this.context = context
    this.database = context.database
    this.profiles = context.profiles
    this.dateStrings = context.dateStrings
    this.canPipeline = context.canPipeline
    this.server = server
    this.maxAllowedPacket = server.maxAllowedPacket
    this.driver = driver
    this.address = address
    this.threadId = driver.threadId
    this.id = String(driver.threadId)
    this.stopper = new Stopper(this, context.canceller, context.controlLimit)
    this.scheduler = new Scheduler(this, this.stopper)
    this.termination = new Termination(context.database, socket, () => this.scheduler.drain())
    this.care = new SessionCare(this)
    driver.onTrouble((error) => this.broken(error))
    socket.on("error", (error) => this.broken(error))
    socket.on("close", () => this.broken(undefined))
    if (socket.destroyed) this.broken(undefined)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // State
  // -------------------------------------------------------------------------------------------------------------------

  get isClosed(): boolean {
    return this.termination.isOver
  }

  get isReady(): boolean {
    return !this.termination.isOver && this.scheduler.isIdle && !this.stopper.isBusy && !this.stopper.needsProbe &&
      !this.residue.isUsed && this.transaction.isClean
  }

  get inTransaction(): boolean {
    return this.transaction.isInside
  }

  get isClean(): boolean {
    return this.transaction.isClean
  }

  get needsProbe(): boolean {
    return this.transaction.needsProbe
  }

  get prepares(): boolean {
    return this.context.prepares && !this.residue.hasMoved
  }

  get noBackslashEscapes(): boolean {
    return (this.transaction.flags & Status.NoBackslashEscapes) !== 0
  }

  get head(): Exchange | undefined {
    return this.scheduler.head
  }

  get isWasted(): boolean {
    return this.scheduler.isWasted
  }

  control(purpose: Purpose, script: (exchange: ControlExchange) => void): Effect.Effect<void, SqlError> {
    return Effect.callback((resume) => {
      const exchange = new ControlExchange(this, purpose, script, resume)
      // It has its time from the moment it is asked for, whatever is ahead of it.
      exchange.timer = setTimeout(() => this.expire(exchange), this.context.controlLimit)
      return this.scheduler.submit(exchange)
    })
  }

  makeProbe(): Exchange {
    const exchange = new ControlExchange(
      this,
      "probe",
      (exchange) => exchange.query(probe, () => exchange.succeed())
    )
    exchange.timer = setTimeout(() => this.expire(exchange), this.context.controlLimit)
    return exchange
  }

  private expire(exchange: ControlExchange): void {
    if (exchange.isDone) return
    const limit = `${this.context.controlLimit} ms`
    this.termination.lose({
      what: exchange.purpose !== "commit"
        ? `${exchange.operation} was not answered within ${limit}`
        : exchange.sent
        ? `COMMIT was not answered within ${limit}: it is not known whether the transaction was committed`
        : `COMMIT could not be sent within ${limit}: the transaction was not committed`,
      endedBy: "Silence",
      limitMillis: this.context.controlLimit
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What exchanges tell
  // -------------------------------------------------------------------------------------------------------------------

  objectionTo(profile: Profile, fiber: Fiber.Fiber<unknown, unknown>, operation: string): SqlError | undefined {
    if (this.transaction.isManaged && profile.ends !== "no" && !fiber.getRef(AllowImplicitCommit)) {
      const refused = new ImplicitCommit({ statement: profile.words, isControl: profile.ends === "control" })
      return unknownError(this.database, refused.message, refused, operation)
    }
    return this.transaction.ended === undefined || profile.clears ? undefined : this.blockedError(operation)
  }

  blockedError(operation: string): SqlError {
    const ended = this.transaction.ended!
    const what = `the statement was not sent, because its transaction has ended: ${ended.message}`
    return unknownError(this.database, what, ended, operation)
  }

  noteSent(profile: Profile): void {
    this.residue.noteSent(profile)
    if (profile.clears) this.transaction.acknowledgedEnd()
  }

  noteAnswer(flags: number | undefined, profile: Profile, fiber: Fiber.Fiber<unknown, unknown>): void {
    if (flags === undefined) return
    if ((flags & Status.SessionChanged) !== 0) this.residue.hasChanged = true
    const mayCommit = profile.ends !== "no" && fiber.getRef(AllowImplicitCommit)
    this.transaction.answered(flags, profile, mayCommit)
  }

  noteFlags(flags: number | undefined): void {
    if (flags !== undefined) this.transaction.acknowledged(flags)
  }

  noteProbe(flags: number | undefined): void {
    if (flags !== undefined) this.transaction.probed(flags)
  }

  noteError(error: MysqlError, profile: Profile): void {
    this.transaction.refused(error, profile, endsTransaction(error.errno, this.server))
  }

  errorOf(error: MysqlError, operation: string): SqlError {
    if (this.care.isDemotedBy(error)) { for (const listener of this.retireListeners.splice(0)) listener() }
    return statementError({ database: this.database, error, operation })
  }

  limit(exchange: Exchange): void {
    const limit = this.context.statementLimit
    if (limit === Infinity || exchange.timer !== undefined) return
    exchange.timer = setTimeout(() => {
      exchange.timer = undefined
      if (exchange.isDone) return
      if (!exchange.hasStalled) return this.limit(exchange)
      this.termination.lose({
        what: `a statement was not answered within ${limit} ms`,
        endedBy: "Limit",
        limitMillis: limit
      })
    }, limit)
  }

  finish(exchange: Exchange): void {
    this.scheduler.finish(exchange)
  }

  goOn(): void {
    this.scheduler.next()
  }

  next(): void {
    this.scheduler.next()
  }

  refuseWaiting(): void {
    for (const exchange of this.scheduler.takeRefusable()) {
      exchange.fail(unknownError(
        this.database,
        `the statement was not sent: a stream on the same connection has more than ${streamOverflow} rows to be read`,
        undefined,
        exchange.operation
      ))
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  broken(error: unknown): void {
    this.termination.lose(endingOf(error, this.lastWord))
  }

  giveUp(what: string, serverError?: MysqlError): void {
    const said = serverError === undefined ? "" : `: ${serverError.message} (${serverError.errno})`
    this.termination.lose({ what: what + said, endedBy: "Client", serverError })
  }

  ifAlive(error: MysqlError, then: () => void): void {
    this.lastWord = error
    const timer = setTimeout(() => this.broken(undefined), this.context.controlLimit)
    const alive = () => {
      clearTimeout(timer)
      if (this.isClosed) return
      this.lastWord = undefined
      then()
    }
    this.driver.query(probe, {
      isWanted: true,
      onRows: alive,
      onOk: alive,
      onMany: alive,
      onError: (failure) => {
        clearTimeout(timer)
        this.broken(failure)
      }
    })
  }

  failLost(exchange: Exchange): void {
    exchange.fail(this.termination.errorFor(exchange))
  }
}
