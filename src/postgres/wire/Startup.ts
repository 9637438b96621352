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
import { MessageReader } from "./MessageReader.ts"
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
  readonly parser: MessageReader
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

/** What the server has said so far, and who is told how it ends. */
class Handshake {
  isAuthenticated = false
  isReady = false
  processId = 0
  secretKey = 0
  readonly parameters = new Map<string, string>()
  readonly trailing: Array<PgProtocol.BackendMessage<unknown>> = []
  private scram: PgAuth.ScramState | undefined
  private readonly options: StartupOptions
  private readonly credentials: Credentials | undefined
  private readonly write: (bytes: Uint8Array) => void
  private readonly fail: (error: SqlError) => void

  constructor(
    options: StartupOptions,
    credentials: Credentials | undefined,
    write: (bytes: Uint8Array) => void,
    fail: (error: SqlError) => void
  ) {
    this.options = options
    this.credentials = credentials
    this.write = write
    this.fail = fail
  }

  onMessage(message: PgProtocol.BackendMessage<unknown>): void {
    if (this.isReady) return void this.trailing.push(message)
    const { database } = this.options
    switch (message._tag) {
      case "AuthenticationOk":
        if (this.scram !== undefined) {
          return this.failAuthentication("the server skipped the proof that it knows the password", undefined)
        }
        this.isAuthenticated = true
        return
      case "AuthenticationCleartextPassword":
      case "AuthenticationMD5Password":
      case "AuthenticationSASL":
        // What is asked for once SCRAM has begun could only be an attempt to get at the password.
        if (this.scram !== undefined) {
          return this.failAuthentication(
            "the server asks for another method of authentication once SCRAM has begun",
            undefined
          )
        }
        return this.begin(message)
      case "AuthenticationSASLContinue": {
        const state = this.scram
        if (state === undefined || state._tag !== "ScramFirst") return this.violation(message)
        return this.prove(({ auth }) =>
          Result.map(auth.scramContinue(state, message.data), (next) => {
            this.scram = next.state
            return PgProtocol.encodeSASLResponse({ data: next.response })
          })
        )
      }
      case "AuthenticationSASLFinal": {
        if (this.credentials === undefined || this.scram?._tag !== "ScramFinal") return this.violation(message)
        const verified = this.credentials.auth.scramFinish(this.scram, message.data)
        if (Result.isFailure(verified)) {
          return this.failAuthentication("the server could not prove that it knows the password", verified.failure)
        }
        this.scram = undefined
        return
      }
      case "AuthenticationUnsupported":
        return this.failAuthentication(`the server asks for authentication method ${message.method}`, undefined)
      case "ParameterStatus":
        if (!takeParameter(this.parameters, message.name, message.value)) {
          return this.fail(connectError(database, "the server reports more parameters than can be true", undefined))
        }
        return
      case "BackendKeyData":
        this.processId = message.pid
        this.secretKey = message.secret
        return
      case "NoticeResponse":
      case "NegotiateProtocolVersion":
        return
      case "ErrorResponse":
        return this.fail(refusedError(database, message.fields))
      case "ReadyForQuery":
        if (!this.isAuthenticated) return this.violation(message)
        this.isReady = true
        return
      default:
        return this.violation(message)
    }
  }

  /** The first request of the server for a proof. */
  private begin(
    message: Extract<
      PgProtocol.BackendMessage<unknown>,
      { readonly _tag: "AuthenticationCleartextPassword" | "AuthenticationMD5Password" | "AuthenticationSASL" }
    >
  ): void {
    const { user } = this.options.parameters
    switch (message._tag) {
      case "AuthenticationCleartextPassword":
        return this.prove(({ password }) => Result.succeed(PgProtocol.encodePasswordMessage({ password })))
      case "AuthenticationMD5Password":
        return this.prove(({ auth, password }) =>
          Result.map(
            auth.md5Password({ user, password, salt: message.salt }),
            (password) => PgProtocol.encodePasswordMessage({ password })
          )
        )
      case "AuthenticationSASL":
        if (!message.mechanisms.includes(mechanism)) {
          return this.failAuthentication(
            `the server offers ${message.mechanisms.join(", ")} and ${mechanism} is what we speak`,
            undefined
          )
        }
        return this.prove(({ auth, password }) =>
          Result.map(auth.scramInit({ password, nonce: crypto().randomBytes(18).toString("base64") }), (init) => {
            this.scram = init.state
            return PgProtocol.encodeSASLInitialResponse({
              mechanism,
              initialResponse: init.response
            })
          })
        )
    }
  }

  /** Answers a challenge with what `encode` makes of the password. */
  private prove<E>(encode: (credentials: Credentials) => Result.Result<Uint8Array, E>): void {
    if (this.credentials === undefined) {
      return this.failAuthentication("the server asks for a password and none is configured", undefined)
    }
    const answer = encode(this.credentials)
    if (Result.isFailure(answer)) return this.failAuthentication("authentication failed", answer.failure)
    this.write(answer.success)
  }

  private failAuthentication(what: string, cause: unknown): void {
    this.fail(authenticationError(this.options.database, what, cause))
  }

  private violation(message: PgProtocol.BackendMessage<unknown>): void {
    this.fail(
      connectError(this.options.database, `unexpected ${message._tag} while the session was starting`, undefined)
    )
  }
}

/** Starts a session on the transport. When it fails or is interrupted, the socket is destroyed. */
export const start = (
  transport: Transport,
  options: StartupOptions,
  credentials: Credentials | undefined
): Effect.Effect<Started, StartupFailure> =>
  Effect.callback((resume) => {
    const { socket } = transport
    const { database } = options
    const parser = new MessageReader(options.maxMessageSize)
    let finished = false

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
      resume(Effect.fail({ error, beforeAuthentication: !handshake.isAuthenticated }))
    }
    const handshake = new Handshake(options, credentials, (bytes) => socket.write(bytes), fail)
    const onMessage = (message: PgProtocol.BackendMessage<unknown>): void => {
      if (!finished) handshake.onMessage(message)
    }

    let received = 0
    const onData = (chunk: Uint8Array): void => {
      received += chunk.length
      if (!handshake.isAuthenticated && received > maxBeforeAuthentication) {
        return fail(connectError(database, "the server says too much before it knows who asks", undefined))
      }
      // The codec boundary: the parser throws what it cannot make sense of.
      try {
        parser.pushEach(chunk, onMessage)
      } catch (cause) {
        return fail(connectError(database, "the server does not speak PostgreSQL's protocol", cause))
      }
      if (!handshake.isReady || finished) return
      detach()
      // Nobody listens until the session takes over, and what comes until then must wait.
      socket.pause()
      const { parameters, processId, secretKey, trailing } = handshake
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
