import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Connection } from "../Adapter.ts"
import type { Begin } from "../transaction/TransactionSpec.ts"
import { LeaseEnded, toSqlError } from "./PoolError.ts"
import type { Lease } from "./state/Slot.ts"
import type { Operations } from "./telemetry/Operations.ts"

type Transform = (<A extends object>(rows: ReadonlyArray<A>) => ReadonlyArray<A>) | undefined

/**
 * A connection as a borrower sees it: it works until it is given back, and never afterwards.
 *
 * Without this, a fiber that outlives its transaction would run its statements inside the transaction of the next
 * borrower.
 */
export class LeasedConnection implements Connection {
  readonly base: Connection
  readonly lease: Lease<Connection>
  private readonly database: string
  private readonly operations: Operations

  constructor(base: Connection, lease: Lease<Connection>, database: string, operations: Operations) {
    this.base = base
    this.lease = lease
    this.database = database
    this.operations = operations
  }

  private get ended(): boolean {
    return this.lease.state !== "Held"
  }

  private error(): SqlError {
    return toSqlError(new LeaseEnded({ database: this.database }))
  }

  private guard<A>(f: (base: Connection) => Effect.Effect<A, SqlError>): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => this.ended ? Effect.fail(this.error()) : f(this.base))
  }

  /** Runs an operation of the database and counts how long it takes. */
  private run<A>(f: (base: Connection) => Effect.Effect<A, SqlError>, name?: string): Effect.Effect<A, SqlError> {
    return Effect.suspend(() => {
      if (this.ended) return Effect.fail(this.error())
      const startedAt = this.operations.now()
      return Effect.onExitPrimitive(f(this.base), (exit) => {
        this.operations.record(startedAt, exit, name)
        return undefined
      })
    })
  }

  get id() {
    return this.base.id
  }
  get canPipeline() {
    return this.base.canPipeline
  }
  get isClosed() {
    return this.ended || this.base.isClosed
  }
  get isReady() {
    return !this.ended && this.base.isReady
  }
  get inTransaction() {
    return !this.ended && this.base.inTransaction
  }

  execute(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run((base) => base.execute(sql, params, transformRows))
  }
  executeRaw(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((base) => base.executeRaw(sql, params))
  }
  executeValues(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((base) => base.executeValues(sql, params))
  }
  executeValuesUnprepared(sql: string, params: ReadonlyArray<unknown>) {
    return this.run((base) => base.executeValuesUnprepared(sql, params))
  }
  executeUnprepared(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    return this.run((base) => base.executeUnprepared(sql, params, transformRows))
  }
  executeStream(sql: string, params: ReadonlyArray<unknown>, transformRows: Transform) {
    const stream = Stream.suspend(() => {
      const startedAt = this.operations.now()
      return Stream.onExit(
        this.base.executeStream(sql, params, transformRows),
        (exit) => Effect.sync(() => this.operations.record(startedAt, exit))
      )
    })
    // Before every pull, because whoever pulls may be a fiber that outlives the lease.
    return Stream.transformPull(
      stream,
      (pull) => Effect.succeed(Effect.suspend(() => this.ended ? Effect.fail(this.error()) : pull))
    )
  }

  handBack(reset: "detect" | "always" | "never") {
    return !this.ended && this.base.handBack(reset)
  }
  onLost(listener: (error: SqlError) => void) {
    this.base.onLost(listener)
  }
  onRetire(listener: () => void) {
    this.base.onRetire(listener)
  }
  get ping() {
    return this.guard((base) => base.ping)
  }
  get verify() {
    return this.guard((base) => base.verify)
  }
  get reset() {
    return this.guard((base) => base.reset)
  }
  begin(how: Begin) {
    return this.run((base) => base.begin(how), "BEGIN")
  }
  get commit() {
    return this.run((base) => base.commit, "COMMIT")
  }
  get commitBehind(): Connection["commitBehind"] {
    const { base } = this
    return base.commitBehind === undefined
      ? undefined
      : (statements) => this.ended ? undefined : base.commitBehind!(statements)
  }
  get commitToken() {
    return this.base.commitToken
  }
  get rollback() {
    return this.run((base) => base.rollback, "ROLLBACK")
  }
  savepoint(name: string) {
    return this.run((base) => base.savepoint(name), "SAVEPOINT")
  }
  releaseSavepoint(name: string) {
    return this.run((base) => base.releaseSavepoint(name), "RELEASE SAVEPOINT")
  }
  rollbackSavepoint(name: string) {
    return this.run((base) => base.rollbackSavepoint(name), "ROLLBACK TO SAVEPOINT")
  }
  get close() {
    return Effect.suspend(() => this.ended ? Effect.void : this.base.close)
  }
  destroy(reason: string) {
    if (!this.ended) this.base.destroy(reason)
  }
  get cancel() {
    return Effect.suspend(() => this.ended ? Effect.void : this.base.cancel)
  }
}

/** The connection of the adapter behind what a borrower has. */
export const unwrap = (connection: Connection): Connection =>
  connection instanceof LeasedConnection ? connection.base : connection
