/**
 * Writes that name their tags: where they run, and who is told how they ended.
 *
 * In a transaction the tags follow its COMMIT. Outside of one they are in doubt as long as the write runs, and count as
 * changed at its end unless it is proved that nothing was applied.
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { SqlError } from "effect/sql/SqlError"
import type { Database } from "../Database.ts"
import * as Outcome from "../failure/Outcome.ts"
import { type Announcements, announcementTable } from "./Announcements.ts"
import type { CacheRuntime } from "./CacheRuntime.ts"
import type { SharedWrites } from "./SharedWrites.ts"

export interface WritesOptions {
  readonly database: Database
  readonly announcements: Announcements | undefined
  readonly store: SharedWrites | undefined
  /** Whether other processes wait for notifications of PostgreSQL. */
  readonly isWaking: boolean
}

export class Writes {
  private readonly runtime: CacheRuntime
  private readonly options: WritesOptions
  /** Makes other processes read the announcements at once. */
  private readonly wake: Effect.Effect<void>

  constructor(runtime: CacheRuntime, options: WritesOptions) {
    this.runtime = runtime
    this.options = options
    this.wake = Effect.ignore(options.database.client`select pg_notify(${announcementTable}, '')`)
  }

  /** An effect that changes these tags. */
  invalidates<A, E, R>(self: Effect.Effect<A, E, R>, tags: ReadonlyArray<string>): Effect.Effect<A, E | SqlError, R> {
    const { transactionService } = this.options.database.client
    return Effect.withFiber((fiber) =>
      Context.getOrUndefined(fiber.context as Context.Context<never>, transactionService) === undefined
        ? this.alone(self, tags)
        // The body may go on to fail after this. Then the transaction is not applied, and nothing is invalidated.
        : Effect.tap(self, () => Effect.andThen(this.publish(tags), this.follow(tags)))
    )
  }

  private publish(tags: ReadonlyArray<string>): Effect.Effect<void, SqlError> {
    return this.options.announcements?.publish(tags) ?? Effect.void
  }

  private begin(tags: ReadonlyArray<string>) {
    return this.options.store?.begin(tags) ?? Effect.undefined
  }

  /** The transaction of the fiber changes these tags. */
  private follow(tags: ReadonlyArray<string>): Effect.Effect<void> {
    const { announcements, database, isWaking } = this.options
    return Effect.flatMap(this.begin(tags), (write) => {
      const observer = this.runtime.observer(tags, { isAnnounced: announcements !== undefined, write })
      return Effect.asVoid(database.transactions.observe({
        onCommit: observer.onCommit,
        onEnd: (outcome) => {
          observer.onEnd(outcome)
          if (isWaking && outcome === "Applied") this.runtime.fork(this.wake)
        }
      }))
    })
  }

  /** A write outside of a transaction. */
  private alone<A, E, R>(self: Effect.Effect<A, E, R>, tags: ReadonlyArray<string>): Effect.Effect<A, E | SqlError, R> {
    return Effect.flatMap(this.begin(tags), (write) => {
      const observer = this.runtime.observer(tags, { isAnnounced: false, write })
      observer.onCommit()
      return Effect.onExit(self, (exit) => {
        // Of several statements the first may be applied although a later one has failed.
        observer.onEnd(isUnknown(exit) ? "Unknown" : "Applied")
        const published = Exit.isSuccess(exit) ? this.publish(tags) : Effect.ignore(this.publish(tags))
        return this.options.isWaking ? Effect.andThen(published, this.wake) : published
      })
    })
  }
}

const isUnknown = (exit: Exit.Exit<unknown, unknown>): boolean => {
  if (Exit.isSuccess(exit)) return false
  const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")
  return Exit.hasInterrupts(exit) || Outcome.isUnknown(failure?._tag === "Fail" ? failure.error : undefined)
}
