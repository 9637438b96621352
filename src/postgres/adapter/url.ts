/**
 * Connection URIs as `libpq` reads them. The standard `URL` does not do: it knows neither several hosts nor a path to
 * a socket in place of a host, and its errors would show the password.
 */
import * as Result from "effect/Result"
import { hasControl } from "../../node/connectionOptions.ts"
import { invalid, type InvalidOption } from "./invalid.ts"
import { unknownParameter } from "./urlHints.ts"

/** What a URI says, by the names of the options. All values are still text. */
export interface UrlOptions {
  readonly host?: string
  readonly port?: string
  readonly username?: string
  readonly password?: string
  readonly database?: string
  readonly applicationName?: string
  readonly startupOptions?: string
  readonly connectTimeout?: string
  readonly sslmode?: string
  readonly sslrootcert?: string
  readonly sslcert?: string
  readonly sslkey?: string
  readonly sslnegotiation?: string
  readonly channelBinding?: string
  readonly requireAuth?: string
  readonly keepAlive?: string
  /** Whether TCP asks at all: 0 or 1. */
  readonly keepAlives?: string
  /** Several hosts, in their order. */
  readonly hosts?: ReadonlyArray<{ readonly host: string; readonly port: number | undefined }>
  /** `target_session_attrs`. */
  readonly target?: string
  /** `load_balance_hosts`. */
  readonly balance?: string
}

/** Those that are one text each. */
type Texts = Omit<UrlOptions, "hosts">

/** The parameters of a URI and the options that they set. */
const names: Record<string, keyof Texts> = {
  host: "host",
  port: "port",
  user: "username",
  password: "password",
  dbname: "database",
  application_name: "applicationName",
  fallback_application_name: "applicationName",
  options: "startupOptions",
  connect_timeout: "connectTimeout",
  sslmode: "sslmode",
  sslrootcert: "sslrootcert",
  sslcert: "sslcert",
  sslkey: "sslkey",
  sslnegotiation: "sslnegotiation",
  channel_binding: "channelBinding",
  require_auth: "requireAuth",
  keepalives: "keepAlives",
  keepalives_idle: "keepAlive",
  target_session_attrs: "target",
  load_balance_hosts: "balance"
}

/** Parameters that must have one of these values, because nothing else is possible here. */
const fixed: Record<string, ReadonlyArray<string>> = {
  client_encoding: ["utf8", "utf-8", "UTF8", "UTF-8"],
  gssencmode: ["prefer", "disable"],
  sslcompression: ["0"]
}

const form = "a connection URI looks like postgres://user:password@host:5432/database"

/** Reads a URI. No message shows any of it but the names of its parameters, for it may be mistyped and contain secrets. */
export const parse = (text: string): Result.Result<UrlOptions, InvalidOption> => {
  if (text !== text.trim()) return invalid("url", "has white space at its beginning or end")
  const scheme = /^(?:postgres|postgresql):\/\//.exec(text)
  if (scheme === null) return invalid("url", `must begin with postgres:// or postgresql://: ${form}`)
  if (text.includes("\u0000")) return invalid("url", "must not contain a NUL")
  if (hasControl(text)) return invalid("url", "contains a control character: a line that was broken, perhaps")
  const [beforeQuery, query] = splitOnce(text.slice(scheme[0].length), "?")
  if (beforeQuery.includes("#") || query?.includes("#") === true) {
    return invalid("url", "contains a `#`: inside a user name or a password it is written %23")
  }
  const slash = beforeQuery.indexOf("/", beforeQuery.lastIndexOf("@") + 1)
  const authority = slash < 0 ? beforeQuery : beforeQuery.slice(0, slash)
  const database = slash < 0 ? "" : beforeQuery.slice(slash + 1)
  const at = authority.lastIndexOf("@")
  const hosts = authority.slice(at + 1)

  const found: { -readonly [K in keyof Texts]: string } = {}
  if (at >= 0) {
    const [user, password] = splitOnce(authority.slice(0, at), ":")
    if (user !== "") found.username = user
    if (password !== undefined && password !== "") found.password = password
  }
  if (hosts !== "") {
    // Several hosts and ports are two lists, as in the parameters of these names.
    const all = hosts.split(",").map((each) => /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(each))
    if (all.includes(null)) return invalid("url", `has no readable host and port: ${form}`)
    const host = all.map((match) => match![1]!.replace(/^\[(.*)\]$/, "$1")).join(",")
    const port = all.map((match) => match![2] ?? "").join(",")
    if (host !== "") found.host = host
    if (port.replaceAll(",", "") !== "") found.port = port
  }
  if (database !== "") found.database = database
  for (const key of Object.keys(found) as Array<keyof Texts>) {
    const decoded = decode(found[key]!)
    if (decoded === undefined) {
      return invalid("url", `has a percent sign in its ${key} that is not followed by two digits`)
    }
    if (key !== "password" && hasControl(decoded)) return invalid("url", `has a control character in its ${key}`)
    found[key] = decoded
  }
  for (const parameter of query === undefined || query === "" ? [] : query.split("&")) {
    const [rawKey, rawValue] = splitOnce(parameter, "=")
    const key = decode(rawKey)
    const value = rawValue === undefined ? undefined : decode(rawValue)
    if (key === undefined || value === undefined) {
      return invalid("url", "has a parameter that does not have the form name=value with percent-encoding")
    }
    const name = Object.hasOwn(names, key) ? names[key] : undefined
    if (name !== undefined) {
      if (key !== "fallback_application_name" || found.applicationName === undefined) found[name] = value
    } else if (key === "ssl" && value === "true") {
      // What JDBC calls it; `libpq` understands it too.
      found.sslmode ??= "require"
    } else if (Object.hasOwn(fixed, key)) {
      if (!fixed[key]!.includes(value)) {
        return invalid(
          "url",
          `has the parameter ${key} with a value that is not supported: use ${fixed[key]!.join(" or ")}`
        )
      }
    } else {
      return invalid("url", unknownParameter(key, [...Object.keys(names), ...Object.keys(fixed)]))
    }
  }
  if (found.keepAlives !== undefined && found.keepAlives !== "0" && found.keepAlives !== "1") {
    return invalid("url", "has a keepalives that is neither 0 nor 1")
  }
  if (found.keepAlives === "0" && found.keepAlive !== undefined) {
    return invalid("url", "has keepalives=0 and keepalives_idle, which is about nothing then: leave one of them out")
  }
  if (found.balance !== undefined && found.balance !== "disable" && found.balance !== "random") {
    return invalid("url", "has a load_balance_hosts that is neither disable nor random")
  }
  return found.host?.includes(",") === true ? severalHosts(found.host, found.port, found) : Result.succeed(found)
}

/** As in `libpq`, one port is for all hosts, and otherwise there is one for each, which may be empty. */
const severalHosts = (
  hosts: string,
  ports: string | undefined,
  found: Texts
): Result.Result<UrlOptions, InvalidOption> => {
  const names = hosts.split(",")
  const numbers = ports?.split(",") ?? [""]
  if (names.includes("")) return invalid("url", `has an empty name among its hosts: ${form}`)
  if (numbers.length > 1 && numbers.length !== names.length) {
    return invalid("url", "must have one port for all hosts, or one for each of them")
  }
  const { host: _, port: __, ...rest } = found
  const all: Array<{ readonly host: string; readonly port: number | undefined }> = []
  for (const [i, host] of names.entries()) {
    const port = numbers.length === 1 ? numbers[0]! : numbers[i]!
    if (port !== "" && !(Number(port) >= 1 && Number(port) <= 65_535)) {
      return invalid("url", "has a port that is not between 1 and 65535")
    }
    all.push({ host, port: port === "" ? undefined : Number(port) })
  }
  return Result.succeed({ ...rest, hosts: all })
}

const splitOnce = (text: string, separator: string): [string, string | undefined] => {
  const index = text.indexOf(separator)
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)]
}

const decode = (text: string): string | undefined => {
  // The only thing that the decoder throws for.
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}
