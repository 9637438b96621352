/**
 * Kysely over the client of this library.
 *
 * **When to use**
 *
 * Use it where queries are built with Kysely, and pool, transactions, retries and outcomes should be those of this
 * library.
 *
 * **Details**
 *
 * `build` is a Kysely that makes queries, and `run` runs one of them as an effect: on the connection of the transaction
 * around it, if there is one. `use` is for code that wants promises: it gives a Kysely whose queries run in the fiber
 * that called it, with its context. When the fiber is interrupted, what its queries do is interrupted too.
 *
 * A transaction of Kysely inside `use` is a `Transaction.run`: its COMMIT is looked into when the answer is lost, and
 * inside another transaction it is a savepoint. It is not repeated, because its callback belongs to Kysely.
 *
 * **Gotchas**
 *
 * What needs one session for several statements outside of a transaction is refused: `db.connection()`, and with it
 * Kysely's migrator. Use `sql.reserve`, and `watertight/migrations`. Savepoints of a controlled transaction are refused
 * too: a transaction inside a transaction is one.
 *
 * **Example** (Both ways)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Transaction } from "watertight"
 * import { KyselyClient } from "watertight/kysely"
 *
 * interface Tables {
 *   readonly account: { readonly id: string; readonly cents: bigint }
 * }
 *
 * const bank = KyselyClient.make<Tables>("postgresql")
 *
 * const rich = bank.run(bank.build.selectFrom("account").select("id").where("cents", ">", 1000n))
 *
 * const close = (id: string) =>
 *   bank.use((db) => db.deleteFrom("account").where("id", "=", id).executeTakeFirst()).pipe(Transaction.run({}))
 * ```
 *
 * @since 0.2.0
 */
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import {
  type Compilable,
  type Driver,
  Kysely,
  type KyselyConfig,
  type KyselyPlugin,
  MysqlAdapter,
  MysqlIntrospector,
  MysqlQueryCompiler,
  PostgresAdapter,
  PostgresIntrospector,
  PostgresQueryCompiler,
  type QueryResult
} from "kysely"
import * as callSite from "../failure/callSite.ts"
import type { Manager } from "../transaction/Transaction.ts"
import { driver } from "./driver.ts"
import { KyselyError } from "./KyselyError.ts"

export {
  /**
   * @since 0.2.0
   */
  KyselyError
} from "./KyselyError.ts"

/**
 * Kysely's tables over the client in the context.
 *
 * @category models
 * @since 0.2.0
 */
export interface KyselyClient<Tables> {
  /** Builds queries. One that is executed by itself fails with `KyselyError`: it belongs to no fiber. */
  readonly build: Kysely<Tables>
  /** Runs a query, in the transaction around it if there is one. */
  readonly run: <Row>(query: Compilable<Row>) => Effect.Effect<ReadonlyArray<Row>, SqlError, SqlClient>
  /**
   * Gives a Kysely whose queries run in this fiber, until the promise is settled. A failed statement is the `SqlError`;
   * whatever else the function throws is a `KyselyError` that has it as its cause.
   */
  readonly use: <A>(
    f: (db: Kysely<Tables>) => Promise<A>
  ) => Effect.Effect<A, SqlError | KyselyError, SqlClient | Manager>
}

/**
 * The options of `make`.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options {
  readonly plugins?: Array<KyselyPlugin> | undefined
  readonly log?: KyselyConfig["log"] | undefined
}

/**
 * Makes the client of these tables.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = <Tables>(dialect: "postgresql" | "mysql", options: Options = {}): KyselyClient<Tables> => {
  const { log, plugins = [] } = options
  const over = (driver: Driver) =>
    new Kysely<Tables>({
      dialect: { ...dialects[dialect], createDriver: () => driver },
      plugins,
      ...(log === undefined ? {} : { log })
    })
  const run: KyselyClient<Tables>["run"] = (query) => {
    const { parameters, queryId, sql: text } = query.compile()
    // The place in the program is known now, and not when the effect runs.
    if (callSite.isNew(text)) callSite.note(text, callSite.capture(run))
    return Effect.gen(function*() {
      const sql = yield* SqlClient
      const rows = yield* sql.unsafe<any>(text, parameters as Array<unknown>)
      if (plugins.length === 0) return rows
      return yield* Effect.promise(async () => {
        let result: QueryResult<any> = { rows: [...rows] }
        for (const plugin of plugins) result = await plugin.transformResult({ result, queryId })
        return result.rows
      })
    })
  }
  return {
    build: over(noDriver),
    run,
    use: (f) =>
      Effect.scoped(Effect.flatMap(driver, (driver) =>
        Effect.tryPromise({
          try: () => f(over(driver)),
          catch: (error) =>
            isSqlError(error) || error instanceof KyselyError
              ? error
              : new KyselyError({ reason: "Thrown", cause: error })
        })))
  }
}

const dialects = {
  postgresql: {
    createAdapter: () => new PostgresAdapter(),
    createIntrospector: (db: Kysely<any>) => new PostgresIntrospector(db),
    createQueryCompiler: () => new PostgresQueryCompiler()
  },
  mysql: {
    createAdapter: () => new MysqlAdapter(),
    createIntrospector: (db: Kysely<any>) => new MysqlIntrospector(db),
    createQueryCompiler: () => new MysqlQueryCompiler()
  }
} as const

const refuse = () => Promise.reject(new KyselyError({ reason: "NoFiber" }))

/** The driver of `build`. Kysely's own one for this answers every query with no rows. */
const noDriver: Driver = {
  init: () => Promise.resolve(),
  acquireConnection: refuse,
  beginTransaction: refuse,
  commitTransaction: refuse,
  rollbackTransaction: refuse,
  releaseConnection: () => Promise.resolve(),
  destroy: () => Promise.resolve()
}
