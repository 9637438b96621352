/**
 * One session with a PostgreSQL server.
 *
 * Exchanges wait in `pending`, are written together when the current tick is over, and are answered in order: the head
 * of `inFlight` is the one that the server is talking about. Each statement is a cycle of the extended query protocol
 * with a `Sync` of its own, so one that fails takes none of the others with it. `StatementEncoder` decides what is written.
 *
 * Nothing here is an effect except the public surface. An exchange is resumed straight from the parser, and there is
 * one timer for all of them.
 */
import type { Notification, Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Cause from "effect/Cause"
import * as Channel from "effect/Channel"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import { Buffer } from "node:buffer"
import type { Connection } from "../../Adapter.ts"
import { lostError } from "../../failure/lostError.ts"
import { ResultUnreadable } from "../../failure/ResultUnreadable.ts"
import { RolledBack } from "../../failure/RolledBack.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import { type PgError, pgError, statementError, unknownError } from "../errors/errors.ts"
import { type CopyHost, CopyIn, CopyOut } from "../exchange/CopyExchange.ts"
import { Exchange, ExchangeQueue, Mode, Stage } from "../exchange/Exchange.ts"
import { Portal, type PortalHost } from "../exchange/Portal.ts"
import { channelError, Listeners } from "../listen/Listeners.ts"
import { toResult } from "../statement/results.ts"
import { decodeFailure, noColumns, skipField } from "../statement/RowDecoder.ts"
import { isStale, StatementEncoder, type StatementEncoderOptions } from "../statement/StatementEncoder.ts"
import { type TypeStore, UnknownTypes } from "../types/TypeStore.ts"
import * as frames from "../wire/frames.ts"
import type { Transport } from "../wire/Socket.ts"
import type { Started } from "../wire/Startup.ts"
import { Timer } from "../wire/Timer.ts"
import { beginStatement, openingOf } from "./begin.ts"
import { CommitEvidence, readAnswer, type ServerIdentity } from "./CommitEvidence.ts"
import { markCompleted } from "./scripts.ts"
import { SessionResidue, Trace, traceOf } from "./SessionResidue.ts"

/** What all sessions of an adapter have in common. */
export interface SessionOptions extends StatementEncoderOptions {
  /** What errors call the database. */
  readonly database: string
  /** How long a statement may take, in milliseconds: longer than the server allows it, if it does at all. */
  readonly statementLimit: number
  /** How long a control statement may take. */
  readonly controlLimit: number
  /** How many rows of a stream are fetched at a time. */
  readonly fetchSize: number
  /**
   * Asks the server to cancel what the session runs, and calls `done` when the request cannot hit anything any more;
   * `undefined` where statements cannot be cancelled.
   */
  readonly cancel: ((session: SessionKey, done: () => void) => void) | undefined
  /** Where a COMMIT without answer can be looked into: what that takes, for all sessions. */
  readonly witness?: ServerIdentity | undefined
}

/** What a cancel request has to show. */
export interface SessionKey {
  readonly processId: number
  readonly secretKey: number
  readonly encrypted: boolean
}

/** How a session ended. */
interface End {
  readonly what: string
  readonly serverError?: PgError | undefined
  readonly cause?: unknown
  /** The exchange that took too long. */
  readonly expired?: Exchange | undefined
}

type RowTransform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/** How long an abandoned statement may still end by itself before the server is asked to cancel it, in milliseconds. */
const cancelGrace = 10

/**
 * How lately the server must have been heard for BEGIN to travel with the first statement, in milliseconds. After a
 * longer silence it goes ahead, and shows within its own limit whether anybody is there.
 */
const freshness = 1_000

/** How long the goodbye may take, in milliseconds. */
const closeLimit = 1_000

const noParams: ReadonlyArray<unknown> = []
const noFields: ReadonlyArray<PgProtocol.FieldDescription> = []

export class Session implements Connection, SessionKey, PortalHost, CopyHost {
  readonly id: string
  readonly processId: number
  readonly secretKey: number
  readonly encrypted: boolean
  /** What the server reports of itself and the session: `server_version`, `in_hot_standby` and the like. */
  readonly parameters: Map<string, string>

  private readonly options: SessionOptions
  private readonly clock: Clock.Clock
  private readonly transport: Transport
  private readonly parser: PgProtocol.Parser<unknown>
  private readonly planner: StatementEncoder
  private readonly witness: CommitEvidence
  /** What is known of the types of the database. */
  readonly types: TypeStore
  /** What borrowers leave behind. */
  private readonly state: SessionResidue
  private readonly retireListeners: Array<() => void> = []
  private readonly listeners = new Listeners()

  private readonly pending = new ExchangeQueue()
  private readonly inFlight = new ExchangeQueue()
  /** How many of those in flight somebody still waits for. */
  private awaited = 0
  /** How many of those in flight only ask for columns and have yet to run. */
  private describing = 0
  private flushScheduled = false
  private receiving = false
  private receivedBytes = 0

  /** The status that the server reported last, or will have reported once it has seen BEGIN. */
  private status: PgProtocol.TransactionStatus = "I"
  /** BEGIN, until it is written together with the first statement. */
  private opening: Uint8Array | undefined = undefined
  /** A BEGIN waits for that or is under way with it. */
  private beginning = false

  /** The session's clock in milliseconds, as of the last chunk or write. */
  now = 0
  /** When the last chunk came. */
  private heardAt = 0
  private readonly timer = new Timer(() => this.onTimer())

  /** Runs while an abandoned statement may still end by itself. */
  private cancelTimer: ReturnType<typeof setTimeout> | undefined = undefined
  /** Cancel requests that are under way. */
  private cancels = 0
  /** The exchange that they were meant for, until it has ended. */
  private cancelled: Exchange | undefined = undefined
  private readonly cancelWaiters: Array<() => void> = []

  private end: End | undefined = undefined
  private lostBecause: SqlError | undefined = undefined
  private readonly lostListeners: Array<(error: SqlError) => void> = []
  private readonly noticeListeners: Array<(fields: PgProtocol.ErrorFields) => void> = []
  private readonly parameterListeners: Array<(name: string, value: string) => void> = []

  constructor(options: SessionOptions, clock: Clock.Clock, transport: Transport, started: Started) {
    this.options = options
    this.clock = clock
    this.transport = transport
    this.parser = started.parser
    this.processId = started.processId
    this.secretKey = started.secretKey
    this.encrypted = transport.encrypted
    this.parameters = started.parameters
    this.id = String(started.processId)
    this.planner = new StatementEncoder(options)
    this.state = new SessionResidue(started.parameters)
    this.witness = new CommitEvidence(options.witness, started.parameters.get("server_version"), started.processId)
    this.types = options.types
    this.tick()
    const { socket } = transport
    socket.on("data", this.onData)
    socket.on("error", this.onSocketError)
    socket.on("end", this.onSocketClose)
    socket.on("close", this.onSocketClose)
    for (const message of started.trailing) this.onMessage(message)
    if (socket.destroyed) this.onSocketClose()
    else socket.resume()
  }

  // ---------------------------------------------------------------------------
  // state
  // ---------------------------------------------------------------------------

  get canPipeline(): boolean {
    return true
  }

  get isClosed(): boolean {
    return this.end !== undefined
  }

  get isReady(): boolean {
    return this.end === undefined && this.status === "I" && this.inFlight.size === 0 && this.pending.size === 0 &&
      !this.isHeld && this.listeners.size === 0
  }

  handBack(reset: "detect" | "always" | "never"): boolean {
    if (reset === "never") return this.isReady
    this.state.resetAlways(reset === "always")
    const { remedy } = this.state
    if (remedy === undefined && !this.state.isSpoiled) return this.isReady
    if (
      this.end !== undefined || this.status !== "I" || this.inFlight.size > 0 || this.isHeld ||
      this.listeners.size > 0 || this.state.isSpoiled
    ) return false
    // It goes ahead of whatever waits, and what the next borrower asks for follows it without waiting for its answer.
    this.cleanUp(remedy!, (error) => {
      if (error !== undefined && this.end === undefined) {
        this.lose({ what: `what a borrower left behind cannot be undone: ${error.message}` })
      }
    })
    return true
  }

  onRetire(listener: () => void): void {
    this.retireListeners.push(listener)
  }

  get inTransaction(): boolean {
    return this.status !== "I"
  }

  get received(): number {
    return this.receivedBytes
  }

  onLost(listener: (error: SqlError) => void): void {
    if (this.lostBecause !== undefined) listener(this.lostBecause)
    else this.lostListeners.push(listener)
  }

  /** Calls `listener` with every notice and warning of the server. */
  onNotice(listener: (fields: PgProtocol.ErrorFields) => void): void {
    this.noticeListeners.push(listener)
  }

  /** Calls `listener` with every notification, whoever listens to its channel. */
  onNotification(listener: (notification: Notification) => void): void {
    this.listeners.onAny(listener)
  }

  /** Calls `listener` with every parameter that the server reports a change of. */
  onParameter(listener: (name: string, value: string) => void): void {
    this.parameterListeners.push(listener)
  }

  // ---------------------------------------------------------------------------
  // statements
  // ---------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: RowTransform): Effect.Effect<any, SqlError> {
    const run = this.query(Mode.Rows, sql, params, true)
    return transformRows === undefined ? run : Effect.map(run, transformRows)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<Result, SqlError> {
    return this.query(Mode.Raw, sql, params, true)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.query(Mode.Values, sql, params, true)
  }

  executeUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Effect.Effect<any, SqlError> {
    const run = this.query(Mode.Rows, sql, params, false)
    return transformRows === undefined ? run : Effect.map(run, transformRows)
  }

  executeValuesUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.query(Mode.Values, sql, params, false)
  }

  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Stream.Stream<any, SqlError> {
    const rows = Stream.fromChannel(Channel.fromTransform((_, scope) =>
      this.begun(Effect.suspend(() => {
        const portal = new Portal(this, sql, params, this.options.fetchSize, this.options.statementLimit)
        return Effect.as(Scope.addFinalizer(scope, portal.stop), portal.pull)
      }))
    ))
    return transformRows === undefined ? rows : Stream.mapArray(rows, (batch) => transformRows(batch) as any)
  }

  /**
   * Runs a script: any number of statements in one message, without parameters, in one implicit transaction. The
   * results come in text format, of which only the plain types are read; the rest stay strings.
   */
  script(sql: string): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    return this.begun(Effect.callback((resume) => {
      const entry = new Exchange(Mode.Script, sql, noParams, false, this.options.statementLimit, "execute", resume)
      if (sql.includes("\u0000")) return this.refuse(entry, new Error("the text contains a NUL"))
      entry.exclusive = true
      entry.head = frames.simpleQuery(sql)
      return this.queue(entry)
    }))
  }

  /** A `COPY … FROM STDIN`, until the scope closes. */
  copyIn(sql: string): Effect.Effect<CopyIn, SqlError, Scope.Scope> {
    return this.copy(sql, CopyIn)
  }

  /** A `COPY … TO STDOUT`, until the scope closes. */
  copyOut(sql: string): Effect.Effect<CopyOut, SqlError, Scope.Scope> {
    return this.copy(sql, CopyOut)
  }

  private copy<A extends CopyIn | CopyOut>(
    sql: string,
    Copy: new(host: CopyHost, sql: string, limit: number) => A
  ): Effect.Effect<A, SqlError, Scope.Scope> {
    return sql.includes("\u0000")
      ? Effect.fail(unknownError(this.options.database, "the text contains a NUL", undefined, "copy"))
      : this.begun(Effect.acquireRelease(
        Effect.sync(() => new Copy(this, sql, this.options.statementLimit)),
        (copy) => copy.stop
      ))
  }

  writeCopy(frame: Uint8Array): boolean {
    return this.end !== undefined || this.transport.socket.write(frame)
  }

  onDrain(callback: () => void): () => void {
    const { socket } = this.transport
    socket.once("drain", callback)
    return () => void socket.off("drain", callback)
  }

  pauseReading(entry: Exchange, paused: boolean): void {
    if (this.end !== undefined) return
    const { socket } = this.transport
    if (paused) {
      // While nobody reads, the server's answer cannot be late.
      entry.deadline = Infinity
      socket.pause()
      return
    }
    this.tick()
    entry.deadline = this.now + entry.limit
    this.timer.arm(entry.deadline, this.now)
    socket.resume()
  }

  /** Listens to a channel until the scope closes. */
  listen(channel: string): Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope> {
    const error = channelError(this.options.database, channel, "listen")
    return error !== undefined
      ? Effect.fail(error)
      : this.listeners.listen(channel, (sql) => this.command(sql, "listen"))
  }

  private query(
    mode: Mode,
    sql: string,
    params: ReadonlyArray<unknown>,
    prepare: boolean
  ): Effect.Effect<any, SqlError> {
    return Effect.callback((resume) => {
      const entry = new Exchange(mode, sql, params, prepare, this.options.statementLimit, "execute", resume)
      this.open(entry)
      return Effect.sync(() => this.abandon(entry))
    })
  }

  /** Plans a statement and queues it. One that cannot be encoded fails, and nothing is written for it. */
  open(entry: Exchange): void {
    if (this.end !== undefined) return this.submit(entry)
    if (this.inFlight.size === 0) this.tick()
    // The codec boundary: codecs throw what they cannot encode.
    try {
      this.planner.plan(entry, this.now)
    } catch (cause) {
      if (cause instanceof UnknownTypes) {
        this.lookUp([], cause.names, (error) => {
          if (error !== undefined) entry.resume(Effect.fail(error))
          else if (!entry.abandoned) this.open(entry)
        })
      } else this.refuse(entry, cause)
      return
    }
    this.submit(entry)
  }

  /** Asks the catalogue for types, ahead of whatever waits, and then goes on. */
  private lookUp(
    oids: ReadonlyArray<number>,
    names: ReadonlyArray<string>,
    done: (error: SqlError | undefined) => void
  ): void {
    const sql = this.types.question(oids, names)
    const ask = new Exchange(Mode.Script, sql, noParams, false, this.options.controlLimit, "execute", (effect) => {
      this.describing--
      const exit = effect as Exit.Exit<ReadonlyArray<Result>, SqlError>
      if (Exit.isFailure(exit)) return done(Option.getOrThrow(Cause.findErrorOption(exit.cause)))
      const [named, found] = exit.value.map((result) => result.rows.map((row) => Object.values(row) as Array<any>))
      const more = this.types.load(oids, named as never, found!)
      if (more.length > 0) this.lookUp(more, [], done)
      else done(undefined)
    })
    ask.head = frames.simpleQuery(sql)
    ask.first = true
    this.describing++
    if (this.end !== undefined) return ask.resume(Effect.fail(this.lostErrorOf(ask)))
    this.pending.unshift(ask)
    this.scheduleFlush()
  }

  /** Makes sure that types are known. */
  knowTypes(oids: Iterable<number>): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const missing = this.types.missing(oids)
      return missing.length === 0 ?
        Effect.void :
        Effect.callback((resume) =>
          this.lookUp(missing, [], (error) => resume(error === undefined ? Effect.void : Effect.fail(error)))
        )
    })
  }

  private refuse(entry: Exchange, cause: unknown): void {
    const what = `the statement was not sent: ${cause instanceof Error ? cause.message : String(cause)}`
    entry.resume(Effect.fail(unknownError(this.options.database, what, cause, entry.operation)))
  }

  submit(entry: Exchange): void {
    if (this.end !== undefined) return entry.resume(Effect.fail(this.lostErrorOf(entry)))
    if (entry.stage === Stage.Waiting) return
    this.pending.push(entry)
    this.scheduleFlush()
  }

  private queue(entry: Exchange): Effect.Effect<void> {
    this.submit(entry)
    return Effect.sync(() => this.abandon(entry))
  }

  // ---------------------------------------------------------------------------
  // control
  // ---------------------------------------------------------------------------

  /** A control statement has its time from the moment it is asked for, whatever is ahead of it. */
  private control(
    frame: Uint8Array,
    operation: string,
    amend?: (entry: Exchange) => void
  ): Effect.Effect<string | undefined, SqlError> {
    return Effect.callback((resume) => {
      // It is never planned, so a name that the server has lost cannot make it fail.
      const entry = new Exchange(Mode.Control, "", noParams, false, Infinity, operation, resume)
      entry.head = frame
      amend?.(entry)
      this.tick()
      entry.deadline = this.now + this.options.controlLimit
      this.timer.arm(entry.deadline, this.now)
      return this.queue(entry)
    })
  }

  private command(sql: string, operation: string): Effect.Effect<void, SqlError> {
    return this.begun(Effect.suspend(() => Effect.asVoid(this.control(frames.simpleQuery(sql), operation))))
  }

  readonly ping: Effect.Effect<void, SqlError> = Effect.asVoid(this.control(frames.sync, "ping"))

  begin(how: Begin): Effect.Effect<void, SqlError> {
    return Effect.suspend(() => {
      const question = this.witness.begins(how)
      // Its answer has to be there before the first write.
      if (question !== undefined) this.ask(question, (exit) => this.witness.introduced(exit))
      const statement = beginStatement(how)
      this.state.onStatement(traceOf(statement) & Trace.ReadOnly)
      this.tick()
      if (
        how.lazy !== true || how.statement !== undefined || question !== undefined || this.end !== undefined ||
        this.now - this.heardAt > freshness
      ) return this.command(statement, "begin")
      this.opening = openingOf(statement)
      this.beginning = true
      this.status = "T"
      return Effect.void
    })
  }

  /** For what cannot be the first statement that BEGIN travels with: BEGIN is sent, and waited for. */
  private begun<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> {
    return Effect.suspend(() => {
      const { opening } = this
      if (opening === undefined) return effect
      this.opening = undefined
      const begin = this.control(frames.join(opening, frames.sync), "begin", (entry) => entry.begins = true)
      return Effect.andThen(begin, effect)
    })
  }

  /** BEGIN was refused. What waits was meant for the transaction, and must not run outside of it. */
  private refused(entry: Exchange, error: PgProtocol.ErrorFields): void {
    const all = [entry, ...this.pending.drain()]
    // Those that wait for a description are in no queue.
    for (const { prepared, stage } of all.slice()) {
      if (prepared !== undefined && stage === Stage.Describe) all.push(...this.planner.onDescribed(prepared, false))
    }
    for (const one of all) {
      if (one.parses && one.prepared !== undefined) this.planner.onStale(one.prepared)
      if (one.operation === "rollback" || one.operation === "reset") one.resume(Effect.void)
      else this.fail(one, error)
    }
  }

  /** Asks something for our own purposes. Nobody hears of it if it fails. */
  private ask(sql: string, answered: (exit: Exit.Exit<ReadonlyArray<Result>, SqlError>) => void): void {
    const { controlLimit } = this.options
    const entry = new Exchange(Mode.Script, sql, noParams, false, controlLimit, "execute", (effect) => {
      answered(effect as Exit.Exit<ReadonlyArray<Result>, SqlError>)
    })
    entry.head = frames.simpleQuery(sql)
    this.submit(entry)
  }

  readonly commit: Effect.Effect<void, SqlError> = Effect.uninterruptible(
    Effect.flatMap(
      Effect.suspend(() => {
        const question = this.status === "T" ? this.witness.question : undefined
        const commit = this.control(commitFrame, "commit")
        if (question === undefined) return commit
        // Not with COMMIT in one write: whatever cuts off the answer to the one would cut off that to the other.
        const asked = Effect.callback<void>((resume) =>
          this.ask(question, (exit) => {
            this.witness.confirmed(exit)
            resume(Effect.void)
          })
        )
        return Effect.andThen(asked, commit)
      }),
      (tag) =>
        tag !== "ROLLBACK" ? Effect.void : Effect.suspend(() =>
          Effect.fail(unknownError(
            this.options.database,
            "the transaction was rolled back, because a statement in it had failed",
            new RolledBack(),
            "commit"
          ))
        )
    )
  )

  get commitToken(): unknown {
    return this.witness.token
  }

  readonly rollback: Effect.Effect<void, SqlError> = Effect.asVoid(this.control(rollbackFrame, "rollback"))

  savepoint(name: string): Effect.Effect<void, SqlError> {
    return this.command(`SAVEPOINT ${name}`, "savepoint")
  }

  releaseSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.command(`RELEASE SAVEPOINT ${name}`, "releaseSavepoint")
  }

  rollbackSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.command(`ROLLBACK TO SAVEPOINT ${name}`, "rollbackSavepoint")
  }

  /** Waits until nothing is on the wire, and rolls back what is open then. */
  readonly reset: Effect.Effect<void, SqlError> = Effect.andThen(
    Effect.suspend(() => this.isReady ? Effect.void : Effect.asVoid(this.control(rollbackFrame, "reset", onItsOwn))),
    Effect.suspend(() => {
      if (this.state.isSpoiled) return Effect.fail(unknownError(this.options.database, spoiled, undefined, "reset"))
      const { remedy } = this.state
      if (remedy === undefined || this.end !== undefined) return Effect.void
      return Effect.callback<void, SqlError>((resume) =>
        this.cleanUp(remedy, (error) => resume(error === undefined ? Effect.void : Effect.fail(error)))
      )
    })
  )

  /** Undoes what borrowers left behind, ahead of whatever waits. */
  private cleanUp(sql: string, done: (error: SqlError | undefined) => void): void {
    this.state.onReset()
    const entry = new Exchange(Mode.Script, "", noParams, false, this.options.controlLimit, "reset", (effect) => {
      const exit = effect as Exit.Exit<unknown, SqlError>
      if (Exit.isSuccess(exit)) this.state.onClean()
      done(Exit.isSuccess(exit) ? undefined : Option.getOrUndefined(Cause.findErrorOption(exit.cause)))
    })
    entry.head = frames.simpleQuery(sql)
    this.pending.unshift(entry)
    this.scheduleFlush()
  }

  /** Whether the server still is in the role in which it was when the session began. */
  readonly verify: Effect.Effect<void, SqlError> = Effect.suspend(() => {
    const { expected } = this.state
    if (expected === undefined) return this.ping
    return Effect.flatMap(
      this.script("SHOW transaction_read_only"),
      ([answer]) =>
        Object.values(answer?.rows[0] ?? {})[0] === expected
          ? Effect.void
          : Effect.fail(unknownError(this.options.database, "the server has changed its role", undefined, "verify"))
    )
  })

  private retire(): void {
    for (const listener of this.retireListeners.splice(0)) listener()
  }

  // ---------------------------------------------------------------------------
  // writing
  // ---------------------------------------------------------------------------

  private tick(): void {
    this.now = Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  private scheduleFlush(): void {
    // What is submitted while a chunk is being received is written together when the chunk is done with.
    if (this.flushScheduled || this.receiving) return
    this.flushScheduled = true
    queueMicrotask(this.flush)
  }

  /** Writes what waits, in one piece. */
  private readonly flush = (): void => {
    this.flushScheduled = false
    if (this.end !== undefined || this.isHeld || this.pending.size === 0) return
    const wasIdle = this.inFlight.size === 0
    if (wasIdle) this.tick()
    const parts: Array<Uint8Array> = []
    let length = 0
    for (let entry = this.pending.head; entry !== undefined; entry = this.pending.head) {
      const ahead = this.inFlight.head
      const trace = entry.prepared?.trace ?? (entry.mode === Mode.Script ? traceOf(entry.sql) : 0)
      // Nobody else's statement may follow it before what it leaves behind is undone.
      if (trace !== 0) entry.exclusive = true
      if (ahead !== undefined && (entry.exclusive || ahead.exclusive)) break
      // What is asked for later in a transaction must not overtake, least of all its end.
      if (this.describing > 0 && this.status !== "I" && !entry.first) break
      this.pending.shift()
      // A BEGIN is for all who are in the transaction.
      if (entry.abandoned && !entry.parses && !entry.begins) {
        this.planner.release(entry)
        continue
      }
      if (entry.onlyInTransaction && this.status === "I") {
        entry.resume(Effect.void)
        continue
      }
      if (this.opening !== undefined) {
        if (entry.mode === Mode.Control && endings.has(entry.operation)) {
          // It was never begun.
          this.opening = undefined
          this.beginning = false
          this.status = "I"
          this.state.onIdle()
          entry.resume(Effect.void)
          continue
        }
        if (entry.mode <= Mode.Raw) {
          length += parts[parts.push(this.opening) - 1]!.length
          this.opening = undefined
          entry.begins = true
        }
      }
      // What comes after BEGIN has to wait until it is known to have succeeded.
      if (entry.begins) entry.exclusive = true
      const closes = this.planner.takeCloses()
      if (closes !== undefined) { for (const close of closes) length += parts[parts.push(close) - 1]!.length }
      if (entry.head !== undefined) length += parts[parts.push(entry.head) - 1]!.length
      if (entry.bind !== undefined && entry.stage === Stage.Run) length += parts[parts.push(entry.bind) - 1]!.length
      const tail = this.status === "T" ? this.witness.rides(entry) ?? entry.tail : entry.tail
      if (tail !== undefined) length += parts[parts.push(tail) - 1]!.length
      entry.written = true
      entry.answered = false
      if (entry.mode !== Mode.Control && entry.sql !== "") this.state.onStatement(trace)
      if (!entry.abandoned) this.awaited++
      if (entry.stage === Stage.Describe) this.describing++
      this.inFlight.push(entry)
    }
    if (length === 0) return
    const frame = Buffer.allocUnsafe(length)
    let offset = 0
    for (let index = 0; index < parts.length; index++) {
      const part = parts[index]!
      frame.set(part, offset)
      offset += part.length
    }
    if (wasIdle) this.promote()
    this.transport.socket.write(frame)
  }

  /** Writes a message that belongs to a cycle which is already under way. */
  writeNow(entry: Exchange, frame: Uint8Array): void {
    if (this.end !== undefined) return
    this.tick()
    entry.deadline = this.now + entry.limit
    this.timer.arm(entry.deadline, this.now)
    this.transport.socket.write(frame)
  }

  /** It is the head's turn: its rows come next and its time starts. */
  private promote(): void {
    const entry = this.inFlight.head
    if (entry === undefined) return
    this.parser.readField = entry.abandoned ? skipField : entry.description?.readField
    if (entry.limit === Infinity) return
    entry.deadline = this.now + entry.limit
    this.timer.arm(entry.deadline, this.now)
  }

  // ---------------------------------------------------------------------------
  // reading
  // ---------------------------------------------------------------------------

  private readonly onData = (chunk: Uint8Array): void => {
    if (this.end !== undefined) return
    this.tick()
    this.heardAt = this.now
    this.receivedBytes += chunk.length
    this.receiving = true
    // The codec boundary: the parser throws what it cannot make sense of, and is of no use after that.
    try {
      this.parser.pushEach(chunk, this.onMessage)
    } catch (cause) {
      this.lose({ what: `the server's answer makes no sense: ${describeCause(cause)}`, cause })
    }
    this.receiving = false
    if (this.pending.size > 0) this.flush()
  }

  private readonly onMessage = (message: PgProtocol.BackendMessage<unknown>): void => {
    if (this.end !== undefined) return
    const entry = this.inFlight.head
    switch (message._tag) {
      case "BindComplete":
        if (entry !== undefined && (!entry.begins || entry.hasBegun)) entry.begun = true
        return
      case "ParseComplete":
      case "CloseComplete":
      case "ParameterDescription":
      case "EmptyQueryResponse":
        return
      case "ReadyForQuery":
        return this.onReady(entry, message.status)
      case "NoticeResponse":
        for (const listener of this.noticeListeners) listener(message.fields)
        return
      case "ParameterStatus":
        this.parameters.set(message.name, message.value)
        if (this.state.onParameter(message.name, message.value, entry?.sql ?? "")) this.retire()
        for (const listener of this.parameterListeners) listener(message.name, message.value)
        return
      case "NotificationResponse":
        return this.listeners.onNotification(message)
      case "ErrorResponse":
        return this.onErrorResponse(entry, message.fields)
    }
    if (entry === undefined) return this.violation(message)
    switch (message._tag) {
      case "DataRow":
        return this.onRow(entry, message.values)
      case "CommandComplete":
        return this.onCommand(entry, message.commandTag)
      case "RowDescription":
        return this.onColumns(entry, message.fields)
      case "NoData":
        return this.onColumns(entry, noFields)
      case "PortalSuspended":
        entry.portal?.onSuspended(entry)
        entry.deadline = entry.portal?.isFetching === true ? this.now + entry.limit : Infinity
        return
      case "CopyInResponse":
        if (entry.copy !== undefined) return entry.copy.onCopyIn(entry, message)
        // In a cycle the server took its `Sync` for a part of the data, so there has to be another one.
        this.transport.socket.write(
          entry.mode === Mode.Script ? frames.copyFail : frames.join(frames.copyFail, frames.sync)
        )
        return
      case "CopyOutResponse":
        if (entry.copy !== undefined) return entry.copy.onCopyOut(entry, message)
        entry.failure ??= { what: "COPY TO STDOUT is not possible here, its data was discarded", cause: undefined }
        return
      case "CopyData":
        return entry.copy?.onData(message.data)
      case "CopyDone":
        return
      default:
        return this.violation(message)
    }
  }

  private onRow(entry: Exchange, values: ReadonlyArray<unknown>): void {
    if (entry.asks && entry.tag !== undefined) return this.witness.answered(values[0])
    if (decodeFailure.cause !== undefined) this.onUndecodable(entry)
    if (entry.abandoned || entry.failure !== undefined) return
    const { description } = entry
    if (description === undefined || values.length !== description.columns.length) {
      return this.lose({ what: "the server's answer makes no sense: a row does not fit its description" })
    }
    entry.rows.push(entry.mode === Mode.Values ? values : description.row(values))
  }

  private onUndecodable(entry: Exchange): void {
    const { cause, column } = decodeFailure
    decodeFailure.cause = undefined
    const name = entry.description?.columns[column]?.name
    entry.failure ??= { what: `the statement ran, but column "${name}" cannot be decoded`, cause }
    this.parser.readField = skipField
    this.planner.onUnreadable(entry)
  }

  private onColumns(entry: Exchange, columns: ReadonlyArray<PgProtocol.FieldDescription>): void {
    if (entry.asks && entry.tag !== undefined) return
    const problem = this.planner.onColumns(entry, columns)
    if (problem !== undefined) entry.failure = { what: `the statement ran, but ${problem}`, cause: undefined }
    this.parser.readField = entry.abandoned || entry.failure !== undefined ? skipField : entry.description?.readField
  }

  private onCommand(entry: Exchange, tag: string): void {
    if (entry.begins && !entry.hasBegun) {
      entry.hasBegun = true
      return
    }
    if (entry.asks) {
      if (entry.tag !== undefined && !tag.startsWith("COPY")) return
      this.parser.readField = readAnswer
    }
    entry.tag = tag
    this.planner.onCommand(tag)
    if (entry.mode === Mode.Script) {
      entry.results.push(toResult(tag, entry.rows, entry.description ?? noColumns))
      entry.rows = []
      entry.description = undefined
    } else if (entry.portal !== undefined) {
      entry.portal.onComplete(entry)
    }
  }

  private onErrorResponse(entry: Exchange | undefined, fields: PgProtocol.ErrorFields): void {
    const severity = fields.severityUnlocalized ?? fields.severity
    if (entry === undefined || severity === "FATAL" || severity === "PANIC") {
      return this.lose({
        what: `the server ended the session: ${fields.message ?? "unknown error"} (${fields.code ?? "?"})`,
        serverError: pgError(fields)
      })
    }
    entry.error = fields
    if (fields.code === "25006" && this.state.wasReadWrite) this.retire()
    if (entry.stage === Stage.Run) entry.portal?.onError(entry)
  }

  private onReady(entry: Exchange | undefined, status: PgProtocol.TransactionStatus): void {
    if (entry === undefined) return this.lose({ what: "the server's answer makes no sense: there was no question" })
    this.inFlight.shift()
    entry.answered = true
    if (!entry.abandoned) this.awaited--
    if (entry.stage === Stage.Describe) this.describing--
    if (entry === this.cancelled) this.cancelled = undefined
    if (entry.asks) this.witness.asked(entry)
    if (entry.begins) this.beginning = false
    if (!this.beginning) this.status = status
    if (this.status === "I") this.state.onIdle()
    if (this.inFlight.size === 0) {
      if (this.cancelTimer !== undefined) this.releaseHold()
    } else {
      this.promote()
      if (this.awaited === 0) this.considerCancel()
    }
    if (entry.begins) {
      entry.begins = false
      if (!entry.hasBegun && entry.error !== undefined) return this.refused(entry, entry.error)
    }
    if (entry.stage === Stage.Describe) return this.described(entry)
    if (entry.error !== undefined) return this.failed(entry, entry.error)
    this.succeeded(entry)
  }

  /** What a described statement waited for was answered, or not. It was in no queue meanwhile. */
  private typesKnown(entry: Exchange, error: SqlError | undefined): void {
    const prepared = entry.prepared!
    if (this.end !== undefined) {
      for (const one of [entry, ...prepared.followers ?? []]) if (!one.abandoned) one.resume(this.lastWord(one))
      return
    }
    if (error === undefined) this.planner.describeAgain(prepared)
    else entry.error = error.reason.cause as PgError
    this.described(entry)
  }

  /** The question for the columns was answered: now the statement can run, and those that waited for it. */
  private described(entry: Exchange): void {
    const prepared = entry.prepared!
    const exists = entry.error === undefined
    if (exists) {
      const missing = this.planner.unknownTypes(prepared)
      if (missing.length > 0) {
        return this.lookUp(missing, [], (error) => this.typesKnown(entry, error))
      }
    }
    const followers = this.planner.onDescribed(prepared, exists)
    // In front of what waits, in their order. If there is no such statement, each of the others asks for itself.
    for (let index = followers.length - 1; index >= 0; index--) {
      const follower = followers[index]!
      if (follower.abandoned) {
        this.planner.release(follower)
      } else if (exists) {
        this.planner.run(follower, prepared)
        this.pending.unshift(follower)
      } else {
        this.replan(follower)
      }
    }
    if (!exists) return this.fail(entry, entry.error!)
    if (entry.abandoned) return this.planner.release(entry)
    this.planner.run(entry, prepared)
    entry.written = false
    this.pending.unshift(entry)
  }

  /** Plans once more and puts in front of what waits. */
  private replan(entry: Exchange): void {
    this.planner.release(entry)
    entry.written = false
    entry.error = undefined
    // The codec boundary, as in `open`.
    try {
      this.planner.plan(entry, this.now)
    } catch (cause) {
      return this.refuse(entry, cause)
    }
    if (entry.stage !== Stage.Waiting) this.pending.unshift(entry)
  }

  private failed(entry: Exchange, error: PgProtocol.ErrorFields): void {
    const { prepared } = entry
    if (prepared !== undefined) {
      if (!isStale(error)) {
        this.planner.onFailed(entry, prepared)
      } else {
        this.planner.onStale(prepared)
        // Inside a transaction the error has aborted it, and a second try would only hide it.
        if (this.status === "I" && !entry.repeated && !entry.abandoned) {
          entry.repeated = true
          entry.prepare = false
          entry.portal?.onRepeat()
          return this.replan(entry)
        }
      }
    }
    this.fail(entry, error)
  }

  private fail(entry: Exchange, error: PgProtocol.ErrorFields): void {
    this.planner.release(entry)
    if (!entry.abandoned) {
      const failure = statementError(this.options.database, error, this.status !== "I", entry.operation)
      if (entry.mode === Mode.Script) markCompleted(failure, entry.results.length)
      entry.resume(Effect.fail(failure))
    }
    // Nobody can say what a transaction is that outlives its COMMIT.
    if (entry.operation === "commit" && this.status !== "I") {
      this.lose({ what: "COMMIT was refused and the transaction is still open" })
    }
  }

  private succeeded(entry: Exchange): void {
    this.planner.release(entry)
    if (entry.abandoned) return
    if (entry.failure !== undefined) {
      const { cause, what } = entry.failure
      const unreadable = new ResultUnreadable(cause === undefined ? {} : { cause })
      return entry.resume(Effect.fail(unknownError(this.options.database, what, unreadable, entry.operation)))
    }
    switch (entry.mode) {
      case Mode.Rows:
      case Mode.Values:
        return entry.resume(Effect.succeed(entry.rows))
      case Mode.Raw:
        return entry.resume(Effect.succeed(toResult(entry.tag ?? "", entry.rows, entry.description ?? noColumns)))
      case Mode.Script:
        return entry.resume(Effect.succeed(entry.results))
      case Mode.Control:
        return entry.resume(Effect.succeed(entry.tag))
      case Mode.Portal:
        return entry.portal!.onReady(entry)
      case Mode.Copy:
        return entry.resume(
          entry.tag?.startsWith("COPY") === true
            ? Effect.succeed(entry.tag)
            : Effect.fail(unknownError(this.options.database, "the statement is no COPY", undefined, entry.operation))
        )
    }
  }

  private violation(message: PgProtocol.BackendMessage<unknown>): void {
    this.lose({ what: `the server's answer makes no sense: unexpected ${message._tag}` })
  }

  // ---------------------------------------------------------------------------
  // interruption
  // ---------------------------------------------------------------------------

  /** Nobody waits for an exchange any more. The fiber has gone on already: this is about the server. */
  abandon(entry: Exchange): void {
    if (entry.abandoned || this.end !== undefined) return
    entry.abandoned = true
    entry.rows = []
    if (!entry.written) {
      this.planner.withdraw(entry)
      return
    }
    // A stream that is read to its end, or a statement whose types are being looked up: nothing is awaited for it.
    if (entry.answered) return
    this.awaited--
    if (entry === this.inFlight.head) this.parser.readField = skipField
    entry.copy?.onAbandon()
    this.considerCancel()
  }

  /**
   * A cancel request hits whatever runs when it arrives, so it is sent only when nobody waits for anything on the
   * session, and nothing is written while it is under way.
   */
  private considerCancel(): void {
    if (this.isHeld || !this.isWasted || this.options.cancel === undefined) return
    this.cancelTimer = setTimeout(() => {
      this.cancelTimer = undefined
      if (this.isWasted) this.sendCancel()
      else this.flush()
    }, cancelGrace)
  }

  /** Whether what the server does is of no use to anybody. Control statements are short and must not be cancelled. */
  private get isWasted(): boolean {
    const head = this.inFlight.head
    return this.awaited === 0 && head !== undefined && head.stage === Stage.Run && head.mode !== Mode.Control
  }

  /** Whether nothing may be written for the moment. */
  private get isHeld(): boolean {
    return this.cancelTimer !== undefined || this.cancels > 0 || this.cancelled !== undefined
  }

  private releaseHold(): void {
    clearTimeout(this.cancelTimer)
    this.cancelTimer = undefined
  }

  private sendCancel(): void {
    const head = this.inFlight.head
    if (this.end !== undefined || head === undefined || this.options.cancel === undefined) return
    this.cancelled = head
    this.cancels++
    // A server that does not stop when it is asked to has this long.
    this.tick()
    head.deadline = Math.min(head.deadline, this.now + this.options.controlLimit)
    this.timer.arm(head.deadline, this.now)
    this.options.cancel(this, () => {
      this.cancels--
      for (const waiter of this.cancelWaiters.splice(0)) waiter()
      this.considerCancel()
      this.flush()
    })
  }

  readonly cancel: Effect.Effect<void> = Effect.callback((resume) => {
    this.sendCancel()
    if (this.cancels === 0) return resume(Effect.void)
    this.cancelWaiters.push(() => resume(Effect.void))
  })

  // ---------------------------------------------------------------------------
  // deadlines
  // ---------------------------------------------------------------------------

  /** If it was this process that had no time, the answer may lie in the socket's buffer: let it be read first. */
  private readonly onTimer = (): void => void setImmediate(this.expire)

  private readonly expire = (): void => {
    if (this.end !== undefined) return
    this.tick()
    const next = earliest(this.inFlight.soonest, this.pending.soonest)
    if (next === undefined) return
    if (next.deadline > this.now) return this.timer.arm(next.deadline, this.now)
    this.lose({ what: `the server has not answered to ${next.operation} in time`, expired: next })
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  private readonly onSocketError = (cause: Error): void =>
    this.lose({ what: `the connection failed: ${describeCause(cause)}`, cause })

  private readonly onSocketClose = (): void => this.lose({ what: "the connection was closed by the other side" })

  /** The session has come to an end that nobody asked for. */
  private lose(end: End): void {
    if (this.end !== undefined) return
    const error = lostError({
      database: this.options.database,
      operation: "session",
      sent: false,
      what: end.what,
      serverError: end.serverError,
      cause: end.cause
    })
    this.transport.socket.destroy()
    this.finish(end, error)
  }

  private finish(end: End, error: SqlError | undefined): void {
    this.end = end
    // Whoever lends connections hears it before those who might ask for another one.
    if (error !== undefined) {
      this.lostBecause = error
      for (const listener of this.lostListeners.splice(0)) listener(error)
    }
    this.timer.stop()
    if (this.cancelTimer !== undefined) this.releaseHold()
    const entries = [...this.inFlight.drain(), ...this.pending.drain()]
    // Those that wait for a description are in no queue.
    for (const entry of entries.slice()) entries.push(...entry.prepared?.followers ?? [])
    for (const entry of entries) if (!entry.abandoned) entry.resume(this.lastWord(entry))
    this.listeners.end(error)
  }

  /** What somebody hears whose exchange the session did not live to complete. */
  private lastWord(entry: Exchange): Effect.Effect<any, SqlError> {
    if (entry.error !== undefined) {
      return Effect.fail(statementError(this.options.database, entry.error, this.status !== "I", entry.operation))
    }
    // A commit is answered after it was made. Other answers are only good once the server is ready for more.
    if (entry.operation === "commit" && entry.tag !== undefined) return Effect.succeed(entry.tag)
    return Effect.fail(this.lostErrorOf(entry))
  }

  /**
   * A server that ends the session in order says all it has to say before its last word. What it has not even bound by
   * then it has not run. Only its own last word counts: a pooler's does not say what the server behind it has done.
   */
  private wasTurnedAway(entry: Exchange): boolean {
    return this.end!.serverError?.routine === "ProcessInterrupts" && !entry.begun &&
      (entry.mode <= Mode.Raw || entry.mode === Mode.Portal) && entry.copy === undefined
  }

  private lostErrorOf(entry: Exchange): SqlError {
    const { cause, expired, serverError, what } = this.end!
    return lostError({
      database: this.options.database,
      operation: entry.operation,
      sent: entry.sent && !this.wasTurnedAway(entry),
      what: entry.operation === "commit" && entry.sent
        ? `COMMIT was sent but not answered: it may or may not have been applied (${what})`
        : what,
      serverError,
      cause,
      timedOut: expired === entry && entry.mode !== Mode.Control
    })
  }

  readonly close: Effect.Effect<void> = Effect.callback((resume) => {
    const { socket } = this.transport
    if (this.end === undefined) {
      this.finish({ what: "the connection has been closed" }, undefined)
      socket.end(frames.terminate)
    }
    if (socket.closed) return resume(Effect.void)
    const timer = setTimeout(() => socket.destroy(), closeLimit)
    socket.once("close", () => {
      clearTimeout(timer)
      resume(Effect.void)
    })
  })

  destroy(reason: string): void {
    if (this.end !== undefined) return void this.transport.socket.destroy()
    this.transport.socket.destroy()
    this.finish({ what: `the connection was destroyed: ${reason}` }, undefined)
  }
}

const spoiled = "a library was loaded into the session, and nothing undoes that"

/** It is for a transaction that is open when everything else is answered. */
const onItsOwn = (entry: Exchange): void => {
  entry.onlyInTransaction = true
  entry.exclusive = true
}

/** What ends a transaction. */
const endings = new Set(["commit", "rollback", "reset"])

const commitFrame = frames.simpleQuery("COMMIT")
const rollbackFrame = frames.simpleQuery("ROLLBACK")

const describeCause = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

const earliest = (left: Exchange | undefined, right: Exchange | undefined): Exchange | undefined =>
  left === undefined || right === undefined ? left ?? right : right.deadline < left.deadline ? right : left
