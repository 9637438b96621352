/**
 * One session with a PostgreSQL server: what the rest of the library sees of it.
 *
 * | part                 | does                                                                        |
 * | -------------------- | --------------------------------------------------------------------------- |
 * | `SessionCore`        | holds what the parts share: queues, clock, status                           |
 * | `Describer`          | plans statements, and asks for columns and types that are not known         |
 * | `Writer`             | writes what waits, once a tick                                              |
 * | `Reader`             | takes the server's messages apart                                           |
 * | `TransactionControl` | begins and ends transactions                                                |
 * | `Cancellation`       | ends on the server what is not wanted any more                              |
 * | `Deadlines`          | ends what takes too long                                                    |
 * | `Restoration`        | undoes what borrowers leave behind                                          |
 * | `Termination`        | ends the session, and says what that means for what was under way           |
 *
 * Each statement is a cycle of the extended query protocol with a `Sync` of its own, so one that fails takes none of the
 * others with it. Nothing is an effect except what is public here: an exchange is resumed straight from the parser.
 */
import type { Notification, Result } from "@effect/sql-pg/PgConnection"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Channel from "effect/Channel"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Queue from "effect/Queue"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { CommitBehind, Connection } from "../../Adapter.ts"
import * as StatementTimeout from "../../transaction/StatementTimeout.ts"
import type { TransactionSettings } from "../../transaction/TransactionSettings.ts"
import type { Begin } from "../../transaction/TransactionSpec.ts"
import { unknownError } from "../errors/errors.ts"
import { TenantMismatch } from "../errors/TenantMismatch.ts"
import { CopyIn } from "../exchange/CopyIn.ts"
import { CopyOut } from "../exchange/CopyOut.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import { Portal } from "../exchange/Portal.ts"
import { UserScript } from "../exchange/ScriptExchange.ts"
import { Shape, StatementExchange } from "../exchange/StatementExchange.ts"
import { channelError } from "../listen/Listeners.ts"
import type { TypeStore } from "../types/TypeStore.ts"
import type { Transport } from "../wire/Socket.ts"
import type { Started } from "../wire/Startup.ts"
import { Cancellation } from "./Cancellation.ts"
import { Deadlines } from "./Deadlines.ts"
import { Describer } from "./Describer.ts"
import { Reader } from "./Reader.ts"
import { Restoration } from "./Restoration.ts"
import { SessionCore } from "./SessionCore.ts"
import { SessionHost } from "./SessionHost.ts"
import type { SessionKey, SessionOptions } from "./SessionOptions.ts"
import { Termination } from "./Termination.ts"
import { TransactionControl } from "./transaction/TransactionControl.ts"
import { Writer } from "./Writer.ts"

type RowTransform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

export class Session implements Connection, SessionKey {
  readonly id: string
  readonly processId: number
  readonly secretKey: number
  readonly encrypted: boolean

  private readonly core: SessionCore
  private readonly termination: Termination
  private readonly cancellation: Cancellation
  private readonly writer: Writer
  private readonly describer: Describer
  private readonly transaction: TransactionControl
  private readonly restoration: Restoration
  private readonly reader: Reader
  private readonly host: SessionHost

  constructor(options: SessionOptions, clock: Clock.Clock, transport: Transport, started: Started) {
    this.processId = started.processId
    this.secretKey = started.secretKey
    this.encrypted = transport.encrypted
    this.id = String(started.processId)
    const core = this.core = new SessionCore(options, clock, transport, started)
    const termination = this.termination = new Termination(core)
    const cancellation = this.cancellation = new Cancellation(core, this)
    const writer = this.writer = new Writer(core, cancellation, termination)
    cancellation.onFree = writer.flush
    const describer = this.describer = new Describer(core, writer)
    const transaction = this.transaction = new TransactionControl(core, writer, cancellation)
    const restoration = this.restoration = new Restoration(
      core,
      writer,
      cancellation,
      describer,
      transaction,
      termination
    )
    this.reader = new Reader({ core, termination, writer, cancellation, describer, transaction, restoration })
    this.host = new SessionHost(core, writer, describer, cancellation)
    new Deadlines(core, termination, cancellation)
    this.attach(started)
  }

  private attach(started: Started): void {
    const { reader, termination } = this
    const { socket } = this.core.transport
    socket.on("data", reader.onData)
    socket.on("error", termination.onSocketError)
    socket.on("end", termination.onSocketClose)
    socket.on("close", termination.onSocketClose)
    for (const message of started.trailing) reader.onMessage(message)
    if (socket.destroyed) termination.onSocketClose()
    else socket.resume()
  }

  // ---------------------------------------------------------------------------
  // state
  // ---------------------------------------------------------------------------

  /** What the server reports of itself and the session: `server_version`, `in_hot_standby` and the like. */
  get parameters(): ReadonlyMap<string, string> {
    return this.core.parameters
  }

  /** What is known of the types of the database. */
  get types(): TypeStore {
    return this.core.types
  }

  /** How many bytes have been received. */
  get received(): number {
    return this.core.received
  }

  get canPipeline(): boolean {
    return true
  }

  get isClosed(): boolean {
    return this.core.end !== undefined
  }

  get isReady(): boolean {
    return this.restoration.isReady
  }

  /** What a statement has begun after it has ended the transaction is none that anybody knows of. */
  get inTransaction(): boolean {
    return this.core.inTransaction && this.core.ownTransaction !== "EndedInside"
  }

  handBack(reset: "detect" | "always" | "never"): boolean {
    return this.restoration.handBack(reset)
  }

  onRetire(listener: () => void): void {
    this.restoration.onRetire(listener)
  }

  onLost(listener: (error: SqlError) => void): void {
    this.termination.onLost(listener)
  }

  /** Calls `listener` with every notice and warning of the server. */
  onNotice(listener: (fields: PgProtocol.ErrorFields) => void): void {
    this.reader.noticeListeners = [...this.reader.noticeListeners, listener]
  }

  /** Calls `listener` with every notification, on whatever channel. */
  onNotification(listener: (notification: Notification) => void): void {
    this.core.listeners.onAny(listener)
  }

  /** Calls `listener` with every parameter that the server reports a change of. */
  onParameter(listener: (name: string, value: string) => void): void {
    this.reader.parameterListeners = [...this.reader.parameterListeners, listener]
  }

  // ---------------------------------------------------------------------------
  // statements
  // ---------------------------------------------------------------------------

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: RowTransform): Effect.Effect<any, SqlError> {
    const run = this.query(Shape.Objects, sql, params, true)
    return transformRows === undefined ? run : Effect.map(run, transformRows)
  }

  executeRaw(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<Result, SqlError> {
    return this.query(Shape.Result, sql, params, true)
  }

  executeValues(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.query(Shape.Arrays, sql, params, true)
  }

  executeUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Effect.Effect<any, SqlError> {
    const run = this.query(Shape.Objects, sql, params, false)
    return transformRows === undefined ? run : Effect.map(run, transformRows)
  }

  executeValuesUnprepared(
    sql: string,
    params: ReadonlyArray<unknown>
  ): Effect.Effect<ReadonlyArray<ReadonlyArray<unknown>>, SqlError> {
    return this.query(Shape.Arrays, sql, params, false)
  }

  private query(
    shape: Shape,
    sql: string,
    params: ReadonlyArray<unknown>,
    prepare: boolean
  ): Effect.Effect<any, SqlError> {
    return this.limited((limit) =>
      Effect.callback((resume) => {
        const exchange = new StatementExchange(shape, sql, params, prepare, limit, resume)
        this.describer.open(exchange)
        this.transaction.ride?.opened(exchange)
        return Effect.sync(() => this.cancellation.abandon(exchange))
      })
    )
  }

  /** Reads the limit that the fiber has for its statements. */
  private limited<A, E, R>(
    f: (limit: number | undefined) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E | SqlError, R> {
    return Effect.withFiber((fiber) => {
      const { options, settings } = this.core
      const wanted = fiber.getRef(options.settings)
      if (wanted === undefined ? settings !== undefined || options.requiresSettings : wanted !== (settings ?? "none")) {
        return Effect.fail(this.notOfTenant(wanted))
      }
      const limit = fiber.getRef(StatementTimeout.Current)
      // Behind a pooler a limit can be set inside a transaction only.
      return limit !== undefined && this.core.options.pooled ? this.transaction.begun(f(limit)) : f(limit)
    })
  }

  /** Why nothing is run for a fiber whose settings are not those of the transaction. */
  private notOfTenant(wanted: TransactionSettings | "none" | undefined): SqlError {
    const { options: { database }, settings } = this.core
    const cause = new TenantMismatch({
      database,
      kind: wanted === undefined ? "Missing" : settings === undefined && !this.inTransaction ? "Outside" : "Other"
    })
    return unknownError(database, cause.message, cause, "execute")
  }

  executeStream(
    sql: string,
    params: ReadonlyArray<unknown>,
    transformRows: RowTransform
  ): Stream.Stream<any, SqlError> {
    const rows = Stream.fromChannel(
      Channel.fromTransform((_, scope) =>
        this.limited((limit) =>
          this.transaction.begun(Effect.suspend(() => {
            const portal = new Portal(this.host, sql, params, this.core.options.fetchSize, limit)
            return Effect.as(Scope.addFinalizer(scope, portal.stop), portal.pull)
          }))
        )
      )
    )
    return transformRows === undefined ? rows : Stream.mapArray(rows, (batch) => transformRows(batch) as any)
  }

  /**
   * Runs a script: any number of statements in one message, without parameters, in one implicit transaction. The
   * results come in text format, of which only the plain types are read; the rest stay strings.
   */
  script(sql: string): Effect.Effect<ReadonlyArray<Result>, SqlError> {
    if (sql.includes("\u0000")) return this.refused("execute")
    return this.limited((limit) =>
      this.transaction.begun(Effect.callback((resume) => {
        const exchange: Exchange = new UserScript(sql, limit, resume)
        this.writer.submit(exchange)
        return Effect.sync(() => this.cancellation.abandon(exchange))
      }))
    )
  }

  /** A `COPY … FROM STDIN`, until the scope closes. */
  copyIn(sql: string): Effect.Effect<CopyIn, SqlError, Scope.Scope> {
    return this.copy(sql, (limit) => new CopyIn(this.host, sql, limit))
  }

  /** A `COPY … TO STDOUT`, until the scope closes. */
  copyOut(sql: string): Effect.Effect<CopyOut, SqlError, Scope.Scope> {
    return this.copy(sql, (limit) => new CopyOut(this.host, sql, limit))
  }

  private copy<A extends CopyIn | CopyOut>(
    sql: string,
    make: (limit: number | undefined) => A
  ): Effect.Effect<A, SqlError, Scope.Scope> {
    if (sql.includes("\u0000")) return this.refused("copy")
    return this.limited((limit) =>
      this.transaction.begun(Effect.acquireRelease(Effect.sync(() => make(limit)), (copy) => copy.stop))
    )
  }

  private refused(operation: string): Effect.Effect<never, SqlError> {
    const what = "the statement was not sent: the text contains a NUL"
    return Effect.fail(unknownError(this.core.options.database, what, undefined, operation))
  }

  /** Listens to a channel until the scope closes. */
  listen(channel: string): Effect.Effect<Queue.Dequeue<Notification, SqlError>, SqlError, Scope.Scope> {
    const error = channelError(this.core.options.database, channel, "listen")
    return error !== undefined
      ? Effect.fail(error)
      : this.core.listeners.listen(channel, (sql) => this.transaction.run(sql, "listen"))
  }

  /** Makes sure that types are known. */
  knowTypes(oids: Iterable<number>): Effect.Effect<void, SqlError> {
    return this.describer.knowTypes(oids)
  }

  // ---------------------------------------------------------------------------
  // control
  // ---------------------------------------------------------------------------

  get ping(): Effect.Effect<void, SqlError> {
    return this.transaction.ping
  }

  get verify(): Effect.Effect<void, SqlError> {
    return this.restoration.verify
  }

  get reset(): Effect.Effect<void, SqlError> {
    return this.restoration.reset
  }

  begin(how: Begin): Effect.Effect<void, SqlError> {
    return this.transaction.begin(how)
  }

  get commit(): Effect.Effect<void, SqlError> {
    return this.transaction.commit
  }

  commitBehind(statements: number): CommitBehind | undefined {
    return this.transaction.commitBehind(statements)
  }

  /** Asks a question whose answer is older than those of all statements after it. Returns the first row, as text. */
  question(sql: string, operation: string): Effect.Effect<ReadonlyArray<unknown>, SqlError> {
    return this.transaction.question(sql, operation)
  }

  /**
   * Commits, and asks something behind that in the same write: one question for a COMMIT that has waited for the disk, and
   * another one for a COMMIT that has not. Returns the answer, which may be missing.
   */
  commitAt(flushed: string, written: string): Effect.Effect<ReadonlyArray<unknown> | undefined, SqlError> {
    return this.transaction.commitAt(flushed, written)
  }

  get commitToken(): unknown {
    return this.core.evidence.token
  }

  get rollback(): Effect.Effect<void, SqlError> {
    return this.transaction.rollback
  }

  savepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transaction.savepoint(name)
  }

  releaseSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transaction.releaseSavepoint(name)
  }

  rollbackSavepoint(name: string): Effect.Effect<void, SqlError> {
    return this.transaction.rollbackSavepoint(name)
  }

  get cancel(): Effect.Effect<void> {
    return this.cancellation.request
  }

  // ---------------------------------------------------------------------------
  // the end
  // ---------------------------------------------------------------------------

  get close(): Effect.Effect<void> {
    return this.termination.close
  }

  destroy(reason: string): void {
    this.termination.destroy(reason)
  }
}
