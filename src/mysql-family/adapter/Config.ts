/**
 * The options of a MySQL or MariaDB database and how they are checked.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { readFileSync } from "node:fs"
import { isIP } from "node:net"
import { userInfo } from "node:os"
import * as Tls from "node:tls"
import { InvalidOptions } from "../../options/InvalidOptions.ts"
import { nearest } from "../../options/nearest.ts"
import type { TlsOptions } from "../driver/Driver.ts"

/**
 * How a connection is encrypted.
 *
 * | mode          | encrypted | protects from eavesdropping | from a server that pretends |
 * | ------------- | --------- | --------------------------- | --------------------------- |
 * | `disable`     | never     | no                          | no                          |
 * | `require`     | always    | yes                         | no                          |
 * | `verify-ca`   | always    | yes                         | from another CA             |
 * | `verify-full` | always    | yes                         | yes                         |
 *
 * Without an `sslrootcert`, the two verifying modes trust the certificate authorities that Node trusts.
 *
 * @category options
 * @since 0.1.0
 */
export type SslMode = "disable" | "require" | "verify-ca" | "verify-full"

/**
 * The options of a MySQL or MariaDB database: those of `MysqlClient.layer` from `@effect/sql-mysql2` under the same
 * names, and ours.
 *
 * **Details**
 *
 * An explicit option wins over what the `url` says.
 *
 * @category options
 * @since 0.1.0
 */
export interface MysqlOptions {
  /** Where the database is: `mysql://user:password@host:3306/database`, or with `mariadb://`. */
  readonly url?: Redacted.Redacted | undefined
  /** Default: `"localhost"`. */
  readonly host?: string | undefined
  /** Default: 3306. */
  readonly port?: number | undefined
  /** The path of a Unix socket, instead of a host and a port. */
  readonly socketPath?: string | undefined
  readonly database?: string | undefined
  /** Default: whoever runs the program. */
  readonly username?: string | undefined
  /** An effect is run for every connection, for passwords that do not live long. */
  readonly password?: Redacted.Redacted | Effect.Effect<Redacted.Redacted> | undefined

  /**
   * `true` is `sslmode: "verify-full"`. Options of TLS are verified in full too, unless they say
   * `rejectUnauthorized: false`. Not together with `sslmode`.
   */
  readonly ssl?:
    | boolean
    | (Tls.SecureContextOptions & {
      readonly servername?: string | undefined
      readonly rejectUnauthorized?: boolean | undefined
    })
    | undefined
  /** How connections are encrypted. Default: `"disable"`. */
  readonly sslmode?: SslMode | undefined
  /** The file with the certificates of the authorities to trust. */
  readonly sslrootcert?: string | undefined
  /** The file with the client's certificate. Needs `sslkey`. */
  readonly sslcert?: string | undefined
  /** The file with the key of the client's certificate. */
  readonly sslkey?: string | undefined
  /** Whether packets are compressed, where the server can. Default: `false`. */
  readonly compress?: boolean | undefined
  /**
   * Whether the server's public key may be asked for over a connection without TLS, to encrypt a password of
   * `caching_sha2_password` or `sha256_password` with it. Whoever stands in between can send its own. `mysql2` always
   * does it; the MariaDB connector only with this. Default: `false`.
   */
  readonly allowPublicKeyRetrieval?: boolean | undefined

  /** How long opening a connection may take. Default: 5 seconds. */
  readonly connectTimeout?: Duration.Input | undefined
  /** How long a connection is silent before TCP asks whether the peer still lives. Default: 30 seconds. */
  readonly keepAlive?: Duration.Input | undefined
  /**
   * How long BEGIN, COMMIT, ROLLBACK, savepoints, pings and resets may take before the session is given up. A server
   * that answers at all answers these at once. Default: 5 seconds.
   */
  readonly controlTimeout?: Duration.Input | undefined
  /**
   * How long a statement may run: `max_statement_time` of MariaDB, `max_execution_time` of MySQL, which only limits
   * reads. If the server has not answered shortly after, the session is given up. Default: no limit.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** How long a statement may wait for a row lock, in whole seconds. Default: what the server says. */
  readonly lockTimeout?: Duration.Input | undefined

  /**
   * The `sql_mode` of every session. Default: the server's, and `STRICT_TRANS_TABLES` in any case, so that a value
   * that does not fit is an error and not another value. `"server"` leaves it alone.
   */
  readonly sqlMode?: string | undefined
  /** Settings of every session, such as `{ group_concat_max_len: 65536 }`. */
  readonly sessionVariables?: Readonly<Record<string, string | number | boolean>> | undefined
  /** What the server lists the connections as, in `performance_schema.session_connect_attrs`. Default: `"watertight"`. */
  readonly applicationName?: string | undefined
  /** Whether `DATETIME` and `TIMESTAMP` are strings, with all their digits, instead of a `Date`. Default: `false`. */
  readonly dateStrings?: boolean | undefined
  /**
   * What `undefined` is as a parameter: refused, which finds a value that was forgotten, or `"null"`, for code that relies
   * on it. Default: `"refuse"`.
   *
   * @since 0.2.0
   */
  readonly undefined?: "refuse" | "null" | undefined
  /** Whether statements are sent as text, for proxies that cannot prepare. Default: `false`. */
  readonly disablePreparedStatements?: boolean | undefined
  /** How many prepared statements a connection keeps. Default: 100. */
  readonly preparedStatementCacheSize?: number | undefined

  readonly spanAttributes?: Record<string, unknown> | undefined
  readonly transformResultNames?: ((name: string) => string) | undefined
  readonly transformQueryNames?: ((name: string) => string) | undefined

  /** `pool.max`. */
  readonly maxConnections?: number | undefined
  /** `pool.min`. */
  readonly minConnections?: number | undefined
  /** `pool.lifetime`. */
  readonly connectionTTL?: Duration.Input | undefined
  /** `pool.idleTimeout`. */
  readonly idleTimeout?: Duration.Input | undefined
}

/** Options that have been checked, with every default filled in. Times are in milliseconds. */
export interface Resolved {
  readonly module: "Mysql" | "Mariadb"
  readonly options: MysqlOptions
  /** The database as errors and metrics name it. */
  readonly name: string
  readonly host: string
  readonly port: number
  readonly socketPath: string | undefined
  readonly database: string | undefined
  readonly username: string
  readonly password: Redacted.Redacted | Effect.Effect<Redacted.Redacted> | undefined
  readonly tls: TlsOptions | undefined
  readonly connectTimeout: number
  readonly keepAlive: number
  readonly controlTimeout: number
  readonly statementTimeout: number
  readonly lockTimeout: number | undefined
  readonly sessionVariables: Readonly<Record<string, string | number | boolean>>
  readonly preparedStatementCacheSize: number
}

/** What is wrong, before it is known whose options they are. */
interface InvalidOption {
  readonly option: string
  readonly problem: string
}

const optionNames: ReadonlyArray<string> = [
  "url",
  "host",
  "port",
  "socketPath",
  "database",
  "username",
  "password",
  "ssl",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "compress",
  "allowPublicKeyRetrieval",
  "connectTimeout",
  "keepAlive",
  "controlTimeout",
  "statementTimeout",
  "lockTimeout",
  "sqlMode",
  "sessionVariables",
  "applicationName",
  "dateStrings",
  "undefined",
  "disablePreparedStatements",
  "preparedStatementCacheSize",
  "spanAttributes",
  "transformResultNames",
  "transformQueryNames",
  "maxConnections",
  "minConnections",
  "connectionTTL",
  "idleTimeout"
]

/** What `layer` takes out before it makes the adapter. */
const layerOptions: ReadonlyArray<string> = ["pool", "retry", "budget", "breaker", "resolve", "resolveTimeout"]

/** Names that other drivers use, and ours. */
const synonyms: Readonly<Record<string, string>> = {
  user: "username",
  uri: "url",
  connectionLimit: "maxConnections",
  poolConfig: "pool",
  hostname: "host",
  socket: "socketPath",
  timezone: "sessionVariables",
  tls: "ssl"
}

const sslModes: ReadonlyArray<string> = ["disable", "require", "verify-ca", "verify-full"]

/** Checks options and fills in the defaults. */
export const resolve = (
  module: "Mysql" | "Mariadb",
  options: MysqlOptions
): Effect.Effect<Resolved, InvalidOptions> =>
  Effect.suspend(() =>
    Effect.fromResult(Result.mapError(check(module, options), (wrong) => new InvalidOptions({ module, ...wrong })))
  )

/** What a URL says. All values are still text. */
interface UrlOptions {
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
  readonly connectTimeout?: string
  readonly applicationName?: string
  readonly compress?: string
}

/** The parameters of a URL and the options that they set. */
const parameterNames: Readonly<Record<string, keyof UrlOptions>> = {
  socketPath: "socketPath",
  socket: "socketPath",
  sslmode: "sslmode",
  "ssl-mode": "sslmode",
  sslrootcert: "sslrootcert",
  "ssl-ca": "sslrootcert",
  sslcert: "sslcert",
  "ssl-cert": "sslcert",
  sslkey: "sslkey",
  "ssl-key": "sslkey",
  connectTimeout: "connectTimeout",
  application_name: "applicationName",
  compress: "compress"
}

/** What the clients of MySQL call the modes. */
const sslModeNames: Readonly<Record<string, SslMode>> = {
  DISABLED: "disable",
  REQUIRED: "require",
  VERIFY_CA: "verify-ca",
  VERIFY_IDENTITY: "verify-full"
}

/** Parameters that must have one of these values, because nothing else is possible here. */
const fixedParameters: Readonly<Record<string, ReadonlyArray<string>>> = {
  charset: ["utf8mb4"],
  timezone: ["Z", "+00:00", "UTC"]
}

const form = "a URL looks like mysql://user:password@host:3306/database"

const invalidOption = (option: string, problem: string): InvalidOption => ({ option, problem })

const invalid = (option: string, problem: string): Result.Result<never, InvalidOption> =>
  Result.fail(invalidOption(option, problem))

const check = (module: "Mysql" | "Mariadb", options: MysqlOptions): Result.Result<Resolved, InvalidOption> =>
  Result.gen(function*() {
    for (const name of Object.keys(options)) {
      if (optionNames.includes(name)) continue
      if (layerOptions.includes(name)) yield* invalid(name, "is an option of `layer`, not of an adapter")
      const guess = Object.hasOwn(synonyms, name) ? synonyms[name] : nearest(name, optionNames)
      yield* invalid(name, guess === undefined ? "does not exist" : `does not exist: did you mean \`${guess}\`?`)
    }
    if (options.url !== undefined && !Redacted.isRedacted(options.url)) {
      yield* invalid("url", "must be wrapped in `Redacted.make`, so that it is never shown")
    }
    const url: UrlOptions = options.url === undefined ? {} : yield* parseUrl(Redacted.value(options.url))

    // Where the server is.
    const givenHost = yield* text("host", options.host)
    const host: string = givenHost ?? url.host ?? "localhost"
    const port: number = options.port !== undefined
      ? yield* checkPort("port", options.port)
      : url.port !== undefined
      ? yield* checkPort("url", Number(url.port))
      : 3306
    const givenPath = yield* text("socketPath", options.socketPath)
    if (givenPath !== undefined && (givenHost !== undefined || options.port !== undefined)) {
      yield* invalid("socketPath", "cannot be given together with `host` or `port`")
    }
    const socketPath: string | undefined = givenPath ?? (givenHost === undefined ? url.socketPath : undefined)

    // Who asks.
    const username: string = (yield* text("username", options.username)) ?? url.username ??
      (yield* systemUser())
    const database: string | undefined = (yield* text("database", options.database)) ?? url.database
    const password = options.password ?? (url.password === undefined ? undefined : Redacted.make(url.password))
    if (password !== undefined && !Redacted.isRedacted(password) && !Effect.isEffect(password)) {
      yield* invalid("password", "must be wrapped in `Redacted.make`, so that it is never shown")
    }
    if (Redacted.isRedacted(password) && String(Redacted.value(password)).includes("\u0000")) {
      yield* invalid("password", "must not contain a NUL")
    }

    // Times.
    const connectTimeout: number = options.connectTimeout !== undefined
      ? yield* millis("connectTimeout", options.connectTimeout)
      : url.connectTimeout !== undefined
      ? yield* millis("url", Number(url.connectTimeout))
      : 5_000
    const keepAlive: number = options.keepAlive === undefined
      ? 30_000
      : yield* millis("keepAlive", options.keepAlive)
    const controlTimeout: number = options.controlTimeout === undefined
      ? 5_000
      : yield* millis("controlTimeout", options.controlTimeout)
    if (controlTimeout > maxTimer) yield* invalid("controlTimeout", "must be finite, and at most 24 days")
    const statementTimeout: number = options.statementTimeout === undefined
      ? Infinity
      : yield* millis("statementTimeout", options.statementTimeout)
    const lockTimeout: number | undefined = options.lockTimeout === undefined
      ? undefined
      : yield* millis("lockTimeout", options.lockTimeout)

    // Settings.
    for (const name of Object.keys(options.sessionVariables ?? {})) {
      if (!/^[a-z]\w*$/i.test(name)) {
        yield* invalid("sessionVariables", "must have names of letters, digits and underscores")
      }
      const option = reservedVariables[name.toLowerCase()]
      if (option !== undefined) yield* invalid("sessionVariables", `must not set \`${name}\`: ${option}`)
    }
    if (options.sqlMode !== undefined && !/^[\w,]*$/.test(options.sqlMode)) {
      yield* invalid(
        "sqlMode",
        "must be a list of modes, such as \"ANSI_QUOTES,STRICT_ALL_TABLES\", or \"server\""
      )
    }
    if (options.undefined !== undefined && options.undefined !== "refuse" && options.undefined !== "null") {
      yield* invalid("undefined", "must be \"refuse\" or \"null\"")
    }
    const cacheSize = yield* count("preparedStatementCacheSize", options.preparedStatementCacheSize, 1)

    return {
      module: module,
      options: url.compress === undefined || options.compress !== undefined
        ? options
        : { ...options, compress: url.compress === "true" || url.compress === "1" },
      name: databaseName({ host, port, socketPath, database, scheme: module.toLowerCase() }),
      host,
      port,
      socketPath,
      database,
      username,
      password,
      tls: yield* tlsOptions(options, url, socketPath !== undefined),
      connectTimeout,
      keepAlive,
      controlTimeout,
      statementTimeout,
      lockTimeout,
      sessionVariables: options.sessionVariables ?? {},
      preparedStatementCacheSize: cacheSize ?? 100
    }
  })

const text = (option: string, value: string | undefined): Result.Result<string | undefined, InvalidOption> => {
  if (value === undefined) return Result.succeed(undefined)
  if (typeof value !== "string") return invalid(option, "must be a string")
  if (value === "") return invalid(option, "must not be empty")
  return value.includes("\u0000") ? invalid(option, "must not contain a NUL") : Result.succeed(value)
}

const checkPort = (option: string, port: number): Result.Result<number, InvalidOption> => {
  return Number.isInteger(port) && port >= 1 && port <= 65_535
    ? Result.succeed(port)
    : invalid(
      option,
      option === "url" ? "has a port that is not between 1 and 65535" : "must be between 1 and 65535"
    )
}

const systemUser = (): Result.Result<string, InvalidOption> => {
  return Result.try({
    try: () => userInfo().username,
    catch: () => invalidOption("username", "is missing, and the system does not say who runs this program")
  })
}

const millis = (option: string, input: Duration.Input): Result.Result<number, InvalidOption> => {
  const duration = Duration.fromInput(input)
  const value = Option.isNone(duration) ? NaN : Duration.toMillis(duration.value)
  if (Number.isNaN(value)) {
    return invalid(
      option,
      option === "url"
        ? "has a connectTimeout that is not a number of milliseconds"
        : `must be a duration, such as "5 seconds"`
    )
  }
  return value > 0 ? Result.succeed(value) : invalid(option, "must be longer than zero")
}

const count = (
  option: string,
  value: number | undefined,
  least: number
): Result.Result<number | undefined, InvalidOption> => {
  return value === undefined || Number.isInteger(value) && value >= least
    ? Result.succeed(value)
    : invalid(option, `must be a whole number, ${least} or more`)
}

// -------------------------------------------------------------------------------------------------------------------
// URLs
// -------------------------------------------------------------------------------------------------------------------

/** No message shows any of the URL but the names of its parameters, for it may be mistyped and contain secrets. */
const parseUrl = (text: string): Result.Result<UrlOptions, InvalidOption> =>
  Result.gen(function*() {
    const scheme = /^(?:mysql|mysql2|mariadb):\/\//i.exec(text)
    if (scheme === null) return yield* invalid("url", `must begin with mysql:// or mariadb://: ${form}`)
    const [beforeQuery, query] = splitOnce(text.slice(scheme[0].length), "?")
    if (text.includes("\u0000") || text.includes("#")) {
      return yield* invalid(
        "url",
        "contains a `#` or a NUL: inside a user name or a password a `#` is written %23"
      )
    }
    const slash = beforeQuery.indexOf("/", beforeQuery.lastIndexOf("@") + 1)
    const authority = slash < 0 ? beforeQuery : beforeQuery.slice(0, slash)
    const database = slash < 0 ? "" : beforeQuery.slice(slash + 1)
    const at = authority.lastIndexOf("@")
    const found: { -readonly [K in keyof UrlOptions]: string } = {}
    if (at >= 0) {
      const [user, password] = splitOnce(authority.slice(0, at), ":")
      if (user !== "") found.username = yield* decode("user name", user)
      if (password !== undefined && password !== "") found.password = yield* decode("password", password)
    }
    const hosts = authority.slice(at + 1)
    if (hosts.includes(",")) {
      return yield* invalid("url", "names several hosts, which is not supported until routing exists: name one")
    }
    const match = /^(\[[^\]]*\]|[^:]*)(?::(\d*))?$/.exec(hosts)
    if (match === null) return yield* invalid("url", `has no readable host and port: ${form}`)
    if (match[1] !== "") {
      const host = yield* decode("host", match[1]!)
      found.host = host.startsWith("[") ? host.slice(1, -1) : host
    }
    if (match[2] !== undefined && match[2] !== "") found.port = match[2]
    if (database !== "") found.database = yield* decode("database", database)
    for (const parameter of query === undefined || query === "" ? [] : query.split("&")) {
      const [rawKey, rawValue] = splitOnce(parameter, "=")
      const key = yield* decode("parameter", rawKey)
      const value = yield* decode("parameter", rawValue ?? "")
      const name = Object.hasOwn(parameterNames, key) ? parameterNames[key] : undefined
      if (name !== undefined) {
        found[name] = name === "sslmode" ? sslModeNames[value.toUpperCase().replace("-", "_")] ?? value : value
      } else if (key === "ssl" && (value === "true" || value === "")) {
        found.sslmode ??= "verify-full"
      } else if (!Object.hasOwn(fixedParameters, key)) {
        return yield* invalid("url", `has the unknown parameter ${key}`)
      } else if (!fixedParameters[key]!.includes(value)) {
        return yield* invalid(
          "url",
          `has the parameter ${key} with a value that is not supported: use ${fixedParameters[key]![0]}`
        )
      }
    }
    return found
  })

const decode = (what: string, text: string): Result.Result<string, InvalidOption> => {
  return Result.try({
    try: () => decodeURIComponent(text),
    catch: () =>
      invalidOption("url", `has a percent sign in its ${what} that is not followed by two digits: write it %25`)
  })
}

// -------------------------------------------------------------------------------------------------------------------
// TLS
// -------------------------------------------------------------------------------------------------------------------

const tlsOptions = (
  options: MysqlOptions,
  url: UrlOptions,
  isLocal: boolean
): Result.Result<TlsOptions | undefined, InvalidOption> =>
  Result.gen(function*() {
    const files = {
      sslrootcert: (yield* text("sslrootcert", options.sslrootcert)) ?? url.sslrootcert,
      sslcert: (yield* text("sslcert", options.sslcert)) ?? url.sslcert,
      sslkey: (yield* text("sslkey", options.sslkey)) ?? url.sslkey
    }
    const material = yield* certificates(files)
    if (options.ssl !== undefined) {
      if (options.sslmode !== undefined) yield* invalid("ssl", "cannot be given together with `sslmode`")
      if (options.ssl === false) return undefined
      if (options.ssl === true) return { verify: true, verifyName: true, material }
      if (typeof options.ssl !== "object" || options.ssl === null) {
        return yield* invalid("ssl", "must be true, false or options of TLS")
      }
      const { rejectUnauthorized, ...given } = options.ssl
      const all = { ...material, ...given }
      yield* checkContext("ssl", all)
      return { verify: rejectUnauthorized !== false, verifyName: rejectUnauthorized !== false, material: all }
    }
    const option = options.sslmode === undefined && url.sslmode !== undefined ? "url" : "sslmode"
    const mode = options.sslmode ?? url.sslmode ?? "disable"
    if (!sslModes.includes(mode)) {
      return yield* invalid(
        option,
        `${option === "url" ? "has an sslmode that is not" : "must be"} one of ${sslModes.join(", ")}`
      )
    }
    if (mode === "disable") {
      const unused = (["sslrootcert", "sslcert", "sslkey"] as const).find((name) => files[name] !== undefined)
      if (unused !== undefined) {
        return yield* invalid(unused, "is of no use without TLS: add `sslmode: \"verify-full\"`")
      }
      return undefined
    }
    return { verify: mode !== "require", verifyName: mode === "verify-full" && !isLocal, material }
  })

/** Loads the files and lets TLS have a look at them, so that a bad one is found before anybody connects. */
const certificates = (files: {
  readonly sslrootcert: string | undefined
  readonly sslcert: string | undefined
  readonly sslkey: string | undefined
}): Result.Result<Tls.SecureContextOptions, InvalidOption> =>
  Result.gen(function*() {
    const { sslcert, sslkey, sslrootcert } = files
    if (sslcert !== undefined && sslkey === undefined) yield* invalid("sslkey", "is missing: `sslcert` needs it")
    if (sslkey !== undefined && sslcert === undefined) yield* invalid("sslcert", "is missing: `sslkey` needs it")
    const loaded: Tls.SecureContextOptions = {}
    if (sslrootcert !== undefined) {
      loaded.ca = yield* readFile("sslrootcert", sslrootcert)
      yield* checkContext("sslrootcert", { ca: loaded.ca })
    }
    if (sslcert !== undefined && sslkey !== undefined) {
      loaded.cert = yield* readFile("sslcert", sslcert)
      yield* checkContext("sslcert", { cert: loaded.cert })
      loaded.key = yield* readFile("sslkey", sslkey)
      yield* checkContext("sslkey", { cert: loaded.cert, key: loaded.key })
    }
    return loaded
  })

const readFile = (option: string, path: string): Result.Result<Buffer, InvalidOption> => {
  return Result.try({
    try: () => readFileSync(path),
    catch: (cause) => invalidOption(option, `names a file that cannot be read: ${describeError(cause)}`)
  })
}

const checkContext = (
  option: string,
  options: Tls.SecureContextOptions
): Result.Result<Tls.SecureContext, InvalidOption> => {
  return Result.try({
    try: () => Tls.createSecureContext(options),
    catch: (cause) =>
      invalidOption(
        option,
        option === "ssl"
          ? `has something that TLS cannot use: ${describeError(cause)}`
          : `names a file that TLS cannot use: ${describeError(cause)}`
      )
  })
}

const maxTimer = 0x7fffffff

/** Settings that we rely on, and what to do instead. */
const reservedVariables: Readonly<Record<string, string>> = {
  autocommit: "transactions are begun and ended for you",
  time_zone: "dates are sent and read in UTC",
  character_set_client: "everything is utf8mb4",
  character_set_results: "everything is utf8mb4",
  character_set_connection: "everything is utf8mb4",
  sql_mode: "there is the option `sqlMode`",
  completion_type: "a COMMIT must end the transaction",
  max_statement_time: "there is the option `statementTimeout`",
  max_execution_time: "there is the option `statementTimeout`",
  innodb_lock_wait_timeout: "there is the option `lockTimeout`"
}

const describeError = (cause: unknown): string => cause instanceof Error ? cause.message : String(cause)

const splitOnce = (text: string, separator: string): [string, string | undefined] => {
  const index = text.indexOf(separator)
  return index < 0 ? [text, undefined] : [text.slice(0, index), text.slice(index + 1)]
}

const databaseName = (options: {
  readonly scheme: string
  readonly host: string
  readonly port: number
  readonly socketPath: string | undefined
  readonly database: string | undefined
}): string => {
  const database = options.database ?? ""
  if (options.socketPath !== undefined) {
    return `${options.scheme}://${encodeURIComponent(options.socketPath)}/${database}`
  }
  const host = isIP(options.host) === 6 ? `[${options.host}]` : options.host
  return `${options.scheme}://${host}:${options.port}/${database}`
}
