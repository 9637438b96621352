/** The options of a MySQL or MariaDB database, checked, with every default filled in. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { isIP } from "node:net"
import * as Rows from "../../node/connectionOptions.ts"
import type { Resolving } from "../../node/dial.ts"
import { InvalidOptions } from "../../options/InvalidOptions.ts"
import * as Options from "../../options/Options.ts"
import type { MysqlOptions, SslMode } from "./MysqlOptions.ts"
import { planTls, sslModes, type TlsPlan } from "./tls.ts"
import { parseUrl, type UrlOptions } from "./url.ts"

/** Options that have been checked. Times are in milliseconds. */
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
  readonly password: MysqlOptions["password"]
  readonly resolving: Resolving
  readonly tls: TlsPlan | undefined
  readonly allowPublicKeyRetrieval: boolean
  readonly compress: boolean
  readonly applicationName: string
  readonly connectTimeout: number
  readonly keepAlive: number
  readonly controlTimeout: number
  readonly statementTimeout: number
  readonly lockTimeout: number | undefined
  readonly sessionVariables: Readonly<Record<string, string | number | boolean>>
  readonly preparedStatementCacheSize: number
  /** Whether the server is asked to tell which transactions a statement has written. */
  readonly tracksWritten: boolean
}

const maxTimer = 0x7fffffff

const table = {
  url: Rows.url,
  host: Rows.name,
  port: Rows.port,
  socketPath: Rows.name,
  lookup: Rows.lookup,
  family: Rows.family,
  database: Rows.name,
  username: Rows.name,
  password: Rows.password,
  ssl: Rows.ssl,
  sslmode: Options.oneOf(sslModes),
  sslrootcert: Rows.name,
  sslcert: Rows.name,
  sslkey: Rows.name,
  compress: Options.boolean(),
  allowPublicKeyRetrieval: Options.boolean(),
  connectTimeout: Options.duration({ positive: true }),
  keepAlive: Options.duration({ default: "30 seconds", positive: true }),
  controlTimeout: Options.duration({ default: "5 seconds", positive: true, finite: true, max: maxTimer }),
  statementTimeout: Options.duration({ positive: true }),
  lockTimeout: Options.duration({ positive: true }),
  sqlMode: Rows.checked<string>((value) =>
    typeof value === "string" && /^[\w,]*$/.test(value)
      ? undefined
      : "must be a list of modes, such as \"ANSI_QUOTES,STRICT_ALL_TABLES\", or \"server\""
  ),
  sessionVariables: Rows.checked<Readonly<Record<string, string | number | boolean>>>((value) =>
    variablesProblem(value)
  ),
  applicationName: Rows.name,
  dateStrings: Options.boolean({ default: false }),
  undefined: Options.oneOf(["refuse", "null"], { default: "refuse" }),
  disablePreparedStatements: Options.boolean({ default: false }),
  preparedStatementCacheSize: Options.count({ default: 100, min: 1 }),
  spanAttributes: Rows.checked<Record<string, unknown>>((value) =>
    typeof value === "object" && value !== null ? undefined : "must be an object"
  ),
  transformResultNames: Rows.transform,
  transformQueryNames: Rows.transform,
  transformJson: Options.boolean({ default: false })
} satisfies Options.Table<MysqlOptions>

const ofLayer = "is an option of `layer`, not of an adapter"

const hints = {
  synonyms: {
    user: "username",
    uri: "url",
    connectionLimit: "maxConnections",
    poolConfig: "pool",
    hostname: "host",
    socket: "socketPath",
    timezone: "sessionVariables",
    tls: "ssl"
  },
  elsewhere: Object.fromEntries(
    [
      "pool",
      "retry",
      "budget",
      "breaker",
      "resolve",
      "resolveTimeout",
      "maxConnections",
      "minConnections",
      "connectionTTL",
      "idleTimeout"
    ].map((option) => [option, ofLayer])
  )
}

const variablesProblem = (value: unknown): string | undefined => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "must be an object"
  for (const [name, setting] of Object.entries(value)) {
    if (!/^[a-z]\w*$/i.test(name)) return "must have names of letters, digits and underscores"
    const instead = reservedVariables[name.toLowerCase()]
    if (instead !== undefined) return `must not set \`${name}\`: ${instead}`
    if (typeof setting === "number" ? !Number.isFinite(setting) : !["string", "boolean"].includes(typeof setting)) {
      return `must set \`${name}\` to a text, a number, true or false`
    }
    if (typeof setting === "string" && Rows.hasControl(setting)) {
      return `must not set \`${name}\` to a text with control characters`
    }
  }
  return undefined
}

const wrong = (option: string, problem: string): Result.Result<never, Rows.Wrong> => Result.fail({ option, problem })

/** Checks options and fills in the defaults. */
export const resolve = (
  module: "Mysql" | "Mariadb",
  options: MysqlOptions
): Effect.Effect<Resolved, InvalidOptions> =>
  Effect.suspend(() =>
    Effect.fromResult(
      Result.flatMap(
        Options.make<MysqlOptions>()(module, table, hints).check(options),
        (given) =>
          Result.mapError(join(module, options, given), (problem) => new InvalidOptions({ module, ...problem }))
      )
    )
  )

/** What the options and the URL say together. */
const join = (
  module: "Mysql" | "Mariadb",
  options: MysqlOptions,
  given: Options.Resolved<typeof table>
): Result.Result<Resolved, Rows.Wrong> =>
  Result.gen(function*() {
    if (given.url === undefined && "url" in options && given.host === undefined && given.socketPath === undefined) {
      return yield* wrong("url", "is undefined: the variable that it comes from is probably not set")
    }
    const url: UrlOptions = given.url === undefined
      ? {}
      : yield* Result.mapError(parseUrl(Redacted.value(given.url)), (problem) => ({ option: "url", problem }))
    const place = yield* placeOf(given, url)
    const password = given.password ?? (url.password === undefined ? undefined : Redacted.make(url.password))
    const database = given.database ?? url.database
    const connectTimeout = given.connectTimeout ?? (yield* urlTimeout(url.connectTimeout)) ?? 5_000
    return {
      module,
      options,
      ...place,
      name: databaseName({ ...place, database, scheme: module.toLowerCase() }),
      database,
      username: given.username ?? url.username ?? (yield* Rows.systemUser()),
      password,
      tls: yield* tlsOf(given, url, place.socketPath !== undefined),
      allowPublicKeyRetrieval: given.allowPublicKeyRetrieval ??
        (yield* flag("allowPublicKeyRetrieval", url.allowPublicKeyRetrieval)),
      compress: given.compress ?? (yield* flag("compress", url.compress)),
      applicationName: given.applicationName ?? url.applicationName ?? "watertight",
      connectTimeout,
      resolving: { lookup: given.lookup, family: given.family, connectTimeout },
      keepAlive: given.keepAlive,
      controlTimeout: given.controlTimeout,
      statementTimeout: given.statementTimeout ?? Infinity,
      lockTimeout: given.lockTimeout,
      sessionVariables: given.sessionVariables ?? {},
      preparedStatementCacheSize: given.preparedStatementCacheSize,
      tracksWritten: false
    }
  })

/** Where the server is. */
const placeOf = (
  given: Options.Resolved<typeof table>,
  url: UrlOptions
): Result.Result<Pick<Resolved, "host" | "port" | "socketPath">, Rows.Wrong> => {
  if (given.socketPath !== undefined && (given.host !== undefined || given.port !== undefined)) {
    return wrong("socketPath", "cannot be given together with `host` or `port`")
  }
  if (url.hosts !== undefined && given.host === undefined && given.socketPath === undefined) {
    return wrong("url", "names several hosts, which the layer can use, but not an adapter of one server")
  }
  const urlPort = url.port === undefined ? undefined : Number(url.port)
  if (given.port === undefined && urlPort !== undefined && !Rows.isPort(urlPort)) {
    return wrong("url", "has a port that is not between 1 and 65535")
  }
  return Result.succeed({
    host: given.host ?? url.host ?? "localhost",
    port: given.port ?? urlPort ?? 3306,
    socketPath: given.socketPath ?? (given.host === undefined ? url.socketPath : undefined)
  })
}

const tlsOf = (
  given: Options.Resolved<typeof table>,
  url: UrlOptions,
  isLocal: boolean
): Result.Result<TlsPlan | undefined, Rows.Wrong> => {
  if (given.ssl !== undefined && given.sslmode !== undefined) {
    return wrong("ssl", "cannot be given together with `sslmode`")
  }
  const mode = given.sslmode ?? url.sslmode ?? "prefer"
  if (!(sslModes as ReadonlyArray<string>).includes(mode)) {
    return wrong("url", `has an sslmode that is not one of ${sslModes.join(", ")}`)
  }
  return planTls(given.ssl, mode as SslMode, {
    sslrootcert: given.sslrootcert ?? url.sslrootcert,
    sslcert: given.sslcert ?? url.sslcert,
    sslkey: given.sslkey ?? url.sslkey
  }, isLocal)
}

const flag = (name: string, value: string | undefined): Result.Result<boolean, Rows.Wrong> =>
  value === undefined || value === "false" || value === "0"
    ? Result.succeed(false)
    : value === "true" || value === "1" || value === ""
    ? Result.succeed(true)
    : wrong("url", `has the parameter ${name} with a value that is neither true nor false`)

const urlTimeout = (value: string | undefined): Result.Result<number | undefined, Rows.Wrong> => {
  if (value === undefined) return Result.succeed(undefined)
  const millis = value === "" ? NaN : Number(value)
  return millis > 0 ? Result.succeed(millis) : wrong("url", "has a connectTimeout that is not a number above zero")
}

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
