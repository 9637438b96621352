/**
 * PGlite: PostgreSQL embedded in the process, with no server to install.
 *
 * **Details**
 *
 * It is the same PostgreSQL, spoken to by the same session over the same protocol, so what works here works on
 * `Postgres` too. It keeps its data in memory, or in a directory.
 *
 * **Gotchas**
 *
 * It has one session, and nothing else in the process runs while it runs a statement. A statement cannot be cancelled:
 * interruption takes effect when it has ended. Time limits of the server do not work for the same reason.
 *
 * The data of a COPY into it is in memory until its end is there. A lock of a session has nobody to keep out:
 * `AdvisoryLock.acquire` and `withLock` fail, and say what to take instead.
 *
 * @since 0.1.0
 */
import { PGlite, type PGliteOptions } from "@electric-sql/pglite"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { Adapter } from "../Adapter.ts"
import * as Database from "../Database.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Options from "../options/Options.ts"
import type * as Pool from "../pool/Pool.ts"
import { type ClientOptions, makeAdapter as makeSessionAdapter } from "../postgres/adapter/adapter.ts"
import { type Features, layer as clientLayer, type PgClient, type SqlClient } from "../postgres/adapter/client.ts"
import { resolve } from "../postgres/adapter/Config.ts"
import { makeConnect, makeSettings } from "../postgres/adapter/connect.ts"
import type { PostgresOptions } from "../postgres/adapter/PostgresOptions.ts"
import { connectError } from "../postgres/errors/errors.ts"
import type * as Transaction from "../transaction/Transaction.ts"
import { attachChannels, Channels } from "./Channels.ts"
import * as Notifications from "./notifications.ts"
import { ProtocolStream } from "./ProtocolStream.ts"

export { NeedsConnection } from "../failure/NeedsConnection.ts"

/**
 * The options of an embedded database: those of `PGlite.create`, such as `dataDir` and `extensions`, and those about
 * names, values, tenants and spans that `Postgres` has.
 *
 * **Details**
 *
 * The `parsers` and `serializers` of PGlite are not among them: values are read and written as on a server, and
 * `codecs` changes how.
 *
 * @category options
 * @since 0.1.0
 */
export interface PgliteOptions
  extends
    Omit<PGliteOptions, "parsers" | "serializers">,
    ClientOptions,
    Pick<PostgresOptions, "codecs" | "fetchSize" | "tenant" | "types" | "undefined">
{}

const anything = Options.custom<any>("given", () => true)
const aFunction = Options.custom<(name: string) => string>("a function", (value) => typeof value === "function")
const anObject = (what: string) =>
  Options.custom<any>(what, (value) => typeof value === "object" && value !== null && !Array.isArray(value))

const options = Options.make<PgliteOptions>()("Pglite", {
  codecs: anObject("an object of codecs, by the names of their types"),
  dataDir: Options.text(),
  database: Options.text(),
  debug: Options.count({ min: 0 }),
  extensions: anObject("an object of extensions"),
  fetchSize: Options.count({ min: 1 }),
  fs: anything,
  fsBundle: anything,
  icuDataDir: anything,
  initDbStartParams: anything,
  initdbWasmModule: anything,
  initialMemory: Options.count({ min: 0 }),
  loadDataDir: anything,
  noInitDb: Options.boolean(),
  onStderr: aFunction,
  onStdout: aFunction,
  pgDataProxyFs: anything,
  pgliteWasmModule: anything,
  postgresqlconf: anything,
  relaxedDurability: Options.boolean(),
  spanAttributes: anObject("an object of attributes"),
  startParams: anything,
  tenant: Options.oneOf(["required", "optional"]),
  transformJson: Options.boolean(),
  transformQueryNames: aFunction,
  transformResultNames: aFunction,
  types: anything,
  undefined: Options.oneOf(["refuse", "null"]),
  username: Options.text()
}, { synonyms: { parsers: "codecs", serializers: "codecs", url: "dataDir", path: "dataDir", user: "username" } })

/**
 * Makes the adapter of an embedded database, which lives as long as the scope. Connections come and go, the data stays.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeAdapter = Effect.fnUntraced(function*(
  given: PgliteOptions = {}
): Effect.fn.Return<Adapter, InvalidOptions | SqlError, Scope.Scope> {
  yield* options.resolve(given)
  const { spanAttributes, transformJson, transformQueryNames, transformResultNames, ...rest } = given
  const { codecs, fetchSize, tenant, types, undefined: ofUndefined, ...own } = rest
  const username = own.username ?? "postgres"
  const database = own.database ?? "postgres"
  const name = `pglite://${own.dataDir ?? "memory"}/${database}`
  const pglite = yield* Effect.acquireRelease(
    Effect.tryPromise({
      try: () => PGlite.create(own),
      catch: (cause) => connectError(name, "the embedded database could not be started", cause, true)
    }),
    (pglite) => Effect.promise(() => pglite.closed ? Promise.resolve() : pglite.close())
  )
  const channels = new Channels()
  const config = yield* resolve({
    username,
    database,
    stream: () => new ProtocolStream(pglite, channels),
    connectTimeout: "1 minute",
    codecs,
    fetchSize,
    tenant,
    types,
    undefined: ofUndefined
  })
  const settings = makeSettings()
  const connect = makeConnect(
    { ...config, name, endpoint: { ...config.endpoint, database: name }, controlTimeout: embeddedLimit },
    { cancel: undefined, settings }
  )
  const listening = Effect.map(connect, (session) => {
    session.onNotification((notification) => channels.publish(notification))
    return session
  })
  let used = false
  const adapter = makeSessionAdapter({
    driver: "pglite",
    name,
    client: { spanAttributes, transformJson, transformQueryNames, transformResultNames },
    spanAttributes: [["db.namespace", database]],
    maxConnections: 1,
    settings,
    controlTimeout: embeddedLimit,
    connect: Effect.suspend(() => {
      if (!used) {
        used = true
        return listening
      }
      // All sessions are one to the embedded database, so what the last one left behind is still there.
      channels.forget()
      return Effect.andThen(cleanUp(pglite, name), listening)
    })
  })
  return attachChannels(adapter, channels)
})

/** A statement keeps this process busy, so a limit may pass before anybody could look at the answer. */
const embeddedLimit = 60_000

const cleanUp = (pglite: PGlite, name: string): Effect.Effect<void, SqlError> =>
  Effect.tryPromise({
    try: () => pglite.exec("ROLLBACK").then(() => pglite.exec("DISCARD ALL")),
    catch: (cause) => connectError(name, "the embedded database could not be reset", cause)
  })

/**
 * Provides the adapter of an embedded database.
 *
 * @category layers
 * @since 0.1.0
 */
export const adapter = (options?: PgliteOptions): Layer.Layer<Adapter, InvalidOptions | SqlError> =>
  Layer.effect(Adapter, makeAdapter(options))

/**
 * The options of an embedded database with its pool of one connection.
 *
 * @category options
 * @since 0.1.0
 */
export interface LayerOptions extends PgliteOptions, Database.LayerOptions {}

/**
 * Provides an embedded PostgreSQL: `SqlClient`, `PgClient`, what runs transactions, and the pool.
 *
 * **Details**
 *
 * Without options the data lives in memory, and each layer has its own. `dataDir` names a directory to keep it in.
 *
 * **Example** (A database for each test)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Pglite } from "watertight/pglite"
 *
 * const program = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select 1 as one`
 * }).pipe(Effect.provide(Pglite.layer()))
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (
  options: LayerOptions = {}
): Layer.Layer<
  | SqlClient.SqlClient
  | PgClient.PgClient
  | Pool.Pool
  | Database.Database
  | Transaction.Manager
  | Adapter
  | Features,
  InvalidOptions | SqlError
> => {
  const { adapter: own, database } = Database.separate(options)
  return Notifications.layer.pipe(
    Layer.provideMerge(clientLayer(own)),
    Layer.provideMerge(Database.layerOf(adapter(own), database))
  )
}
