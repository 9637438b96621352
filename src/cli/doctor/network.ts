/** The way to a server: its name, a TCP connection, and what its certificate says. */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { lookup } from "node:dns/promises"
import * as Net from "node:net"
import * as Tls from "node:tls"
import { readGreeting } from "../../mysql-family/adapter/greeting.ts"
import { firstLine, type Line, ok, problem, skipped, warning } from "./Check.ts"
import type { Target } from "./target.ts"

/** What the name of the host means. Answers no address where it means nothing. */
export const resolveName = ({ host, path }: Target): Effect.Effect<readonly [Line, ReadonlyArray<string>]> => {
  if (path !== undefined) return Effect.succeed([ok("name", `${path} is a socket of this machine`), [path]])
  const address = host.replace(/^\[|\]$/g, "")
  if (Net.isIP(address) !== 0) return Effect.succeed([ok("name", `${address} is an address`), [address]])
  return Effect.tryPromise(() => lookup(host, { all: true })).pipe(
    Effect.timeout("5 seconds"),
    Effect.match({
      onSuccess: (found) => {
        const addresses = found.map(({ address }) => address)
        return [ok("name", `${host} is ${addresses.join(", ")}`), addresses] as const
      },
      onFailure: () =>
        [
          problem(
            "name",
            `${host} has no address`,
            "look for a typing error in the URL; inside of a container or a cluster, look at its DNS"
          ),
          []
        ] as const
    })
  )
}

/** Opens a TCP connection to each address. */
export const reach = (target: Target, addresses: ReadonlyArray<string>): Effect.Effect<Line> =>
  Effect.map(
    Effect.forEach(addresses, (address) => Effect.result(Effect.scoped(connect(target, address))), {
      concurrency: "unbounded"
    }),
    (results) => {
      const failed = results.flatMap((result, index) =>
        Result.isFailure(result) ? [`${addresses[index]}: ${reasonOf(result.failure)}`] : []
      )
      const where = target.path === undefined ? `port ${target.port}` : "the socket"
      if (failed.length === 0) return ok("tcp", `${where} answers`)
      return failed.length < results.length
        ? warning(
          "tcp",
          `${where} answers at some addresses only; ${failed.join("; ")}`,
          "connections are slow where the address that is silent comes first: correct DNS, or let the server listen there"
        )
        : problem("tcp", `${where} does not answer: ${failed.join("; ")}`, remedyOf(failed.join(" ")))
    }
  )

const remedyOf = (failures: string): string =>
  failures.includes("refused")
    ? "nobody listens there: start the server, correct the port, or look at `listen_addresses` or `bind-address`"
    : "something swallows the packets: look at firewalls, security groups and the network of the host"

const reasonOf = (error: unknown): string => {
  const code = (error as { readonly code?: string }).code
  return code === "ECONNREFUSED" ? "refused" : code === "ENOENT" ? "there is no such socket" : code ?? firstLine(error)
}

/** A connection that is gone with the scope. */
const connect = (target: Target, address: string) =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket, Error>((resume) => {
      const socket = target.path === undefined
        ? Net.connect({ host: address, port: target.port })
        : Net.connect(target.path)
      socket.once("connect", () => resume(Effect.succeed(socket)))
      socket.once("error", (error) => resume(Effect.fail(error)))
      return Effect.sync(() => socket.destroy())
    }).pipe(
      Effect.timeoutOrElse({ duration: "3 seconds", orElse: () => Effect.fail(new Error("no answer in 3 seconds")) })
    ),
    (socket) =>
      Effect.sync(() => {
        socket.on("error", () => {})
        socket.destroy()
      })
  )

/** What the server says about TLS, and how much of it is looked at. */
export const encryption = (target: Target, address: string): Effect.Effect<Line> => {
  const { host, path, tls } = target
  if (path !== undefined) return Effect.succeed(ok("tls", "a socket of this machine needs none"))
  if (tls.mode === "disable") {
    return Effect.succeed(
      warning("tls", "none: `sslmode=disable`", "say `sslmode=verify-full`, unless the network is your own")
    )
  }
  return Effect.scoped(Effect.flatMap(connect(target, address), (socket) => handshake(target, socket))).pipe(
    Effect.timeout("5 seconds"),
    Effect.flatMap((secured) => secured === undefined ? Effect.succeed(plain(tls)) : judge(target, host, secured)),
    Effect.catch((error) => Effect.succeed(problem("tls", firstLine(error), "look at the certificate of the server")))
  )
}

const plain = (tls: Target["tls"]): Line =>
  tls.mode === "prefer" || tls.mode === "allow"
    ? warning(
      "tls",
      `the server offers none, and \`sslmode=${tls.mode}\` goes on without`,
      "switch TLS on at the server, and say `sslmode=verify-full`"
    )
    : problem("tls", `the server offers none, and \`sslmode=${tls.mode}\` demands it`, "switch TLS on at the server")

interface Secured {
  readonly protocol: string
  readonly authorized: boolean
  readonly reason: string | undefined
  readonly certificate: Tls.PeerCertificate
}

/** Asks for TLS as the protocol has it; `undefined` where the server says no. */
const handshake = (target: Target, socket: Net.Socket): Effect.Effect<Secured | undefined, Error> =>
  Effect.callback((resume) => {
    const secure = () => {
      const servername = Net.isIP(target.host) === 0 ? target.host : undefined
      const secured = Tls.connect({
        socket,
        rejectUnauthorized: false,
        ...servername === undefined ? {} : { servername },
        ...target.tls.ca === undefined ? {} : { ca: target.tls.ca }
      })
      secured.once("error", (error) => resume(Effect.fail(error)))
      secured.once("secureConnect", () =>
        resume(Effect.succeed({
          protocol: secured.getProtocol() ?? "TLS",
          authorized: secured.authorized,
          reason: secured.authorizationError === undefined ? undefined : String(secured.authorizationError),
          certificate: secured.getPeerCertificate()
        })))
    }
    socket.once("error", (error) => resume(Effect.fail(error)))
    if (target.protocol === "postgres") {
      socket.once("data", (answer) => answer[0] === 0x53 ? secure() : resume(Effect.succeed(undefined)))
      socket.write(Buffer.from([0, 0, 0, 8, 4, 210, 22, 47]))
      return
    }
    readGreeting(socket, (error, { offersTls }) => {
      if (error !== undefined) return resume(Effect.fail(error))
      if (!offersTls) return resume(Effect.succeed(undefined))
      // The driver reads the greeting again; nobody does here.
      socket.read()
      socket.write(sslRequest)
      secure()
    })
  })

/** Asks a server of MySQL for TLS: PROTOCOL_41, SSL and SECURE_CONNECTION, with utf8mb4. */
const sslRequest = Buffer.concat([
  Buffer.from([32, 0, 0, 1, 0x00, 0x8a, 0x00, 0x00, 0, 0, 0, 1, 45]),
  Buffer.alloc(23)
])

const judge = Effect.fnUntraced(function*(target: Target, host: string, secured: Secured): Effect.fn.Return<Line> {
  const { authorized, certificate, protocol, reason } = secured
  const now = DateTime.toEpochMillis(yield* DateTime.now)
  const days = certificate.valid_to === undefined
    ? undefined
    : Math.floor((Date.parse(certificate.valid_to) - now) / 86_400_000)
  const wrongName = Object.keys(certificate).length === 0 ? undefined : Tls.checkServerIdentity(host, certificate)
  const left = days === undefined
    ? ""
    : days < 0
    ? `, certificate expired ${-days} days ago`
    : `, certificate good for ${days} days`
  const { isNameVerified, isVerified, mode } = target.tls
  if (isVerified && !authorized) {
    return problem(
      "tls",
      `the certificate is not trusted: ${reason}${left}`,
      "name the certificate of its authority with `sslrootcert`, or renew it"
    )
  }
  if (isNameVerified && wrongName !== undefined) {
    return problem("tls", `the certificate is for another name than ${host}`, "use a name that is in the certificate")
  }
  if (!isVerified) {
    return warning(
      "tls",
      `${protocol}, not verified: \`sslmode=${mode}\`${left}`,
      authorized && wrongName === undefined
        ? "say `sslmode=verify-full`: this certificate would pass"
        : "say `sslmode=verify-full`, with the certificate of its authority as `sslrootcert`: " +
          "without it a server that pretends to be this one is believed"
    )
  }
  return days !== undefined && days < 14
    ? warning("tls", `${protocol}, verified${left}`, "renew the certificate")
    : ok("tls", `${protocol}, verified${isNameVerified ? "" : ", apart from the name"}${left}`)
})

/** What is not looked at because the way there is closed. */
export const unreached: ReadonlyArray<Line> = ["tls", "login"].map((check) => skipped(check, "there is no way there"))
