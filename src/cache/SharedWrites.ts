/**
 * What a shared store is told about a write: a doubt before COMMIT, and the outcome after it.
 *
 * Reads of this process pass a tag by until the store has been told (see `CacheRuntime.observer`), so `applied` and
 * `unknown` repeat until they succeed. The other processes rest on the doubt, and on `ttl` when the store could not be
 * reached for that either.
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Redis from "effect/persistence/Redis"
import * as Schedule from "effect/Schedule"
import { timeout } from "../timing/timeout.ts"
import type { Counters } from "./Counters.ts"
import { type RedisStore, unique } from "./RedisStore.ts"

/** How one write is told. */
export interface SharedWrite {
  readonly applied: Effect.Effect<void>
  readonly notApplied: Effect.Effect<void>
  readonly unknown: Effect.Effect<void>
}

export interface SharedWritesOptions {
  /** For how many milliseconds a write may go on after it was begun. */
  readonly longestTransaction: number
  /** For how many milliseconds a COMMIT without an answer may be applied. */
  readonly doubt: number
  /** How many milliseconds one call may take. */
  readonly storeTimeout: number
}

const pauses = Schedule.min([Schedule.exponential("50 millis"), Schedule.spaced("2 seconds")])

export class SharedWrites {
  private readonly store: RedisStore
  private readonly counters: Counters
  private readonly options: SharedWritesOptions

  constructor(store: RedisStore, counters: Counters, options: SharedWritesOptions) {
    this.store = store
    this.counters = counters
    this.options = options
  }

  /** Puts a doubt on the tags. A store that cannot be reached does not fail the write. */
  begin(tags: ReadonlyArray<string>): Effect.Effect<SharedWrite> {
    const { doubt, longestTransaction } = this.options
    return Effect.flatMap(
      unique,
      (id) =>
        Effect.as(Effect.ignore(this.once(this.store.doubt(id, tags, longestTransaction))), {
          applied: this.untilTold(this.store.invalidate(id, tags)),
          notApplied: Effect.ignore(this.once(this.store.settle(id, tags))),
          unknown: this.untilTold(this.store.doubt(id, tags, doubt))
        })
    )
  }

  private once(call: Effect.Effect<void, Redis.RedisError>) {
    return timeout(call, Duration.millis(this.options.storeTimeout)).pipe(
      Effect.tapCause((cause) => {
        this.counters.storeFailures++
        return Effect.logDebug("The shared store of the cache could not be told about a write", cause)
      })
    )
  }

  private untilTold(call: Effect.Effect<void, Redis.RedisError>): Effect.Effect<void> {
    return Effect.ignore(Effect.retry(this.once(call), pauses))
  }
}
