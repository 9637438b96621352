/** Kysely's driver over the client of a fiber: each statement is an effect with the context of that fiber. */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as FiberSet from "effect/FiberSet"
import * as Pull from "effect/Pull"
import * as Scope from "effect/Scope"
import { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { CompiledQuery, DatabaseConnection, Driver, QueryResult, TransactionSettings } from "kysely"
import * as Retry from "../failure/Retry.ts"
import { type Manager, run as runTransaction, type Spec } from "../transaction/Transaction.ts"
import { KyselyError } from "./KyselyError.ts"

type Services = SqlClient | Manager

/** A transaction that Kysely has begun. Its body waits for what Kysely does at the end. */
interface Open {
  readonly context: Context.Context<Services>
  readonly end: Deferred.Deferred<void, RolledBack>
  readonly fiber: Fiber.Fiber<void, SqlError | RolledBack>
}

/** Kysely wants the transaction to be rolled back. It has the reason. */
class RolledBack {
  readonly _tag = "RolledBack"
}

/** A driver whose statements are fibers of the scope: they end with it. */
export const driver: Effect.Effect<Driver, never, Services | Scope.Scope> = Effect.gen(function*() {
  const context = yield* Effect.context<Services>()
  const scope = yield* Effect.scope
  const fork = yield* FiberSet.makeRuntime<never>()
  const perform: Perform = (effect) =>
    new Promise((resolve, reject) => {
      fork(effect).addObserver((exit) => Exit.isSuccess(exit) ? resolve(exit.value) : reject(Cause.squash(exit.cause)))
    })
  const savepoint = () => Promise.reject(new KyselyError({ reason: "Savepoint" }))
  const connectionOf = (connection: DatabaseConnection) => connection as Connection
  return {
    init: () => Promise.resolve(),
    // A connection of the pool is taken for each statement, and for a transaction.
    acquireConnection: () => Promise.resolve(new Connection(perform, context, scope)),
    releaseConnection: () => Promise.resolve(),
    beginTransaction: (connection, settings) => connectionOf(connection).begin(settings),
    commitTransaction: (connection) => connectionOf(connection).end(Effect.void),
    rollbackTransaction: (connection) => connectionOf(connection).end(Effect.fail(new RolledBack())),
    savepoint,
    rollbackToSavepoint: savepoint,
    releaseSavepoint: savepoint,
    destroy: () => Promise.resolve()
  }
})

type Perform = <A>(effect: Effect.Effect<A, unknown>) => Promise<A>

class Connection implements DatabaseConnection {
  private readonly perform: Perform
  private readonly outside: Context.Context<Services>
  private readonly scope: Scope.Scope
  private open: Open | undefined = undefined
  private isUsed = false

  constructor(perform: Perform, outside: Context.Context<Services>, scope: Scope.Scope) {
    this.perform = perform
    this.outside = outside
    this.scope = scope
  }

  begin({ accessMode, isolationLevel }: TransactionSettings): Promise<void> {
    // The callback is Kysely's, so the transaction cannot be repeated here.
    const spec = { isolation: isolationLevel as Spec["isolation"], access: accessMode, retry: Retry.never }
    const fork = Effect.fnUntraced(function*(self: Connection) {
      const begun = yield* Deferred.make<Context.Context<Services>>()
      const end = yield* Deferred.make<void, RolledBack>()
      const body = Effect.contextWith((context: Context.Context<Services>) =>
        Effect.andThen(Deferred.succeed(begun, context), Deferred.await(end))
      )
      const fiber = yield* Effect.forkIn(runTransaction(body, spec), self.scope)
      const context = yield* Effect.raceFirst(
        Deferred.await(begun),
        Effect.flatMap(Fiber.join(fiber), () => Effect.never)
      )
      self.open = { context, end, fiber }
    })
    return this.perform(Effect.provideContext(fork(this), this.outside))
  }

  end(how: Effect.Effect<void, RolledBack>): Promise<void> {
    const { open } = this
    // What could not begin has nothing to roll back.
    if (open === undefined) return Promise.resolve()
    this.open = undefined
    this.isUsed = false
    return this.perform(
      Effect.andThen(Deferred.complete(open.end, how), Fiber.join(open.fiber)).pipe(
        Effect.catchIf((error): error is RolledBack => error instanceof RolledBack, () => Effect.void)
      )
    )
  }

  /** The context for a statement. Two statements outside of a transaction would be two connections. */
  private context(): Context.Context<Services> {
    if (this.open !== undefined) return this.open.context
    if (this.isUsed) throw new KyselyError({ reason: "OneConnection" })
    this.isUsed = true
    return this.outside
  }

  async executeQuery<Row>({ parameters, sql: text }: CompiledQuery): Promise<QueryResult<Row>> {
    const context = this.context()
    const sql = Context.get(context, SqlClient)
    const result = await this.perform(
      Effect.provideContext(sql.unsafe(text, parameters as Array<unknown>).raw, context)
    )
    return resultOf<Row>(result)
  }

  async *streamQuery<Row>(
    { parameters, sql: text }: CompiledQuery,
    chunkSize: number
  ): AsyncIterableIterator<QueryResult<Row>> {
    const context = this.context()
    const rows = Context.get(context, SqlClient).unsafe<any>(text, parameters as Array<unknown>).stream
    const scope = await this.perform(Scope.fork(this.scope))
    try {
      const pull = await this.perform(
        Stream.toPull(Stream.grouped(rows, chunkSize)).pipe(Scope.provide(scope), Effect.provideContext(context))
      )
      while (true) {
        const chunks = await this.perform(
          Pull.catchDone(Effect.provideContext(pull, context), () => Effect.succeed(undefined))
        )
        if (chunks === undefined) return
        for (const rows of chunks) yield { rows: [...rows] as Array<Row> }
      }
    } finally {
      await this.perform(Scope.close(scope, Exit.void))
    }
  }
}

/** What a driver gives for a statement: rows, the rows and their count, or the counts of a write. */
interface Raw {
  readonly rows?: ReadonlyArray<unknown>
  readonly rowCount?: number
  readonly affectedRows?: number
  readonly changedRows?: number
  readonly insertId?: number | bigint | string
}

const resultOf = <Row>(raw: unknown): QueryResult<Row> => {
  if (Array.isArray(raw)) return { rows: raw }
  const { affectedRows, changedRows, insertId, rowCount, rows = [] } = raw as Raw
  const count = rowCount ?? affectedRows
  return {
    rows: [...rows] as Array<Row>,
    ...(count === undefined ? {} : { numAffectedRows: BigInt(count) }),
    ...(changedRows === undefined ? {} : { numChangedRows: BigInt(changedRows) }),
    ...(insertId === undefined || String(insertId) === "0" ? {} : { insertId: BigInt(insertId) })
  }
}
