/**
 * Advisory locks: mutual exclusion among all processes that use a database.
 *
 * **Details**
 *
 * A lock of a session has a connection for itself, beside the pool, so that those who hold locks or wait for them never
 * keep the work from a connection that they guard. The lock ends with its scope. If its connection is lost the lock is
 * lost with it, because somebody else can have it from then on: `withLock` interrupts the work then.
 *
 * A lock of a transaction lives on the transaction's connection, and ends with the transaction.
 *
 * **Gotchas**
 *
 * Each lock of a session costs the server a connection. `maxLocks` of them are held or waited for at a time.
 *
 * **Example** (One of many processes does it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { AdvisoryLock } from "watertight/postgres"
 *
 * declare const report: Effect.Effect<void>
 *
 * const nightly = report.pipe(
 *   AdvisoryLock.withLock("nightly report", { wait: false }),
 *   Effect.catchTag("AdvisoryLockError", () => Effect.log("somebody else does it"))
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { crypto } from "../node/builtins.ts"
import { timeoutOrElse } from "../timing/timeout.ts"
import * as StatementTimeout from "../transaction/StatementTimeout.ts"
import type { Session } from "./session/Session.ts"
import { Sessions } from "./Sessions.ts"

/**
 * What is locked: a number, two numbers, or a text, of which 64 bits of the hash are taken.
 *
 * @category models
 * @since 0.1.0
 */
export type Key = string | number | bigint | readonly [number, number]

/**
 * How a lock is taken.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Whether others may have it at the same time, if they share it as well. Default: `false`. */
  readonly shared?: boolean | undefined
  /** How long to wait for it, or `false` not to wait. Default: for ever. */
  readonly wait?: Duration.Input | false | undefined
}

/**
 * Why there is no lock: somebody else has it (`"Busy"`), did not give it up in time (`"Timeout"`), the connection that
 * held it was lost (`"Lost"`), or there is no transaction that could have it (`"NoTransaction"`).
 *
 * @category errors
 * @since 0.1.0
 */
export class AdvisoryLockError extends Data.TaggedError("AdvisoryLockError")<{
  readonly database: string
  readonly reason: "Busy" | "Timeout" | "Lost" | "NoTransaction"
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.database}: ${messages[this.reason]}`
  }
}

const messages = {
  Busy: "somebody else has the advisory lock",
  Timeout: "the advisory lock did not become free in time",
  Lost: "the connection that held the advisory lock was lost, so somebody else may have it now",
  NoTransaction:
    "an advisory lock of a transaction was asked for outside of one: run it inside `Transaction.run`, or use `withLock`"
}

/**
 * A lock that is held.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lock {
  /** Fails when the lock is lost, and ends in no other way. */
  readonly lost: Effect.Effect<never, AdvisoryLockError>
}

/**
 * How many locks of sessions may be held or waited for at a time, in all of the process. Default: 16.
 *
 * @category references
 * @since 0.1.0
 */
export const maxLocks = Context.Reference<Semaphore.Semaphore>("watertight/postgres/AdvisoryLock/maxLocks", {
  defaultValue: () => Semaphore.makeUnsafe(16)
})

/** How often a connection that holds a lock is asked for a sign of life. */
const keepAlive = "10 seconds"

/** The SQL of a key. */
const argumentOf = (key: Key): string => {
  if (typeof key === "object") return `${key[0] | 0}, ${key[1] | 0}`
  const number = typeof key === "string"
    ? crypto().createHash("sha256").update(key).digest().readBigInt64BE(0)
    : BigInt.asIntN(64, BigInt(key))
  return `'${number}'::int8`
}

const nameOf = (options: Options, transaction: boolean, isTry: boolean): string =>
  `pg_catalog.pg_${isTry ? "try_" : ""}advisory_${transaction ? "xact_" : ""}lock${
    options.shared === true ? "_shared" : ""
  }`

const lockNotAvailable = "55P03"

const isTimeout = (error: SqlError): boolean =>
  (error.reason.cause as { readonly code?: unknown } | undefined)?.code === lockNotAvailable

/** How long the server may take for what does not wait, and to say that a wait is over. */
const answerLimit = Duration.seconds(10)

/** `wait` decides how long a lock is waited for, not the limit of statements. */
const limitOf = (wait: Options["wait"]): Duration.Duration =>
  wait === false
    ? answerLimit
    : wait === undefined
    ? Duration.infinity
    : Duration.sum(Duration.fromInputUnsafe(wait), answerLimit)

/** Takes a lock. With a time limit the server does the waiting, so that the order of those who wait is kept. */
const take = (
  database: string,
  session: Session,
  key: Key,
  options: Options,
  transaction: boolean
): Effect.Effect<void, AdvisoryLockError | SqlError> => {
  const { wait } = options
  const lock = (isTry: boolean) =>
    StatementTimeout.within(
      session.executeValuesUnprepared(`select ${nameOf(options, transaction, isTry)}(${argumentOf(key)})`, []),
      limitOf(wait)
    )
  if (wait === undefined || wait !== false && Duration.toMillis(Duration.fromInputUnsafe(wait)) === Infinity) {
    return Effect.asVoid(lock(false))
  }
  if (wait === false) {
    return Effect.flatMap(
      lock(true),
      (rows) => rows[0]?.[0] === true ? Effect.void : Effect.fail(new AdvisoryLockError({ database, reason: "Busy" }))
    )
  }
  const millis = Math.max(1, Math.ceil(Duration.toMillis(Duration.fromInputUnsafe(wait))))
  const setting = (value: string) =>
    session.executeValues("select pg_catalog.set_config('lock_timeout', $1, true)", [value])
  const within = Effect.gen(function*() {
    const [before] = yield* session.executeValues("select pg_catalog.current_setting('lock_timeout')", [])
    yield* setting(String(millis))
    yield* lock(false)
    yield* setting(String(before?.[0] ?? "0"))
  })
  const timely = Effect.catchIf(
    within,
    isTimeout,
    (cause) => Effect.fail(new AdvisoryLockError({ database, reason: "Timeout", cause }))
  )
  if (!transaction) {
    return Effect.andThen(
      session.executeValues("select pg_catalog.set_config('lock_timeout', $1, false)", [String(millis)]),
      Effect.catchIf(
        Effect.asVoid(lock(false)),
        isTimeout,
        (cause) => Effect.fail(new AdvisoryLockError({ database, reason: "Timeout", cause }))
      )
    )
  }
  // The failure to get it in time must not cost the transaction, nor change its settings.
  return Effect.gen(function*() {
    yield* session.savepoint("watertight_lock")
    yield* Effect.onError(timely, () =>
      Effect.ignore(Effect.andThen(
        session.rollbackSavepoint("watertight_lock"),
        session.releaseSavepoint("watertight_lock")
      )))
    yield* session.releaseSavepoint("watertight_lock")
  })
}

/**
 * Takes a lock and holds it until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const acquire = Effect.fnUntraced(function*(
  key: Key,
  options: Options = {}
): Effect.fn.Return<Lock, AdvisoryLockError | SqlError, Sessions | Scope.Scope> {
  const sessions = yield* Sessions
  const { database } = sessions
  const permits = yield* maxLocks
  const timeout = options.wait === undefined || options.wait === false ? undefined : options.wait
  const permit = Effect.acquireRelease(
    Effect.interruptible(permits.take(1)),
    () => permits.release(1)
  )
  yield* timeout === undefined ? permit : timeoutOrElse(permit, {
    duration: timeout,
    orElse: () => Effect.fail(new AdvisoryLockError({ database, reason: "Timeout" }))
  })
  const session = yield* sessions.open
  yield* Effect.mapError(
    // A server that waits for a lock does not notice that nobody listens any more.
    // The session is beside the pool, and no tenant's.
    Effect.provideService(
      Effect.onInterrupt(
        StatementTimeout.within(take(database, session, key, options, false), answerLimit),
        () => session.cancel
      ),
      sessions.settings,
      "none"
    ),
    (error) => error._tag === "SqlError" ? sessions.judge(session)(error) : error
  )
  // The end of the session would do, but whoever waits should not wait for the server to notice.
  yield* Effect.addFinalizer(() =>
    Effect.provideService(
      Effect.ignore(StatementTimeout.within(
        session.executeValuesUnprepared("select pg_catalog.pg_advisory_unlock_all()", []),
        answerLimit
      )),
      sessions.settings,
      "none"
    )
  )
  const lost = Deferred.makeUnsafe<never, AdvisoryLockError>()
  session.onLost((cause) =>
    Deferred.doneUnsafe(lost, Effect.fail(new AdvisoryLockError({ database, reason: "Lost", cause })))
  )
  yield* Effect.forkScoped(Effect.ignore(Effect.forever(Effect.andThen(Effect.sleep(keepAlive), session.ping))))
  return { lost: Deferred.await(lost) }
})

/**
 * Does something while it holds a lock. If the lock is lost, what is being done is interrupted.
 *
 * @category combinators
 * @since 0.1.0
 */
export const withLock: {
  (
    key: Key,
    options?: Options
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AdvisoryLockError | SqlError, R | Sessions>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    key: Key,
    options?: Options
  ): Effect.Effect<A, E | AdvisoryLockError | SqlError, R | Sessions>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, key: Key, options?: Options) =>
    Effect.scoped(Effect.flatMap(acquire(key, options), (lock) => Effect.raceFirst(self, lock.lost)))
)

/**
 * Takes a lock that ends with the transaction that is open.
 *
 * @category constructors
 * @since 0.1.0
 */
export const inTransaction = Effect.fnUntraced(function*(
  key: Key,
  options: Options = {}
): Effect.fn.Return<void, AdvisoryLockError | SqlError, Sessions> {
  const sessions = yield* Sessions
  const { database } = sessions
  if (!(yield* sessions.inTransaction)) {
    return yield* Effect.fail(new AdvisoryLockError({ database, reason: "NoTransaction" }))
  }
  yield* Effect.scoped(Effect.flatMap(sessions.borrow, (session) =>
    Effect.mapError(
      take(database, session, key, options, true),
      (error) => error._tag === "SqlError" ? sessions.judge(session)(error) : error
    )))
})
