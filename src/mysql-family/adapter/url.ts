/**
 * URLs of databases, as hosts and other drivers write them. A parameter is honoured, or refused with what to write
 * instead; none is ignored.
 */
import * as Result from "effect/Result"
import { hasControl } from "../../node/connectionOptions.ts"
import { nearest } from "../../options/nearest.ts"

/** What a URL says. All values are still text. */
export interface UrlOptions {
  /** Several hosts, in their order. Then there is no `host`. */
  readonly hosts?: ReadonlyArray<{ readonly host: string; readonly port: number | undefined }>
  readonly host?: string
  readonly port?: string
  readonly socketPath?: string
  readonly username?: string
  readonly password?: string
  readonly database?: string
  readonly sslmode?: string
  readonly sslrootcert?: string
  readonly sslcert?: string
  readonly sslkey?: string
  /** In milliseconds. */
  readonly connectTimeout?: string
  readonly applicationName?: string
  readonly compress?: string
  readonly allowPublicKeyRetrieval?: string
}

/** Those that are one text each. */
type Texts = Omit<UrlOptions, "hosts">

type Found = { -readonly [K in keyof Texts]: string } & { hosts?: NonNullable<UrlOptions["hosts"]> }

/** Parameters that set an option, under every name that is in use for it. */
const parameterNames: Readonly<Record<string, keyof Texts>> = {
  socketPath: "socketPath",
  socket: "socketPath",
  unix_socket: "socketPath",
  unixSocketPath: "socketPath",
  sslmode: "sslmode",
  sslMode: "sslmode",
  "ssl-mode": "sslmode",
  ssl_mode: "sslmode",
  sslrootcert: "sslrootcert",
  "ssl-ca": "sslrootcert",
  ssl_ca: "sslrootcert",
  sslcert: "sslcert",
  "ssl-cert": "sslcert",
  ssl_cert: "sslcert",
  sslkey: "sslkey",
  "ssl-key": "sslkey",
  ssl_key: "sslkey",
  connectTimeout: "connectTimeout",
  application_name: "applicationName",
  applicationName: "applicationName",
  compress: "compress",
  useCompression: "compress",
  allowPublicKeyRetrieval: "allowPublicKeyRetrieval",
  "get-server-public-key": "allowPublicKeyRetrieval"
}

/** What the clients of MySQL call the modes. */
const sslModeNames: Readonly<Record<string, string>> = {
  DISABLED: "disable",
  PREFERRED: "prefer",
  REQUIRED: "require",
  VERIFY_CA: "verify-ca",
  VERIFY_IDENTITY: "verify-full"
}

/** Parameters that must have one of these values, because nothing else is possible here. */
const fixedParameters: Readonly<Record<string, ReadonlyArray<string>>> = {
  charset: ["utf8mb4", "utf8mb4_general_ci", "utf8mb4_unicode_ci", "utf8mb4_0900_ai_ci", "UTF8MB4"],
  characterEncoding: ["utf8", "UTF-8", "utf-8", "utf8mb4"],
  useUnicode: ["true"],
  timezone: ["Z", "+00:00", "UTC"],
  serverTimezone: ["UTC", "Z", "+00:00"],
  parseTime: ["true"],
  loc: ["UTC"],
  supportBigNumbers: ["true"],
  multipleStatements: ["false"]
}

const pool = (option: string): string => `the size and the times of the pool are options: write \`pool: { ${option} }\``

/** Parameters of other libraries, and what to write instead. */
const elsewhere: Readonly<Record<string, string>> = {
  connectionLimit: pool("max: 10"),
  connection_limit: pool("max: 10"),
  maxPoolSize: pool("max: 10"),
  pool_timeout: pool("acquireTimeout: \"10 seconds\""),
  max_connection_lifetime: pool("lifetime: \"30 minutes\""),
  max_idle_connection_lifetime: pool("idleTimeout: \"10 minutes\""),
  waitForConnections: "a caller always waits for a connection: write `pool: { acquireTimeout: \"10 seconds\" }`",
  queueLimit: "there is no such limit: write `pool: { acquireTimeout: \"10 seconds\" }`",
  socket_timeout: "write the option `statementTimeout`",
  socketTimeout: "write the option `statementTimeout`",
  readTimeout: "write the option `statementTimeout`",
  writeTimeout: "write the option `statementTimeout`",
  timeout: "write the option `connectTimeout`, in milliseconds in a URL",
  dateStrings: "write the option `dateStrings`",
  bigNumberStrings: "large integers are a bigint",
  decimalNumbers: "decimals are texts with all their digits",
  sql_mode: "write the option `sqlMode`",
  sessionVariables: "write the option `sessionVariables`",
  tls: "write `sslmode=verify-full`, or `sslmode=require` without a check of the certificate",
  useSSL: "write `sslmode=verify-full`, or `sslmode=disable`",
  requireSSL: "write `sslmode=require`, or `sslmode=verify-full` with a check of the certificate",
  verifyServerCertificate: "write `sslmode=verify-full`",
  sslidentity: "write `sslcert` and `sslkey`: files in PEM",
  sslpassword: "write `sslcert` and `sslkey`: files in PEM without a password",
  autoReconnect: "the pool replaces connections that are lost: leave it out",
  reconnect: "the pool replaces connections that are lost: leave it out",
  pgbouncer: "that is for PostgreSQL: leave it out",
  statement_cache_size: "write the option `preparedStatementCacheSize`",
  schema: "write the name of the database behind the host: /name",
  password: "write it before the host: user:password@host",
  user: "write it before the host: user:password@host"
}

export const form = "a URL looks like mysql://user:password@host:3306/database"

/** Reads a URL. No message shows any of it but the names of its parameters: it may be mistyped and contain secrets. */
export const parseUrl = (text: unknown): Result.Result<UrlOptions, string> =>
  Result.gen(function*() {
    if (typeof text !== "string") {
      return yield* Result.fail("is no text: the variable that it comes from is probably not set")
    }
    yield* checkBlanks(text)
    const scheme = /^(?:mysql|mysql2|mariadb):\/\//i.exec(text)
    if (scheme === null) return yield* Result.fail(schemeProblem(text))
    const [beforeQuery, query] = splitOnce(text.slice(scheme[0].length), "?")
    if (text.includes("#")) {
      return yield* Result.fail("contains a `#`: inside a user name or a password it is written %23")
    }
    const found: Found = {}
    yield* readAuthority(beforeQuery, found)
    for (const parameter of query === undefined || query === "" ? [] : query.split("&")) {
      const [rawKey, rawValue] = splitOnce(parameter, "=")
      const key = yield* decode("parameter", rawKey)
      yield* readParameter(key, yield* decode("parameter", rawValue ?? ""), found)
    }
    return found
  })

/** A secret out of a file often ends in a line break, and a text out of a mail has a blank around it. */
const checkBlanks = (text: string): Result.Result<void, string> => {
  if (text === "") return Result.fail(`is empty: ${form}`)
  if (text !== text.trimEnd()) return Result.fail("has white space at its end: trim it")
  if (text !== text.trimStart()) return Result.fail("has white space at its beginning: trim it")
  if (/\s/.test(text)) return Result.fail("contains white space: inside a name or a password a space is written %20")
  return hasControl(text) ? Result.fail("contains a control character") : Result.succeed(undefined)
}

const schemeProblem = (text: string): string => {
  if (/^jdbc:/i.test(text)) return "begins with jdbc:, which is for Java: leave that out"
  if (/^(?:mysql|mariadb)\+\w+:/i.test(text)) return "names a driver of Python after a plus sign: leave that out"
  if (/^mysqlx:/i.test(text)) return "is for the X protocol: use mysql:// and the port of the classic protocol, 3306"
  return `must begin with mysql:// or mariadb://: ${form}`
}

const readAuthority = (text: string, found: Found): Result.Result<void, string> =>
  Result.gen(function*() {
    const slash = text.indexOf("/", text.lastIndexOf("@") + 1)
    const authority = slash < 0 ? text : text.slice(0, slash)
    const database = slash < 0 ? "" : text.slice(slash + 1)
    const at = authority.lastIndexOf("@")
    if (at >= 0) {
      const [user, password] = splitOnce(authority.slice(0, at), ":")
      if (user !== "") found.username = yield* decode("user name", user)
      if (password !== undefined && password !== "") found.password = yield* decode("password", password)
    }
    const hosts = authority.slice(at + 1)
    const places = yield* Result.all(hosts.split(",").map(readPlace))
    if (places.length === 1) Object.assign(found, places[0])
    else found.hosts = yield* Result.all(places.map(placeOf))
    if (database !== "") found.database = yield* decode("database", database)
  })

interface Place {
  host?: string
  port?: string
}

const readPlace = (text: string): Result.Result<Place, string> => {
  const match = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(text)
  if (match === null) return Result.fail(`has no readable host and port: ${form}`)
  const place: Place = match[2] === undefined || match[2] === "" ? {} : { port: match[2] }
  return match[1] === ""
    ? Result.succeed(place)
    : Result.map(decode("host", match[1]!), (host) => ({ ...place, host: host.replace(/^\[(.*)\]$/, "$1") }))
}

/** One of several. */
const placeOf = ({ host, port }: Place) =>
  host === undefined
    ? Result.fail(`has an empty name among its hosts: ${form}`)
    : port !== undefined && !(Number(port) >= 1 && Number(port) <= 65_535)
    ? Result.fail("has a port that is not between 1 and 65535")
    : Result.succeed({ host, port: port === undefined ? undefined : Number(port) })

const readParameter = (key: string, value: string, found: Found): Result.Result<void, string> => {
  const option = Object.hasOwn(parameterNames, key) ? parameterNames[key] : undefined
  if (option !== undefined) {
    found[option] = option === "sslmode" ? sslModeNames[value.toUpperCase().replace("-", "_")] ?? value : value
    return Result.succeed(undefined)
  }
  if (Object.hasOwn(translated, key)) return translated[key]!(value, found)
  if (Object.hasOwn(elsewhere, key)) return Result.fail(`has the parameter ${key}: ${elsewhere[key]}`)
  if (!Object.hasOwn(fixedParameters, key)) {
    const guess = nearest(key, Object.keys(parameterNames))
    const hint = guess === undefined ? "" : `: did you mean ${guess}?`
    return Result.fail(`has the unknown parameter ${key}${hint}`)
  }
  return fixedParameters[key]!.includes(value)
    ? Result.succeed(undefined)
    : Result.fail(`has the parameter ${key} with a value that is not supported: use ${fixedParameters[key]![0]}`)
}

/** Parameters whose values mean something else here. */
const translated: Readonly<Record<string, (value: string, found: Found) => Result.Result<void, string>>> = {
  // mysql2 and its hosts: `ssl={"rejectUnauthorized":true}`.
  ssl: (value, found) => {
    const mode = sslModeOf(value)
    if (mode === undefined) {
      return Result.fail("has the parameter ssl with a value that is not supported: write sslmode=verify-full")
    }
    found.sslmode ??= mode
    return Result.succeed(undefined)
  },
  // Prisma.
  sslaccept: (value, found) => {
    if (value !== "strict" && value !== "accept_invalid_certs") {
      return Result.fail("has the parameter sslaccept with a value that is not supported: write sslmode=verify-full")
    }
    found.sslmode ??= value === "strict" ? "verify-full" : "require"
    return Result.succeed(undefined)
  },
  // In seconds, as with Prisma and the drivers of Python.
  connect_timeout: (value, found) => {
    found.connectTimeout = String(Number(value) * 1_000)
    return Result.succeed(undefined)
  }
}

const sslModeOf = (value: string): string | undefined => {
  if (value === "" || value === "true" || value === "1") return "verify-full"
  if (value === "false" || value === "0") return "disable"
  const options = Result.getOrUndefined(Result.try(() => JSON.parse(value) as unknown))
  if (options === true) return "verify-full"
  if (typeof options !== "object" || options === null || Array.isArray(options)) return undefined
  const { rejectUnauthorized = true, ...others } = options as Record<string, unknown>
  if (Object.keys(others).length > 0 || typeof rejectUnauthorized !== "boolean") return undefined
  return rejectUnauthorized ? "verify-full" : "require"
}

const decode = (what: string, text: string): Result.Result<string, string> =>
  Result.flatMap(
    Result.try({
      try: () => decodeURIComponent(text),
      catch: () => `has a percent sign in its ${what} that is not followed by two digits: write it %25`
    }),
    (decoded) => hasControl(decoded) ? Result.fail(`has a control character in its ${what}`) : Result.succeed(decoded)
  )

const splitOnce = (text: string, separator: string): [string, string | undefined] => {
  const index = text.indexOf(separator)
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)]
}
