/** The two clients that are compared: this library, and `pg` as most programs use it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as ManagedRuntime from "effect/ManagedRuntime"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import pg from "pg"
import { type Pool, Transaction } from "watertight"
import { Postgres } from "watertight/postgres"

export interface Client {
  readonly name: string
  /** Books a request, in a transaction of two statements. */
  readonly book: (request: string) => Promise<void>
  readonly query: (text: string) => Promise<void>
  readonly close: () => Promise<void>
}

export interface ClientOptions {
  readonly url: string
  readonly max: number
  /** How long a caller waits for a connection, in milliseconds. */
  readonly wait: number
}

export const watertight = ({ max, url, wait }: ClientOptions): Client => {
  const runtime = ManagedRuntime.make(
    Postgres.layer({
      url: Redacted.make(url),
      controlTimeout: "2 seconds",
      pool: { max, acquireTimeout: wait, maxWaiting: 100_000 }
    }).pipe(Layer.provideMerge(Logger.layer([])))
  )
  const withSql = <A, E>(f: (sql: SqlClient.SqlClient) => Effect.Effect<A, E, Transaction.Manager | Pool.Pool>) =>
    runtime.runPromise(Effect.asVoid(Effect.flatMap(SqlClient.SqlClient, f)))
  return {
    name: "watertight",
    book: (request) =>
      withSql((sql) =>
        Effect.gen(function*() {
          yield* sql`insert into booking (request) values (${request})`
          yield* sql`update account set cents = cents + 1 where id = 1`
        }).pipe(Transaction.run({}))
      ),
    query: (text) => withSql((sql) => sql.unsafe(text)),
    close: () => runtime.dispose()
  }
}

/** Three attempts, as tutorials have it: an error of the connection "can be retried". */
export const plainPg = ({ max, url, wait }: ClientOptions): Client => {
  const pool = new pg.Pool({ connectionString: url, max, connectionTimeoutMillis: wait })
  pool.on("error", () => {})
  pool.on("connect", (client) => void client.on("error", () => {}))
  const once = async (request: string): Promise<void> => {
    const client = await pool.connect()
    let failure: Error | undefined
    try {
      await client.query("begin")
      await client.query("insert into booking (request) values ($1)", [request])
      await client.query("update account set cents = cents + 1 where id = 1")
      await client.query("COMMIT")
    } catch (error) {
      failure = error as Error
      await client.query("rollback").catch(() => {})
      throw error
    } finally {
      client.release(failure)
    }
  }
  return {
    name: "pg, with a retry",
    book: async (request) => {
      for (let attempt = 1;; attempt++) {
        try {
          return await once(request)
        } catch (error) {
          if (attempt === 3) throw error
          await new Promise((resolve) => setTimeout(resolve, 100 * attempt))
        }
      }
    },
    query: async (text) => void await pool.query(text),
    close: () => pool.end()
  }
}
