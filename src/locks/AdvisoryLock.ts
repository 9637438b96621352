/**
 * Advisory locks: mutual exclusion among all processes that use a database.
 *
 * **Details**
 *
 * `acquire` and `withLock` have a connection for themselves, beside the pool, so that those who hold locks or wait for
 * them never keep the work from a connection that they guard. The lock ends with its scope. If its connection is lost
 * the lock is lost with it, because somebody else can have it from then on: `withLock` interrupts the work then.
 *
 * `inTransaction` takes a lock on the transaction's connection, and it ends with the transaction.
 *
 * |                   | PostgreSQL                    | MySQL, MariaDB                | PGlite          |
 * | ----------------- | ----------------------------- | ----------------------------- | --------------- |
 * | made of           | `pg_advisory_lock`            | `get_lock`                    |                 |
 * | `acquire`         | yes                           | yes                           | a `SqlError`    |
 * | `shared`          | yes                           | `"Unsupported"`               | yes             |
 * | `inTransaction`   | yes                           | `"Unsupported"`               | yes             |
 * | holds among       | the programs of one database  | the programs of one database  | nobody else     |
 *
 * **Gotchas**
 *
 * Each lock of `acquire` costs the server a connection. `maxLocks` of them are held or waited for at a time.
 *
 * A lock lives in one server. Several servers of which each takes writes, such as those of Galera, do not share it, and
 * a failover ends it.
 *
 * **Example** (One of many processes does it)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { AdvisoryLock } from "watertight"
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
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { SqlError } from "effect/sql/SqlError"
import { TaggedError } from "../options/TaggedError.ts"

/**
 * What is locked: a text, a whole number of 64 bits, or two of 32 bits.
 *
 * **Details**
 *
 * `7` and `7n` are the same lock. On PostgreSQL a number is the key of `pg_advisory_lock`, and two numbers are its two
 * keys; of a text 64 bits of its hash are the key. On MySQL and MariaDB each is a name of its own.
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
  /** Whether others may have it at the same time, if they share it as well. PostgreSQL only. Default: `false`. */
  readonly shared?: boolean | undefined
  /** How long to wait for it, or `false` not to wait. Default: for ever. */
  readonly wait?: Duration.Input | false | undefined
}

/**
 * Why there is no lock.
 *
 * **Details**
 *
 * | reason            | what happened                                                                       |
 * | ----------------- | ----------------------------------------------------------------------------------- |
 * | `"Busy"`          | somebody else has it, and `wait` is `false`                                         |
 * | `"Timeout"`       | it did not become free within `wait`                                                |
 * | `"Lost"`          | the connection that held it was lost, so somebody else may have it now              |
 * | `"NoTransaction"` | `inTransaction` was called outside of a transaction                                 |
 * | `"Unsupported"`   | the database has no such lock; nothing was sent                                     |
 * | `"InvalidKey"`    | the key is no text and no whole number that fits; nothing was sent                  |
 *
 * @category errors
 * @since 0.1.0
 */
export class AdvisoryLockError extends TaggedError("AdvisoryLockError")<{
  readonly database: string
  readonly reason: "Busy" | "Timeout" | "Lost" | "NoTransaction" | "Unsupported" | "InvalidKey"
  /** What to do about it, where that depends on the database. */
  readonly advice?: string | undefined
  readonly cause?: unknown
}> {
  override get message(): string {
    return `${this.database}: ${messages[this.reason]}${this.advice === undefined ? "" : `: ${this.advice}`}`
  }
}

const messages = {
  Busy: "somebody else has the advisory lock",
  Timeout: "the advisory lock did not become free in time",
  Lost: "the connection that held the advisory lock was lost, so somebody else may have it now",
  NoTransaction:
    "an advisory lock of a transaction was asked for outside of one: run it inside `Transaction.run`, or use `withLock`",
  Unsupported: "the database has no such advisory lock",
  InvalidKey: "the key of an advisory lock is a text, a whole number of 64 bits, or two whole numbers of 32 bits"
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
 * What a database gives locks with. Every database layer provides it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Locks {
  /** Takes a lock and holds it until the scope closes. */
  readonly acquire: (key: Key, options: Options) => Effect.Effect<Lock, AdvisoryLockError | SqlError, Scope.Scope>
  /** Takes a lock that ends with the transaction that is open. */
  readonly inTransaction: (key: Key, options: Options) => Effect.Effect<void, AdvisoryLockError | SqlError>
}

/**
 * The service of `Locks`.
 *
 * @category services
 * @since 0.2.0
 */
export const Locks = Context.Service<Locks>("watertight/AdvisoryLock/Locks")

/**
 * How many locks of `acquire` may be held or waited for at a time, in all of the process. Default: 16.
 *
 * @category references
 * @since 0.1.0
 */
export const maxLocks = Context.Reference<Semaphore.Semaphore>("watertight/AdvisoryLock/maxLocks", {
  defaultValue: () => Semaphore.makeUnsafe(16)
})

/**
 * Takes a lock and holds it until the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const acquire = (
  key: Key,
  options: Options = {}
): Effect.Effect<Lock, AdvisoryLockError | SqlError, Locks | Scope.Scope> =>
  Effect.flatMap(Locks, (locks) => locks.acquire(key, options))

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
  ): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | AdvisoryLockError | SqlError, R | Locks>
  <A, E, R>(
    self: Effect.Effect<A, E, R>,
    key: Key,
    options?: Options
  ): Effect.Effect<A, E | AdvisoryLockError | SqlError, R | Locks>
} = dual(
  (args) => Effect.isEffect(args[0]),
  <A, E, R>(self: Effect.Effect<A, E, R>, key: Key, options?: Options) =>
    Effect.scoped(Effect.flatMap(acquire(key, options), (lock) => Effect.raceFirst(self, lock.lost)))
)

/**
 * Takes a lock that ends with the transaction that is open. PostgreSQL and PGlite only.
 *
 * **Details**
 *
 * Not getting it in time costs the transaction nothing.
 *
 * @category constructors
 * @since 0.1.0
 */
export const inTransaction = (
  key: Key,
  options: Options = {}
): Effect.Effect<void, AdvisoryLockError | SqlError, Locks> =>
  Effect.flatMap(Locks, (locks) => locks.inTransaction(key, options))
