import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { SqlClient } from "effect/sql"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { TransactionError } from "watertight"
import { Postgres } from "watertight/postgres"
import { freshDatabase } from "../support/index.ts"

/** A database of its own on the shared server. */
export const freshLayer = (options: Postgres.LayerOptions = {}) =>
  Layer.unwrap(Effect.map(freshDatabase(), (url) => layerAt(url, options)))

export const layerAt = (url: string, options: Postgres.LayerOptions = {}) =>
  // What the pool says of outages is not for those who read the results.
  Layer.provideMerge(Postgres.layer({ url: Redacted.make(url), ...options }), Logger.layer([]))

/** The typed failure of an effect that must fail with one, and with nothing else. */
export const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    if (Exit.isSuccess(exit)) return assert.fail(`it was to fail, and succeeded with ${JSON.stringify(exit.value)}`)
    assert.isFalse(Cause.hasDies(exit.cause), `a defect: ${Cause.pretty(exit.cause)}`)
    return Option.getOrThrowWith(Cause.findErrorOption(exit.cause), () => new Error(Cause.pretty(exit.cause)))
  })

export const sqlFailure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<SqlError, never, R> =>
  Effect.map(failure(effect), (error) => {
    assert.isTrue(isSqlError(error), String(error))
    return error as unknown as SqlError
  })

/** Why a transaction did not do what was asked for. */
export const reasonOf = (error: SqlError): TransactionError.TransactionErrorReason | undefined =>
  TransactionError.fromSqlError(error)?.reason

/** The code that the server answered with. */
export const codeOf = (error: SqlError): string | undefined => {
  const cause = error.reason.cause as { readonly code?: string; readonly serverError?: { readonly code?: string } }
  return cause.code ?? cause.serverError?.code
}

/** The numbers in the first column. */
export const numbers = (statement: string) =>
  Effect.gen(function*() {
    const sql = yield* SqlClient.SqlClient
    const rows = yield* sql.unsafe(statement).values
    return rows.map((row) => Number(row[0]))
  })
