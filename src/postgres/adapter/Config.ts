/**
 * The options of a PostgreSQL database and how they are checked.
 *
 * @since 0.1.0
 */
import type { PgPoolConfig } from "@effect/sql-pg/PgClient"
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { LookupFunction } from "node:net"
import { userInfo } from "node:os"
import type { InvalidOptions } from "../../options/InvalidOptions.ts"
import { nearest } from "../../options/nearest.ts"
import { type Password, passwordProblem } from "../../options/password.ts"
import type { Options as NotificationOptions } from "../Notifications.ts"
import type { Codecs } from "../types/TypeStore.ts"
import type { Demands } from "../wire/Authentication.ts"
import type { Endpoint } from "../wire/Socket.ts"
import { refuseEnvironment, type Undecided } from "./environment.ts"
import { invalid, type InvalidOption, invalidOption } from "./invalid.ts"
import { demandsOf, type SecurityOptions, tlsOptions } from "./security.ts"
import { text } from "./text.ts"
import * as Url from "./url.ts"

export type { SecurityOptions, SslMode } from "./security.ts"

/**
 * The options of a PostgreSQL database: those of `PgClient.layer` from `@effect/sql-pg` under the same names, and
 * ours.
 *
 * **Details**
 *
 * A `url` is a connection URI as `libpq` reads it. An explicit option wins over what the URL says.
 *
 * @category options
 * @since 0.1.0
 */
export interface PostgresOptions extends Omit<PgPoolConfig, "password">, SecurityOptions {
  /**
   * An effect is run for every connection, for passwords that do not live long. Where it fails, the attempt to connect
   * has failed, and is made again like any other.
   */
  readonly password?: Password | undefined
  /**
   * Asked for the addresses of `host`, as the `lookup` of Node's `net.connect`. Default: the system.
   *
   * @since 0.2.0
   */
  readonly lookup?: LookupFunction | undefined
  /**
   * Only addresses of IPv4 or of IPv6. Default: both, each of them in turn until one answers.
   *
   * @since 0.2.0
   */
  readonly family?: 4 | 6 | undefined
  /**
   * How long a statement may run. The server enforces it; if its answer does not arrive shortly after, the session is
   * given up. Default: no limit.
   */
  readonly statementTimeout?: Duration.Input | undefined
  /** How long a statement may wait for a lock. The server enforces it. Default: no limit. */
  readonly lockTimeout?: Duration.Input | undefined
  /** How long a transaction may do nothing before the server ends the session. Default: no limit. */
  readonly idleInTransactionTimeout?: Duration.Input | undefined
  /**
   * How long BEGIN, COMMIT, ROLLBACK, savepoints, pings and resets may take before the session is given up. A server
   * that answers at all answers these at once. Default: 5 seconds.
   */
  readonly controlTimeout?: Duration.Input | undefined
  /**
   * What stands between the program and the server. `"transaction"` is a pooler that hands out server connections for
   * a transaction at a time, as PgBouncer, pgcat, Supavisor or RDS Proxy do: there are no named statements then unless
   * `prepare` says so, no time limits of the session, no `LISTEN` and no advisory locks of sessions.
   */
  readonly pooler?: "transaction" | undefined
  /** How the connection of `Notifications` is kept alive and renewed. */
  readonly notifications?: NotificationOptions | undefined
  /**
   * How the values of some types are read and written, by the names of the types: `{ int8: Types.int8AsNumber }`. What
   * is made of such a type, as an array of it, follows.
   */
  readonly codecs?: Codecs | undefined
  /**
   * What a parameter is that is `undefined`. It is refused by default, because it is rarely meant: `where id = ${id}`
   * with an `undefined` finds nothing, without a word. `"null"` takes it for null, as other libraries do. In
   * `sql.insert` and `sql.update` it is null in any case. Default: `"refuse"`.
   *
   * @since 0.2.0
   */
  readonly undefined?: "refuse" | "null" | undefined
  /**
   * Whether a statement is refused that is run for no tenant: outside of `Tenant.run`, and of `Tenant.none`, which says
   * so. Default: `"optional"`.
   *
   * @since 0.2.0
   */
  readonly tenant?: "required" | "optional" | undefined
  /** How many rows of a stream are fetched at a time, at most: fewer when rows are large or slow. Default: 4000. */
  readonly fetchSize?: number | undefined
}

/**
 * Options that have been checked, with every default filled in.
 *
 * @category models
 * @since 0.1.0
 */
export interface Resolved {
  readonly options: PostgresOptions
  /** The database as errors and metrics name it. */
  readonly name: string
  readonly endpoint: Endpoint
  readonly startup: PgProtocol.StartupParameters
  readonly password: Password | undefined
  readonly demands: Demands
  /** In milliseconds, like every time here. */
  readonly connectTimeout: number
  readonly statementTimeout: number
  readonly controlTimeout: number
  readonly fetchSize: number
  readonly prepare: boolean
  readonly preparedStatementCacheSize: number
  readonly maxMessageSize: number
  readonly types: PgTypes.Registry | undefined
  readonly codecs: Codecs | undefined
  readonly undefinedAsNull: boolean
  readonly requiresTenant: boolean
}

const optionNames: ReadonlyArray<string> = [
  "url",
  "host",
  "port",
  "path",
  "ssl",
  "sslmode",
  "sslrootcert",
  "sslcert",
  "sslkey",
  "sslnegotiation",
  "channelBinding",
  "requireAuth",
  "lookup",
  "family",
  "database",
  "username",
  "password",
  "connectTimeout",
  "keepAlive",
  "stream",
  "applicationName",
  "startupParameters",
  "startupOptions",
  "spanAttributes",
  "transformResultNames",
  "transformQueryNames",
  "transformJson",
  "types",
  "codecs",
  "undefined",
  "tenant",
  "pooler",
  "notifications",
  "multiplex",
  "multiplexConcurrency",
  "prepare",
  "preparedStatementCacheSize",
  "maxMessageSize",
  "idleTimeout",
  "maxConnections",
  "minConnections",
  "connectionTTL",
  "statementTimeout",
  "lockTimeout",
  "idleInTransactionTimeout",
  "controlTimeout",
  "fetchSize"
]

/** What PostgreSQL itself can send at most. */
const maxMessageSizeLimit = 0x3fffffff

/**
 * Checks options and fills in the defaults.
 *
 * @category constructors
 * @since 0.1.0
 */
export const resolve = (options: PostgresOptions): Effect.Effect<Resolved, InvalidOptions> =>
  Effect.suspend(() => Effect.fromResult(check(options)))

/** Whether something other than a URL says where the server is. */
const namesServer = ({ host, path, stream }: PostgresOptions): boolean =>
  host !== undefined || path !== undefined || stream !== undefined

/** What the URL says, and that nothing else says what is left open. */
const readUrl = (options: PostgresOptions): Result.Result<Url.UrlOptions, InvalidOption> =>
  Result.gen(function*() {
    if (Redacted.isRedacted(options.url) && Redacted.value(options.url as Redacted.Redacted<unknown>) === undefined) {
      yield* invalid("url", "is undefined: is the variable that it comes from set?")
    }
    if (Object.hasOwn(options, "url") && options.url === undefined && !namesServer(options)) {
      yield* invalid(
        "url",
        "is undefined: is the variable that it comes from set? Leave it out to connect to localhost"
      )
    }
    if (options.url === undefined && Object.hasOwn(options, "url") && !hasPlace(options)) {
      yield* invalid("url", "is undefined: is the variable that it comes from set?")
    }
    if (options.url !== undefined && !Redacted.isRedacted(options.url)) {
      yield* invalid("url", "must be a `Redacted`, for it may contain a password")
    }
    const url: Url.UrlOptions = options.url === undefined ? {} : yield* Url.parse(Redacted.value(options.url))
    const fromEnvironment = refuseEnvironment(undecidedIn(options, url))
    if (fromEnvironment !== undefined) yield* fromEnvironment
    return url
  })

const check = (options: PostgresOptions): Result.Result<Resolved, InvalidOption> =>
  Result.gen(function*() {
    for (const name of Object.keys(options)) {
      if (optionNames.includes(name)) continue
      const guess = nearest(name, optionNames)
      yield* invalid(name, guess === undefined ? "does not exist" : `does not exist: did you mean \`${guess}\`?`)
    }
    const url: Url.UrlOptions = yield* readUrl(options)

    // Where the server is.
    const hostOption = yield* text("host", options.host)
    const host: string = hostOption ?? url.host ?? "localhost"
    if (host.includes(",")) yield* invalid("host", "names several hosts: give them as `nodes` of the layer")
    if (hostOption === undefined && url.hosts !== undefined) {
      yield* invalid("url", "names several hosts, which the layer can use, but not an adapter of one server")
    }
    if (hostOption === undefined && url.target !== undefined && url.target !== "any") {
      yield* invalid("url", "has target_session_attrs, which the layer can check, but not an adapter of one server")
    }
    const port: number = options.port !== undefined
      ? yield* checkPort("port", options.port)
      : url.port !== undefined
      ? yield* checkPort("url", Number(url.port))
      : 5432
    const path: string | undefined = (yield* text("path", options.path)) ??
      (host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : undefined)
    if (options.stream !== undefined && typeof options.stream !== "function") {
      yield* invalid("stream", "must be a function that opens a stream")
    }

    // Who asks.
    const username: string = (yield* text("username", options.username)) ?? url.username ?? (yield* systemUser())
    const database: string | undefined = (yield* text("database", options.database)) ?? url.database
    const name = databaseName({
      host,
      port,
      path,
      stream: options.stream !== undefined,
      database: database ?? username
    })
    const password = yield* passwordOf(options, url)

    // Times.
    const connectTimeout: number = options.connectTimeout !== undefined
      ? yield* millis("connectTimeout", options.connectTimeout, "positive")
      : url.connectTimeout !== undefined
      ? yield* checkConnectTimeout(url.connectTimeout)
      : 5_000
    const keepAlive: number = options.keepAlive !== undefined
      ? yield* millis("keepAlive", options.keepAlive, "seconds")
      : url.keepAlives === "0"
      ? 0
      : url.keepAlive !== undefined
      ? yield* millis("url", Number(url.keepAlive) * 1_000, "seconds")
      : 30_000
    const statementTimeout: number | undefined = yield* optionalMillis("statementTimeout", options.statementTimeout)
    const lockTimeout: number | undefined = yield* optionalMillis("lockTimeout", options.lockTimeout)
    const idleInTransaction: number | undefined = yield* optionalMillis(
      "idleInTransactionTimeout",
      options.idleInTransactionTimeout
    )
    const controlTimeout: number = options.controlTimeout === undefined
      ? 5_000
      : yield* millis("controlTimeout", options.controlTimeout, "finite")
    yield* optionalMillis("idleTimeout", options.idleTimeout)
    yield* optionalMillis("connectionTTL", options.connectionTTL)

    if (options.pooler !== undefined && options.pooler !== "transaction") {
      yield* invalid("pooler", "must be `\"transaction\"`: a pooler that works by sessions needs no option")
    }

    if (options.undefined !== undefined && options.undefined !== "refuse" && options.undefined !== "null") {
      yield* invalid("undefined", "must be `\"refuse\"` or `\"null\"`")
    }

    if (options.tenant !== undefined && options.tenant !== "required" && options.tenant !== "optional") {
      yield* invalid("tenant", "must be `\"required\"` or `\"optional\"`")
    }

    // Sizes.
    const min: number | undefined = yield* count("minConnections", options.minConnections, 0)
    const max: number | undefined = yield* count("maxConnections", options.maxConnections, 0)
    if (min !== undefined && min > (max ?? 10)) {
      yield* invalid(
        "minConnections",
        `must not be greater than \`maxConnections\`, which is ${max ?? "10 by default"}`
      )
    }
    yield* count("multiplexConcurrency", options.multiplexConcurrency, 1)
    const cacheSize: number | undefined = yield* count(
      "preparedStatementCacheSize",
      options.preparedStatementCacheSize,
      0
    )
    const fetchSize: number | undefined = yield* count("fetchSize", options.fetchSize, 1)
    const maxMessageSize: number | undefined = yield* count("maxMessageSize", options.maxMessageSize, 1_024)

    const tls = yield* tlsOptions(options, url, {
      host,
      isLocal: path !== undefined || options.stream !== undefined,
      isStream: options.stream !== undefined
    })
    return {
      options,
      name,
      endpoint: {
        database: name,
        host,
        port,
        path,
        stream: options.stream,
        keepAlive,
        resolving: yield* resolvingOf(options, connectTimeout),
        tls
      },
      demands: yield* demandsOf(options, url, tls),
      startup: yield* startupParameters(options, url, {
        username,
        database,
        statement_timeout: statementTimeout,
        lock_timeout: lockTimeout,
        idle_in_transaction_session_timeout: idleInTransaction
      }),
      password,
      connectTimeout,
      statementTimeout: statementTimeout ?? Infinity,
      controlTimeout,
      fetchSize: fetchSize ?? 4_000,
      prepare: options.prepare ?? options.pooler !== "transaction",
      preparedStatementCacheSize: cacheSize ?? 100,
      maxMessageSize: Math.min(maxMessageSize ?? maxMessageSizeLimit, maxMessageSizeLimit),
      types: options.types,
      codecs: options.codecs,
      undefinedAsNull: options.undefined === "null",
      requiresTenant: options.tenant === "required"
    }
  })

/** What neither the options nor the URL say, so that a default would. */
const undecidedIn = (options: PostgresOptions, url: Url.UrlOptions): Undecided => {
  const isLocal = options.path !== undefined || options.stream !== undefined ||
    String(options.host ?? url.host).startsWith("/")
  return {
    place: !hasPlace(options) && url.host === undefined && url.hosts === undefined,
    username: options.username === undefined && url.username === undefined,
    database: options.database === undefined && url.database === undefined,
    password: options.password === undefined && url.password === undefined,
    tls: !isLocal && options.sslmode === undefined && options.ssl === undefined && url.sslmode === undefined
  }
}

/** Whether it is said where the server is in another way than by a URL. */
const hasPlace = ({ host, path, stream }: PostgresOptions): boolean =>
  host !== undefined || path !== undefined || stream !== undefined

/** How the name of the host becomes addresses. */
const resolvingOf = (
  options: PostgresOptions,
  connectTimeout: number
): Result.Result<Endpoint["resolving"], InvalidOption> =>
  Result.gen(function*() {
    if (options.lookup !== undefined && typeof options.lookup !== "function") {
      yield* invalid("lookup", "must be a function, as `lookup` of `net.connect`")
    }
    if (options.family !== undefined && options.family !== 4 && options.family !== 6) {
      yield* invalid("family", "must be 4 or 6")
    }
    return { lookup: options.lookup, family: options.family, connectTimeout }
  })

const passwordOf = (
  options: PostgresOptions,
  url: Url.UrlOptions
): Result.Result<Resolved["password"], InvalidOption> =>
  Result.gen(function*() {
    const password = options.password ?? (url.password === undefined ? undefined : Redacted.make(url.password))
    if (password !== undefined && !Redacted.isRedacted(password) && !Effect.isEffect(password)) {
      yield* invalid("password", "must be a `Redacted`, or an Effect that provides one")
    }
    const passwordIsWrong = Redacted.isRedacted(password) ? passwordProblem(Redacted.value(password)) : undefined
    if (passwordIsWrong !== undefined) yield* invalid("password", passwordIsWrong)
    return password
  })

const checkPort = (option: string, port: number): Result.Result<number, InvalidOption> =>
  Number.isInteger(port) && port >= 1 && port <= 65_535
    ? Result.succeed(port)
    : invalid(option, option === "url" ? "has a port that is not between 1 and 65535" : "must be between 1 and 65535")

const checkConnectTimeout = (seconds: string): Result.Result<number, InvalidOption> =>
  /^\d+$/.test(seconds)
    ? Result.succeed(seconds === "0" ? Infinity : Number(seconds) * 1_000)
    : invalid("url", "has a connect_timeout that is not a number of seconds")

/** As in `libpq`, whoever runs the program. */
const systemUser = (): Result.Result<string, InvalidOption> =>
  Result.try({
    try: () => userInfo().username,
    catch: () => invalidOption("username", "is missing, and the system does not say who runs this program")
  })

type Allowed = "positive" | "finite" | "seconds"

const millis = (option: string, input: Duration.Input, allowed: Allowed): Result.Result<number, InvalidOption> => {
  const duration = Duration.fromInput(input)
  if (Option.isNone(duration)) return invalid(option, `must be a duration, such as "5 seconds"`)
  const value = Duration.toMillis(duration.value)
  if (!(value > 0)) return invalid(option, "must be longer than zero")
  if (allowed === "finite" && value === Infinity) return invalid(option, "must be finite")
  if (allowed === "seconds" && (value < 1_000 || value > 0x7fffffff)) {
    return invalid(option, "must be at least a second and at most 24 days")
  }
  return Result.succeed(value)
}

const optionalMillis = (
  option: string,
  input: Duration.Input | undefined
): Result.Result<number | undefined, InvalidOption> =>
  input === undefined
    ? Result.succeed(undefined)
    : Result.map(millis(option, input, "positive"), (value) => value === Infinity ? undefined : value)

const count = (
  option: string,
  value: number | undefined,
  least: number
): Result.Result<number | undefined, InvalidOption> =>
  value === undefined || Number.isInteger(value) && value >= least
    ? Result.succeed(value)
    : invalid(option, `must be a whole number, ${least} or more`)

const reserved: ReadonlyArray<string> = ["user", "database", "replication", "options"]

/** What a pooler keeps track of for each of its clients. */
const poolerParameters: ReadonlyArray<string> = [
  "application_name",
  "client_encoding",
  "datestyle",
  "timezone",
  "standard_conforming_strings"
]

const optionOf: Record<string, string> = {
  statement_timeout: "statementTimeout",
  lock_timeout: "lockTimeout",
  idle_in_transaction_session_timeout: "idleInTransactionTimeout",
  options: "startupOptions"
}

const startupParameters = (
  options: PostgresOptions,
  url: Url.UrlOptions,
  own: {
    readonly username: string
    readonly database: string | undefined
    readonly statement_timeout: number | undefined
    readonly lock_timeout: number | undefined
    readonly idle_in_transaction_session_timeout: number | undefined
  }
): Result.Result<PgProtocol.StartupParameters, InvalidOption> =>
  Result.gen(function*() {
    const parameters: Record<string, string | undefined> = Object.create(null)
    for (const [given, value] of Object.entries(options.startupParameters ?? {})) {
      const name = given.toLowerCase()
      if (name === "" || name.includes("\u0000") || typeof value !== "string" || value.includes("\u0000")) {
        yield* invalid(
          "startupParameters",
          "must have names that are not empty, and neither names nor values with a NUL"
        )
      }
      if (reserved.includes(name)) {
        yield* invalid("startupParameters", `must not set \`${name}\`: there is an option for it`)
      }
      if (name === "client_encoding" && !/^utf-?8$/i.test(value)) {
        yield* invalid("startupParameters", "must not set `client_encoding` to anything but UTF8")
      }
      parameters[name] = name === "client_encoding" ? "UTF8" : value
    }
    for (const name of ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"] as const) {
      const value = own[name]
      // The server counts in whole milliseconds, and 0 would switch it off.
      if (value !== undefined) {
        parameters[name] = String(Math.min(Math.ceil(value), 0x7fffffff))
      }
    }
    parameters["application_name"] = (yield* text("applicationName", options.applicationName)) ??
      parameters["application_name"] ?? url.applicationName ?? "watertight"
    parameters["options"] = (yield* text("startupOptions", options.startupOptions)) ?? url.startupOptions
    if (options.pooler !== undefined) {
      // It would refuse the connection, or set them for whoever gets the server's connection next.
      for (const [name, value] of Object.entries(parameters)) {
        if (value !== undefined && !poolerParameters.includes(name)) {
          yield* invalid(
            optionOf[name] ?? "startupParameters",
            `sets \`${name}\` for a session, which a transaction pooler does not keep: set it for the role instead`
          )
        }
      }
    }
    return { ...parameters, user: own.username, database: own.database }
  })

const databaseName = (options: {
  readonly host: string
  readonly port: number
  readonly path: string | undefined
  readonly stream: boolean
  readonly database: string
}): string => {
  if (options.stream) return `postgresql://stream/${options.database}`
  if (options.path !== undefined) return `postgresql://${encodeURIComponent(options.path)}/${options.database}`
  const host = options.host.includes(":") ? `[${options.host}]` : options.host
  return `postgresql://${host}:${options.port}/${options.database}`
}
