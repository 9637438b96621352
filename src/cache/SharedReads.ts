/**
 * Reads through a store that other processes share. A failure of the store is a miss, and costs a read no more than
 * `storeTimeout`.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import type * as Redis from "effect/persistence/Redis"
import * as Schema from "effect/Schema"
import { timeout } from "../timing/timeout.ts"
import type { CacheRuntime, Read } from "./CacheRuntime.ts"
import { longestLife } from "./options.ts"
import { type Found, isInDoubt, type RedisStore } from "./RedisStore.ts"

/** A read of which the result can be written down. */
export interface SharedRead extends Read {
  readonly schema: Schema.Codec<any, any>
}

export class SharedReads {
  private readonly runtime: CacheRuntime
  private readonly store: RedisStore
  private readonly timeout: number

  constructor(runtime: CacheRuntime, store: RedisStore, timeout: number) {
    this.runtime = runtime
    this.store = store
    this.timeout = timeout
  }

  /** The read behind the memory of this process: the store, and behind that the database. */
  through(read: SharedRead): Read {
    const codec = Schema.toCodecJson(read.schema)
    let remaining = Infinity
    const fromDatabase = (found: Found | undefined) =>
      found === undefined || isInDoubt(found.tokens)
        ? read.run
        : Effect.tap(read.run, (value) => this.put(read, codec, value, found.tokens))
    const fromStore = (text: string, found: Found) =>
      Effect.try({ try: () => JSON.parse(text) as unknown, catch: identity }).pipe(
        Effect.flatMap(Schema.decodeUnknownEffect(codec)),
        Effect.tap(() => Effect.sync(() => remaining = found.remaining)),
        // Written by another version of the program, or by another program.
        Effect.catchCause(() => fromDatabase(found))
      )
    const run = Effect.flatMap(
      this.guard(this.store.find(read.key, read.tags)),
      (found) => found?.value === undefined ? fromDatabase(found) : fromStore(found.value, found)
    )
    return { ...read, run: run as Effect.Effect<unknown, unknown>, remaining: () => remaining }
  }

  private put(
    read: SharedRead,
    codec: Schema.Codec<any, any>,
    value: unknown,
    tokens: ReadonlyArray<string>
  ): Effect.Effect<void> {
    const isEmpty = Array.isArray(value) && value.length === 0
    return Schema.encodeUnknownEffect(codec)(value).pipe(
      Effect.flatMap((encoded) =>
        this.guard(
          this.store.store(
            read.key,
            JSON.stringify(encoded),
            tokens,
            Math.min(isEmpty ? read.times.emptyTtl : read.times.ttl, longestLife)
          )
        )
      ),
      Effect.catchCause((cause) => Effect.logDebug("A result could not be written into the shared store", cause)),
      Effect.asVoid
    ) as Effect.Effect<void>
  }

  private guard<A>(effect: Effect.Effect<A, Redis.RedisError>): Effect.Effect<A | undefined> {
    return effect.pipe(
      timeout(this.timeout),
      Effect.catchCause((cause) => {
        if (Cause.hasInterruptsOnly(cause)) return Effect.interrupt
        this.runtime.counters.storeFailures++
        return Effect.as(Effect.logDebug("The shared store of the cache has failed", cause), undefined)
      })
    )
  }
}
