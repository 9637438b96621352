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
  let finished = false
  let socket: Duplex

  const fail = (what: string, cause: unknown, options?: { readonly tls?: boolean; readonly permanent?: boolean }) => {
    if (finished) return
    finished = true
    socket?.destroy()
    done(Result.fail({
      error: connectError(endpoint.database, what, cause, options?.permanent),
      tls: options?.tls ?? false
    }))
  }
  const succeed = (encrypted: boolean) => {
    if (finished) return
    finished = true
    socket.off("error", onError)
    socket.off("close", onClose)
    // An error may come at any time until the socket is closed, and without a listener it would end the process.
    socket.on("error", ignore)
    done(Result.succeed({ socket, encrypted, writes: new Writes(socket, encrypted) }))
  }
  const onError = (cause: Error) => fail(`could not connect: ${describeCause(cause)}`, cause)
  const onClose = () => fail("the connection was closed before it was ready", undefined)

  const onAnswer = (chunk: Uint8Array): void => {
    socket.off("data", onAnswer)
    if (chunk[0] === 0x45) {
      // Nobody has vouched for this text, so it is not shown.
      return fail("the server answered the request for TLS with an error", undefined, { tls: true })
    }
    // Anything behind the answer was put there by somebody in the middle, to be taken for the server's encrypted words.
    if (chunk.length !== 1 || socket.readableLength > 0) {
      return fail(
        "unexpected bytes behind the answer to the request for TLS: probably this is no PostgreSQL server, but the port " +
          "of another one",
        undefined,
        { permanent: true }
      )
    }
    const answer = PgProtocol.decodeSslResponse(chunk[0]!)
    if (Result.isFailure(answer)) {
      return fail("this is not a PostgreSQL server: is it the port of another one?", answer.failure)
    }
    if (answer.success === "N") {
      if (encryption === "offer") return succeed(false)
      return fail(
        "the server does not support TLS: turn it on there, or ask for less with `sslmode=prefer`",
        undefined,
        { permanent: true }
      )
    }
    encrypt()
  }
  const encrypt = (): void => {
    const material = endpoint.tls.read()
    if (Result.isFailure(material)) return fail(`\`${material.failure.option}\` ${material.failure.problem}`, undefined)
    const plain = socket
    plain.off("error", onError)
    plain.off("close", onClose)
    plain.on("error", ignore)
    const { isDirect } = endpoint.tls
    const onTlsError = (cause: Error & { code?: string }) =>
      fail(
        `TLS failed: ${cause.message}${isDirect && !isCertificateError(cause) ? `: ${directHint}` : ""}`,
        cause,
        { tls: true, permanent: isCertificateError(cause) }
      )
    const onTlsClose = () => isDirect ? fail(`the server closed the connection: ${directHint}`, undefined) : onClose()
    // The user's own options may be such that TLS refuses them.
    try {
      socket = tls().connect({
        host: endpoint.host,
        // A name to ask for, unless the host is an address: those have no place in SNI.
        ...(Net.isIP(endpoint.host) === 0 ? { servername: endpoint.host } : undefined),
        ...(isDirect ? { ALPNProtocols: [protocolName] } : undefined),
        ...material.success,
        ...endpoint.tls.options,
        socket: plain as Net.Socket
      })
    } catch (cause) {
      return fail(`TLS failed: ${String(cause)}`, cause, { tls: true, permanent: true })
    }
    const secure = socket as Tls.TLSSocket
    secure.on("error", onTlsError)
    secure.on("close", onTlsClose)
    secure.once("secureConnect", () => {
      secure.off("error", onTlsError)
      secure.off("close", onTlsClose)
      // Without it, what answers may be a server of another protocol that was talked into answering.
      if (isDirect && secure.alpnProtocol !== protocolName) {
        return fail(`what answers does not say that it speaks PostgreSQL: ${directHint}`, undefined, {
          tls: true,
          permanent: true
        })
      }
      succeed(true)
    })
  }
  const begin = (): void => {
    if (finished) return
    if (encryption === "none") return succeed(false)
    if (endpoint.tls.isDirect) return encrypt()
    socket.on("data", onAnswer)
    socket.write(PgProtocol.encodeSslRequest())
  }

  // A factory of the user's own may throw.
  try {
    socket = endpoint.stream !== undefined
      ? endpoint.stream()
      : endpoint.path !== undefined
      ? Net.connect({ path: endpoint.path })
      // A statement is one write and then a wait, so holding small writes back has nothing to gain.
      : dial(endpoint.host, endpoint.port, endpoint.resolving, {
        noDelay: true,
        keepAlive: endpoint.keepAlive > 0,
        keepAliveInitialDelay: endpoint.keepAlive
      })
  } catch (cause) {
    finished = true
    done(Result.fail({ error: connectError(endpoint.database, "could not open the stream", cause), tls: false }))
    return ignore
  }
  socket.on("error", onError)
  socket.on("close", onClose)
  if (endpoint.stream === undefined) socket.once("connect", begin)
  else begin()
  return () => {
    if (finished) return
    finished = true
    socket.on("error", ignore)
    socket.destroy()
  }
}

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
