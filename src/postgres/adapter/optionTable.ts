/** What each option of a PostgreSQL database may be by itself. What they say together is in `Config.ts`. */
import type * as PgTypes from "@effect/sql-pg/PgTypes"
import * as Result from "effect/Result"
import type { Duplex } from "node:stream"
import { checked, family, lookup, name, password, port, ssl, transform, url } from "../../node/connectionOptions.ts"
import * as Options from "../../options/Options.ts"
import type { Options as NotificationOptions } from "../Notifications.ts"
import type { Codecs } from "../types/TypeStore.ts"
import type { PostgresOptions } from "./PostgresOptions.ts"
import { sslModes } from "./security.ts"

/** The longest that a timer of Node, and a limit of the server, can be. */
export const maxTimer = 0x7fffffff

/** What PostgreSQL itself can send at most. */
const maxMessageSize = 0x3fffffff

const object = <A extends object>(what = "an object") =>
  checked<A>((value) =>
    typeof value === "object" && value !== null && !Array.isArray(value) ? undefined : `must be ${what}`
  )

const reserved: ReadonlyArray<string> = ["user", "database", "replication", "options"]

/** Names in lower case, as the server reads them. */
const startupParameters: Options.Check<ReadonlyArray<readonly [name: string, value: string]>> = {
  default: [],
  parse: (value) => {
    const problem = parametersProblem(value)
    return problem === undefined
      ? Result.succeed(Object.entries(value as Record<string, string>).map(([name, text]) => parameterOf(name, text)))
      : Result.fail(problem)
  }
}

const parameterOf = (name: string, value: string): readonly [string, string] => {
  const key = name.toLowerCase()
  return [key, key === "client_encoding" ? "UTF8" : value]
}

const parametersProblem = (value: unknown): string | undefined => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "must be an object"
  for (const [given, text] of Object.entries(value)) {
    const name = given.toLowerCase()
    if (name === "" || name.includes("\u0000") || typeof text !== "string" || text.includes("\u0000")) {
      return "must have names that are not empty, texts as values, and a NUL in neither"
    }
    if (reserved.includes(name)) return `must not set \`${name}\`: there is an option for it`
    if (name === "client_encoding" && !/^utf-?8$/i.test(text)) {
      return "must not set `client_encoding` to anything but UTF8"
    }
  }
  return undefined
}

const table = {
  url,
  host: name,
  port,
  path: name,
  stream: checked<() => Duplex>((value) =>
    typeof value === "function" ? undefined : "must be a function that opens a stream"
  ),
  lookup,
  family,
  database: name,
  username: name,
  password,
  ssl,
  sslmode: Options.oneOf(sslModes),
  sslrootcert: name,
  sslcert: name,
  sslkey: name,
  sslnegotiation: Options.oneOf(["postgres", "direct"]),
  channelBinding: Options.oneOf(["disable", "prefer", "require"]),
  requireAuth: Options.text(),
  connectTimeout: Options.duration({ positive: true }),
  keepAlive: Options.duration({ positive: true, min: 1_000, max: maxTimer }),
  statementTimeout: Options.duration({ positive: true }),
  lockTimeout: Options.duration({ positive: true }),
  idleInTransactionTimeout: Options.duration({ positive: true }),
  controlTimeout: Options.duration({ default: "5 seconds", positive: true, finite: true, max: maxTimer }),
  applicationName: Options.text(),
  startupParameters,
  startupOptions: Options.text(),
  pooler: checked<"transaction">((value) =>
    value === "transaction" ? undefined : "must be `\"transaction\"`: a pooler that works by sessions needs no option"
  ),
  tenant: Options.oneOf(["required", "optional"], { default: "optional" }),
  undefined: Options.oneOf(["refuse", "null"], { default: "refuse" }),
  prepare: Options.boolean(),
  preparedStatementCacheSize: Options.count({ default: 100 }),
  maxMessageSize: Options.count({ default: maxMessageSize, min: 1_024, max: maxMessageSize }),
  fetchSize: Options.count({ default: 4_000, min: 1 }),
  types: object<PgTypes.Registry>("a registry of types"),
  codecs: object<Codecs>("an object from names of types to codecs"),
  notifications: object<NotificationOptions>(),
  spanAttributes: object<Record<string, unknown>>(),
  transformResultNames: transform,
  transformQueryNames: transform,
  transformJson: Options.boolean({ default: false }),
  multiplex: Options.boolean(),
  multiplexConcurrency: Options.count({ min: 1 }),
  maxConnections: Options.count(),
  minConnections: Options.count(),
  idleTimeout: Options.duration({ positive: true }),
  connectionTTL: Options.duration({ positive: true })
} satisfies Options.Table<PostgresOptions>

/** The options by themselves, checked, with the defaults of those that have one. */
export type Given = Options.Resolved<typeof table>

const ofLayer = "is an option of `layer`, not of an adapter"

/** Checks each option by itself. */
export const { check } = Options.make<PostgresOptions>()("Postgres", table, {
  synonyms: { user: "username", uri: "url", connectionString: "url", hostname: "host", socketPath: "path", tls: "ssl" },
  elsewhere: Object.fromEntries(
    ["pool", "retry", "budget", "breaker", "resolve", "resolveTimeout", "nodes", "replicas"].map((option) => [
      option,
      ofLayer
    ])
  )
})
