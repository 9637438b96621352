/** The options of a PostgreSQL database, checked, with every default filled in. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { isPort, systemUser } from "../../node/connectionOptions.ts"
import type { InvalidOptions } from "../../options/InvalidOptions.ts"
import { type Password, passwordProblem } from "../../options/password.ts"
import type { Codecs } from "../types/TypeStore.ts"
import type { Demands } from "../wire/Authentication.ts"
import type { Endpoint } from "../wire/Socket.ts"
import { refuseEnvironment, type Undecided } from "./environment.ts"
import { invalid, type InvalidOption, invalidOption } from "./invalid.ts"
import { check, type Given, maxTimer } from "./optionTable.ts"
import type { PostgresOptions } from "./PostgresOptions.ts"
import { demandsOf, tlsOptions } from "./security.ts"
import { startupParameters } from "./startup.ts"
import * as Url from "./url.ts"

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

/**
 * Checks options and fills in the defaults.
 *
 * @category constructors
 * @since 0.1.0
 */
export const resolve = (options: PostgresOptions): Effect.Effect<Resolved, InvalidOptions> =>
  Effect.suspend(() => Effect.fromResult(Result.flatMap(check(options), (given) => join(options, given))))

/** What the options and the URL say together. */
const join = (options: PostgresOptions, given: Given): Result.Result<Resolved, InvalidOption> =>
  Result.gen(function*() {
    const url: Url.UrlOptions = yield* readUrl(options, given)
    const place = yield* placeOf(given, url)
    const username: string = given.username ?? url.username ?? (yield* whoRuns())
    const database: string | undefined = given.database ?? url.database
    const name = databaseName({ ...place, database: database ?? username })
    const connectTimeout = given.connectTimeout ?? (yield* urlConnectTimeout(url.connectTimeout)) ?? 5_000
    yield* checkConnections(given)
    const tls = yield* tlsOptions(given, url, {
      host: place.host,
      isLocal: place.path !== undefined || place.stream !== undefined,
      isStream: place.stream !== undefined
    })
    return {
      options,
      name,
      endpoint: {
        database: name,
        ...place,
        keepAlive: given.keepAlive ?? (yield* urlKeepAlive(url)) ?? 30_000,
        resolving: { lookup: given.lookup, family: given.family, connectTimeout },
        tls
      },
      demands: yield* demandsOf(given, url, tls),
      startup: yield* startupParameters(given, url, { user: username, database }),
      password: yield* passwordOf(given, url),
      connectTimeout,
      statementTimeout: given.statementTimeout ?? Infinity,
      controlTimeout: given.controlTimeout,
      fetchSize: given.fetchSize,
      prepare: given.prepare ?? given.pooler !== "transaction",
      preparedStatementCacheSize: given.preparedStatementCacheSize,
      maxMessageSize: given.maxMessageSize,
      types: given.types,
      codecs: given.codecs,
      undefinedAsNull: given.undefined === "null",
      requiresTenant: given.tenant === "required"
    }
  })

// ---------------------------------------------------------------------------------------------------------------------
// What the URL says
// ---------------------------------------------------------------------------------------------------------------------

const notSet = "is undefined: is the variable that it comes from set?"

/** What the URL says, and that nothing else says what is left open. */
const readUrl = (options: PostgresOptions, given: Given): Result.Result<Url.UrlOptions, InvalidOption> =>
  Result.gen(function*() {
    const hasUrl = given.url !== undefined
    if (hasUrl && Redacted.value(given.url as Redacted.Redacted<unknown>) === undefined) yield* invalid("url", notSet)
    if (!hasUrl && Object.hasOwn(options, "url") && !hasPlace(given)) {
      yield* invalid("url", `${notSet} Leave it out to connect to localhost`)
    }
    const url: Url.UrlOptions = hasUrl ? yield* Url.parse(Redacted.value(given.url!)) : {}
    const fromEnvironment = refuseEnvironment(undecidedIn(given, url))
    if (fromEnvironment !== undefined) yield* fromEnvironment
    return url
  })

/** What neither the options nor the URL say, so that a default would. */
const undecidedIn = (given: Given, url: Url.UrlOptions): Undecided => {
  const isLocal = given.path !== undefined || given.stream !== undefined ||
    String(given.host ?? url.host).startsWith("/")
  return {
    place: !hasPlace(given) && url.host === undefined && url.hosts === undefined,
    username: given.username === undefined && url.username === undefined,
    database: given.database === undefined && url.database === undefined,
    password: given.password === undefined && url.password === undefined,
    tls: !isLocal && given.sslmode === undefined && given.ssl === undefined && url.sslmode === undefined
  }
}

/** Whether something other than a URL says where the server is. */
const hasPlace = ({ host, path, stream }: Given): boolean =>
  host !== undefined || path !== undefined || stream !== undefined

const urlConnectTimeout = (seconds: string | undefined): Result.Result<number | undefined, InvalidOption> =>
  seconds === undefined
    ? Result.succeed(undefined)
    : /^\d+$/.test(seconds)
    ? Result.succeed(seconds === "0" ? Infinity : Number(seconds) * 1_000)
    : invalid("url", "has a connect_timeout that is not a number of seconds")

const urlKeepAlive = ({ keepAlive, keepAlives }: Url.UrlOptions): Result.Result<number | undefined, InvalidOption> => {
  if (keepAlives === "0") return Result.succeed(0)
  if (keepAlive === undefined) return Result.succeed(undefined)
  const millis = Number(keepAlive) * 1_000
  return millis >= 1_000 && millis <= maxTimer
    ? Result.succeed(millis)
    : invalid("url", "has keepalives_idle that is no number of seconds, longer than zero and shorter than 25 days")
}

// ---------------------------------------------------------------------------------------------------------------------
// What they say together
// ---------------------------------------------------------------------------------------------------------------------

/** Where the server is. */
const placeOf = (
  given: Given,
  url: Url.UrlOptions
): Result.Result<Pick<Endpoint, "host" | "port" | "path" | "stream">, InvalidOption> => {
  const host = given.host ?? url.host ?? "localhost"
  if (host.includes(",")) return invalid("host", "names several hosts: give them as `nodes` of the layer")
  if (given.host === undefined && url.hosts !== undefined) {
    return invalid("url", "names several hosts, which the layer can use, but not an adapter of one server")
  }
  if (given.host === undefined && url.target !== undefined && url.target !== "any") {
    return invalid("url", "has target_session_attrs, which the layer can check, but not an adapter of one server")
  }
  const urlPort = url.port === undefined ? undefined : Number(url.port)
  if (given.port === undefined && urlPort !== undefined && !isPort(urlPort)) {
    return invalid("url", "has a port that is not between 1 and 65535")
  }
  const port = given.port ?? urlPort ?? 5432
  const path = given.path ?? (host.startsWith("/") ? `${host}/.s.PGSQL.${port}` : undefined)
  return Result.succeed({ host, port, path, stream: given.stream })
}

/** As in `libpq`, whoever runs the program. */
const whoRuns = (): Result.Result<string, InvalidOption> =>
  Result.mapError(systemUser(), ({ option, problem }) => invalidOption(option, problem))

const passwordOf = (given: Given, url: Url.UrlOptions): Result.Result<Password | undefined, InvalidOption> => {
  if (given.password !== undefined || url.password === undefined) return Result.succeed(given.password)
  const problem = passwordProblem(url.password)
  return problem === undefined ? Result.succeed(Redacted.make(url.password)) : invalid("password", problem)
}

const checkConnections = ({ maxConnections: max, minConnections: min }: Given): Result.Result<void, InvalidOption> =>
  min === undefined || min <= (max ?? 10)
    ? Result.succeed(undefined)
    : invalid(
      "minConnections",
      `must not be greater than \`maxConnections\`, which is ${max ?? "10 by default"}`
    )

const databaseName = (options: {
  readonly host: string
  readonly port: number
  readonly path: string | undefined
  readonly stream: unknown
  readonly database: string
}): string => {
  if (options.stream !== undefined) return `postgresql://stream/${options.database}`
  if (options.path !== undefined) return `postgresql://${encodeURIComponent(options.path)}/${options.database}`
  const host = options.host.includes(":") ? `[${options.host}]` : options.host
  return `postgresql://${host}:${options.port}/${options.database}`
}
