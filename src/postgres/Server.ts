/**
 * What the server says of itself: its notices, its parameters, its version.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type { Sessions } from "./Sessions.ts"
import { oneRow } from "./statement/results.ts"

/**
 * How much a notice matters to the server.
 *
 * @category models
 * @since 0.1.0
 */
export type Severity = "WARNING" | "NOTICE" | "INFO" | "LOG" | "DEBUG"

/**
 * Something that the server says beside its answers: the warning of a command, `raise notice` of a function.
 *
 * @category models
 * @since 0.1.0
 */
export interface Notice {
  readonly severity: Severity
  readonly code: string | undefined
  readonly message: string
  readonly detail: string | undefined
  readonly hint: string | undefined
  /** Where in the server's functions it was said. */
  readonly where: string | undefined
  /** The session, as the server calls it. */
  readonly connectionId: string
}

/**
 * A server.
 *
 * @category models
 * @since 0.1.0
 */
export interface Server {
  /** The notices of all sessions, from now on. */
  readonly notices: Stream.Stream<Notice>
  /**
   * What the server reports of itself and of a session without being asked: `server_version`, `TimeZone`,
   * `in_hot_standby` and the like.
   */
  readonly parameters: Effect.Effect<ReadonlyMap<string, string>, SqlError>
  /** The value of any setting, where the statement runs; `undefined` if there is none of that name. */
  readonly setting: (name: string) => Effect.Effect<string | undefined, SqlError>
  /** The version as a number that can be compared: `150018` is 15.18. */
  readonly version: Effect.Effect<number, SqlError>
}

/**
 * The service of `Server`.
 *
 * @category services
 * @since 0.1.0
 */
export const Server = Context.Service<Server>("watertight/postgres/Server")

/**
 * The notices of all sessions, from now on.
 *
 * @category streams
 * @since 0.1.0
 */
export const notices: Stream.Stream<Notice, never, Server> = Stream.unwrap(
  Effect.map(Server, (server) => server.notices)
)

/**
 * What the server reports of itself without being asked.
 *
 * @category getters
 * @since 0.1.0
 */
export const parameters: Effect.Effect<ReadonlyMap<string, string>, SqlError, Server> = Effect.flatMap(
  Server,
  (server) => server.parameters
)

/**
 * The value of any setting, or `undefined` if there is none of that name.
 *
 * @category getters
 * @since 0.1.0
 */
export const setting = (name: string): Effect.Effect<string | undefined, SqlError, Server> =>
  Effect.flatMap(Server, (server) => server.setting(name))

/**
 * The version as a number that can be compared: `150018` is 15.18.
 *
 * @category getters
 * @since 0.1.0
 */
export const version: Effect.Effect<number, SqlError, Server> = Effect.flatMap(Server, (server) => server.version)

const logOf = (notice: Notice): Effect.Effect<void> => {
  const annotated = Effect.annotateLogs({
    "db.notice.severity": notice.severity,
    "db.notice.code": notice.code,
    "db.connection.id": notice.connectionId
  })
  switch (notice.severity) {
    case "WARNING":
      return annotated(Effect.logWarning(notice.message))
    case "NOTICE":
    case "INFO":
      return annotated(Effect.logInfo(notice.message))
    default:
      return annotated(Effect.logDebug(notice.message))
  }
}

/**
 * Logs the notices: warnings as warnings, notices as information, the rest for debugging.
 *
 * @category layers
 * @since 0.1.0
 */
export const layerLog: Layer.Layer<never, never, Server> = Layer.effectDiscard(
  Effect.flatMap(Server, (server) => Effect.forkScoped(Stream.runForEach(server.notices, logOf)))
)

/**
 * Makes what tells of a server.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (sessions: Sessions, client: SqlClient, notices: Stream.Stream<Notice>): Server => ({
  notices,
  parameters: Effect.scoped(Effect.map(sessions.borrow, (session) => new Map(session.parameters))),
  setting: (name) =>
    Effect.map(
      client.unsafe<{ readonly value: string | null }>("select pg_catalog.current_setting($1, true) as value", [name])
        .withoutTransform,
      (rows) => rows[0]?.value ?? undefined
    ),
  version: Effect.flatMap(
    client.unsafe<{ readonly value: string }>("select pg_catalog.current_setting('server_version_num') as value")
      .withoutTransform,
    (rows) => Effect.map(oneRow(sessions.database, rows), (row) => Number(row.value))
  )
})
