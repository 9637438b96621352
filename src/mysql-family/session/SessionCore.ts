/**
 * What a session is made of, and what its parts see of it: state, exchanges and their turns, the end.
 *
 * The parts know each other only through the interfaces that this class implements.
 */
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { type SqlError } from "effect/sql/SqlError"
import type { Socket } from "node:net"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import { describeStall } from "../../timing/StallGuard.ts"
import * as StatementTimeout from "../../transaction/StatementTimeout.ts"
import type { Address } from "../driver/Canceller.ts"
import { type DriverConnection, Status } from "../driver/Driver.ts"
import { endsTransaction } from "../errors/errno.ts"
import { ImplicitCommit, type MysqlError, statementError, timeoutError, unknownError } from "../errors/errors.ts"
import { ControlExchange, type Purpose } from "../exchange/ControlExchange.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import { type ExchangeHost, probe } from "../exchange/ExchangeHost.ts"
import { streamOverflow } from "../exchange/StreamExchange.ts"
import type { Profile, Profiles } from "../statement/statements.ts"
import { AllowImplicitCommit } from "./AllowImplicitCommit.ts"
import type { ControlHost } from "./ControlHost.ts"
import { Deadlines } from "./Deadlines.ts"
import { endingOf } from "./ending.ts"
import { Scheduler, type SchedulerHost } from "./Scheduler.ts"
import { SessionCare } from "./SessionCare.ts"
import type { ServerInfo, SessionContext } from "./SessionContext.ts"
import { SessionResidue } from "./SessionResidue.ts"
import { StatementLimit } from "./StatementLimit.ts"
import { Stopper, type StopperHost } from "./Stopper.ts"
import { Termination } from "./Termination.ts"
import { type Leave, TransactionTracker } from "./TransactionTracker.ts"

/**
 * How Effect's `Migrator` records, in the transaction of the migrations, which ones it is about to run. Its layers have
 * tables of their own for that; the one that it takes by itself is for the migrations of users.
 */
const recordsMigrations = /^INSERT INTO (?!`effect_sql_migrations`)\S+ \(`migration_id`,\s*`name`\)/

const writing = /\b(?:for\s+(?:update|share)|lock\s+in\s+share|insert|update|delete|replace|into)\b/i

/** Whether a statement leaves nothing in a transaction: no change and no lock. DDL that is let through leaves none. */
const isReading = (sql: string, { ends, plain, words }: Profile): boolean =>
  ends === "commits" || plain && reads.has(words) && !writing.test(sql)

const reads = new Set(["SELECT", "SHOW", "EXPLAIN", "DESC", "DESCRIBE", "VALUES", "TABLE"])

const describeControl = ({ purpose, sent }: ControlExchange): string =>
  purpose !== "commit"
    ? `${purpose} was not answered`
    : sent
    ? "it is not known whether the transaction was committed: COMMIT was not answered"
    : "the transaction was not committed: COMMIT could not be sent"

export abstract class SessionCore implements ExchangeHost, ControlHost, SchedulerHost, StopperHost {
  readonly context: SessionContext
  readonly id: string
  readonly threadId: number
  readonly database: string
  readonly profiles: Profiles
  readonly dateStrings: boolean
  readonly canPipeline: boolean
  readonly maxAllowedPacket: number
  readonly readerLimit: number
  readonly server: ServerInfo
  readonly address: Address
  readonly driver: DriverConnection
  readonly transaction: TransactionTracker = new TransactionTracker()
  readonly residue: SessionResidue = new SessionResidue()

  readonly statementLimit: StatementLimit
  protected readonly stopper: Stopper
  private readonly deadlines: Deadlines
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
    this.readerLimit = server.readerLimit
    this.driver = driver
    this.address = address
    this.threadId = driver.threadId
    this.id = String(driver.threadId)
    this.statementLimit = new StatementLimit(server.isMariadb, context.statementLimit)
    this.stopper = new Stopper(this, context.canceller)
    this.scheduler = new Scheduler(this, this.stopper)
    this.deadlines = new Deadlines(() => this.scheduler.all(), (exchange, stalled) => this.expire(exchange, stalled))
    this.termination = new Termination(context.database, socket, driver.writes, () => {
      this.deadlines.stop()
      return this.scheduler.drain()
    })
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

  get isInManaged(): boolean {
    return this.transaction.isManagedNow
  }

  get isClean(): boolean {
    return this.transaction.isClean && !this.transaction.isGuarded
  }

  get lacksAutocommit(): boolean {
    return this.transaction.isGuarded && !this.transaction.isManaged
  }

  get hasHeldBegin(): boolean {
    return this.transaction.heldBegin !== undefined
  }

  takeBegin(): string {
    return this.transaction.takeBegin()
  }

  get needsProbe(): boolean {
    return this.transaction.needsProbe
  }

  get probeSql(): string {
    return this.transaction.probeSql
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
      this.deadlines.start(exchange, this.context.controlLimit)
      return this.scheduler.submit(exchange)
    })
  }

  /** The time of an exchange is over. */
  private expire(exchange: Exchange, stalledMillis: number): void {
    if (exchange instanceof ControlExchange) return this.silent(exchange, describeControl(exchange), stalledMillis)
    if (this.stopper.isTarget(exchange)) return this.giveUpOn(exchange)
    if (!exchange.sent) {
      return this.silent(exchange, "what has to be known before a statement was not answered", stalledMillis)
    }
    // It waits behind others on the wire, or the server waits for us.
    if (this.scheduler.head !== exchange || !exchange.hasStalled) return this.deadlines.start(exchange, exchange.limit)
    this.stopper.stop(exchange)
  }

  private silent(exchange: Exchange, what: string, stalledMillis: number): void {
    this.termination.lose({
      what: `${what} within ${exchange.limit} ms${describeStall(stalledMillis)}`,
      endedBy: "Silence",
      limitMillis: exchange.limit,
      stalledMillis
    })
  }

  giveTime(exchange: Exchange): void {
    this.deadlines.start(exchange, this.context.controlLimit)
  }

  giveUpOn(exchange: Exchange): void {
    const limitMillis = exchange.expiredAfter
    this.stopper.endConnection()
    this.termination.lose(
      limitMillis === undefined
        ? { what: "an abandoned statement could not be stopped", endedBy: "Client" }
        : {
          what: `a statement was not answered within ${limitMillis} ms, and could not be stopped`,
          endedBy: "Limit",
          limitMillis,
          culprit: exchange
        }
    )
  }

  makeProbe(): Exchange {
    const exchange = new ControlExchange(
      this,
      "probe",
      (exchange) => exchange.query(probe, () => exchange.succeed())
    )
    this.deadlines.start(exchange, this.context.controlLimit)
    return exchange
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What exchanges tell
  // -------------------------------------------------------------------------------------------------------------------

  objectionTo(profile: Profile, fiber: Fiber.Fiber<unknown, unknown>, operation: string): SqlError | undefined {
    if (this.transaction.isManaged && profile.ends !== "no" && this.leaveFor(profile, fiber) === "none") {
      const refused = new ImplicitCommit({ statement: profile.words, isControl: profile.ends === "control" })
      return unknownError(this.database, refused.message, refused, operation)
    }
    return this.transaction.ended === undefined || profile.clears ? undefined : this.blockedError(operation)
  }

  private leaveFor(profile: Profile, fiber: Fiber.Fiber<unknown, unknown>): Leave {
    const { transaction } = this
    if (fiber.getRef(AllowImplicitCommit)) return "release"
    if (profile.ends !== "commits") return "none"
    return transaction.isMigration ? "release" : transaction.mayLapseFor(profile) ? "lapse" : "none"
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
    // MySQL reports that a transaction begins or ends as a change, which it is not for the next borrower.
    const isTransactions = profile.ends === "control" || profile.ends === "commits" && this.transaction.isInside
    if ((flags & Status.SessionChanged) !== 0 && !isTransactions) this.residue.hasChanged = true
    this.transaction.answered(flags, profile, profile.ends === "no" ? "none" : this.leaveFor(profile, fiber))
  }

  noteFlags(flags: number | undefined): void {
    if (flags !== undefined) this.transaction.acknowledged(flags)
  }

  beginAnswered(): SqlError | undefined {
    if (this.transaction.hasOpenFlags) return undefined
    const said = { errno: 0, sqlState: undefined, message: "the server answered that no transaction is open" }
    this.transaction.neverBegun(said)
    this.residue.isSpoiled = true
    return unknownError(this.database, said.message, undefined, "begin")
  }

  beginRefused(error: MysqlError): SqlError {
    this.transaction.neverBegun(error)
    // What was asked for the next transaction might wait for that of the next borrower.
    this.residue.isSpoiled = true
    return this.errorOf(error, "begin")
  }

  noteProbe(flags: number | undefined): void {
    if (flags !== undefined) this.transaction.probed(flags)
  }

  noteReplaced(profile: Profile, error: MysqlError | undefined): boolean {
    if (error !== undefined && endsTransaction(error.errno, this.server)) return false
    this.transaction.replaced(profile)
    return true
  }

  noteError(error: MysqlError, profile: Profile): void {
    this.transaction.refused(error, profile, endsTransaction(error.errno, this.server))
  }

  errorOf(error: MysqlError, operation: string): SqlError {
    if (this.care.isDemotedBy(error)) { for (const listener of this.retireListeners.splice(0)) listener() }
    return statementError({ database: this.database, error, operation })
  }

  hasLimit(fiber: Fiber.Fiber<unknown, unknown>): boolean {
    const limit = this.statementLimit.limitFor(fiber.getRef(StatementTimeout.Current))
    return this.statementLimit.settingFor(limit) === undefined
  }

  withLimit(fiber: Fiber.Fiber<unknown, unknown>, exchange: Exchange, then: () => void): void {
    const limit = this.statementLimit.limitFor(fiber.getRef(StatementTimeout.Current))
    const setting = this.statementLimit.settingFor(limit)
    if (setting === undefined) return then()
    this.deadlines.start(exchange, this.context.controlLimit)
    const answered = () => {
      this.statementLimit.set(limit)
      then()
    }
    this.driver.query(setting, {
      isWanted: true,
      onRows: answered,
      onOk: answered,
      onMany: answered,
      onError: (error) => this.broken(error)
    })
  }

  startLimit(fiber: Fiber.Fiber<unknown, unknown>, exchange: Exchange, sql: string, profile: Profile): void {
    if (profile.words === "INSERT" && recordsMigrations.test(sql)) this.transaction.noteMigration()
    if (!this.transaction.isManaged) this.transaction.inARow = 0
    else if (!isReading(sql, profile)) this.transaction.noteWork()
    const own = this.statementLimit.noteSent(sql, profile.words)
    const limit = own ?? this.statementLimit.limitFor(fiber.getRef(StatementTimeout.Current))
    this.deadlines.start(exchange, this.statementLimit.deadlineOf(limit, profile))
  }

  expiredError(exchange: Exchange, error: MysqlError): SqlError {
    return timeoutError({
      database: this.database,
      error,
      operation: exchange.operation,
      limitMillis: exchange.expiredAfter!
    })
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
    const stop = afterAwake(this.context.controlLimit, () => this.broken(undefined))
    const alive = () => {
      stop()
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
        stop()
        this.broken(failure)
      }
    })
  }

  failLost(exchange: Exchange): void {
    exchange.fail(this.termination.errorFor(exchange))
  }
}
