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
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type * as Pull from "effect/Pull"
import * as Result from "effect/Result"
import * as Scope from "effect/Scope"
import { SafeIntegers } from "effect/sql/SqlClient"
import { type SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Socket } from "node:net"
import type { Connection } from "../Adapter.ts"
import { RolledBack } from "../core/RolledBack.ts"
import type { Begin } from "../core/TransactionSpec.ts"
import type { Address, Canceller } from "./Canceller.ts"
import type { DriverConnection, Receiver, Result as DriverResult, RowSource, StreamReceiver } from "./Driver.ts"
import { Status } from "./Driver.ts"
import {
  describe,
  ImplicitCommit,
  isConnectionError,
  lostError,
  type MysqlError,
  partial,
  serverErrorOf,
  statementError,
  TransactionEnded,
  unknownError
} from "./errors.ts"
import { Job, JobQueue } from "./Job.ts"
import * as Parameters from "./parameters.ts"
import { type Column, convertRows, type Ok, planOf, Undecodable } from "./results.ts"
import { endsConnection, endsTransaction } from "./rules.ts"
import { type Pieces, type Profile, type Profiles, split } from "./statements.ts"
import { type BeginPlan, planBegin } from "./transactions.ts"

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
  /** What makes a session ours after it was reset. */
  readonly setup: ReadonlyArray<string>
  /** The database that a session begins with. */
  readonly home: string | undefined
}

type RowTransform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** How a session ended. */
interface End {
  readonly what: string
  readonly serverError: MysqlError | undefined
  readonly cause: unknown
}

/** What is made of the answer. */
const Mode = { Rows: 0, Values: 1, Raw: 2 } as const
type Mode = typeof Mode[keyof typeof Mode]

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

/** How many rows a stream keeps before it holds the server back. */
const streamBuffer = 1_024

/** How many it takes in at most to let a statement pass that waits behind it. */
const streamOverflow = 65_536

/** A statement that does nothing: its answer has the status flags. */
const probe = "DO 0"

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
  private readonly running = new JobQueue()
  private readonly waiting = new JobQueue()
  /** How many of those that run nobody waits for. */
  private abandoned = 0
  /** Side connections that are about to stop what runs here. */
  private kills = 0
  /** A kill may have come after what it was meant for. */
  private needsProbe = false

  private status: number = Status.Autocommit
  private isStatusKnown = true
  /** The session is not as it was set up. */
  private hasChanged = false
  /** Another database was chosen: prepared statements would still be about the one before. */
  private hasMoved = false
  /** A transaction was begun by `begin`. */
  private managed = false
  /** It was committed on the way, by leave of the caller. */
  private isReleased = false
  /** It is over before its time. Until its end is acknowledged, nothing more may be sent. */
  private ended: TransactionEnded | undefined = undefined

  private end: End | undefined = undefined
  private lost: SqlError | undefined = undefined
  private readonly lostListeners: Array<(error: SqlError) => void> = []

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
      !this.hasChanged && !this.needsProbe && this.isClean
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
        const job = new StatementJob(this, mode, sql, checked.success, transformRows, prepare, fiber, resume)
        return this.submit(job)
      })
    )
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
        const job = new StreamJob(this, sql, checked.success, fiber)
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
      return this.control("begin", (job) => this.runBegin(job, plan.success, 0))
    })
  }

  /** One or two statements. They are all sent, also when nobody waits any more: nothing may be left pending. */
  private runBegin(job: ControlJob, plan: BeginPlan, index: number): void {
    this.query(job, plan.statements[index]!, (error) => {
      if (error !== undefined) {
        // What was asked for the next transaction would be waiting for the next borrower's.
        if (plan.compound) this.hasChanged = true
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

  readonly reset: Effect.Effect<void, SqlError> = Effect.suspend(() =>
    this.isReady ? Effect.void : this.control("reset", (job) => this.runReset(job))
  )

  private runReset(job: ControlJob): void {
    // Without autocommit the session is not as it was set up, whoever switched it off.
    if (this.hasChanged || this.isStatusKnown && (this.status & Status.Autocommit) === 0) {
      // There is no way back to no database.
      if (this.hasMoved && this.server.home === undefined) return this.lose("the session could not be reset", undefined)
      job.sent = true
      return this.driver.resetSession((error) => {
        if (job.isDone) return
        if (error !== null && error !== undefined) {
          return this.lose(`the session could not be reset: ${describe(error)}`, error, serverErrorOf(error))
        }
        this.status = Status.Autocommit
        this.isStatusKnown = true
        this.forgetTransaction()
        this.setUp(job, 0)
      })
    }
    this.query(job, "ROLLBACK", (error) => {
      if (error !== undefined) return this.lose("ROLLBACK failed", undefined, error)
      this.forgetTransaction()
      job.succeed()
    })
  }

  private setUp(job: ControlJob, index: number): void {
    const sql = this.server.setup[index]
    if (sql === undefined) {
      // Setting variables is a change that the server reports.
      this.hasChanged = false
      this.hasMoved = false
      return job.succeed()
    }
    this.query(job, sql, (error) => {
      if (error !== undefined) return this.lose("the session could not be set up again", undefined, error)
      this.setUp(job, index + 1)
    })
  }

  /** Runs a statement of ours as a step of a control job. */
  private query(job: ControlJob, sql: string, then: (error: MysqlError | undefined) => void): void {
    job.sent = true
    job.step = then
    this.driver.query(sql, false, job)
  }

  private simple(job: ControlJob, sql: string): void {
    this.query(job, sql, (error) => {
      if (error === undefined) return job.succeed()
      this.isStatusKnown = false
      job.fail(this.errorOf(error, job.operation))
    })
  }

  /** Finds out whether the transaction is still open, where an error has left that open. */
  private verified(job: ControlJob, then: () => void): void {
    if (!this.needsVerification) return then()
    const wasOpen = this.managed && !this.isReleased || this.isOpen
    this.query(job, probe, () => {
      if (wasOpen && !this.isOpen) this.endUnexplained()
      then()
    })
    // What the job is about comes after it.
    job.sent = false
  }

  private control(operation: string, script: (job: ControlJob) => void): Effect.Effect<void, SqlError> {
    return Effect.callback((resume) => {
      const job: ControlJob = new ControlJob(this, operation, script, resume)
      // It has its time from the moment it is asked for, whatever is ahead of it.
      job.timer = setTimeout(() => this.expire(job), this.shared.controlLimit)
      return this.submit(job)
    })
  }

  private expire(job: ControlJob): void {
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

  /** @internal */
  errorOf(error: MysqlError, operation: string): SqlError {
    return statementError({ database: this.shared.database, error, operation })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Turns
  // -------------------------------------------------------------------------------------------------------------------

  /** Gives a job its turn or lets it wait. Returns what its interruption has to do. */
  private submit(job: Job): Effect.Effect<void> {
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
      else if (this.running.head instanceof StreamJob) this.running.head.makeWay()
    }
    return Effect.sync(() => this.abandon(job))
  }

  private canStart(job: Job): boolean {
    if (this.kills > 0 || this.end !== undefined) return false
    const ahead = this.running.tail
    return ahead === undefined ||
      this.canPipeline && job.pipelines && ahead.pipelines && this.isClean
  }

  private startJob(job: Job): void {
    job.isRunning = true
    this.running.push(job)
    if (job.abandoned) this.abandoned++
    if (job instanceof StreamJob && this.waiting.head !== undefined) job.makeWay()
    job.start()
  }

  private pump(): void {
    for (let job = this.waiting.head; job !== undefined; job = this.waiting.head) {
      if (!this.canStart(job)) return
      if (this.needsProbe) {
        this.needsProbe = false
        const probing = new ControlJob(this, "probe", () => this.query(probing, probe, () => probing.succeed()))
        probing.timer = setTimeout(() => this.expire(probing), this.shared.controlLimit)
        return this.startJob(probing)
      }
      this.waiting.remove(job)
      this.startJob(job)
    }
  }

  /** @internal A job has its answer, or will never be sent. */
  finish(job: Job): void {
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
  private abandon(job: Job): void {
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
    if (job instanceof StreamJob) job.discard()
    this.considerKill()
  }

  /** Once nobody waits for anything that runs, it is only in the way of what comes next. */
  private considerKill(): void {
    if (this.kills === 0 && this.isWasted) this.kill()
  }

  /** @internal Whether what runs is in vain. */
  get isWasted(): boolean {
    return this.end === undefined && this.running.size > 0 && this.abandoned === this.running.size &&
      this.running.head!.canBeKilled && this.running.head!.sent
  }

  private kill(): void {
    this.kills++
    const target = this.running.head!
    this.shared.canceller.kill(this, () => this.isWasted, (sent) => this.killed(target, sent))
  }

  private killed(target: Job, sent: boolean): void {
    this.kills--
    if (this.end !== undefined) return
    if (!target.isDone) {
      // A server that does not stop when it is asked to, or could not be asked, has this long.
      clearTimeout(target.timer)
      target.timer = setTimeout(() => {
        if (!target.isDone) this.lose("an abandoned statement could not be stopped", undefined)
      }, this.shared.controlLimit)
    } else if (sent) {
      this.needsProbe = true
    }
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

  private lostErrorOf(job: Job): SqlError {
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
    if (profile.changesSession) this.hasChanged = true
    if (profile.words.startsWith("USE")) this.hasMoved = true
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
  expireStatement(job: Job): void {
    if (job.isDone) return
    this.lose(`a statement was not answered within ${this.shared.statementLimit} ms`, undefined)
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Jobs
// ---------------------------------------------------------------------------------------------------------------------

/** Asks for the status flags before a statement of a transaction. */
const probeFor = (session: Session, then: () => void, failed: (error: unknown) => void): Receiver => ({
  onRows: (_rows, _columns, status) => {
    session.noteProbe(status)
    then()
  },
  onOk: (_ok, status) => {
    session.noteProbe(status)
    then()
  },
  onMany: (_results, status) => {
    session.noteProbe(status)
    then()
  },
  onError: failed
})

const toDriverFailure = (session: Session, error: unknown, operation: string): SqlError =>
  unknownError(session.shared.database, `the driver failed: ${describe(error)}`, error, operation)

/** A statement, or several in one text. */
class StatementJob extends Job implements Receiver {
  readonly pipelines: boolean
  readonly canBeKilled = true
  readonly canBeDropped = true

  private readonly session: Session
  private readonly mode: Mode
  private readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>
  private readonly transformRows: RowTransform
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly resume: (effect: Effect.Effect<any, SqlError>) => void
  private prepare: boolean

  private profile: Profile
  /** The statements of a text, where there are several of them or parameters to be written into it. */
  private pieces: ReadonlyArray<Pieces> | undefined = undefined
  private piece = 0
  private used = 0
  private results: Array<unknown> | undefined = undefined

  constructor(
    session: Session,
    mode: Mode,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    transformRows: RowTransform,
    prepare: boolean,
    fiber: Fiber.Fiber<unknown, unknown>,
    resume: (effect: Effect.Effect<any, SqlError>) => void
  ) {
    super(prepare ? "execute" : "executeUnprepared")
    this.session = session
    this.mode = mode
    this.sql = sql
    this.params = params
    this.transformRows = transformRows
    this.prepare = prepare
    this.fiber = fiber
    this.resume = resume
    this.profile = session.shared.profiles.get(sql)
    this.pipelines = this.profile.plain && (prepare || !sql.includes(";"))
  }

  start(): void {
    if (!this.session.prepares) this.prepare = false
    if (!this.prepare && !this.cut()) return
    this.check()
  }

  /** Cuts a text into its statements. */
  private cut(): boolean {
    if (this.params.length === 0 && !this.sql.includes(";") && !this.sql.includes("?")) return true
    this.pieces = split(this.sql, this.session.noBackslashEscapes)
    this.piece = 0
    this.used = 0
    const count = this.pieces.reduce((sum, piece) => sum + Parameters.countOf(piece), 0)
    if (count !== this.params.length) {
      this.end(Effect.fail(this.session.miscounted(count, this.params.length, this.operation)))
      return false
    }
    if (this.pieces.length > 1) {
      this.results = []
      this.profile = this.session.shared.profiles.get(this.pieces[0]!.texts.join("?"))
    } else if (this.pieces.length === 0) this.pieces = undefined
    return true
  }

  private check(): void {
    if (this.session.needsVerification) {
      this.session.driver.query(
        probe,
        false,
        probeFor(this.session, () => this.isDone || this.send(), (error) => this.onError(error, false))
      )
    } else this.send()
  }

  private send(): void {
    const { session } = this
    const objection = session.objectionTo(this.profile, this.fiber, this.operation)
    if (objection !== undefined) return this.end(Effect.fail(objection))
    const { placeholders } = this.profile
    if (this.prepare && placeholders !== undefined && placeholders !== this.params.length) {
      return this.end(Effect.fail(session.miscounted(placeholders, this.params.length, this.operation)))
    }
    session.noteSent(this.profile)
    this.sent = true
    const limit = session.shared.statementLimit
    if (limit !== Infinity && this.timer === undefined) {
      this.timer = setTimeout(() => session.expireStatement(this), limit)
    }
    const asArrays = this.mode === Mode.Values
    if (this.prepare) return session.driver.execute(this.sql, this.params, asArrays, this)
    if (this.pieces === undefined) return session.driver.query(this.sql, asArrays, this)
    const piece = this.pieces[this.piece]!
    session.driver.query(Parameters.inline(piece, this.params, this.used), asArrays, this)
  }

  onRows(rows: ReadonlyArray<any>, columns: ReadonlyArray<Column>, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    this.answer(this.abandoned ? undefined : this.convert(rows, columns))
  }

  onOk(ok: Ok, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    this.answer(this.results !== undefined || this.mode === Mode.Raw ? ok : [])
  }

  onMany(results: ReadonlyArray<DriverResult>, status: number | undefined): void {
    if (this.isDone) return
    this.session.noteAnswer(status, this.profile, this.fiber)
    const converted: Array<unknown> = []
    for (const result of results) {
      const one = "ok" in result ? result.ok : this.convert(result.rows, result.columns)
      if (one instanceof Undecodable) return this.answer(one)
      converted.push(one)
    }
    // A procedure ends with a result without rows; of one that returns rows once, they are what is asked for.
    const rows = results.filter((result) => "rows" in result)
    this.answer(
      this.mode !== Mode.Raw && this.results === undefined && rows.length === 1
        ? converted[results.indexOf(rows[0]!)]
        : converted
    )
  }

  private convert(rows: ReadonlyArray<any>, columns: ReadonlyArray<Column>): unknown {
    const asArrays = this.mode === Mode.Values
    const plan = planOf(columns, asArrays, {
      safeIntegers: this.fiber.getRef(SafeIntegers),
      dateStrings: this.session.shared.dateStrings
    })
    return convertRows(rows, plan) ?? rows
  }

  /** Takes one answer; goes on with the next statement of the text, if there is one. */
  private answer(value: unknown): void {
    if (value instanceof Undecodable) {
      return this.end(Effect.fail(unknownError(
        this.session.shared.database,
        `the statement ran, but column \`${value.column}\` could not be decoded`,
        value.cause,
        this.operation
      )))
    }
    if (this.results !== undefined) {
      this.results.push(value)
      const pieces = this.pieces!
      this.used += Parameters.countOf(pieces[this.piece]!)
      const next = pieces[++this.piece]
      // What nobody waits for any more need not be begun.
      if (next !== undefined && !this.abandoned) {
        this.profile = this.session.shared.profiles.get(next.texts.join("?"))
        return this.check()
      }
      value = this.results
    }
    const { transformRows } = this
    this.end(
      transformRows === undefined
        ? Effect.succeed(value)
        : Effect.sync(() => transformRows(value as ReadonlyArray<any>))
    )
  }

  onError(error: unknown, sent: boolean): void {
    if (this.isDone) return
    const { session } = this
    const serverError = serverErrorOf(error, !this.prepare && this.params.length > 0)
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
    // The statement was not run, for the server has forgotten it or cannot prepare it.
    if (this.prepare && !this.abandoned && isUnprepared(serverError.errno)) {
      session.driver.forget(this.sql)
      this.prepare = false
      this.sent = false
      return this.start()
    }
    const isPartial = this.piece > 0 && !session.inTransaction
    session.noteError(serverError, this.profile)
    this.end(Effect.fail(session.errorOf(isPartial ? partial(serverError) : serverError, this.operation)))
  }

  private end(effect: Effect.Effect<any, SqlError>): void {
    const { session } = this
    session.finish(this)
    if (!this.abandoned) this.resume(effect)
    session.next()
  }

  fail(error: SqlError): void {
    this.resume(Effect.fail(error))
  }
}

/** 1243: unknown handler. 1615: must be prepared again. 1295: cannot be prepared. 1461: too many are prepared. */
const isUnprepared = (errno: number): boolean => errno === 1243 || errno === 1615 || errno === 1295 || errno === 1461

/** BEGIN, COMMIT and the like: one or more steps that are finished also when nobody waits any more. */
class ControlJob extends Job implements Receiver {
  readonly pipelines = false
  readonly canBeKilled = false
  step: ((error: MysqlError | undefined) => void) | undefined = undefined

  private readonly session: Session
  private readonly script: (job: ControlJob) => void
  private readonly resume: ((effect: Effect.Effect<void, SqlError>) => void) | undefined

  constructor(
    session: Session,
    operation: string,
    script: (job: ControlJob) => void,
    resume?: (effect: Effect.Effect<void, SqlError>) => void
  ) {
    super(operation)
    this.session = session
    this.script = script
    this.resume = resume
  }

  /** A reset and a rollback are for the session, not for whoever asked for them. */
  get canBeDropped(): boolean {
    return this.operation !== "reset" && this.operation !== "rollback" && this.operation !== "rollbackSavepoint"
  }

  start(): void {
    this.script(this)
  }

  onRows(_rows: ReadonlyArray<any>, _columns: ReadonlyArray<Column>, status: number | undefined): void {
    this.onStatus(status)
  }

  onOk(_ok: Ok, status: number | undefined): void {
    this.onStatus(status)
  }

  onMany(_results: ReadonlyArray<DriverResult>, status: number | undefined): void {
    this.onStatus(status)
  }

  private onStatus(status: number | undefined): void {
    if (this.isDone) return
    this.session.noteStatus(status)
    this.step!(undefined)
  }

  onError(error: unknown): void {
    if (this.isDone) return
    const serverError = serverErrorOf(error)
    if (serverError === undefined) return this.session.lose(`the connection failed: ${describe(error)}`, error)
    if (endsConnection(serverError.errno)) {
      return this.session.lose(
        `the server ended the session: ${serverError.message} (${serverError.errno})`,
        error,
        serverError
      )
    }
    this.step!(serverError)
  }

  succeed(): void {
    this.end(Effect.void)
  }

  private end(effect: Effect.Effect<void, SqlError>): void {
    if (this.isDone) return
    const { session } = this
    session.finish(this)
    if (!this.abandoned) this.resume?.(effect)
    session.next()
  }

  fail(error: SqlError): void {
    if (this.isDone) this.resume?.(Effect.fail(error))
    else this.end(Effect.fail(error))
  }
}

/** A statement whose rows are read as they come. */
class StreamJob extends Job implements StreamReceiver {
  readonly pipelines = false
  readonly canBeKilled = true
  readonly canBeDropped = true

  private readonly session: Session
  private readonly sql: string
  private readonly params: ReadonlyArray<Parameters.Parameter>
  private readonly fiber: Fiber.Fiber<unknown, unknown>
  private readonly profile: Profile

  private source: RowSource | undefined = undefined
  private isText = false
  private isPaused = false
  private isYielding = false
  private isFlushing = false
  private columns: ReadonlyArray<Column> = []
  private rows: Array<any> = []
  private exit: Effect.Effect<never, SqlError | Cause.Done> | undefined = undefined
  private taker: ((effect: Pull.Pull<any, SqlError>) => void) | undefined = undefined

  constructor(
    session: Session,
    sql: string,
    params: ReadonlyArray<Parameters.Parameter>,
    fiber: Fiber.Fiber<unknown, unknown>
  ) {
    super("stream")
    this.session = session
    this.sql = sql
    this.params = params
    this.fiber = fiber
    this.profile = session.shared.profiles.get(sql)
  }

  /** The next rows. */
  readonly pull: Pull.Pull<any, SqlError> = Effect.callback<any, SqlError | Cause.Done>((resume) => {
    this.taker = resume as never
    this.flush()
    return Effect.sync(() => {
      this.taker = undefined
    })
  }) as never

  start(): void {
    if (this.session.needsVerification) {
      this.session.driver.query(
        probe,
        false,
        probeFor(this.session, () => this.isDone || this.send(), (error) => this.onError(error))
      )
    } else this.send()
  }

  private send(): void {
    const { session } = this
    const objection = session.objectionTo(this.profile, this.fiber, this.operation)
    if (objection !== undefined) return this.end(Effect.fail(objection))
    session.noteSent(this.profile)
    this.sent = true
    this.isText = !session.prepares
    this.source = !this.isText
      ? session.driver.stream(this.sql, this.params, false, this)
      : this.sendText()
    if (this.abandoned) this.discard()
  }

  private sendText(): RowSource | undefined {
    const pieces = split(this.sql, this.session.noBackslashEscapes)
    const piece = pieces[0]
    if (piece === undefined || pieces.length > 1 || Parameters.countOf(piece) !== this.params.length) {
      this.sent = false
      this.end(Effect.fail(unknownError(
        this.session.shared.database,
        "the statement was not sent: a stream is of one statement with as many parameters as it has placeholders",
        undefined,
        this.operation
      )))
      return undefined
    }
    return this.session.driver.stream(Parameters.inline(piece, this.params, 0), undefined, false, this)
  }

  onColumns(columns: ReadonlyArray<Column>): void {
    this.columns = columns
  }

  onRow(row: any): void {
    if (this.abandoned || this.isDone) return
    this.rows.push(row)
    // The rows that arrived together are passed on together.
    if (!this.isFlushing && this.taker !== undefined) {
      this.isFlushing = true
      queueMicrotask(() => {
        this.isFlushing = false
        this.flush()
      })
    }
    if (this.rows.length >= (this.isYielding ? streamOverflow : streamBuffer) && !this.isPaused) {
      this.isPaused = true
      this.source?.pause()
      if (this.isYielding) {
        this.isYielding = false
        this.session.refuseWaiting()
      }
    }
  }

  private flush(): void {
    const taker = this.taker
    if (taker === undefined) return
    if (this.rows.length > 0) {
      const { columns, rows } = this
      this.rows = []
      this.taker = undefined
      const plan = planOf(columns, false, {
        safeIntegers: this.fiber.getRef(SafeIntegers),
        dateStrings: this.session.shared.dateStrings
      })
      const problem = convertRows(rows, plan)
      taker(
        problem === undefined ? Effect.succeed(rows) : Effect.fail(unknownError(
          this.session.shared.database,
          `column \`${problem.column}\` could not be decoded`,
          problem.cause,
          this.operation
        ))
      )
      if (this.isPaused && !this.isDone) {
        this.isPaused = false
        this.source?.resume()
      }
      return
    }
    if (this.exit === undefined) return
    this.taker = undefined
    taker(this.exit)
  }

  /** A statement waits behind: it must not wait for whoever reads the stream, who may wait for the statement. */
  makeWay(): void {
    this.isYielding = true
    if (!this.isPaused) return
    this.isPaused = false
    this.source?.resume()
  }

  /** Nobody reads any more: what still comes is thrown away. */
  discard(): void {
    this.rows = []
    this.isPaused = false
    this.source?.resume()
  }

  onEnd(): void {
    if (!this.isDone) this.end(Cause.done())
  }

  onError(error: unknown): void {
    if (this.isDone) return
    const { session } = this
    const serverError = serverErrorOf(error, this.isText && this.params.length > 0)
    if (serverError === undefined) {
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
    this.end(Effect.fail(session.errorOf(serverError, this.operation)))
  }

  private end(exit: Effect.Effect<never, SqlError | Cause.Done>): void {
    const { session } = this
    session.finish(this)
    this.exit = exit
    if (!this.abandoned) this.flush()
    session.next()
  }

  fail(error: SqlError): void {
    this.exit = Effect.fail(error)
    this.flush()
  }
}
