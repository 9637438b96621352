/** An adapter around an adapter, whose connections break when they are told to. */
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import type * as Statement from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { type Adapter, type Connection, type Idempotency, TypeId } from "../Adapter.ts"
import * as Evidence from "../failure/Evidence.ts"
import { lostError } from "../failure/lostError.ts"
import type { Begin } from "../transaction/TransactionSpec.ts"

/** What holds for all connections of an adapter. */
export class Controls {
  readonly connections = new Set<FaultyConnection>()
  delayMillis = 0
  isMute = false
  isDown = false
  lostCommits = 0
  /** The COMMITs whose answers are to be lost, in order: whether each is applied. */
  private readonly commits: Array<boolean> = []

  loseCommit(applied: boolean, times: number): void {
    for (let i = 0; i < times; i++) this.commits.push(applied)
  }

  /** What becomes of the COMMIT that is sent now. `undefined`: nothing out of the ordinary. */
  nextCommit(): boolean | undefined {
    const applied = this.commits.shift()
    if (applied !== undefined) this.lostCommits++
    return applied
  }

  cut(): number {
    const all = [...this.connections]
    for (const connection of all) connection.cut()
    return all.length
  }

  blackHole(): void {
    this.isMute = true
    // What is under way is not answered any more either.
    for (const connection of this.connections) connection.silence()
  }

  slow(millis: number): void {
    this.delayMillis = millis
  }

  refuse(): void {
    this.isDown = true
    this.cut()
  }

  heal(): void {
    this.delayMillis = 0
    this.isMute = false
    this.isDown = false
    this.commits.length = 0
  }
}

export class FaultyAdapter implements Adapter {
  readonly [TypeId]: TypeId = TypeId
  readonly driver: string
  readonly name: string
  readonly compiler: Statement.Compiler
  readonly transformRows: Adapter["transformRows"]
  readonly spanAttributes: Adapter["spanAttributes"]
  readonly maxConnections: number | undefined
  readonly controlTimeout: number | undefined
  readonly idempotency: Idempotency
  readonly connect: Adapter["connect"]
  readonly isPermanent: Adapter["isPermanent"]
  readonly ruleOf: Adapter["ruleOf"]
  readonly refuseOnPool: Adapter["refuseOnPool"]
  readonly leftOpen: Adapter["leftOpen"]
  readonly resolveCommit: Adapter["resolveCommit"]

  constructor(inner: Adapter, controls: Controls) {
    this.driver = inner.driver
    this.name = inner.name
    this.compiler = inner.compiler
    this.transformRows = inner.transformRows
    this.spanAttributes = inner.spanAttributes
    this.maxConnections = inner.maxConnections
    this.controlTimeout = inner.controlTimeout
    this.idempotency = inner.idempotency
    this.isPermanent = (error) => inner.isPermanent(error)
    this.ruleOf = (error) => inner.ruleOf(error)
    this.refuseOnPool = inner.refuseOnPool && ((sql) => inner.refuseOnPool!(sql))
    this.leftOpen = inner.leftOpen && ((sql) => inner.leftOpen!(sql))
    const { resolveCommit } = inner
    this.resolveCommit = resolveCommit &&
      ((token, connection) =>
        resolveCommit(token, connection instanceof FaultyConnection ? connection.inner : connection))
    const limit = inner.controlTimeout ?? defaultLimit
    this.connect = Effect.suspend(() => {
      if (controls.isDown) return Effect.fail(connectError(inner.name, "the server is down"))
      if (controls.isMute) {
        return Effect.andThen(
          Effect.sleep(limit),
          Effect.fail(connectError(inner.name, `no connection within ${limit} ms`))
        )
      }
      return Effect.map(
        Effect.delay(inner.connect, controls.delayMillis),
        (connection) => new FaultyConnection(connection, controls, inner.name, limit)
      )
    })
  }
}

/** How long a control statement waits for an answer that does not come, where the adapter has no limit of its own. */
const defaultLimit = 5_000

const connectError = (database: string, what: string): SqlError =>
  Evidence.attach(
    new SqlError({
      reason: new ConnectionError({ cause: new Error(what), message: `${database}: ${what}`, operation: "connect" })
    }),
    Evidence.make({ connecting: true, endedBy: "Network" })
  )

/** A connection that stands before another one. */
export class FaultyConnection implements Connection {
  readonly inner: Connection
  private readonly controls: Controls
  private readonly database: string
  private readonly limit: number
  private readonly listeners: Array<(error: SqlError) => void> = []
  /** Ends what is under way when the connection breaks. */
  private readonly broken = Deferred.makeUnsafe<never, SqlError>()
  private lost: SqlError | undefined = undefined
  private isSilent = false

  constructor(inner: Connection, controls: Controls, database: string, limit: number) {
    this.inner = inner
    this.controls = controls
    this.database = database
    this.limit = limit
    controls.connections.add(this)
    inner.onLost((error) => this.end(error))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Faults
  // -------------------------------------------------------------------------------------------------------------------

  cut(): void {
    if (this.lost !== undefined || this.inner.isClosed) return void this.controls.connections.delete(this)
    this.inner.destroy("cut by a test")
    this.end(this.lostError("the connection was cut", true))
  }

  silence(): void {
    this.isSilent = true
  }

  private end(error: SqlError): void {
    if (this.lost !== undefined) return
    this.lost = error
    this.controls.connections.delete(this)
    Deferred.doneUnsafe(this.broken, Effect.fail(error))
    for (const listener of this.listeners.splice(0)) listener(error)
  }

  private lostError(what: string, sent: boolean): SqlError {
    return lostError({ database: this.database, operation: "execute", sent, what, endedBy: "Network" })
  }

  /** One exchange with the server, late, never answered or cut off, as it is told. */
  private exchange<A>(effect: Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => {
      if (this.lost !== undefined) return Effect.fail(this.lostError("the connection is gone", false))
      if (this.controls.isMute || this.isSilent) return this.unanswered()
      const { delayMillis } = this.controls
      const late = delayMillis === 0 ? effect : Effect.delay(effect, delayMillis)
      return Effect.raceFirst(
        Effect.flatMap(late, (value) => this.isSilent ? this.unanswered() : Effect.succeed(value)),
        Deferred.await(this.broken)
      )
    })
  }

  /** Nobody answers: the session gives up at its limit, as it would by itself, and nobody knows what was run. */
  private unanswered(): Effect.Effect<never, SqlError> {
    this.isSilent = true
    return Effect.suspend(() => {
      const error = this.lostError(`no answer within ${this.limit} ms`, true)
      this.inner.destroy("no answer")
      this.end(error)
      return Effect.fail(error)
    }).pipe(Effect.delay(this.limit))
  }

  get commit() {
    return Effect.suspend(() => {
      const applied = this.controls.nextCommit()
      if (applied === undefined) return this.exchange(this.inner.commit)
      const lose = Effect.suspend(() => {
        const error = this.lostError("the answer to COMMIT was lost", true)
        this.inner.destroy("the answer to COMMIT was lost by a test")
        this.end(error)
        return Effect.fail(error)
      })
      return applied ? Effect.andThen(this.inner.commit, lose) : lose
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What is handed on
  // -------------------------------------------------------------------------------------------------------------------

  get id() {
    return this.inner.id
  }
  get canPipeline() {
    return this.inner.canPipeline
  }
  get isClosed() {
    return this.lost !== undefined || this.inner.isClosed
  }
  get isReady() {
    return this.lost === undefined && !this.isSilent && this.inner.isReady
  }
  get inTransaction() {
    return this.inner.inTransaction
  }
  get commitToken() {
    return this.inner.commitToken
  }
  handBack(reset: "detect" | "always" | "never") {
    return !this.isSilent && this.lost === undefined && this.inner.handBack(reset)
  }
  onRetire(listener: () => void) {
    this.inner.onRetire(listener)
  }
  onLost(listener: (error: SqlError) => void) {
    if (this.lost !== undefined) listener(this.lost)
    else this.listeners.push(listener)
  }

  execute(...args: Parameters<Connection["execute"]>) {
    return this.exchange(this.inner.execute(...args))
  }
  executeRaw(...args: Parameters<Connection["executeRaw"]>) {
    return this.exchange(this.inner.executeRaw(...args))
  }
  executeValues(...args: Parameters<Connection["executeValues"]>) {
    return this.exchange(this.inner.executeValues(...args))
  }
  executeValuesUnprepared(...args: Parameters<Connection["executeValuesUnprepared"]>) {
    return this.exchange(this.inner.executeValuesUnprepared(...args))
  }
  executeUnprepared(...args: Parameters<Connection["executeUnprepared"]>) {
    return this.exchange(this.inner.executeUnprepared(...args))
  }
  executeStream(...args: Parameters<Connection["executeStream"]>) {
    return Stream.unwrap(this.exchange(Effect.succeed(this.inner.executeStream(...args))))
  }

  begin(how: Begin) {
    return this.exchange(this.inner.begin(how))
  }
  get rollback() {
    return this.exchange(this.inner.rollback)
  }
  savepoint(name: string) {
    return this.exchange(this.inner.savepoint(name))
  }
  releaseSavepoint(name: string) {
    return this.exchange(this.inner.releaseSavepoint(name))
  }
  rollbackSavepoint(name: string) {
    return this.exchange(this.inner.rollbackSavepoint(name))
  }
  get ping() {
    return this.exchange(this.inner.ping)
  }
  get verify() {
    return this.exchange(this.inner.verify)
  }
  get reset() {
    return this.exchange(this.inner.reset)
  }
  get close() {
    return Effect.andThen(Effect.sync(() => this.controls.connections.delete(this)), this.inner.close)
  }
  destroy(reason: string) {
    this.controls.connections.delete(this)
    this.inner.destroy(reason)
  }
  get cancel() {
    return this.controls.isMute || this.isSilent ? Effect.void : this.inner.cancel
  }
}
