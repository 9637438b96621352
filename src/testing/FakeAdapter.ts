/**
 * A database that does what the test says, and remembers what was done with it.
 *
 * **Details**
 *
 * It speaks to no server, so it works under a `TestClock`, and a pool over it can be brought into any situation. A step is
 * an effect: a slow connect is `Effect.sleep("1 second")`, a refused one `Effect.fail(FakeAdapter.refused)`, and one that
 * hangs `Effect.never`. `onStatement` answers the statements; without it each one has a row with its connection.
 *
 * A few words in a statement mean something to it: `sleep 20` takes 20 ms, `fail` is a syntax error, `set …` leaves
 * something behind, and `begin`, `commit` and `rollback` begin and end a transaction.
 *
 * **Example** (A program over a fake database)
 *
 * ```ts
 * import { Effect, Layer } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Adapter, Database } from "watertight"
 * import { FakeAdapter } from "watertight/testing"
 *
 * const fake = new FakeAdapter.FakeAdapter()
 * fake.onStatement = (text) => Effect.succeed(text.startsWith("select name") ? [{ name: "ann" }] : [])
 *
 * const program = Effect.flatMap(SqlClient.SqlClient, (sql) => sql`select name from account`).pipe(
 *   Effect.provide(Database.layerOf(Layer.succeed(Adapter.Adapter, fake)))
 * )
 * ```
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { AuthenticationError, ConnectionError, SqlError, SqlSyntaxError } from "effect/sql/SqlError"
import * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import * as Adapter from "../Adapter.ts"
import { ConnectionLost } from "../failure/ConnectionLost.ts"
import type { Begin } from "../transaction/TransactionSpec.ts"

/**
 * What a step takes and what comes of it.
 *
 * @category models
 * @since 0.2.0
 */
export type Step = Effect.Effect<void, SqlError>

/**
 * How the database behaves.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options {
  readonly maxConnections?: number | undefined
  readonly canPipeline?: boolean | undefined
}

/**
 * The database cannot be reached just now.
 *
 * @category errors
 * @since 0.2.0
 */
export const refused = new SqlError({
  reason: new ConnectionError({ cause: new Error("ECONNREFUSED"), message: "refused", operation: "connect" })
})

/**
 * The database will refuse until a person changes something.
 *
 * @category errors
 * @since 0.2.0
 */
export const wrongPassword = new SqlError({
  reason: new AuthenticationError({ cause: new Error("28P01"), message: "wrong password", operation: "connect" })
})

/**
 * The database.
 *
 * @category models
 * @since 0.2.0
 */
export class FakeAdapter implements Adapter.Adapter {
  readonly [Adapter.TypeId]: Adapter.TypeId = Adapter.TypeId
  readonly driver = "fake"
  readonly name = "fake://db"
  readonly compiler = Statement.makeCompilerSqlite()
  readonly transformRows = undefined
  readonly spanAttributes = []
  readonly resolveCommit = undefined
  readonly maxConnections: number | undefined
  readonly canPipeline: boolean

  /** What the next attempts to connect do. */
  onConnect: (attempt: number) => Step = () => Effect.void
  /** What a statement answers. Default: a row with the id of its connection. */
  onStatement:
    | ((sql: string, params: ReadonlyArray<unknown>) => Effect.Effect<ReadonlyArray<object>, SqlError>)
    | undefined = undefined
  onPing: (connection: FakeConnection) => Step = () => Effect.void
  onReset: (connection: FakeConnection) => Step = () => Effect.void
  onClose: (connection: FakeConnection) => Effect.Effect<void> = () => Effect.void
  onCancel: (connection: FakeConnection) => Effect.Effect<void> = () => Effect.void

  /** When each attempt to connect began. */
  readonly attempts: Array<number> = []
  /** All connections ever opened, in the order of opening. */
  readonly connections: Array<FakeConnection> = []
  /** How many attempts are under way. */
  connecting = 0
  /** How many attempts were interrupted. */
  interrupted = 0
  /** The most connections at a time, counting those being opened and closed. */
  peak = 0
  /** The most attempts at a time. */
  peakConnecting = 0

  constructor(options: Options = {}) {
    this.maxConnections = options.maxConnections
    this.canPipeline = options.canPipeline ?? true
  }

  /** Those that the server still knows. */
  get open(): ReadonlyArray<FakeConnection> {
    return this.connections.filter((connection) => !connection.isClosed)
  }

  readonly isPermanent = (error: SqlError): boolean => error.reason._tag === "AuthenticationError"
  readonly ruleOf = () => undefined
  readonly idempotency: Adapter.Idempotency = {
    createTable: (table) => `create ${table}`,
    insert: (table) => `insert ${table}`,
    inserted: () => true,
    prune: (table) => `prune ${table}`
  }

  readonly connect: Effect.Effect<Adapter.Connection, SqlError> = Effect.suspend(() => {
    this.connecting++
    this.peakConnecting = Math.max(this.peakConnecting, this.connecting)
    this.count()
    return Effect.onExit(
      Effect.flatMap(Clock.monotonicTimeNanos, (nanos) => {
        this.attempts.push(Number(nanos) / 1_000_000)
        return Effect.as(this.onConnect(this.attempts.length), undefined)
      }),
      (exit) => {
        this.connecting--
        if (exit._tag === "Failure" && exit.cause.reasons.some((reason) => reason._tag === "Interrupt")) {
          this.interrupted++
        }
        return Effect.void
      }
    ).pipe(Effect.map(() => {
      const connection = new FakeConnection(this, String(this.connections.length + 1))
      this.connections.push(connection)
      this.count()
      return connection
    }))
  })

  private count(): void {
    this.peak = Math.max(this.peak, this.connecting + this.open.length)
  }
}

/**
 * A connection to it.
 *
 * @category models
 * @since 0.2.0
 */
export class FakeConnection implements Adapter.Connection {
  readonly id: string
  readonly canPipeline: boolean
  readonly commitToken = undefined
  /** What was run on it, in the order in which the server saw it. */
  readonly ran: Array<string> = []
  pings = 0
  resets = 0
  cancels = 0
  /** How it ended: not, by `close`, by `destroy` with this reason, or because it was lost. */
  end: undefined | "closed" | "lost" | { readonly destroyed: string } = undefined
  inTransaction = false
  /** Whether something was set that outlives a borrower. */
  dirty = false

  private readonly adapter: FakeAdapter
  /** The statements that the server has not answered, in order. */
  private readonly inFlight: Array<Deferred.Deferred<void, SqlError>> = []
  /** Pings and resets, which also fail when the session ends. */
  private readonly others = new Set<Deferred.Deferred<void, SqlError>>()
  private readonly listeners: Array<(error: SqlError) => void> = []
  private lost: SqlError | undefined = undefined

  constructor(adapter: FakeAdapter, id: string) {
    this.adapter = adapter
    this.id = id
    this.canPipeline = adapter.canPipeline
  }

  get isClosed(): boolean {
    return this.end !== undefined
  }
  get isReady(): boolean {
    return this.end === undefined && !this.inTransaction && !this.dirty && this.inFlight.length === 0
  }

  handBack(): boolean {
    return this.isReady
  }
  /** Its server stays what it is. */
  onRetire(): void {}

  // -------------------------------------------------------------------------------------------------------------------
  // Statements: `sleep <millis>`, `fail`, `set …`, `begin`, `commit`, `rollback`, or anything else
  // -------------------------------------------------------------------------------------------------------------------

  private run<A>(sql: string, result: () => A): Effect.Effect<A, SqlError> {
    return Effect.uninterruptibleMask((restore) => {
      if (this.end !== undefined) return Effect.fail(this.lostError(false))
      this.ran.push(sql)
      const millis = Number(/^sleep ([\d.]+)/.exec(sql)?.[1] ?? 0)
      const ahead = this.inFlight.at(-1)
      const answer = Effect.suspend((): Effect.Effect<A, SqlError> =>
        sql.startsWith("fail") ? Effect.fail(syntaxError(sql)) : Effect.succeed(result())
      )
      if (millis === 0 && ahead === undefined) {
        this.apply(sql)
        return answer
      }
      const exchange = Deferred.makeUnsafe<void, SqlError>()
      this.inFlight.push(exchange)
      // The server takes one after the other, whether anybody still waits for the answer or not.
      const serve = Effect.andThen(
        ahead === undefined ? Effect.void : Effect.exit(Deferred.await(ahead)),
        Effect.andThen(Effect.sleep(millis), Effect.sync(() => this.answer(exchange, sql)))
      )
      return Effect.forkDetach(Effect.interruptible(serve), { startImmediately: true }).pipe(
        Effect.andThen(restore(Deferred.await(exchange))),
        Effect.andThen(answer),
        Effect.onInterrupt(() =>
          Effect.sync(() => {
            // One that has the connection to itself is cancelled, any other runs on.
            if (this.inFlight.length === 1) this.answer(exchange, undefined)
          })
        )
      )
    })
  }

  private answered(sql: string, params: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<any>, SqlError> {
    const { onStatement } = this.adapter
    const done = this.run(sql, () => [{ connection: this.id }])
    return onStatement === undefined ? done : Effect.andThen(done, onStatement(sql, params))
  }

  private answer(exchange: Deferred.Deferred<void, SqlError>, sql: string | undefined): void {
    const index = this.inFlight.indexOf(exchange)
    if (index < 0) return
    this.inFlight.splice(index, 1)
    if (sql !== undefined) this.apply(sql)
    Deferred.doneUnsafe(exchange, Effect.void)
  }

  private apply(sql: string): void {
    if (sql.startsWith("begin")) this.inTransaction = true
    if (sql === "commit" || sql === "rollback") this.inTransaction = false
    if (sql.startsWith("set ")) this.dirty = true
  }

  execute(sql: string, params: ReadonlyArray<unknown> = []) {
    return this.answered(sql, params)
  }
  executeRaw(sql: string) {
    return this.run(sql, () => ({ rows: [] }))
  }
  executeValues(sql: string) {
    return this.run(sql, () => [[this.id]])
  }
  executeValuesUnprepared(sql: string) {
    return this.run(sql, () => [[this.id]])
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown> = []) {
    return this.answered(sql, params)
  }
  /** As many rows as `sql` names. Each costs an exchange. */
  executeStream(sql: string) {
    return Stream.range(1, Number(/\d+/.exec(sql)?.[0] ?? 1)).pipe(
      Stream.rechunk(1),
      Stream.mapEffect((row) => Effect.as(this.run(`fetch ${row}`, () => row), { row }))
    )
  }

  begin(how: Begin) {
    return this.run(how.statement ?? "begin", () => undefined)
  }
  get commit() {
    return this.run("commit", () => undefined)
  }
  get rollback() {
    return this.run("rollback", () => undefined)
  }
  savepoint(name: string) {
    return this.run(`savepoint ${name}`, () => undefined)
  }
  releaseSavepoint(name: string) {
    return this.run(`release ${name}`, () => undefined)
  }
  rollbackSavepoint(name: string) {
    return this.run(`rollback to ${name}`, () => undefined)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The session
  // -------------------------------------------------------------------------------------------------------------------

  onLost(listener: (error: SqlError) => void) {
    if (this.lost !== undefined) listener(this.lost)
    else this.listeners.push(listener)
  }

  /** The session ends by itself. */
  lose(): void {
    if (this.end !== undefined) return
    this.end = "lost"
    this.lost = this.lostError(true)
    this.failAll()
    for (const listener of this.listeners.splice(0)) listener(this.lost)
  }

  get ping() {
    return Effect.suspend(() => {
      this.pings++
      return this.whileOpen(this.adapter.onPing(this))
    })
  }
  get verify() {
    return this.ping
  }

  get reset() {
    return Effect.suspend(() => {
      this.resets++
      const last = this.inFlight.at(-1)
      const quiet = last === undefined ? Effect.void : Deferred.await(last)
      return this.whileOpen(Effect.andThen(quiet, this.adapter.onReset(this)))
    }).pipe(Effect.tap(() => {
      this.inTransaction = false
      this.dirty = false
      return Effect.void
    }))
  }

  get close() {
    return Effect.suspend(() => this.adapter.onClose(this)).pipe(Effect.andThen(Effect.sync(() => {
      this.end ??= "closed"
      this.failAll()
    })))
  }

  destroy(reason: string) {
    this.end ??= { destroyed: reason }
    this.failAll()
  }

  get cancel() {
    return Effect.suspend(() => {
      this.cancels++
      return this.adapter.onCancel(this)
    })
  }

  private whileOpen(step: Step): Step {
    if (this.end !== undefined) return Effect.fail(this.lostError(false))
    const ended = Deferred.makeUnsafe<void, SqlError>()
    this.others.add(ended)
    return Effect.ensuring(
      Effect.raceFirst(step, Deferred.await(ended)),
      Effect.sync(() => this.others.delete(ended))
    )
  }

  private failAll(): void {
    const error = Effect.fail(this.lostError(true))
    for (const waiting of [...this.inFlight.splice(0), ...this.others]) Deferred.doneUnsafe(waiting, error)
  }

  private lostError(sent: boolean): SqlError {
    return new SqlError({
      reason: new ConnectionError({
        cause: new ConnectionLost({ sent }),
        message: "the connection was lost",
        operation: "execute"
      })
    })
  }
}

const syntaxError = (sql: string): SqlError =>
  new SqlError({
    reason: new SqlSyntaxError({
      cause: Object.assign(new Error("42601"), { severity: "ERROR" }),
      message: `syntax error: ${sql}`,
      operation: "execute"
    })
  })
