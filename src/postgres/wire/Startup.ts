/**
 * From an open transport to a session that is ready: the startup packet and the server's proof of who asks.
 */
import type * as PgAuth from "@effect/sql-pg/PgAuth"
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import { crypto } from "../../node/builtins.ts"
import { authenticationError, connectError, refusedError } from "../errors/errors.ts"
import { takeParameter } from "./parameters.ts"
import type { Transport } from "./Socket.ts"

export interface StartupOptions {
  /** What errors call the database. */
  readonly database: string
  readonly parameters: PgProtocol.StartupParameters
  readonly maxMessageSize: number
}

/** What the server said on the way to being ready. */
export interface Started {
  readonly parser: PgProtocol.Parser<unknown>
  readonly processId: number
  readonly secretKey: number
  readonly parameters: Map<string, string>
  /** Whatever came behind the first `ReadyForQuery` in one chunk with it. */
  readonly trailing: ReadonlyArray<PgProtocol.BackendMessage<unknown>>
}

export interface StartupFailure {
  readonly error: SqlError
  /** The server refused before it had accepted who asks, which may be for want of TLS, or because of it. */
  readonly beforeAuthentication: boolean
}

/** What a password is proved with. */
export interface Credentials {
  readonly password: string
  /** Loaded where there is a password, and before the server is spoken to: no answer of it may wait for a module. */
  readonly auth: typeof PgAuth
}

/** The only mechanism that is spoken, and that of `PgAuth`. */
const mechanism: typeof PgAuth.SCRAM_SHA_256 = "SCRAM-SHA-256"

/** How many bytes a server that has proved nothing may send. A certificate is not among them. */
const maxBeforeAuthentication = 32 * 1024

/** Starts a session on the transport. When it fails or is interrupted, the socket is destroyed. */
export const start = (
  transport: Transport,
  options: StartupOptions,
  credentials: Credentials | undefined
): Effect.Effect<Started, StartupFailure> =>
  Effect.callback((resume) => {
    const { socket } = transport
    const { database } = options
    const parser = PgProtocol.makeParser<unknown>({ maxMessageSize: options.maxMessageSize })
    const parameters = new Map<string, string>()
    const trailing: Array<PgProtocol.BackendMessage<unknown>> = []
    let scram: PgAuth.ScramState | undefined
    let authenticated = false
    let processId = 0
    let secretKey = 0
    let finished = false
    let ready = false

    const detach = (): void => {
      finished = true
      socket.off("data", onData)
      socket.off("error", onError)
      socket.off("close", onClose)
    }
    const fail = (error: SqlError): void => {
      if (finished) return
      detach()
      socket.destroy()
      resume(Effect.fail({ error, beforeAuthentication: !authenticated }))
    }
    const failAuthentication = (what: string, cause: unknown): void => fail(authenticationError(database, what, cause))
    /** What is asked for once SCRAM has begun could only be an attempt to get at the password. */
    const otherMethod = (): void =>
      failAuthentication("the server asks for another method of authentication once SCRAM has begun", undefined)
    const violation = (message: PgProtocol.BackendMessage<unknown>): void =>
      fail(connectError(database, `unexpected ${message._tag} while the session was starting`, undefined))

    /** Answers a challenge with what `encode` makes of the password. */
    const prove = <E>(encode: (credentials: Credentials) => Result.Result<Uint8Array, E>): void => {
      if (credentials === undefined) {
        return failAuthentication("the server asks for a password and none is configured", undefined)
      }
      const answer = encode(credentials)
      if (Result.isFailure(answer)) return failAuthentication("authentication failed", answer.failure)
      socket.write(answer.success)
    }

    const onMessage = (message: PgProtocol.BackendMessage<unknown>): void => {
      if (finished) return
      if (ready) return void trailing.push(message)
      switch (message._tag) {
        case "AuthenticationOk":
          if (scram !== undefined) {
            return failAuthentication("the server skipped the proof that it knows the password", undefined)
          }
          authenticated = true
          return
        case "AuthenticationCleartextPassword":
          if (scram !== undefined) return otherMethod()
          return prove(({ password }) => Result.succeed(PgProtocol.encodePasswordMessage({ password })))
        case "AuthenticationMD5Password":
          if (scram !== undefined) return otherMethod()
          return prove(({ auth, password }) =>
            Result.map(
              auth.md5Password({ user: options.parameters.user, password, salt: message.salt }),
              (password) => PgProtocol.encodePasswordMessage({ password })
            )
          )
        case "AuthenticationSASL":
          if (scram !== undefined) return otherMethod()
          if (!message.mechanisms.includes(mechanism)) {
            return failAuthentication(
              `the server offers ${message.mechanisms.join(", ")} and ${mechanism} is what we speak`,
              undefined
            )
          }
          return prove(({ auth, password }) =>
            Result.map(auth.scramInit({ password, nonce: crypto().randomBytes(18).toString("base64") }), (init) => {
              scram = init.state
              return PgProtocol.encodeSASLInitialResponse({
                mechanism,
                initialResponse: init.response
              })
            })
          )
        case "AuthenticationSASLContinue": {
          const state = scram
          if (state === undefined || state._tag !== "ScramFirst") return violation(message)
          return prove(({ auth }) =>
            Result.map(auth.scramContinue(state, message.data), (next) => {
              scram = next.state
              return PgProtocol.encodeSASLResponse({ data: next.response })
            })
          )
        }
        case "AuthenticationSASLFinal": {
          if (credentials === undefined || scram?._tag !== "ScramFinal") return violation(message)
          const verified = credentials.auth.scramFinish(scram, message.data)
          if (Result.isFailure(verified)) {
            return failAuthentication("the server could not prove that it knows the password", verified.failure)
          }
          scram = undefined
          return
        }
        case "AuthenticationUnsupported":
          return failAuthentication(`the server asks for authentication method ${message.method}`, undefined)
        case "ParameterStatus":
          if (!takeParameter(parameters, message.name, message.value)) {
            return fail(connectError(database, "the server reports more parameters than can be true", undefined))
          }
          return
        case "BackendKeyData":
          processId = message.pid
          secretKey = message.secret
          return
        case "NoticeResponse":
        case "NegotiateProtocolVersion":
          return
        case "ErrorResponse":
          return fail(refusedError(database, message.fields))
        case "ReadyForQuery":
          if (!authenticated) return violation(message)
          ready = true
          return
        default:
          return violation(message)
      }
    }

    let received = 0
    const onData = (chunk: Uint8Array): void => {
      received += chunk.length
      if (!authenticated && received > maxBeforeAuthentication) {
        return fail(connectError(database, "the server says too much before it knows who asks", undefined))
      }
      // The codec boundary: the parser throws what it cannot make sense of.
      try {
        parser.pushEach(chunk, onMessage)
      } catch (cause) {
        return fail(connectError(database, "the server does not speak PostgreSQL's protocol", cause))
      }
      if (!ready || finished) return
      detach()
      // Nobody listens until the session takes over, and what comes until then must wait.
      socket.pause()
      resume(Effect.succeed({ parser, processId, secretKey, parameters, trailing }))
    }
    const onError = (cause: Error): void =>
      fail(connectError(database, `the connection failed while it was starting: ${cause.message}`, cause))
    const onClose = (): void =>
      fail(connectError(database, "the server closed the connection while it was starting", undefined))

    socket.on("data", onData)
    socket.on("error", onError)
    socket.on("close", onClose)
    if (socket.destroyed) return onClose()
    socket.write(PgProtocol.encodeStartupMessage(options.parameters))
    return Effect.sync(() => {
      if (finished) return
      detach()
      socket.destroy()
    })
  })
