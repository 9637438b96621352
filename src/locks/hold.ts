/**
 * How a lock is held on a connection of its own: what is the same on all databases.
 *
 * A place among the locks of this process comes first, then the connection, then the lock. A sign of life is asked for
 * from time to time, so that a connection that died without a word is found out.
 */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { timeoutOrElse } from "../timing/timeout.ts"
import * as StatementTimeout from "../transaction/StatementTimeout.ts"
import { AdvisoryLockError, type Key, type Lock, maxLocks, type Options } from "./AdvisoryLock.ts"
import { type CheckedKey, checkKey } from "./key.ts"

/** A connection that is there for one lock. */
export interface LockSession {
  readonly take: (key: CheckedKey, options: Options) => Effect.Effect<void, AdvisoryLockError | SqlError>
  readonly release: Effect.Effect<unknown, SqlError>
  /** Fails if the lock is not there any more. */
  readonly check: Effect.Effect<unknown, SqlError>
  /** Stops on the server what waits for the lock. */
  readonly cancel: Effect.Effect<void>
  readonly onLost: (listener: (error: SqlError) => void) => void
}

/** How often a connection that holds a lock is asked for a sign of life. */
const keepAlive = "10 seconds"

/** How long the server may take for what does not wait, and to say that a wait is over. */
export const answerLimit = Duration.seconds(10)

/** How long a lock is waited for, in milliseconds. Not to wait is 0. */
export const waitMillis = ({ wait }: Options): number =>
  wait === false ? 0 : wait === undefined ? Infinity : Math.max(1, Duration.toMillis(Duration.fromInputUnsafe(wait)))

/** `wait` decides how long a lock is waited for, not the limit of statements. */
export const limitOf = (millis: number): Duration.Duration =>
  millis === Infinity ? Duration.infinity : Duration.sum(Duration.millis(millis), answerLimit)

/** The key, or the failure to have one. */
export const keyOf = (database: string, key: Key): Effect.Effect<CheckedKey, AdvisoryLockError> =>
  Effect.suspend(() => {
    const checked = checkKey(key)
    return checked === undefined
      ? Effect.fail(new AdvisoryLockError({ database, reason: "InvalidKey" }))
      : Effect.succeed(checked)
  })

/** A place among the locks of this process. */
const permit = Effect.fnUntraced(function*(
  database: string,
  millis: number
): Effect.fn.Return<void, AdvisoryLockError, Scope.Scope> {
  const permits = yield* maxLocks
  const taken = Effect.acquireRelease(Effect.interruptible(permits.take(1)), () => permits.release(1))
  yield* millis === 0 || millis === Infinity ? taken : timeoutOrElse(taken, {
    duration: Duration.millis(millis),
    orElse: () => Effect.fail(new AdvisoryLockError({ database, reason: "Timeout" }))
  })
})

export const hold = Effect.fnUntraced(function*(
  database: string,
  open: Effect.Effect<LockSession, SqlError, Scope.Scope>,
  key: Key,
  options: Options
): Effect.fn.Return<Lock, AdvisoryLockError | SqlError, Scope.Scope> {
  const checked = yield* keyOf(database, key)
  yield* permit(database, waitMillis(options))
  const session = yield* open
  // A server that waits for a lock does not notice that nobody listens any more.
  yield* Effect.onInterrupt(
    StatementTimeout.within(session.take(checked, options), answerLimit),
    () => session.cancel
  )
  // The end of the session would do, but whoever waits should not wait for the server to notice.
  yield* Effect.addFinalizer(() => Effect.ignore(StatementTimeout.within(session.release, answerLimit)))
  const lost = Deferred.makeUnsafe<never, AdvisoryLockError>()
  const lose = (cause: SqlError): void => {
    Deferred.doneUnsafe(lost, Effect.fail(new AdvisoryLockError({ database, reason: "Lost", cause })))
  }
  session.onLost(lose)
  const check = StatementTimeout.within(Effect.andThen(Effect.sleep(keepAlive), session.check), answerLimit)
  yield* Effect.forkScoped(Effect.catch(Effect.forever(check), (cause) => Effect.sync(() => lose(cause))))
  return { lost: Deferred.await(lost) }
})
