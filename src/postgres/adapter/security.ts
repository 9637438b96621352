/** How connections are encrypted, and what the server has to ask for: what the options say, checked. */
import * as Result from "effect/Result"
import type * as Tls from "node:tls"
import { type Read, reading } from "../../node/certificates.ts"
import type { Demands, Method } from "../wire/Authentication.ts"
import type { TlsOptions } from "../wire/Socket.ts"
import { invalid, type InvalidOption, invalidOption } from "./invalid.ts"
import type { UrlOptions } from "./url.ts"

/**
 * How a connection is encrypted, as `sslmode` of `libpq`.
 *
 * | mode          | encrypted                       | protects from eavesdropping | from a server that pretends |
 * | ------------- | ------------------------------- | --------------------------- | --------------------------- |
 * | `disable`     | never                           | no                          | no                          |
 * | `allow`       | if the server insists           | perhaps                     | no                          |
 * | `prefer`      | if the server can               | perhaps                     | no                          |
 * | `require`     | always, by any certificate      | yes                         | no, unless `sslrootcert`    |
 * | `verify-ca`   | always, certificate checked     | yes                         | from another CA             |
 * | `verify-full` | always, and the host's name too | yes                         | yes                         |
 *
 * As in `libpq`, `require` together with an `sslrootcert` means `verify-ca`. Without an `sslrootcert`, the two
 * verifying modes trust the certificate authorities that Node trusts.
 *
 * @category options
 * @since 0.1.0
 */
export type SslMode = "disable" | "allow" | "prefer" | "require" | "verify-ca" | "verify-full"

/**
 * How connections of PostgreSQL are encrypted, and what the server has to ask for.
 *
 * @category options
 * @since 0.2.0
 */
export interface SecurityOptions {
  readonly ssl?: boolean | Tls.ConnectionOptions | undefined
  /**
   * How connections are encrypted. Default: `"prefer"` over TCP, as in `libpq`, and `"disable"` for a Unix socket or a
   * custom `stream`. Not together with `ssl`, of which `true` means `"verify-full"`.
   */
  readonly sslmode?: SslMode | undefined
  /**
   * The file with the certificates of the authorities to trust, or `"system"` for those that Node trusts. Like the two
   * others it is read for every connection, so that one that was renewed is used without a restart.
   */
  readonly sslrootcert?: string | undefined
  /** The file with the client's certificate. Needs `sslkey`. */
  readonly sslcert?: string | undefined
  /** The file with the key of the client's certificate. */
  readonly sslkey?: string | undefined
  /**
   * Whether TLS begins at once (`"direct"`, from PostgreSQL 17 on), which saves a round trip, or is asked for first.
   * `"direct"` needs an `sslmode` of `"require"` or more. Default: `"postgres"`.
   *
   * @since 0.2.0
   */
  readonly sslnegotiation?: "postgres" | "direct" | undefined
  /**
   * Whether the proof of the password is bound to the server's certificate (`SCRAM-SHA-256-PLUS`), so that nobody in
   * between can pass it on: where the server can (`"prefer"`), or else the connection is refused (`"require"`). Default:
   * `"prefer"`.
   *
   * @since 0.2.0
   */
  readonly channelBinding?: "disable" | "prefer" | "require" | undefined
  /**
   * What the server may ask for, as `require_auth` of `libpq`: a list of `scram-sha-256`, `md5`, `password` (in clear
   * text) and `none`, separated by commas, or of what it must not ask for, each with a `!`. Default: anything.
   *
   * @since 0.2.0
   */
  readonly requireAuth?: string | undefined
}

/** One of the values of an option that the URL has under the name of `libpq`. */
const oneOf = <A extends string>(
  option: "sslmode" | "sslnegotiation" | "channelBinding",
  values: ReadonlyArray<A>,
  given: string | undefined,
  inUrl: string | undefined,
  parameter: string = option
): Result.Result<A | undefined, InvalidOption> => {
  const value = given ?? inUrl
  return value === undefined || (values as ReadonlyArray<string>).includes(value)
    ? Result.succeed(value as A | undefined)
    : given !== undefined
    ? invalid(option, `must be one of ${values.join(", ")}`)
    : invalid(
      "url",
      `has ${parameter === "sslmode" ? "an" : "the parameter"} ${parameter} that is not one of ${values.join(", ")}`
    )
}

export const sslModes = ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] as const

/** Where the server is. */
interface Place {
  readonly host: string
  /** Nothing can listen in between, as far as we know. */
  readonly isLocal: boolean
  readonly isStream: boolean
}

/** Plans TLS. Loads the files, so that a wrong one is found at once. */
export const tlsOptions = (
  options: SecurityOptions,
  url: UrlOptions,
  place: Place
): Result.Result<TlsOptions, InvalidOption> =>
  Result.gen(function*() {
    const planned = yield* plan(options, url, place)
    const negotiation = yield* oneOf(
      "sslnegotiation",
      ["postgres", "direct"],
      options.sslnegotiation,
      url.sslnegotiation
    )
    const isDirect = negotiation === "direct"
    if (isDirect && planned.mode !== "require") {
      // A server that does not know it closes the connection, which says nothing about what it knows.
      yield* invalid(
        options.sslnegotiation === undefined ? "url" : "sslnegotiation",
        `${options.sslnegotiation === undefined ? "has sslnegotiation=direct, which" : "\"direct\""} ` +
          "needs an encrypted connection: set `sslmode` to \"require\", or better to \"verify-full\""
      )
    }
    yield* Result.mapError(planned.read(), ({ option, problem }) => invalidOption(option, problem))
    return { ...planned, isDirect }
  })

type Planned = Omit<TlsOptions, "isDirect">

const none: Planned = { mode: "disable", options: {}, read: () => Result.succeed({}) }

const plan = (
  options: SecurityOptions,
  url: UrlOptions,
  { host, isLocal, isStream }: Place
): Result.Result<Planned, InvalidOption> =>
  Result.gen(function*() {
    const sslrootcert: string | undefined = options.sslrootcert ?? url.sslrootcert
    const read: Read = reading({
      sslrootcert: sslrootcert === "system" ? undefined : sslrootcert,
      sslcert: options.sslcert ?? url.sslcert,
      sslkey: options.sslkey ?? url.sslkey
    })
    if (options.ssl !== undefined) {
      if (options.sslmode !== undefined) yield* invalid("ssl", "cannot be given together with `sslmode`")
      return options.ssl === false ? none : { mode: "require", options: options.ssl === true ? {} : options.ssl, read }
    }
    const mode = (yield* oneOf("sslmode", sslModes, options.sslmode, url.sslmode)) ?? (isLocal ? "disable" : "prefer")
    // As in libpq, there is nobody in between to be protected from.
    if (isLocal && !isStream || mode === "disable") return none
    switch (mode) {
      case "allow":
      case "prefer":
        return { mode, options: { rejectUnauthorized: false }, read }
      case "require":
        return {
          mode,
          options: sslrootcert === undefined ? { rejectUnauthorized: false } : { checkServerIdentity: anyName },
          read
        }
      case "verify-ca":
        return { mode: "require", options: { checkServerIdentity: anyName }, read }
      default:
        return { mode: "require", options: { host } satisfies Tls.ConnectionOptions, read }
    }
  })

const anyName = (): undefined => undefined

/** What a server can ask for and get. */
const spoken: ReadonlyArray<Method> = ["none", "password", "md5", "scram-sha-256"]

/** What `libpq` knows beyond that. */
const unspoken: ReadonlyArray<string> = ["gss", "sspi", "oauth"]

/** What the server has to ask for. */
export const demandsOf = (
  options: SecurityOptions,
  url: UrlOptions,
  tls: TlsOptions
): Result.Result<Demands, InvalidOption> =>
  Result.gen(function*() {
    const channelBinding = (yield* oneOf(
      "channelBinding",
      ["disable", "prefer", "require"],
      options.channelBinding,
      url.channelBinding,
      "channel_binding"
    )) ?? "prefer"
    const inUrl = options.channelBinding === undefined
    if (channelBinding === "require" && tls.mode === "disable") {
      yield* invalid(
        inUrl ? "url" : "channelBinding",
        `${
          inUrl ? "has channel_binding=require, which" : "\"require\""
        } needs TLS, and there is none: set \`sslmode\` ` +
          "to \"require\", or better to \"verify-full\""
      )
    }
    const requireAuth: string | undefined = options.requireAuth ?? url.requireAuth
    const methods: ReadonlySet<Method> = yield* methodsOf(
      requireAuth,
      options.requireAuth === undefined ? ["url", "has a require_auth that"] : ["requireAuth", ""]
    )
    if (channelBinding === "require" && !methods.has("scram-sha-256")) {
      yield* invalid(
        options.requireAuth === undefined ? "url" : "requireAuth",
        "leaves out scram-sha-256, which `channelBinding` requires"
      )
    }
    return { methods, channelBinding }
  })

const methodsOf = (
  list: string | undefined,
  [option, subject]: readonly [string, string]
): Result.Result<ReadonlySet<Method>, InvalidOption> => {
  if (list === undefined || list === "") return Result.succeed(new Set(spoken))
  const wrong = (problem: string) => invalid(option, `${subject} ${problem}`.trim())
  const given = list.split(",").map((name) => name.trim().toLowerCase())
  const names = given.map((name) => name.replace(/^!/, ""))
  const unknown = names.some((name) => !(spoken as ReadonlyArray<string>).includes(name) && !unspoken.includes(name))
  if (unknown) return wrong(`names a method that does not exist: there are ${[...spoken, ...unspoken].join(", ")}`)
  if (new Set(names).size < names.length) return wrong("names a method twice")
  const refused = given.filter((name) => name.startsWith("!"))
  if (refused.length > 0 && refused.length < given.length) {
    return wrong("mixes methods with and without `!`: name those that are allowed, or those that are not")
  }
  const methods = spoken.filter((method) => names.includes(method) === (refused.length === 0))
  return methods.length === 0
    ? wrong(`leaves no method that is spoken here: ${spoken.join(", ")}`)
    : Result.succeed(new Set(methods))
}
