/**
 * From an open transport to a session that is ready: the startup packet and the server's proof of who asks.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { authenticationError, connectError, refusedError } from "../errors/errors.ts"
import { Authentication, type Credentials, type Demands } from "./Authentication.ts"
import { MessageReader } from "./MessageReader.ts"
import { type Parameters, share, takeParameter } from "./parameters.ts"
import type { Transport } from "./Socket.ts"

export interface StartupOptions {
  /** What errors call the database. */
  readonly database: string
  readonly parameters: PgProtocol.StartupParameters
  readonly maxMessageSize: number
  readonly demands: Demands
}

/** What the server said on the way to being ready. */
export interface Started {
  readonly parser: MessageReader
  readonly processId: number
  readonly secretKey: number
  readonly parameters: Parameters
  /** Whatever came behind the first `ReadyForQuery` in one chunk with it. */
  readonly trailing: ReadonlyArray<PgProtocol.BackendMessage<unknown>>
}

export interface StartupFailure {
  readonly error: SqlError
  /**
   * The server refused before it had accepted who asks, which may be for want of TLS, or because of it. Not where the
   * server asked for, or proved, too little: less encryption would not make that right.
   */
  readonly beforeAuthentication: boolean
}

/** How many bytes a server that has proved nothing may send. A certificate is not among them. */
const maxBeforeAuthentication = 32 * 1024

/** What the server has said so far, and who is told how it ends. */
class Handshake {
  isReady = false
  processId = 0
  secretKey = 0
  readonly parameters = new Map<string, string>()
  readonly trailing: Array<PgProtocol.BackendMessage<unknown>> = []
  readonly authentication: Authentication
  private readonly database: string
  private readonly fail: (error: SqlError, isOurs?: boolean) => void

  constructor(database: string, authentication: Authentication, fail: (error: SqlError, isOurs?: boolean) => void) {
    this.database = database
    this.authentication = authentication
    this.fail = fail
  }

  onMessage(message: PgProtocol.BackendMessage<unknown>): void {
    if (this.isReady) return void this.trailing.push(message)
    const { authentication, database } = this
    switch (message._tag) {
      case "AuthenticationOk":
      case "AuthenticationCleartextPassword":
      case "AuthenticationMD5Password":
      case "AuthenticationSASL":
      case "AuthenticationSASLContinue":
      case "AuthenticationSASLFinal":
      case "AuthenticationUnsupported": {
        const problem = authentication.onChallenge(message)
        if (problem !== undefined) this.fail(authenticationError(database, problem, undefined), true)
        return
      }
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
        if (!authentication.isDone) return this.violation(message)
        this.isReady = true
        return
      default:
        return this.violation(message)
    }
  }

  private violation(message: PgProtocol.BackendMessage<unknown>): void {
    this.fail(connectError(this.database, `unexpected ${message._tag} while the session was starting`, undefined))
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
    const fail = (error: SqlError, isOurs = false): void => {
      if (finished) return
      detach()
      socket.destroy()
      resume(Effect.fail({ error, beforeAuthentication: !authentication.isDone && !isOurs }))
    }
    const authentication = new Authentication(transport, options.parameters.user, options.demands, credentials)
    const handshake = new Handshake(database, authentication, fail)
    const onMessage = (message: PgProtocol.BackendMessage<unknown>): void => {
      if (!finished) handshake.onMessage(message)
    }

    let received = 0
    const onData = (chunk: Uint8Array): void => {
      received += chunk.length
      if (!authentication.isDone && received > maxBeforeAuthentication) {
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
      resume(Effect.succeed({ parser, processId, secretKey, parameters: share(parameters), trailing }))
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
