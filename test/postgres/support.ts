import { assert } from "@effect/vitest"
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { ConnectionLost } from "../../src/failure/ConnectionLost.ts"
import type { InvalidOptions } from "../../src/options/InvalidOptions.ts"
import { resolve } from "../../src/postgres/adapter/Config.ts"
import { makeConnect } from "../../src/postgres/adapter/connect.ts"
import type { PostgresOptions } from "../../src/postgres/adapter/PostgresOptions.ts"
import type { Session } from "../../src/postgres/session/Session.ts"
import type { SessionOptions } from "../../src/postgres/session/SessionOptions.ts"
import { postgresUrl } from "../support/index.ts"

/** What opens sessions that share their descriptions, as the sessions of one adapter do. */
export const connector = (
  options: PostgresOptions = {},
  overrides?: Partial<SessionOptions>
): Effect.Effect<Effect.Effect<Session, SqlError, Scope.Scope>, InvalidOptions> =>
  Effect.map(
    resolve({
      ...options,
      ...(options.url === undefined && options.host === undefined && options.stream === undefined
        ? { url: Redacted.make(postgresUrl()) }
        : undefined)
    }),
    (config) => Effect.acquireRelease(makeConnect(config, overrides), (session) => session.close)
  )

/** A session on the shared server, or wherever the options say. */
export const connect = (
  options?: PostgresOptions,
  overrides?: Partial<SessionOptions>
): Effect.Effect<Session, SqlError | InvalidOptions, Scope.Scope> =>
  Effect.flatMap(connector(options, overrides), (session) => session)

export const run = (session: Session, sql: string, params: ReadonlyArray<unknown> = []) =>
  session.execute(sql, params, undefined)

/** The first column of the first row. */
export const one = (session: Session, sql: string, params: ReadonlyArray<unknown> = []): Effect.Effect<any, SqlError> =>
  Effect.map(session.executeValues(sql, params), (rows) => rows[0]?.[0])

/** The typed failure of an effect that must fail with one, and with nothing else. */
export const failure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<E, never, R> =>
  Effect.map(Effect.exit(effect), (exit) => {
    assert.isTrue(Exit.isFailure(exit), "it was to fail")
    const cause = (exit as Exit.Failure<A, E>).cause
    assert.isFalse(Cause.hasDies(cause), `a defect: ${Cause.pretty(cause)}`)
    return Option.getOrThrow(Cause.findErrorOption(cause))
  })

export const sqlFailure = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<SqlError, never, R> =>
  Effect.map(failure(effect), (error) => {
    assert.isTrue(isSqlError(error), String(error))
    return error as unknown as SqlError
  })

/** The fields of the server's report. */
export const fields = (error: SqlError): Record<string, string | undefined> => error.reason.cause as any

/** The evidence of a lost connection. */
export const lost = (error: SqlError): ConnectionLost => {
  assert.instanceOf(error.reason.cause, ConnectionLost)
  return error.reason.cause as ConnectionLost
}

/** Waits until the server works on a statement of a session. */
export const working = (session: Session): Effect.Effect<void, SqlError | InvalidOptions | Error, Scope.Scope> =>
  Effect.flatMap(connect(), (observer) =>
    eventually(Effect.map(
      one(observer, "select count(*) from pg_stat_activity where pid = $1::int and state = 'active'", [
        Number(session.id)
      ]),
      (count) => Number(count) > 0
    )))

/** Waits until a condition holds, for a few seconds. */
export const eventually = <E, R>(condition: Effect.Effect<boolean, E, R>): Effect.Effect<void, E | Error, R> => {
  const loop = (left: number): Effect.Effect<void, E | Error, R> =>
    Effect.flatMap(condition, (holds) =>
      holds
        ? Effect.void
        : left === 0
        ? Effect.fail(new Error("it did not come about"))
        : Effect.andThen(Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 10))), loop(left - 1)))
  return loop(500)
}
