/** The options of the cache and of its reads, checked. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Checks from "../options/Options.ts"
import type { Times } from "./CacheRuntime.ts"
import { readTags, type Tags } from "./tags.ts"

/**
 * The options of a cache.
 *
 * @category options
 * @since 0.2.0
 */
export interface Options {
  /** How many results are kept at most. The least recently used one goes first. Default: 1,000. */
  readonly maxEntries?: number | undefined
  /** How many bytes all results may take together, as estimated. Default: 33,554,432 (32 MiB). */
  readonly maxBytes?: number | undefined
  /** A result that is larger than this many bytes is not kept. Default: 1,048,576 (1 MiB). */
  readonly maxResultBytes?: number | undefined
  /** Of how many tags the last invalidation is remembered. Above that, hits become misses. Default: 10,000. */
  readonly maxTags?: number | undefined
  /** How many results are read anew in the background at a time. Default: 4. */
  readonly maxRefreshing?: number | undefined
  /**
   * How long the tags of a COMMIT with an unknown outcome stay in doubt where nothing announces a late application.
   * Default: 60 seconds.
   */
  readonly doubt?: Duration.Input | undefined
  /**
   * How processes tell each other what they have invalidated. Default: `"none"`, which is right for one process.
   * `"table"` writes rows into the table `watertight_invalidation`, which is made when it is missing.
   */
  readonly announce?: "none" | "table" | undefined
  /** How often the announcements of others are read. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
  /**
   * After how long without a successful read of the announcements the cache is gone past. This bounds how old a result
   * can be in a process that was cut off. Default: 5 seconds.
   */
  readonly bound?: Duration.Input | undefined
  /**
   * How long a transaction may last between its `invalidates` and its COMMIT. It matters for announcements on MySQL and
   * MariaDB, which do not tell what is still running, and for a shared store, in which the tags of a writer that died are
   * in doubt for so long. Default: 60 seconds.
   */
  readonly longestTransaction?: Duration.Input | undefined
  /**
   * Each element makes the announcements be read at once. On PostgreSQL, give it
   * `Notifications.stream("watertight_invalidation")`: each announced COMMIT then notifies that channel.
   */
  readonly wakeUps?: Stream.Stream<unknown, unknown> | undefined
  /**
   * Where results are kept. `"memory"` is the memory of this process. `"redis"` is a store that a fleet shares, with
   * Effect's `Redis`; it takes reads with a `schema`, and keeps no copies in memory unless `announce` is `"table"`.
   * Default: `"memory"`.
   */
  readonly store?: "memory" | "redis" | undefined
  /** How long the shared store may take. After that, a read goes to the database. Default: 100 milliseconds. */
  readonly storeTimeout?: Duration.Input | undefined
  /** What the keys in the shared store begin with. Default: `"watertight:"`. */
  readonly prefix?: string | undefined
}

/**
 * The options of one read.
 *
 * @category options
 * @since 0.2.0
 */
export interface ReadOptions<A> {
  /** What the result depends on. An invalidation of one of the tags outdates it. */
  readonly tags: Tags
  /**
   * What tells this read from others. A statement has one by itself: its text and its parameters. Any other effect needs
   * one, of plain values: `["page", user, 3]`.
   */
  readonly key?: unknown
  /** How long the result is fresh. Up to a tenth less, at random. Default: 1 minute. */
  readonly ttl?: Duration.Input | undefined
  /** For how long after `ttl` the result is served while it is read anew in the background. Default: 0. */
  readonly swr?: Duration.Input | undefined
  /** `ttl` of a result without rows. What is not there yet tends to be made soon. Default: 5 seconds, or `ttl` if less. */
  readonly emptyTtl?: Duration.Input | undefined
  /** For how long after `ttl` the result is served when reading it anew has failed. Default: 0. */
  readonly staleIfError?: Duration.Input | undefined
  /** How the result is written into a shared store. What comes from there is decoded. Needed for `store: "redis"`. */
  readonly schema?: Schema.Codec<A, any> | undefined
}

const MiB = 1024 * 1024

const layerTable = Checks.make<Options>()("Cached", {
  maxEntries: Checks.count({ default: 1_000, min: 1 }),
  maxBytes: Checks.count({ default: 32 * MiB, min: 1 }),
  maxResultBytes: Checks.count({ default: MiB, min: 1 }),
  maxTags: Checks.count({ default: 10_000, min: 2 }),
  maxRefreshing: Checks.count({ default: 4 }),
  doubt: Checks.duration({ default: "1 minute", finite: true }),
  announce: Checks.oneOf(["none", "table"], { default: "none" }),
  interval: Checks.duration({ default: "1 second", positive: true, finite: true }),
  bound: Checks.duration({ default: "5 seconds", positive: true, finite: true }),
  longestTransaction: Checks.duration({ default: "1 minute", positive: true, finite: true }),
  wakeUps: Checks.custom<Stream.Stream<unknown, unknown>>("a stream", Stream.isStream),
  store: Checks.oneOf(["memory", "redis"], { default: "memory" }),
  storeTimeout: Checks.duration({ default: "100 millis", positive: true, finite: true }),
  prefix: Checks.text({ default: "watertight:" })
})

/** How long the tokens of tags live in a shared store: longer than any entry. */
export const longestLife = Duration.toMillis("1 day")

/** The options of a cache with all defaults. */
export const optionsOf = (options: Options): Effect.Effect<
  Checks.Resolved<typeof layerTable.table> & { readonly tokenLife: number },
  InvalidOptions
> => Effect.map(layerTable.resolve(options), (resolved) => ({ ...resolved, tokenLife: longestLife * 2 }))

const readTable = Checks.make<ReadOptions<any>>()("Cached.read", {
  tags: Checks.custom<unknown>("an array of names or an object of arrays", (value) => typeof value === "object"),
  key: Checks.custom<unknown>("a plain value", () => true),
  ttl: Checks.duration({ default: "1 minute", positive: true }),
  swr: Checks.duration({ default: 0, finite: true }),
  emptyTtl: Checks.duration({ default: "5 seconds" }),
  staleIfError: Checks.duration({ default: 0, finite: true }),
  schema: Checks.custom<unknown>("a schema", (value) => typeof value === "object" || typeof value === "function")
})

/** What a read says, checked. */
export interface Checked {
  readonly times: Times
  readonly tags: ReadonlyArray<string>
}

/** Options that were checked before. A program makes them once and reads with them often. */
const known = new WeakMap<object, Result.Result<Checked, InvalidOptions>>()

/** Checks the options of a read. */
export const readOptions = (options: ReadOptions<any>): Result.Result<Checked, InvalidOptions> => {
  const found = known.get(options)
  if (found !== undefined) return found
  const checked = Result.map(readTable.check(options), ({ emptyTtl, staleIfError, swr, ttl }): Checked => ({
    times: { ttl, swr, staleIfError, emptyTtl: options.emptyTtl === undefined ? Math.min(emptyTtl, ttl) : emptyTtl },
    tags: readTags(options.tags)
  }))
  known.set(options, checked)
  return checked
}
