/** Where a URL leads, and how the way there is to be protected. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { InvalidOptions } from "../../options/InvalidOptions.ts"
import { Usage } from "../problems.ts"

/** Which protocol is spoken. MariaDB's is that of MySQL. */
export type Protocol = "postgres" | "mysql"

export interface Target {
  readonly protocol: Protocol
  readonly host: string
  readonly port: number
  /** A Unix socket. */
  readonly path: string | undefined
  readonly tls: {
    /** What the URL asks for, or what holds without a word. */
    readonly mode: string
    readonly isVerified: boolean
    readonly isNameVerified: boolean
    readonly ca: string | undefined
  }
}

/** One of the hosts of a URL that names several. */
export interface Place {
  readonly host: string
  readonly port: number | undefined
}

/** Reads a URL as the library does. */
export const targetOf = (url: Redacted.Redacted, place?: Place): Effect.Effect<Target, Usage | InvalidOptions> =>
  Redacted.value(url).startsWith("postgres") ? postgres(url, place) : mysql(url, place)

export const load = <A>(load: () => Promise<A>): Effect.Effect<A, Usage> =>
  Effect.tryPromise({ try: load, catch: (cause) => new Usage({ problem: String(cause) }) })

const modeOf = (url: Redacted.Redacted, otherwise: string): string =>
  /[?&]ssl-?mode=([\w-]+)/i.exec(Redacted.value(url))?.[1]?.toLowerCase() ?? otherwise

/** The options of one host: it has the port of the database where it names none. */
const optionsOf = (url: Redacted.Redacted, place: Place | undefined, port: number) =>
  place === undefined ? { url } : { url, host: place.host, port: place.port ?? port }

const postgres = Effect.fnUntraced(function*(
  url: Redacted.Redacted,
  place: Place | undefined
): Effect.fn.Return<Target, Usage | InvalidOptions> {
  const { resolve } = yield* load(() => import("../../postgres/adapter/Config.ts"))
  const { endpoint: { host, path, port, tls } } = yield* resolve(optionsOf(url, place, 5432))
  const isVerified = tls.mode === "require" && tls.options.rejectUnauthorized !== false
  const ca = Result.getOrUndefined(tls.read())?.ca ?? tls.options.ca
  return {
    protocol: "postgres",
    host,
    port,
    path,
    tls: {
      mode: modeOf(url, tls.mode),
      isVerified,
      isNameVerified: isVerified && tls.options.checkServerIdentity === undefined,
      ca: ca === undefined ? undefined : String(ca)
    }
  }
})

const mysql = Effect.fnUntraced(function*(
  url: Redacted.Redacted,
  place: Place | undefined
): Effect.fn.Return<Target, Usage | InvalidOptions> {
  const { resolve } = yield* load(() => import("../../mysql-family/adapter/Config.ts"))
  const module = Redacted.value(url).startsWith("mariadb") ? "Mariadb" : "Mysql"
  const { host, port, socketPath, tls } = yield* resolve(module, optionsOf(url, place, 3306))
  const material = tls === undefined ? undefined : Result.getOrUndefined(tls.material())
  return {
    protocol: "mysql",
    host,
    port,
    path: socketPath,
    tls: {
      mode: modeOf(url, tls === undefined ? "disable" : tls.isRequired ? "require" : "prefer"),
      isVerified: tls?.verify ?? false,
      isNameVerified: tls?.verifyName ?? false,
      ca: material?.ca === undefined ? undefined : String(material.ca)
    }
  }
})
