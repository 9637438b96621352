/**
 * A cache of query results that knows what became of a COMMIT.
 *
 * **When to use**
 *
 * Use it for reads that are repeated often, change rarely and may be a moment old: lists, settings, catalogues. Do not
 * use it for a read that decides about a write, for what must be exact, and not to hide a missing index. A read saves
 * one round trip at best.
 *
 * **Details**
 *
 * A read names the tags that it depends on, a write the tags that it changes. What is served was current when its read
 * began, or was overwritten by a write that is not acknowledged yet:
 *
 * - An invalidation happens when COMMIT is acknowledged, before the program goes on. While COMMIT is under way, its tags
 *   are *in doubt*: reads with such a tag go to the database. If the answer to COMMIT is lost, the doubt lasts until the
 *   outcome is known, or for `doubt`.
 * - A read that began before an invalidation is never stored after it.
 * - Inside a transaction nothing is read from the cache and nothing is put into it.
 * - Concurrent reads of one key are one read. A caller that comes after an invalidation does not join an earlier read.
 * - Failures are not stored.
 *
 * With one process there is nothing more to it. Several processes have to tell each other: `announce: "table"` writes a
 * row in the transaction of the write, which every process reads within `interval`. A process that cannot read these rows
 * for `bound` goes past its cache. `store: "redis"` keeps the results in Redis, so that a fleet shares them.
 *
 * **Gotchas**
 *
 * A write that names no tags is not seen by the cache: neither a statement without `invalidates`, nor another program,
 * nor a trigger. Then `ttl` is the bound.
 *
 * Results are shared by their readers and frozen. Copy a row before you change it.
 *
 * **Example** (A list that is read often)
 *
 * ```ts
 * import { Effect, Layer, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Transaction } from "watertight"
 * import { Cached } from "watertight/cache"
 * import { Postgres } from "watertight/postgres"
 *
 * const largest = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select name from city order by people desc limit 10`.pipe(
 *     Cached.read({ tags: ["city"], ttl: "1 minute" })
 *   )
 * })
 *
 * const rename = (id: number, name: string) =>
 *   Effect.gen(function*() {
 *     const sql = yield* SqlClient.SqlClient
 *     yield* sql`update city set name = ${name} where id = ${id}`
 *   }).pipe(Cached.invalidates({ city: [id] }), Transaction.run({}))
 *
 * const Database = Postgres.layer({ url: Redacted.make("postgres://app@db/geo") })
 * const Live = Cached.layer().pipe(Layer.provideMerge(Database))
 *
 * const program = Effect.andThen(rename(1, "Trier"), largest).pipe(Effect.provide(Live))
 * ```
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Redis from "effect/persistence/Redis"
import * as PubSub from "effect/PubSub"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { isFragment, type Statement } from "effect/sql/Statement"
import * as Stream from "effect/Stream"
import { Database } from "../Database.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Announcements from "./Announcements.ts"
import { CacheRuntime, type Read } from "./CacheRuntime.ts"
import { type BypassReason, type InvalidationSource, type ReadResult, register } from "./Counters.ts"
import { keyOf } from "./keys.ts"
import { type Options, optionsOf, type ReadOptions, readOptions } from "./options.ts"
import * as RedisStore from "./RedisStore.ts"
import { SharedReads } from "./SharedReads.ts"
import { SharedWrites } from "./SharedWrites.ts"
import { type Tags, writeTags } from "./tags.ts"
import { Writes } from "./Writes.ts"

export type {
  /**
   * @category models
   * @since 0.2.0
   */
  BypassReason,
  /**
   * @category models
   * @since 0.2.0
   */
  InvalidationSource,
  /**
   * The options of a cache.
   *
   * @category options
   * @since 0.2.0
   */
  Options,
  /**
   * The options of one read.
   *
   * @category options
   * @since 0.2.0
   */
  ReadOptions,
  /**
   * @category models
   * @since 0.2.0
   */
  ReadResult,
  /**
   * Tags in the form of Effect's `Reactivity` keys: `["city"]` is a whole table, `{ city: [1, 2] }` are two rows of it.
   *
   * @category models
   * @since 0.2.0
   */
  Tags
}

/**
 * The runtime type identifier of `Cached`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export const TypeId: TypeId = "~watertight/Cached"

/**
 * The type-level identifier of `Cached`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export type TypeId = "~watertight/Cached"

/**
 * The state of a cache.
 *
 * @category models
 * @since 0.2.0
 */
export interface Stats {
  readonly entries: number
  readonly bytes: number
  readonly evicted: number
  readonly requests: Readonly<Record<ReadResult, number>>
  readonly bypassed: Readonly<Record<BypassReason, number>>
  readonly invalidations: Readonly<Record<InvalidationSource, number>>
  /** Results that were not stored because an invalidation overtook their read. */
  readonly discarded: number
  /** Results that were not stored because of their size. */
  readonly tooLarge: number
  readonly storeFailures: number
}

/**
 * Tags were invalidated.
 *
 * @category models
 * @since 0.2.0
 */
export interface Invalidated {
  readonly _tag: "Invalidated"
  readonly tags: ReadonlyArray<string>
  readonly source: InvalidationSource
}

/**
 * A cache of one database.
 *
 * @category models
 * @since 0.2.0
 */
export interface Cached {
  readonly [TypeId]: TypeId
  /** The database, as people should read it. */
  readonly name: string
  readonly read: <A, E, R>(self: Effect.Effect<A, E, R>, options: ReadOptions<A>) => Effect.Effect<A, E, R>
  readonly invalidates: <A, E, R>(self: Effect.Effect<A, E, R>, tags: Tags) => Effect.Effect<A, E | SqlError, R>
  readonly invalidate: (tags: Tags) => Effect.Effect<void, SqlError>
  readonly stats: Effect.Effect<Stats>
  /** What is invalidated, from now on. */
  readonly events: Stream.Stream<Invalidated>
}

/**
 * The service of `Cached`.
 *
 * @category services
 * @since 0.2.0
 */
export const Cached = Context.Service<Cached>("watertight/Cached")

/**
 * A text that is part of every key: results of one partition are never served in another. For example the id of a tenant,
 * where what a statement returns depends on it.
 *
 * @category references
 * @since 0.2.0
 */
export const CurrentPartition = Context.Reference<string>("watertight/Cached/CurrentPartition", {
  defaultValue: () => ""
})

/**
 * Whether reads go past the cache, see `bypass`.
 *
 * @category references
 * @since 0.2.0
 */
export const IsBypassed = Context.Reference<boolean>("watertight/Cached/IsBypassed", { defaultValue: () => false })

const statsOf = ({ counters, state }: CacheRuntime): Stats => ({
  entries: state.size,
  bytes: state.bytes,
  evicted: state.evicted,
  requests: { ...counters.requests },
  bypassed: { ...counters.bypassed },
  invalidations: { ...counters.invalidations },
  discarded: counters.discarded,
  tooLarge: counters.tooLarge,
  storeFailures: counters.storeFailures
})

/**
 * Makes a cache of the database in the context.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function*(
  options: Options = {}
): Effect.fn.Return<Cached, InvalidOptions | SqlError, Database | Redis.Redis | Scope.Scope> {
  const settings = yield* optionsOf(options)
  const database = yield* Database
  const clock = yield* Clock.Clock
  // The live clock's monotonic time, without a bigint for every read.
  const now = clock === Context.get(Context.empty(), Clock.Clock)
    ? () => performance.now()
    : () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000
  const events = yield* Effect.acquireRelease(PubSub.sliding<Invalidated>(256), PubSub.shutdown)
  const { transactionService } = database.client
  let announcements: Announcements.Announcements | undefined

  const runtime = yield* CacheRuntime.make({
    ...settings,
    now,
    isKept: settings.store === "memory" || settings.announce === "table",
    isDeaf: () => announcements !== undefined && announcements.isDeaf(),
    onInvalidate: (tags, source) => {
      const event: Invalidated = { _tag: "Invalidated", tags, source }
      PubSub.publishUnsafe(events, event)
    }
  })
  const store = settings.store === "memory"
    ? undefined
    : RedisStore.make(yield* Redis.Redis, settings.prefix, settings.tokenLife)
  const shared = store && new SharedReads(runtime, store, settings.storeTimeout)
  if (settings.announce === "table") {
    announcements = yield* Announcements.make(database.client, {
      ...settings,
      now,
      wakeUps: settings.wakeUps ?? Stream.empty,
      onTags: (tags) => runtime.invalidate(tags, "remote"),
      onGap: () => runtime.invalidateAll()
    })
  }
  const heard = announcements
  yield* register(database.name, runtime.counters, {
    entries: () => runtime.state.size,
    bytes: () => runtime.state.bytes,
    evicted: () => runtime.state.evicted,
    deafSeconds: () => (heard?.deafFor() ?? 0) / 1_000
  })

  const isInTransaction = (context: Context.Context<never>): boolean =>
    Context.getOrUndefined(context, transactionService) !== undefined

  const read = <A, E, R>(self: Effect.Effect<A, E, R>, options: ReadOptions<A>): Effect.Effect<A, E, R> => {
    const resolved = readOptions(options)
    if (Result.isFailure(resolved)) return Effect.die(resolved.failure)
    const { tags, times } = resolved.success
    return Effect.withFiber((fiber) => {
      const { bypassed } = runtime.counters
      const skip = (reason: BypassReason) => {
        bypassed[reason]++
        return self
      }
      if (fiber.getRef(IsBypassed)) return skip("opted_out")
      if (isInTransaction(fiber.context)) return skip("transaction")
      const reason = runtime.bypassOf(tags)
      if (reason !== undefined) return skip(reason)
      const identity = identityOf(self, options.key)
      if (identity === undefined || (shared !== undefined && options.schema === undefined)) return skip("no_key")
      const one: Read = {
        key: `${fiber.getRef(CurrentPartition)}\n${identity}`,
        tags,
        times,
        run: Effect.provideContext(self, fiber.context as Context.Context<R>)
      }
      const whole = shared === undefined ? one : shared.through({ ...one, schema: options.schema! })
      return runtime.read(whole) as Effect.Effect<A, E>
    })
  }

  const writes = new Writes(runtime, {
    database,
    announcements,
    store: store && new SharedWrites(store, runtime.counters, settings),
    isWaking: settings.wakeUps !== undefined
  })
  const invalidates = <A, E, R>(self: Effect.Effect<A, E, R>, tags: Tags): Effect.Effect<A, E | SqlError, R> =>
    writes.invalidates(self, writeTags(tags))

  return {
    [TypeId]: TypeId,
    name: database.name,
    read,
    invalidates,
    invalidate: (tags) => invalidates(Effect.void, tags),
    stats: Effect.sync(() => statsOf(runtime)),
    events: Stream.fromPubSub(events)
  }
})

/**
 * Provides a cache of the database in the context.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (
  options: Omit<Options, "store" | "storeTimeout" | "prefix"> = {}
): Layer.Layer<Cached, InvalidOptions | SqlError, Database> =>
  // Nothing asks for Redis where the results are kept in memory.
  Layer.effect(Cached)(make(options)) as Layer.Layer<Cached, InvalidOptions | SqlError, Database>

/**
 * Provides a cache of the database in the context that keeps its results in Redis.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerRedis = (
  options: Omit<Options, "store"> = {}
): Layer.Layer<Cached, InvalidOptions | SqlError, Database | Redis.Redis> =>
  Layer.effect(Cached)(make({ ...options, store: "redis" }))

/**
 * Answers a read from the cache, or stores what it returns.
 *
 * **Details**
 *
 * A statement is known by its text and parameters. Any other effect needs a `key`. A read without a key, a read in a
 * transaction, and a read with a tag in doubt goes to the database.
 *
 * **Gotchas**
 *
 * An option that cannot work is a defect: it is a mistake in the program.
 *
 * @category combinators
 * @since 0.2.0
 */
export const read: {
  <A>(options: ReadOptions<A>): <E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R | Cached>
  <A, E, R>(self: Effect.Effect<A, E, R>, options: ReadOptions<A>): Effect.Effect<A, E, R | Cached>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, options: ReadOptions<A>): Effect.Effect<A, E, R | Cached> =>
    Effect.withFiber((fiber) => Context.getUnsafe(fiber.context, Cached).read(self, options))
)

/**
 * Says which tags an effect changes.
 *
 * **Details**
 *
 * In a transaction the tags are invalidated when its COMMIT is acknowledged. Put it inside of `Transaction.run`: then the
 * tags are in doubt only during COMMIT, and an announcement to other processes is applied if and only if the write is.
 * Around a transaction or a statement they are in doubt as long as it runs, and are invalidated at its end, however it
 * ends.
 *
 * **Gotchas**
 *
 * Outside of a transaction the announcement is a statement of its own. If the process dies between the two, other
 * processes keep what they have until its `ttl`.
 *
 * @category combinators
 * @since 0.2.0
 */
export const invalidates: {
  (tags: Tags): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R | Cached>
  <A, E, R>(self: Effect.Effect<A, E, R>, tags: Tags): Effect.Effect<A, E | SqlError, R | Cached>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, tags: Tags): Effect.Effect<A, E | SqlError, R | Cached> =>
    Effect.flatMap(Cached, (cached) => cached.invalidates(self, tags))
)

/**
 * Invalidates tags, in a transaction when it commits. For a change that was made elsewhere.
 *
 * @category combinators
 * @since 0.2.0
 */
export const invalidate = (tags: Tags): Effect.Effect<void, SqlError, Cached> =>
  Effect.flatMap(Cached, (cached) => cached.invalidate(tags))

/**
 * Lets all reads in an effect go past the cache.
 *
 * @category combinators
 * @since 0.2.0
 */
export const bypass = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, IsBypassed, true)

/**
 * Keeps the results that an effect reads apart from those of other partitions, see `CurrentPartition`.
 *
 * @category combinators
 * @since 0.2.0
 */
export const within = (partition: string) => <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, CurrentPartition, partition)

/** What tells one read from another; `undefined` if nothing does. */
const identityOf = (self: unknown, key: unknown): string | undefined => {
  if (key !== undefined) return keyOf(key)
  if (!isFragment(self) || !("compile" in self)) return undefined
  const [text, params] = (self as unknown as Statement<unknown>).compile()
  const values = keyOf(params)
  return values === undefined ? undefined : `${text}\n${values}`
}
