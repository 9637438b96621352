/**
 * Opens sessions: the transport, TLS with the fallbacks that `allow` and `prefer` permit, and the startup, all within
 * one time limit.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import { loaded } from "../../database/loaded.ts"
import * as Evidence from "../../failure/Evidence.ts"
import { withRetryable } from "../../failure/lostError.ts"
import { askPassword } from "../../options/password.ts"
import { afterAwake } from "../../timing/DeadlineTimer.ts"
import { describeStall } from "../../timing/StallGuard.ts"
import { timeoutOrElse } from "../../timing/timeout.ts"
import type { SettingsReference, TransactionSettings } from "../../transaction/TransactionSettings.ts"
import { connectError } from "../errors/errors.ts"
import { FunctionOrigins } from "../session/FunctionOrigins.ts"
import { Session } from "../session/Session.ts"
import type { SessionKey, SessionOptions } from "../session/SessionOptions.ts"
import { grace } from "../session/StatementLimit.ts"
import { DescriptionCache } from "../statement/DescriptionCache.ts"
import { TypeStore } from "../types/TypeStore.ts"
import type { Credentials } from "../wire/Authentication.ts"
import * as Socket from "../wire/Socket.ts"
import * as Startup from "../wire/Startup.ts"
import type { Resolved } from "./Config.ts"

let references = 0

/** Where the settings of transactions are found: one place for each database, for a program may have several. */
export const makeSettings = (): SettingsReference =>
  Context.Reference<TransactionSettings | "none" | undefined>(`watertight/postgres/settings/${references++}`, {
    defaultValue: () => undefined
  })

/** Makes what opens sessions. They share what they learn of statements. */
export const makeConnect = (
  config: Resolved,
  overrides?: Partial<SessionOptions>
): Effect.Effect<Session, SqlError> => {
  const { endpoint } = config
  const options: SessionOptions = {
    database: config.name,
    types: new TypeStore(config.types, config.codecs),
    undefinedAsNull: config.undefinedAsNull,
    descriptions: new DescriptionCache(),
    functions: new FunctionOrigins(),
    settings: makeSettings(),
    requiresSettings: config.requiresTenant,
    prepare: config.prepare,
    preparedStatementCacheSize: config.preparedStatementCacheSize,
    statementTimeout: config.statementTimeout,
    statementLimit: config.statementTimeout + grace,
    pooled: !config.prepare,
    controlLimit: config.controlTimeout,
    fetchSize: config.fetchSize,
    cancel: (session, done) => sendCancel(endpoint, session, Math.min(config.connectTimeout, 5_000), done),
    ...overrides
  }
  const startup: Startup.StartupOptions = {
    database: config.name,
    parameters: config.startup,
    maxMessageSize: config.maxMessageSize,
    demands: config.demands
  }

  const attempt = Effect.fnUntraced(function*(
    encryption: Socket.Encryption,
    credentials: Credentials | undefined
  ): Effect.fn.Return<Session, Attempted> {
    const transport = yield* Effect.mapError(
      Socket.open(endpoint, encryption),
      (failure): Attempted => ({ error: failure.error, refused: false, encrypted: failure.tls })
    )
    const started = yield* Effect.mapError(
      Startup.start(transport, startup, credentials),
      (failure): Attempted => ({
        error: failure.error,
        refused: failure.beforeAuthentication,
        encrypted: transport.encrypted
      })
    )
    return new Session(options, yield* Clock.Clock, transport, started)
  })

  /** Only where the user does not insist may what failed one way be tried the other way, as `libpq` does. */
  const negotiate = (credentials: Credentials | undefined): Effect.Effect<Session, Attempted> => {
    switch (endpoint.tls.mode) {
      case "disable":
        return attempt("none", credentials)
      case "require":
        return attempt("demand", credentials)
      case "prefer":
        return Effect.catchIf(
          attempt("offer", credentials),
          (failure) => failure.encrypted && (failure.refused || failure.error.reason._tag === "ConnectionError"),
          () => attempt("none", credentials)
        )
      case "allow":
        return Effect.catchIf(
          attempt("none", credentials),
          (failure) => failure.refused,
          () => attempt("demand", credentials)
        )
    }
  }

  const connect = Effect.flatMap(
    credentialsOf(config),
    (credentials) =>
      Effect.mapError(negotiate(credentials), ({ error }) => {
        // A password that is asked for every time may be another one the next time.
        if (Effect.isEffect(config.password) && isWrongPassword(error)) withRetryable(error.reason, true)
        return error
      })
  )
  if (config.connectTimeout === Infinity) return connect
  return timeoutOrElse(connect, {
    duration: config.connectTimeout,
    orElse: (stalled) => Effect.fail(notInTime(config.name, config.connectTimeout, stalled))
  })
}

const notInTime = (name: string, millis: number, stalledMillis: number): SqlError =>
  Evidence.attach(
    connectError(name, `no connection within ${millis} ms${describeStall(stalledMillis)}`, undefined),
    Evidence.make({ connecting: true, stalledMillis })
  )

interface Attempted {
  readonly error: SqlError
  /** The server refused before it knew who asks. */
  readonly refused: boolean
  readonly encrypted: boolean
}

const isWrongPassword = ({ reason }: SqlError): boolean =>
  (reason.cause as { readonly code?: unknown } | undefined)?.code === "28P01"

const loadSaslprep = loaded(() => import("../wire/saslprep.ts"))

/** Asked for at every connection, for what it says may be short-lived. */
const credentialsOf = (config: Resolved): Effect.Effect<Credentials | undefined, SqlError> =>
  Effect.flatMap(
    Effect.mapError(askPassword(config.password), (problem) => connectError(config.name, problem, undefined)),
    (password) =>
      password === undefined
        ? Effect.undefined
        // ASCII is what it is.
        : !/[^\p{ASCII}]/u.test(password)
        ? Effect.succeed({ password, prepared: password })
        : Effect.map(loadSaslprep, ({ saslprep }) => ({ password, prepared: saslprep(password) }))
  )

/**
 * Asks the server to cancel what a session runs. The server closes the connection after it has passed the request on,
 * so nothing that is written to the session afterwards can be hit by it.
 */
const sendCancel = (
  endpoint: Socket.Endpoint,
  session: SessionKey,
  limit: number,
  done: () => void
): void => {
  let finished = false
  const finish = (): void => {
    if (finished) return
    finished = true
    stop()
    done()
  }
  const stop = afterAwake(limit, () => {
    abort()
    finish()
  })
  // The secret is as confidential on this connection as it was on the session's own.
  let abort = Socket.openUnsafe(endpoint, session.encrypted ? "demand" : "none", (result) => {
    if (Result.isFailure(result)) return finish()
    const { socket } = result.success
    abort = () => void socket.destroy()
    socket.on("close", finish)
    socket.on("end", finish)
    socket.resume()
    socket.write(PgProtocol.encodeCancelRequest({ pid: session.processId, secret: session.secretKey }))
  })
}
