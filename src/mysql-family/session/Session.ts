/**
 * One session with a MySQL or MariaDB server, over either driver.
 *
 * **Details**
 *
 * The drivers queue what they are given and write it whatever happened before, so they are given one statement after
 * the other: a statement that is interrupted while it waits here never reaches the server, and neither does one whose
 * transaction the server has given up meanwhile. Only reads and writes of rows outside of transactions are pipelined,
 * where the driver can.
 *
 * Whether a transaction is open is what the status flags of the server's last answer say. An error has no flags:
 *
 * | after an error                        | what is known                  | what comes next                     |
 * | ------------------------------------- | ------------------------------ | ----------------------------------- |
 * | in a transaction, 1213 and the like   | the transaction is gone        | fails here, nothing is sent         |
 * | in a transaction, any other           | nothing                        | the server is asked first           |
 * | outside, of a plain statement         | there is still no transaction  | goes on                             |
 * | outside, of any other                 | nothing                        | the connection is reset             |
 */
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Socket } from "node:net"
import type { Connection } from "../../Adapter.ts"
import { lostError } from "../../failure/lostError.ts"
import { RolledBack } from "../../failure/RolledBack.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import { isWritable, readOnlyOf, workCheck } from "../adapter/serverRole.ts"
import type { Address, Canceller } from "../driver/Canceller.ts"
import type { DriverConnection } from "../driver/Driver.ts"
import { Status } from "../driver/Driver.ts"
import { endsTransaction, refusalOf } from "../errors/errno.ts"
import {
  describe,
  ImplicitCommit,
  type MysqlError,
  serverErrorOf,
  statementError,
  TransactionEnded,
  unknownError
} from "../errors/errors.ts"
import { BulkExchange, LoadExchange } from "../exchange/bulkExchanges.ts"
import { type Exchange, ExchangeQueue } from "../exchange/Exchange.ts"
import {
  ControlExchange,
  Mode,
  probe,
  type RowTransform,
  StatementExchange,
  StreamExchange,
  streamOverflow
} from "../exchange/exchanges.ts"
import * as Parameters from "../statement/parameters.ts"
import type { Ok } from "../statement/results.ts"
import type { Profile, Profiles } from "../statement/statements.ts"
import { type BeginPlan, planBegin } from "./begin.ts"

/**
 * Whether a statement may commit the transaction that it stands in. See `allowImplicitCommit`.
 *
 * @category references
 * @since 0.1.0
 */
export const AllowImplicitCommit: Context.Reference<boolean> = Context.Reference<boolean>(
  "watertight/mysql/AllowImplicitCommit",
  { defaultValue: () => false }
)

/** What the sessions of an adapter share. */
export interface Shared {
  /** The database as errors name it. */
  readonly database: string
  readonly canPipeline: boolean
  readonly profiles: Profiles
  /** Whether statements are prepared. */
  readonly prepares: boolean
  /** How long a control statement may take, in milliseconds. */
  readonly controlLimit: number
  /** How long any other may take, with some time for the server's own limit to come first. */
  readonly statementLimit: number
  readonly dateStrings: boolean
  readonly canceller: Canceller
}

/** What is known of the server. */
export interface ServerInfo {
  readonly version: string
  readonly isMariadb: boolean
  /** `innodb_rollback_on_timeout`: whether 1205 rolls back the whole transaction. */
  readonly rollbackOnTimeout: boolean
  readonly maxAllowedPacket: number
  /** What only this server answers. */
  readonly identity: string
  /** Whether it is a node of a Galera cluster. */
  readonly inCluster: boolean
  /** Whether it writes, as `SELECT ${readOnlyOf}` answers. `undefined` where it cannot be asked. */
  readonly readOnly: string | undefined
  /** What makes a session ours after it was reset. */
  readonly setup: ReadonlyArray<string>
  /** The statement that goes back to the database that a session begins with. */
  readonly home: string | undefined
}

/** How a session ended. */
interface End {
  readonly what: string
  readonly serverError: MysqlError | undefined
  readonly cause: unknown
}

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

/** How long a statement that was killed has to end before it is killed again, in milliseconds. */
const killAgainAfter = 200

export class Session implements Connection {
  readonly id: string
  readonly threadId: number
  readonly canPipeline: boolean
  readonly server: ServerInfo
  readonly address: Address
  /** @internal */
  readonly driver: DriverConnection
  /** @internal */
  readonly shared: Shared

  private readonly socket: Socket
  private readonly running = new ExchangeQueue()
  private readonly waiting = new ExchangeQueue()
  /** How many of those that run nobody waits for. */
  private abandoned = 0
  /** Side connections that are about to stop what runs here. */
  private kills = 0
  /** What was to be stopped last, and will hear of it soon. */
  private target: Exchange | undefined = undefined
  /** A kill may have come after what it was meant for. */
  private needsProbe = false

  private status: number = Status.Autocommit
  private isStatusKnown = true
  /** The session is not as it was set up, as far as can be seen. */
  private hasChanged = false
  /** Anything was run since it was set up. */
  private hasRun = false
  /** A role was chosen. */
  private hasRole = false
  /** Something is left that must not reach the next borrower, whatever is to be undone. */
  private isSpoiled = false
  /** How much of what a borrower changed is to be undone. */
  private undoes: "detect" | "always" | "never" = "detect"
  /** Another database was chosen: prepared statements would still be about the one before. */
  private hasMoved = false
  /** A transaction was begun by `begin`. */
  private managed = false
  /** It was asked not to write. */
  private isReadOnly = false
  /** It was committed on the way, by leave of the caller. */
  private isReleased = false
  /** It is over before its time. Until its end is acknowledged, nothing more may be sent. */
  private ended: TransactionEnded | undefined = undefined

  private end: End | undefined = undefined
  private lost: SqlError | undefined = undefined
  private readonly lostListeners: Array<(error: SqlError) => void> = []
  private readonly retireListeners: Array<() => void> = []

  constructor(shared: Shared, server: ServerInfo, driver: DriverConnection, socket: Socket, address: Address) {
    this.shared = shared
    this.server = server
    this.driver = driver
    this.socket = socket
    this.address = address
    this.threadId = driver.threadId
    this.id = String(driver.threadId)
    this.canPipeline = shared.canPipeline
    driver.onTrouble((error) => {
      const serverError = serverErrorOf(error)
      this.lose(
        serverError === undefined
          ? `the connection failed: ${describe(error)}`
          : `the server ended the session: ${describe(error)}`,
        error,
        serverError
      )
    })
    socket.on("error", (error) => this.lose(`the connection failed: ${describe(error)}`, error))
    socket.on("close", () => this.lose("the server closed the connection", undefined))
    if (socket.destroyed) this.lose("the server closed the connection", undefined)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // State
  // -------------------------------------------------------------------------------------------------------------------

  get isClosed(): boolean {
    return this.end !== undefined
  }

  get isReady(): boolean {
    return this.end === undefined && this.running.size === 0 && this.waiting.size === 0 && this.kills === 0 &&
      !this.isUsed && !this.needsProbe && this.isClean
  }

  /**
   * The server answers a reset before anything else can be relied upon, so nobody is sent to wait behind one: the pool
   * has it done while others are lent.
   */
  handBack(reset: "detect" | "always" | "never"): boolean {
    this.undoes = reset
    return this.isReady
  }

  /** Whether the session has to be set up again for the next borrower. */
  private get isUsed(): boolean {
    return this.isSpoiled || (this.undoes === "detect" ? this.hasChanged : this.undoes === "always" && this.hasRun)
  }

  get inTransaction(): boolean {
    return this.ended === undefined && !this.isClean
  }

  /** Whether the next statement would be on its own, and everybody knows. */
  private get isClean(): boolean {
    return !this.managed && this.isStatusKnown && !this.isOpen && this.ended === undefined
  }

  readonly commitToken = undefined

  /** What the server's last answer said. Without autocommit any statement opens a transaction. */
  private get isOpen(): boolean {
    return (this.status & (Status.InTransaction | Status.Autocommit)) !== Status.Autocommit
  }

  onLost(listener: (error: SqlError) => void): void {
    if (this.lost !== undefined) listener(this.lost)
    else this.lostListeners.push(listener)
  }

  onRetire(listener: () => void): void {
    this.retireListeners.push(listener)
  }

  /** @internal Takes the flags of an answer. */
  noteStatus(status: number | undefined): void {
    if (status === undefined) return
    this.status = status
    this.isStatusKnown = true
  }

  /** @internal Takes the answer to a statement. */
  noteAnswer(status: number | undefined, profile: Profile, fiber: Fiber.Fiber<unknown, unknown>): void {
    if (status === undefined) return
    this.noteStatus(status)
    if ((status & Status.SessionChanged) !== 0) this.hasChanged = true
    if (!this.managed || this.isOpen || this.isReleased) return
    if (profile.ends !== "no" && fiber.getRef(AllowImplicitCommit)) this.isReleased = true
    else {
      this.ended ??= new TransactionEnded({
        message: `${profile.words} has ended it, and what was done before cannot be undone`
      })
    }
  }

  /** @internal Takes the error of a statement. */
  noteError(error: MysqlError, profile: Profile): void {
    if (!this.managed && !this.isOpen) {
      // A plain statement cannot have begun a transaction.
      if (!profile.plain) this.isStatusKnown = false
      return
    }
    this.isStatusKnown = false
    if (!this.isReleased && endsTransaction(error.errno, this.server)) this.endBecauseOf(error, profile.words)
  }

  /** @internal Takes the answer to the question whether there still is a transaction. */
  noteProbe(status: number | undefined): void {
    const wasOpen = this.managed && !this.isReleased || this.isOpen
    this.noteStatus(status)
    if (wasOpen && !this.isOpen) this.endUnexplained()
  }

  private endBecauseOf(error: MysqlError, words: string): void {
    this.ended ??= new TransactionEnded({
      errno: error.errno,
      sqlState: error.sqlState,
      message: `the server rolled it back when ${words} failed: ${error.message} (${error.errno})`,
      cause: error
    })
  }

  /** The server has no transaction any more, although nothing that it said explains it. */
  private endUnexplained(): void {
    this.ended ??= new TransactionEnded({ message: "the server rolled it back after an error" })
  }

  private blockedError(operation: string): SqlError {
    return unknownError(
      this.shared.database,
      `the statement was not sent, because its transaction has ended: ${this.ended!.message}`,
      this.ended,
      operation
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Statements
  // -------------------------------------------------------------------------------------------------------------------

  /** @internal Whether statements are prepared now. */
  get prepares(): boolean {
    return this.shared.prepares && !this.hasMoved
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: RowTransform): Effect.Effect<any, SqlError> {
    return this.statement(Mode.Rows, sql, params, transformRows, true)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<unknown, SqlError> {
    return this.statement(Mode.Raw, sql, params, undefined, true)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.statement(Mode.Values, sql, params, undefined, true)
  }

  executeUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Effect.Effect<any, SqlError> {
    return this.statement(Mode.Rows, sql, params, transformRows, false)
  }

  executeValuesUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.statement(Mode.Values, sql, params, undefined, false)
  }

  private statement(
    mode: Mode,
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform,
    prepare: boolean
  ): Effect.Effect<any, SqlError> {
    return Effect.withFiber((fiber) =>
      Effect.callback((resume) => {
        const checked = Parameters.check(params)
        if (Result.isFailure(checked)) return resume(Effect.fail(this.refusedParameter(checked.failure, "execute")))
        const job = new StatementExchange(this, mode, sql, checked.success, transformRows, prepare, fiber, resume)
        return this.submit(job)
      })
    )
  }

  /** Runs a statement that is full of rows, and fails also where the server has only warned. */
  executeBulk(
    profile: Profile,
    run: (driver: DriverConnection, receiver: BulkExchange) => void
  ): Effect.Effect<Ok, SqlError> {
    return Effect.withFiber((fiber) =>
      Effect.callback((resume) => this.submit(new BulkExchange(this, profile, run, fiber, resume)))
    )
  }

  /** Loads a file that is written while it is loaded. What is not finished when the scope closes ends there. */
  load(
    profile: Profile,
    run: (driver: DriverConnection, receiver: LoadExchange) => void
  ): Effect.Effect<LoadExchange, SqlError, Scope.Scope> {
    return Effect.withFiber((fiber) => {
      const job = new LoadExchange(this, profile, run, fiber)
      return Effect.andThen(
        Effect.acquireRelease(
          Effect.sync(() => void this.submit(job)),
          () => Effect.sync(() => this.abandon(job))
        ),
        Effect.as(job.requested, job)
      )
    })
  }

  /** @internal */
  miscounted(placeholders: number, parameters: number, operation: string): SqlError {
    return unknownError(
      this.shared.database,
      `the statement was not sent: it has ${placeholders} placeholders, but there are ${parameters} parameters`,
      undefined,
      operation
    )
  }

  /** @internal */
  refusedParameter(refused: Parameters.Refused, operation: string): SqlError {
    return unknownError(
      this.shared.database,
      `the statement was not sent: parameter ${refused.position} ${refused.problem}`,
      undefined,
      operation
    )
  }

  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Stream.Stream<any, SqlError> {
    const stream = Stream.fromChannel(Channel.fromTransform((_, scope) =>
      Effect.withFiber((fiber) => {
        const checked = Parameters.check(params)
        if (Result.isFailure(checked)) return Effect.fail(this.refusedParameter(checked.failure, "stream"))
        const job = new StreamExchange(this, sql, checked.success, fiber)
        return Effect.as(
          Effect.andThen(
            Scope.addFinalizer(scope, Effect.sync(() => this.abandon(job))),
            Effect.sync(() => void this.submit(job))
          ),
          job.pull
        )
      })
    )) as Stream.Stream<any, SqlError>
    return transformRows === undefined
      ? stream
      : Stream.mapArray(stream, (rows) => transformRows(rows) as typeof rows)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Transactions
  // -------------------------------------------------------------------------------------------------------------------

  begin(how: Begin): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const plan = planBegin(how, this.server.isMariadb)
      if (Result.isFailure(plan)) {
        return Effect.fail(unknownError(this.shared.database, plan.failure, undefined, "begin"))
      }
      return this.control("begin", (job) => {
        this.hasRun = true
        this.runBegin(job, plan.success, 0)
      })
    })
  }

  /** One or two statements. They are all sent, also when nobody waits any more: nothing may be left pending. */
  private runBegin(job: ControlExchange, plan: BeginPlan, index: number): void {
    this.query(job, plan.statements[index]!, (error) => {
      if (error !== undefined) {
        // What was asked for the next transaction would be waiting for the next borrower's.
        if (plan.compound) this.isSpoiled = true
        if (index > 0) return this.lose("BEGIN failed half way", undefined, error)
        this.isStatusKnown = false
        return job.fail(this.errorOf(error, job.operation))
      }
      if (index + 1 < plan.statements.length) return this.runBegin(job, plan, index + 1)
      if (!this.isOpen) {
        job.fail(unknownError(this.shared.database, "the statement given began no transaction", undefined, "begin"))
        return
      }
      this.forgetTransaction()
      this.managed = true
      this.isReadOnly = plan.isReadOnly
      job.succeed()
    })
  }

  readonly commit: Effect.Effect<void, SqlError> = Effect.uninterruptible(
    this.control("commit", (job) =>
      this.verified(job, () => {
        const ended = this.ended
        if (ended !== undefined) {
          this.forgetTransaction()
          return job.fail(unknownError(
            this.shared.database,
            `COMMIT was not sent, because the transaction had ended before: ${ended.message}`,
            new RolledBack(),
            "commit"
          ))
        }
        this.query(job, "COMMIT", (error) => {
          this.forgetTransaction()
          if (error === undefined) return job.succeed()
          this.isStatusKnown = false
          job.fail(this.errorOf(error, job.operation))
        })
      }))
  )

  readonly rollback: Effect.Effect<void, SqlError> = this.control("rollback", (job) => {
    this.query(job, "ROLLBACK", (error) => {
      this.forgetTransaction()
      if (error === undefined) return job.succeed()
      this.isStatusKnown = false
      job.fail(this.errorOf(error, job.operation))
    })
  })

  private forgetTransaction(): void {
    this.managed = false
    this.isReadOnly = false
    this.isReleased = false
    this.ended = undefined
  }

  savepoint(name: string): Effect.Effect<void, SqlError> {
    return this.control("savepoint", (job) =>
      this.verified(job, () => {
        if (this.ended !== undefined) return job.fail(this.blockedError(job.operation))
        this.simple(job, `SAVEPOINT ${name}`)
      }))
  }

  releaseSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.endSavepoint("releaseSavepoint", `RELEASE SAVEPOINT ${name}`)
  }

  rollbackSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.endSavepoint("rollbackSavepoint", `ROLLBACK TO SAVEPOINT ${name}`)
  }

  /** Where there is no transaction any more there is nothing to do, and nothing that could go wrong by it. */
  private endSavepoint(operation: string, sql: string): Effect.Effect<void, SqlError> {
    return this.control(operation, (job) =>
      this.verified(job, () => {
        if (this.ended !== undefined) return job.succeed()
        this.query(job, sql, (error) => {
          if (error === undefined) return job.succeed()
          if (error.errno !== 1305) return job.fail(this.errorOf(error, job.operation))
          // The savepoint went with its transaction.
          this.endUnexplained()
          job.succeed()
        })
      }))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Control
  // -------------------------------------------------------------------------------------------------------------------

  readonly ping: Effect.Effect<void, SqlError> = this.control("ping", (job) => {
    job.sent = true
    this.driver.ping((error) => {
      if (job.isDone) return
      if (error === null || error === undefined) return job.succeed()
      this.lose(`the server does not answer: ${describe(error)}`, error, serverErrorOf(error))
    })
  })

  /** Whether the server still is in the role in which it was when the session began. */
  readonly verify: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    if (this.server.readOnly === undefined) return this.ping
    return this.control("verify", (job) => {
      if (!this.server.inCluster) return this.verifyRole(job)
      this.query(
        job,
        workCheck,
        (error) => error === undefined ? this.verifyRole(job) : job.fail(this.errorOf(error, job.operation))
      )
    })
  })

  private verifyRole(job: ControlExchange): void {
    this.query(job, `SELECT ${readOnlyOf(this.server.isMariadb)}`, (error) => {
      if (error !== undefined) return job.fail(this.errorOf(error, job.operation))
      if (job.answer === this.server.readOnly) return job.succeed()
      job.fail(unknownError(this.shared.database, "the server has changed its role", undefined, "verify"))
    })
  }

  private retire(): void {
    for (const listener of this.retireListeners.splice(0)) listener()
  }

  readonly reset: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    this.isReady ? Effect.void : this.control("reset", (job) => this.runReset(job))
  )

  private runReset(job: ControlExchange): void {
    // Without autocommit the session is not as it was set up, whoever switched it off.
    if (this.isUsed || this.isStatusKnown && (this.status & Status.Autocommit) === 0) {
      // There is no way back to no database, and a reset leaves roles as they are: MySQL does not say which it began with.
      if (this.hasMoved && this.server.home === undefined || this.hasRole && !this.server.isMariadb) {
        return this.lose("the session could not be reset", undefined)
      }
      job.sent = true
      return this.driver.resetSession((error) => {
        if (job.isDone) return
        if (error !== null && error !== undefined) {
          return this.lose(`the session could not be reset: ${describe(error)}`, error, serverErrorOf(error))
        }
        this.status = Status.Autocommit
        this.isStatusKnown = true
        this.forgetTransaction()
        this.setUp(job)
      })
    }
    this.query(job, "ROLLBACK", (error) => {
      if (error !== undefined) return this.lose("ROLLBACK failed", undefined, error)
      this.forgetTransaction()
      job.succeed()
    })
  }

  private setUp(job: ControlExchange): void {
    const { home, setup: always } = this.server
    const setup = this.hasMoved && home !== undefined ? [...always, home] : always
    let left = setup.length
    for (const sql of setup) {
      this.query(job, sql, (error) => {
        if (error !== undefined) return this.lose("the session could not be set up again", undefined, error)
        if (--left > 0) return
        // Setting variables is a change that the server reports.
        this.hasChanged = false
        this.hasRun = false
        this.isSpoiled = false
        this.hasMoved = false
        this.hasRole = false
        job.succeed()
      })
    }
  }

  /** Runs a statement of ours as a step of a control job. */
  private query(job: ControlExchange, sql: string, then: (error: MysqlError | undefined) => void): void {
    job.sent = true
    job.step = then
    this.driver.query(sql, job)
  }

  private simple(job: ControlExchange, sql: string): void {
    this.query(job, sql, (error) => {
      if (error === undefined) return job.succeed()
      this.isStatusKnown = false
      job.fail(this.errorOf(error, job.operation))
    })
  }

  /** Finds out whether the transaction is still open, where an error has left that open. */
  private verified(job: ControlExchange, then: () => void): void {
    if (!this.needsVerification) return then()
    const wasOpen = this.managed && !this.isReleased || this.isOpen
    this.query(job, probe, (error) => {
      if (error !== undefined) {
        return this.lose("the server does not say whether the transaction is open", undefined, error)
      }
      if (wasOpen && !this.isOpen) this.endUnexplained()
      then()
    })
    // What the job is about comes after it.
    job.sent = false
  }

  private control(operation: string, script: (job: ControlExchange) => void): Effect.Effect<void, SqlError> {
    return Effect.callback((resume) => {
      const job: ControlExchange = new ControlExchange(this, operation, script, resume)
      // It has its time from the moment it is asked for, whatever is ahead of it.
      job.timer = setTimeout(() => this.expire(job), this.shared.controlLimit)
      return this.submit(job)
    })
  }

  private expire(job: ControlExchange): void {
    if (job.isDone) return
    const limit = `${this.shared.controlLimit} ms`
    this.lose(
      job.operation !== "commit"
        ? `${job.operation} was not answered within ${limit}`
        : job.sent
        ? `COMMIT was not answered within ${limit}: nobody knows whether the transaction was committed`
        : `COMMIT could not be sent within ${limit}: the transaction was not committed`,
      undefined
    )
  }

  /** @internal What an answer of the server means, for whoever asked and for the session. */
  errorOf(error: MysqlError, operation: string): SqlError {
    if (this.isDemotedBy(error)) this.retire()
    return statementError({ database: this.shared.database, error, operation })
  }

  /** Whether an error says that the server does not do any more what it did when the session began. */
  private isDemotedBy(error: MysqlError): boolean {
    switch (refusalOf(error)) {
      case "Node":
        return true
      case "Server":
        return isWritable(this.server.readOnly)
      case "Transaction":
        // Not if it may have been asked for.
        return isWritable(this.server.readOnly) && !this.hasChanged && (this.managed ? !this.isReadOnly : !this.isOpen)
      default:
        return false
    }
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Turns
  // -------------------------------------------------------------------------------------------------------------------

  /** Gives a job its turn or lets it wait. Returns what its interruption has to do. */
  private submit(job: Exchange): Effect.Effect<void> {
    if (this.end !== undefined) {
      job.isDone = true
      clearTimeout(job.timer)
      job.fail(this.lostErrorOf(job))
      return Effect.void
    }
    if (this.waiting.head === undefined && !this.needsProbe && this.canStart(job)) this.startJob(job)
    else {
      this.waiting.push(job)
      if (this.running.head === undefined) this.pump()
      // A stream that nobody reads on would be in its way for ever, if whoever reads it waits for it.
      else if (this.running.head instanceof StreamExchange) this.running.head.makeWay()
    }
    return Effect.sync(() => this.abandon(job))
  }

  private canStart(job: Exchange): boolean {
    if (this.kills > 0 || this.end !== undefined) return false
    const ahead = this.running.tail
    return ahead === undefined ||
      this.canPipeline && job.pipelines && ahead.pipelines && this.isClean
  }

  private startJob(job: Exchange): void {
    job.isRunning = true
    this.running.push(job)
    if (job.abandoned) this.abandoned++
    if (job instanceof StreamExchange && this.waiting.head !== undefined) job.makeWay()
    job.start()
  }

  private pump(): void {
    for (let job = this.waiting.head; job !== undefined; job = this.waiting.head) {
      if (!this.canStart(job)) return
      if (this.needsProbe) {
        this.needsProbe = false
        const probing = new ControlExchange(this, "probe", () => this.query(probing, probe, () => probing.succeed()))
        probing.timer = setTimeout(() => this.expire(probing), this.shared.controlLimit)
        return this.startJob(probing)
      }
      this.waiting.remove(job)
      this.startJob(job)
    }
  }

  /** @internal A job has its answer, or will never be sent. */
  finish(job: Exchange): void {
    job.isDone = true
    if (job.timer !== undefined) clearTimeout(job.timer)
    this.running.remove(job)
    if (job.abandoned) this.abandoned--
  }

  /** @internal Whoever waited has been told. */
  next(): void {
    if (this.waiting.head !== undefined) this.pump()
    if (this.abandoned > 0) this.considerKill()
  }

  /** Nobody waits for the job any more. The fiber is gone already; this is about the server. */
  private abandon(job: Exchange): void {
    if (job.isDone || job.abandoned) return
    job.abandoned = true
    if (!job.isRunning) {
      if (job.canBeDropped) {
        job.isDone = true
        clearTimeout(job.timer)
        this.waiting.remove(job)
      }
      return
    }
    this.abandoned++
    if (job instanceof StreamExchange || job instanceof LoadExchange) job.discard()
    this.considerKill()
  }

  /** Once nobody waits for anything that runs, it is only in the way of what comes next. */
  private considerKill(): void {
    if (this.kills === 0 && this.isWasted && this.running.head !== this.target) this.kill()
  }

  /** Whether what runs is in vain. */
  private get isWasted(): boolean {
    return this.end === undefined && this.running.size > 0 && this.abandoned === this.running.size &&
      this.running.head!.canBeKilled && this.running.head!.sent
  }

  private kill(): void {
    const target = this.running.head!
    this.kills++
    this.shared.canceller.kill(this, () => this.isWasted, (sent) => this.killed(target, sent))
  }

  private killed(target: Exchange, sent: boolean): void {
    this.kills--
    if (this.end !== undefined) return
    if (target.isDone) {
      this.needsProbe ||= sent
      return this.next()
    }
    if (this.target !== target) {
      // A server that does not stop when it is asked to, or could not be asked, has this long.
      this.target = target
      clearTimeout(target.timer)
      target.timer = setTimeout(() => {
        if (!target.isDone) this.lose("an abandoned statement could not be stopped", undefined)
      }, this.shared.controlLimit)
    }
    // It may have come between two steps of the same statement.
    setTimeout(() => {
      if (!target.isDone && this.running.head === target && this.kills === 0 && this.isWasted) this.kill()
    }, killAgainAfter)
    this.next()
  }

  readonly cancel: Effect.Effect<void> = Effect.callback((resume) => {
    const target = this.running.head
    if (this.end !== undefined || target === undefined) return resume(Effect.void)
    this.kills++
    this.shared.canceller.kill(this, () => !target.isDone, (sent) => {
      this.killed(target, sent)
      resume(Effect.void)
    })
  })

  // -------------------------------------------------------------------------------------------------------------------
  // The end
  // -------------------------------------------------------------------------------------------------------------------

  /** @internal */
  lose(what: string, cause: unknown, serverError?: MysqlError): void {
    if (this.end !== undefined) return
    this.end = { what, cause, serverError }
    this.lost = lostError({ database: this.shared.database, operation: "connection", sent: false, ...this.end })
    // They first: whoever is told that its statement has failed may give the session back at once.
    for (const listener of this.lostListeners.splice(0)) listener(this.lost)
    this.finishAll(this.end)
    this.socket.destroy()
  }

  private finishAll(end: End): void {
    this.end = end
    for (const job of [...this.running.drain(), ...this.waiting.drain()]) {
      job.isDone = true
      clearTimeout(job.timer)
      if (!job.abandoned) job.fail(this.lostErrorOf(job))
    }
    this.abandoned = 0
  }

  private lostErrorOf(job: Exchange): SqlError {
    const end = this.end!
    return lostError({
      database: this.shared.database,
      operation: job.operation,
      sent: job.sent,
      what: end.what,
      serverError: end.serverError,
      cause: end.cause
    })
  }

  readonly close: Effect.Effect<void> = Effect.callback((resume) => {
    const { socket } = this
    if (this.end === undefined) {
      this.finishAll({ what: "the session was closed", cause: undefined, serverError: undefined })
      this.driver.quit()
      socket.end()
    }
    if (socket.closed) return resume(Effect.void)
    const timer = setTimeout(() => socket.destroy(), closeLimit)
    socket.once("close", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
  })

  destroy(reason: string): void {
    if (this.end !== undefined) return
    this.finishAll({ what: reason, cause: undefined, serverError: undefined })
    this.socket.destroy()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What jobs need
  // -------------------------------------------------------------------------------------------------------------------

  /** @internal Why a statement must not be sent now. */
  objectionTo(profile: Profile, fiber: Fiber.Fiber<unknown, unknown>, operation: string): SqlError | undefined {
    if (this.managed && profile.ends !== "no" && !fiber.getRef(AllowImplicitCommit)) {
      const refused = new ImplicitCommit({ statement: profile.words, isControl: profile.ends === "control" })
      return unknownError(this.shared.database, refused.message, refused, operation)
    }
    return this.ended === undefined || profile.clears ? undefined : this.blockedError(operation)
  }

  /** @internal Whether the server has to be asked first whether there still is a transaction. */
  get needsVerification(): boolean {
    return !this.isStatusKnown && this.ended === undefined && (this.managed || this.isOpen)
  }

  /** @internal The statement goes out now. */
  noteSent(profile: Profile): void {
    this.hasRun = true
    if (profile.changesSession) this.hasChanged = true
    if (profile.words.startsWith("USE")) this.hasMoved = true
    if (profile.words === "SET ROLE") this.hasRole = true
    if (profile.clears) this.ended = undefined
  }

  /** @internal What waits behind a stream cannot run before that has been read, and whoever reads it may be waiting. */
  refuseWaiting(): void {
    for (let job = this.waiting.head; job !== undefined;) {
      const { next } = job
      if (job.canBeKilled) {
        this.waiting.remove(job)
        job.isDone = true
        job.fail(unknownError(
          this.shared.database,
          `the statement was not sent: a stream on the same connection has more than ${streamOverflow} rows to be read`,
          undefined,
          job.operation
        ))
      }
      job = next
    }
  }

  /** @internal Whether backslashes are ordinary characters in a text. */
  get noBackslashEscapes(): boolean {
    return (this.status & Status.NoBackslashEscapes) !== 0
  }

  /** @internal The job was sent, and the server did not answer in time. */
  expireStatement(job: Exchange): void {
    if (job.isDone) return
    this.lose(`a statement was not answered within ${this.shared.statementLimit} ms`, undefined)
  }
}
