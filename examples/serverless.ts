/** A function that is frozen between its calls: one layer per instance, a small pool, and nothing that idles for long. */
import { Config, Effect, ManagedRuntime } from "effect"
import { SqlClient } from "effect/sql"
import { Postgres } from "watertight/postgres"

// Made on the first call, and kept for the next ones.
const runtime = ManagedRuntime.make(
  Postgres.layerConfig({
    url: Config.Redacted("DATABASE_URL"),
    pool: Config.succeed({ max: 2, min: 0, idleTimeout: "10 seconds", acquireTimeout: "5 seconds" })
  })
)

export const handler = (event: { readonly account: string }) =>
  runtime.runPromise(Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql<{ cents: bigint }>`select cents from account where id = ${event.account}`
    return { statusCode: rows.length === 0 ? 404 : 200, body: String(rows[0]?.cents ?? "") }
  }))

/** Where the platform tells that an instance ends. */
export const shutdown = (): Promise<void> => runtime.dispose()
