/** What a session is told when it begins: the parameters of the start-up message. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"
import * as Result from "effect/Result"
import { invalid, type InvalidOption } from "./invalid.ts"
import { type Given, maxTimer } from "./optionTable.ts"
import type { UrlOptions } from "./url.ts"

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

/** The server counts in whole milliseconds, and 0 would switch the limit off. */
const limit = (millis: number | undefined): string | undefined =>
  millis === undefined || millis === Infinity ? undefined : String(Math.min(Math.ceil(millis), maxTimer))

export const startupParameters = (
  given: Given,
  url: UrlOptions,
  who: { readonly user: string; readonly database: string | undefined }
): Result.Result<PgProtocol.StartupParameters, InvalidOption> => {
  const parameters: Record<string, string | undefined> = Object.assign(
    Object.create(null),
    Object.fromEntries(given.startupParameters)
  )
  const set = (name: string, value: string | undefined) => {
    if (value !== undefined) parameters[name] = value
  }
  set("statement_timeout", limit(given.statementTimeout))
  set("lock_timeout", limit(given.lockTimeout))
  set("idle_in_transaction_session_timeout", limit(given.idleInTransactionTimeout))
  set(
    "application_name",
    given.applicationName ?? parameters["application_name"] ?? url.applicationName ?? "watertight"
  )
  set("options", given.startupOptions ?? url.startupOptions)
  // A pooler would refuse the connection, or set them for whoever gets the server's connection next.
  const lost = given.pooler === undefined
    ? undefined
    : Object.keys(parameters).find((name) => !poolerParameters.includes(name))
  return lost === undefined
    ? Result.succeed({ ...parameters, ...who })
    : invalid(
      optionOf[lost] ?? "startupParameters",
      `sets \`${lost}\` for a session, which a transaction pooler does not keep: set it for the role instead`
    )
}
