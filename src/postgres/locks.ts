/** The locks of PostgreSQL: `pg_advisory_lock` and its kin. */
import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import { AdvisoryLockError, type Locks, type Options } from "../locks/AdvisoryLock.ts"
import { hold, keyOf, limitOf, type LockSession, waitMillis } from "../locks/hold.ts"
import type { CheckedKey } from "../locks/key.ts"
import { crypto } from "../node/builtins.ts"
import * as StatementTimeout from "../transaction/StatementTimeout.ts"
import type { Session } from "./session/Session.ts"
import type { Sessions } from "./Sessions.ts"

/** The SQL of a key. */
const argumentsOf = (key: CheckedKey): string => {
  switch (key._tag) {
    case "Text":
      return `'${crypto().createHash("sha256").update(key.text).digest().readBigInt64BE(0)}'::int8`
    case "Number":
      return `'${key.value}'::int8`
    case "Pair":
      return `${key.first}, ${key.second}`
  }
}

const nameOf = (options: Options, transaction: boolean, isTry: boolean): string =>
  `pg_catalog.pg_${isTry ? "try_" : ""}advisory_${transaction ? "xact_" : ""}lock${
    options.shared === true ? "_shared" : ""
  }`

const lockNotAvailable = "55P03"

const isTimeout = (error: SqlError): boolean =>
  (error.reason.cause as { readonly code?: unknown } | undefined)?.code === lockNotAvailable

/** Takes a lock. With a time limit the server does the waiting, so that the order of those who wait is kept. */
const take = (
  database: string,
  session: Session,
  key: CheckedKey,
  options: Options,
  transaction: boolean
): Effect.Effect<void, AdvisoryLockError | SqlError> => {
  const millis = waitMillis(options)
  const lock = StatementTimeout.within(
    session.executeValuesUnprepared(`select ${nameOf(options, transaction, millis === 0)}(${argumentsOf(key)})`, []),
    limitOf(millis)
  )
  if (millis === Infinity) return Effect.asVoid(lock)
  if (millis === 0) {
    return Effect.flatMap(
      lock,
      (rows) => rows[0]?.[0] === true ? Effect.void : Effect.fail(new AdvisoryLockError({ database, reason: "Busy" }))
    )
  }
  const setting = (value: string, local: boolean) =>
    session.executeValues("select pg_catalog.set_config('lock_timeout', $1, $2)", [value, local])
  const timely = <A>(self: Effect.Effect<A, SqlError>) =>
    Effect.catchIf(
      Effect.asVoid(self),
      isTimeout,
      (cause) => Effect.fail(new AdvisoryLockError({ database, reason: "Timeout", cause }))
    )
  const limit = String(Math.ceil(millis))
  if (!transaction) return Effect.andThen(setting(limit, false), timely(lock))
  // The failure to get it in time must not cost the transaction, nor change its settings.
  return Effect.gen(function*() {
    yield* session.savepoint("watertight_lock")
    const within = Effect.gen(function*() {
      const [before] = yield* session.executeValues("select pg_catalog.current_setting('lock_timeout')", [])
      yield* setting(limit, true)
      yield* lock
      yield* setting(String(before?.[0] ?? "0"), true)
    })
    yield* Effect.onError(timely(within), () =>
      Effect.ignore(Effect.andThen(
        session.rollbackSavepoint("watertight_lock"),
        session.releaseSavepoint("watertight_lock")
      )))
    yield* session.releaseSavepoint("watertight_lock")
  })
}

/** A session beside the pool, which is no tenant's. */
const lockSession = (sessions: Sessions, session: Session): LockSession => {
  const nobody = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<A, E> =>
    Effect.provideService(self, sessions.settings, "none")
  return {
    take: (key, options) =>
      Effect.mapError(
        nobody(take(sessions.database, session, key, options, false)),
        (error) => error._tag === "SqlError" ? sessions.judge(session)(error) : error
      ),
    release: nobody(session.executeValuesUnprepared("select pg_catalog.pg_advisory_unlock_all()", [])),
    check: session.ping,
    cancel: session.cancel,
    onLost: (listener) => session.onLost(listener)
  }
}

export const makeLocks = (sessions: Sessions): Locks => {
  const { database } = sessions
  return {
    acquire: (key, options) =>
      hold(database, Effect.map(sessions.open, (session) => lockSession(sessions, session)), key, options),
    inTransaction: (key, options) =>
      Effect.flatMap(keyOf(database, key), (checked) =>
        Effect.flatMap(sessions.inTransaction, (isInside) =>
          isInside
            ? Effect.scoped(Effect.flatMap(sessions.borrow, (session) =>
              Effect.mapError(
                take(database, session, checked, options, true),
                (error) => error._tag === "SqlError" ? sessions.judge(session)(error) : error
              )))
            : Effect.fail(new AdvisoryLockError({ database, reason: "NoTransaction" }))))
  }
}
