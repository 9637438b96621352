/**
 * Opens the transport of a session: a TCP connection, a Unix socket or a stream of the user's own, with TLS as `libpq`
 * negotiates it.
 *
 * Cancel requests use it too, so that the secret that they carry is as well protected as the session.
 */
import * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type { SqlError } from "effect/sql/SqlError"
import * as Net from "node:net"
import type { Duplex } from "node:stream"
import type * as Tls from "node:tls"
import { tls } from "../../node/builtins.ts"
import type { Read } from "../../node/certificates.ts"
import { dial, type Resolving } from "../../node/dial.ts"
import { Writes } from "../../node/Writes.ts"
import { connectError } from "../errors/errors.ts"

/** Where the server is and how it is spoken to. */
export interface Endpoint {
  /** What errors call the database. */
  readonly database: string
  readonly host: string
  readonly port: number
  /** A Unix socket. */
  readonly path: string | undefined
  readonly stream: (() => Duplex) | undefined
  /** How long a TCP connection may be silent before the system probes it, in milliseconds, or 0 for never. */
  readonly keepAlive: number
  readonly resolving: Resolving
  readonly tls: TlsOptions
}

/** As `sslmode` of `libpq`, with what it means for the certificate already worked out. */
export interface TlsOptions {
  readonly mode: "disable" | "allow" | "prefer" | "require"
  readonly options: Tls.ConnectionOptions
  /** The certificates as they are now. What `options` say wins over them. */
  readonly read: Read
  /** Whether TLS begins without being asked for. */
  readonly isDirect: boolean
}

/** What a single attempt does about TLS. `offer` takes a server's no for an answer. */
export type Encryption = "none" | "offer" | "demand"

export interface Transport {
  readonly socket: Duplex
  readonly encrypted: boolean
  /** What of it the kernel has taken. */
  readonly writes: Writes
}

/** Why a transport could not be opened, and whether TLS was to blame. */
export interface OpenFailure {
  readonly error: SqlError
  readonly tls: boolean
}

/**
 * Opens a transport and calls `done` once. Returns what gives up.
 *
 * The socket is handed over with a listener for errors only: the caller attaches its own before any byte can arrive.
 */
export const openUnsafe = (
  endpoint: Endpoint,
  encryption: Encryption,
  done: (result: Result.Result<Transport, OpenFailure>) => void
): () => void => {
  const opening = new Opening(endpoint, encryption, done)
  opening.start()
  return () => opening.abort()
}

/** An attempt to open a transport: connect, ask for TLS, encrypt. */
class Opening {
  private readonly endpoint: Endpoint
  private readonly encryption: Encryption
  private readonly done: (result: Result.Result<Transport, OpenFailure>) => void
  private socket: Duplex | undefined = undefined
  private isOver = false

  constructor(endpoint: Endpoint, encryption: Encryption, done: Opening["done"]) {
    this.endpoint = endpoint
    this.encryption = encryption
    this.done = done
  }

  start(): void {
    const { endpoint } = this
    // A factory of the user's own may throw.
    try {
      this.socket = connect(endpoint)
    } catch (cause) {
      return this.fail("could not open the stream", cause)
    }
    this.socket.on("error", this.onError)
    this.socket.on("close", this.onClose)
    if (endpoint.stream === undefined) this.socket.once("connect", () => this.begin())
    else this.begin()
  }

  abort(): void {
    if (this.isOver) return
    this.isOver = true
    this.socket?.on("error", ignore)
    this.socket?.destroy()
  }

  private begin(): void {
    if (this.isOver) return
    if (this.encryption === "none") return this.succeed(this.socket!, false)
    if (this.endpoint.tls.isDirect) return this.encrypt()
    this.socket!.on("data", this.onAnswer)
    this.socket!.write(PgProtocol.encodeSslRequest())
  }

  private fail(what: string, cause: unknown, options: { readonly tls?: boolean; readonly permanent?: boolean } = {}) {
    if (this.isOver) return
    this.isOver = true
    this.socket?.destroy()
    const error = connectError(this.endpoint.database, what, cause, options.permanent)
    this.done(Result.fail({ error, tls: options.tls ?? false }))
  }

  private succeed(socket: Duplex, encrypted: boolean): void {
    if (this.isOver) return
    this.isOver = true
    socket.off("error", this.onError)
    socket.off("close", this.onClose)
    // An error may come at any time until the socket is closed, and without a listener it would end the process.
    socket.on("error", ignore)
    this.done(Result.succeed({ socket, encrypted, writes: new Writes(socket, encrypted) }))
  }

  private readonly onError = (cause: Error) => this.fail(`could not connect: ${describeCause(cause)}`, cause)

  private readonly onClose = () => this.fail("the connection was closed before it was ready", undefined)

  /** The server's answer to the request for TLS. */
  private readonly onAnswer = (chunk: Uint8Array): void => {
    const socket = this.socket!
    socket.off("data", this.onAnswer)
    // Nobody has vouched for the text of an error, so it is not shown.
    if (chunk[0] === 0x45) {
      return this.fail("the server answered the request for TLS with an error", undefined, { tls: true })
    }
    // Anything behind the answer was put there by somebody in the middle, to be taken for the server's encrypted words.
    if (chunk.length !== 1 || socket.readableLength > 0) {
      return this.fail(unexpectedBytes, undefined, { permanent: true })
    }
    const answer = PgProtocol.decodeSslResponse(chunk[0]!)
    if (Result.isFailure(answer)) {
      return this.fail("this is not a PostgreSQL server: is it the port of another one?", answer.failure)
    }
    if (answer.success !== "N") return this.encrypt()
    if (this.encryption === "offer") return this.succeed(socket, false)
    this.fail(noTls, undefined, { permanent: true })
  }

  private encrypt(): void {
    const { endpoint } = this
    const plain = this.socket!
    const material = endpoint.tls.read()
    if (Result.isFailure(material)) {
      return this.fail(`\`${material.failure.option}\` ${material.failure.problem}`, undefined)
    }
    plain.off("error", this.onError)
    plain.off("close", this.onClose)
    plain.on("error", ignore)
    let secure: Tls.TLSSocket
    // The user's own options may be such that TLS refuses them.
    try {
      secure = tls().connect({
        ...tlsOptionsOf(endpoint),
        ...material.success,
        ...endpoint.tls.options,
        socket: plain as Net.Socket
      })
    } catch (cause) {
      return this.fail(`TLS failed: ${String(cause)}`, cause, { tls: true, permanent: true })
    }
    this.socket = secure
    secure.on("error", this.onTlsError)
    secure.on("close", this.onTlsClose)
    secure.once("secureConnect", () => {
      secure.off("error", this.onTlsError)
      secure.off("close", this.onTlsClose)
      // Without it, what answers may be a server of another protocol that was talked into answering.
      if (endpoint.tls.isDirect && secure.alpnProtocol !== protocolName) {
        const what = `what answers does not say that it speaks PostgreSQL: ${directHint}`
        return this.fail(what, undefined, { tls: true, permanent: true })
      }
      this.succeed(secure, true)
    })
  }

  private readonly onTlsError = (cause: Error & { code?: string }): void => {
    const isCertificate = isCertificateError(cause)
    const hint = this.endpoint.tls.isDirect && !isCertificate ? `: ${directHint}` : ""
    this.fail(`TLS failed: ${cause.message}${hint}`, cause, { tls: true, permanent: isCertificate })
  }

  private readonly onTlsClose = (): void =>
    this.endpoint.tls.isDirect
      ? this.fail(`the server closed the connection: ${directHint}`, undefined)
      : this.onClose()
}

/** A stream to the server, which is not connected yet. */
const connect = ({ host, keepAlive, path, port, resolving, stream }: Endpoint): Duplex =>
  stream !== undefined
    ? stream()
    : path !== undefined
    ? Net.connect({ path })
    // A statement is one write and then a wait, so holding small writes back has nothing to gain.
    : dial(host, port, resolving, { noDelay: true, keepAlive: keepAlive > 0, keepAliveInitialDelay: keepAlive })

/** A name to ask for, unless the host is an address: those have no place in SNI. */
const tlsOptionsOf = ({ host, tls: { isDirect } }: Endpoint): Tls.ConnectionOptions => ({
  host,
  ...(Net.isIP(host) === 0 ? { servername: host } : undefined),
  ...(isDirect ? { ALPNProtocols: [protocolName] } : undefined)
})

const unexpectedBytes = "unexpected bytes behind the answer to the request for TLS: probably this is no PostgreSQL " +
  "server, but the port of another one"

const noTls = "the server does not support TLS: turn it on there, or ask for less with `sslmode=prefer`"

/** What PostgreSQL is called in TLS (ALPN). */
const protocolName = "postgresql"

const directHint = "`sslnegotiation: \"direct\"` needs PostgreSQL 17 or newer; leave it out for others"

/** Opens a transport. Interrupting it leaves nothing behind. */
export const open = (endpoint: Endpoint, encryption: Encryption): Effect.Effect<Transport, OpenFailure> =>
  Effect.callback((resume) => {
    const abort = openUnsafe(endpoint, encryption, (result) => resume(Effect.fromResult(result)))
    return Effect.sync(abort)
  })

const ignore = (): void => {}

/** Node reports all the addresses that it tried in one error without a text of its own. */
const describeCause = (cause: Error & { code?: string; errors?: ReadonlyArray<Error> }): string =>
  cause.message !== ""
    ? cause.message
    : cause.errors?.map((error) => error.message).join(", ") ?? cause.code ?? "failed"

/** Trying again does not make a certificate right. */
const isCertificateError = (cause: { readonly code?: string }): boolean =>
  cause.code !== undefined && (
    cause.code.startsWith("ERR_TLS_CERT") ||
    /CERT|SELF_SIGNED|UNABLE_TO_VERIFY|UNABLE_TO_GET_ISSUER|HOSTNAME_MISMATCH|INVALID_CA|CRL/.test(cause.code)
  )
