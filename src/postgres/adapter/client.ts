/**
 * The `PgClient` of `@effect/sql-pg` on our database, so that what was written for it goes on working.
 */
import type * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as SqlClient from "effect/sql/SqlClient"
import { Adapter, type Connection } from "../../Adapter.ts"
import type { Password } from "../../options/password.ts"
import { unwrap } from "../../pool/LeasedConnection.ts"
import { Pool } from "../../pool/Pool.ts"
import { notify } from "../listen/Listeners.ts"
import type { Session } from "../session/Session.ts"
import { json } from "../statement/Compiler.ts"
import { type FeatureOptions, type Features, makeFeatures } from "./services.ts"

export type { Features, PgClient, SqlClient }

/** The service that code is written for which knows the client of `@effect/sql-pg`. Its module would load its pool. */
const UpstreamClient = Context.Service<PgClient.PgClient>("@effect/sql-pg/PgClient")

/** An effect of ours that provides a password may fail, which upstream's must not. */
type ClientConfig = Omit<PgClient.PgClientConfig, "password"> & { readonly password?: Password | undefined }

const upstreamId: PgClient.TypeId = "~@effect/sql-pg/PgClient"

/** Makes the client that is there into a `PgClient`. */
const extend = (
  client: SqlClient.SqlClient,
  pool: Pool,
  database: string,
  config: ClientConfig
): PgClient.PgClient =>
  Object.assign(client, {
    [upstreamId]: upstreamId,
    config: config as PgClient.PgClientConfig,
    json,
    listen: (channel: string) => Effect.flatMap(pool.reserve, (connection) => sessionOf(connection).listen(channel)),
    notify: (channel: string, payload: string) => notify(client, database, channel, payload)
  })

/** Has the `PgClient` that a client was made into listen in another way than on a connection of its own. */
export const listenWith = (client: SqlClient.SqlClient, listen: PgClient.PgClient["listen"]): void => {
  Object.assign(client, { listen })
}

/** The session behind a connection of an adapter whose sessions are ours. */
const sessionOf = (connection: Connection): Session => unwrap(connection) as Session

/**
 * Provides `PgClient`, and what the other modules need, beside the database that is provided already.
 */
export const layer = (
  config: ClientConfig & FeatureOptions
): Layer.Layer<PgClient.PgClient | Features, never, SqlClient.SqlClient | Pool | Adapter> =>
  Layer.effectContext(Effect.gen(function*() {
    const client = yield* SqlClient.SqlClient
    const pool = yield* Pool
    const adapter = yield* Adapter
    return Context.add(
      yield* makeFeatures(adapter, pool, client, config),
      UpstreamClient,
      extend(client, pool, adapter.name, config)
    )
  }))
