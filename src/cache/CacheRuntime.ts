/**
 * Performs reads and invalidations on a `CacheState`: one flight per key, refreshes in the background, doubt.
 *
 * A read comes in with its key and tags. It is answered from the state, joins a flight that began late enough, or starts
 * one. What ends is what the read would have ended with without a cache, or an entry that its bounds allow.
 */
import * as Cache from "effect/Cache"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import type { EndObserver } from "../transaction/Transaction.ts"
import { CacheState, type Entry, isDueEarly } from "./CacheState.ts"
import type { BypassReason, InvalidationSource } from "./Counters.ts"
import { Counters } from "./Counters.ts"
import { sizeOf } from "./keys.ts"
import type { SharedWrite } from "./SharedWrites.ts"

/** The limits of one read, in milliseconds. */
export interface Times {
  readonly ttl: number
  readonly swr: number
  readonly emptyTtl: number
  readonly staleIfError: number
}

/** A read with what the cache has to know of it. */
export interface Read {
  readonly key: string
  readonly tags: ReadonlyArray<string>
  readonly times: Times
  /** The read itself, with everything that it needs. */
  readonly run: Effect.Effect<unknown, unknown>
  /** For how many milliseconds more the result is good that `run` has found in a shared store. */
  readonly remaining?: () => number
}

/** What the runtime is configured with. */
export interface RuntimeOptions {
  readonly maxEntries: number
  readonly maxBytes: number
  readonly maxResultBytes: number
  readonly maxTags: number
  readonly maxRefreshing: number
  readonly doubt: number
  /** Whether results are kept in the memory of this process. */
  readonly isKept: boolean
  readonly now: () => number
  /** Whether the invalidations of other processes may be missed right now. */
  readonly isDeaf: () => boolean
  readonly onInvalidate: (tags: ReadonlyArray<string>, source: InvalidationSource) => void
}

/** One execution of a read, which all who ask for its key meanwhile share. */
interface Flight {
  readonly read: Read
  readonly generation: number
}

export class CacheRuntime {
  readonly counters = new Counters()
  readonly state: CacheState<unknown>
  private readonly options: RuntimeOptions
  /** The context of the layer: its scope, its clock, its loggers. */
  private readonly context: Context.Context<Scope.Scope>
  private readonly scope: Scope.Scope
  private readonly random: Context.Service.Shape<typeof Random.Random>
  private readonly byKey = new Map<string, number>()
  private readonly byId = new Map<number, Flight>()
  private readonly flights: Cache.Cache<number, unknown, unknown>
  private nextFlight = 0
  private refreshing = 0
  private warnAt = -Infinity

  private constructor(
    options: RuntimeOptions,
    context: Context.Context<Scope.Scope>,
    flights: (lookup: (id: number) => Effect.Effect<unknown, unknown>) => Cache.Cache<number, unknown, unknown>
  ) {
    this.options = options
    this.context = context
    this.scope = Context.get(context, Scope.Scope)
    this.random = Context.get(context, Random.Random)
    this.state = new CacheState(options)
    this.flights = flights((id) => this.fly(id))
  }

  static readonly make = Effect.fnUntraced(function*(options: RuntimeOptions) {
    const context = yield* Effect.context<Scope.Scope>()
    let lookup: (id: number) => Effect.Effect<unknown, unknown> = () => Effect.undefined
    // With no time to live it shares what is under way, and keeps nothing: what is kept is decided here.
    const cache = yield* Cache.make({
      capacity: Infinity,
      lookup: (id: number) => lookup(id),
      timeToLive: 0
    })
    return new CacheRuntime(options, context, (fly) => {
      lookup = fly
      return cache
    })
  })

  // -------------------------------------------------------------------------------------------------------------------
  // Reads
  // -------------------------------------------------------------------------------------------------------------------

  /** Why a read with these tags must go past the cache. */
  bypassOf(tags: ReadonlyArray<string>): BypassReason | undefined {
    if (this.options.isDeaf()) return "deaf"
    return this.state.isInDoubt(tags) ? "doubt" : undefined
  }

  read(read: Read): Effect.Effect<unknown, unknown> {
    const { requests } = this.counters
    const entry = this.state.find(read.key)
    if (entry === undefined) return this.join(read)
    const now = this.options.now()
    if (now < entry.freshUntil && !isDueEarly(entry, now, 1 - this.random.nextDoubleUnsafe())) {
      requests.hit++
      this.counters.served(now - entry.storedAt)
      return Effect.succeed(entry.value)
    }
    if (now < entry.freshUntil || now < entry.staleUntil) {
      requests[now < entry.freshUntil ? "hit" : "stale"]++
      this.counters.served(now - entry.storedAt)
      return Effect.as(this.refresh(read), entry.value)
    }
    return Effect.catchCause(this.join(read), (cause) => {
      const latest = this.state.find(read.key)
      if (latest === undefined || this.options.now() >= latest.errorUntil) return Effect.failCause(cause)
      requests.stale++
      return Effect.as(this.warn(cause), latest.value)
    })
  }

  /** Says at most once a minute that old results are served. */
  private warn(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const now = this.options.now()
    if (now < this.warnAt) return Effect.void
    this.warnAt = now + 60_000
    return Effect.logWarning("Cached results are served because they cannot be read anew", cause)
  }

  /** Joins the flight of the key if it began after the last invalidation; starts another one otherwise. */
  private join(read: Read): Effect.Effect<unknown, unknown> {
    const { requests } = this.counters
    const current = this.byKey.get(read.key)
    const flight = current === undefined ? undefined : this.byId.get(current)
    if (current !== undefined && flight !== undefined && this.state.isCurrent(read.tags, flight.generation)) {
      requests.shared++
      return Cache.get(this.flights, current)
    }
    requests.miss++
    const id = this.nextFlight++
    this.byKey.set(read.key, id)
    // The generation is taken before the statement is sent: what is invalidated from here on is not stored.
    this.byId.set(id, { read, generation: this.state.generation })
    return Cache.get(this.flights, id)
  }

  private fly(id: number): Effect.Effect<unknown, unknown> {
    return Effect.suspend(() => {
      const flight = this.byId.get(id)!
      const startedAt = this.options.now()
      return Effect.onExit(flight.read.run, (exit) =>
        Effect.sync(() => {
          this.byId.delete(id)
          if (this.byKey.get(flight.read.key) === id) this.byKey.delete(flight.read.key)
          if (Exit.isSuccess(exit) && this.options.isKept) this.keep(flight, exit.value, startedAt)
        }))
    })
  }

  private keep({ generation, read }: Flight, value: unknown, startedAt: number): void {
    const { maxResultBytes, now } = this.options
    const bytes = 2 * read.key.length + sizeOf(value, maxResultBytes)
    if (bytes > maxResultBytes) {
      this.counters.tooLarge++
      return
    }
    const { emptyTtl, staleIfError, swr, ttl } = read.times
    const storedAt = now()
    const life = Math.min(isEmpty(value) ? emptyTtl : ttl, read.remaining?.() ?? Infinity)
    // A tenth less at most, so that what was read together is not read anew together.
    const freshUntil = storedAt + life * (1 - this.random.nextDoubleUnsafe() / 10)
    const entry: Entry<unknown> = {
      value: frozen(value),
      bytes,
      tags: read.tags,
      generation,
      storedAt,
      freshUntil,
      staleUntil: freshUntil + swr,
      errorUntil: freshUntil + staleIfError,
      cost: storedAt - startedAt
    }
    if (!this.state.store(read.key, entry)) this.counters.discarded++
  }

  /** Reads anew in the background, unless that is under way or enough others are. */
  private refresh(read: Read): Effect.Effect<void> {
    if (this.byKey.has(read.key) || this.refreshing >= this.options.maxRefreshing) return Effect.void
    this.refreshing++
    const once = Effect.ensuring(this.join(read), Effect.sync(() => this.refreshing--))
    const quiet = Effect.catchCause(once, (cause) => Effect.logDebug("A refresh of a cached result has failed", cause))
    return Effect.map(Effect.forkDetach(quiet, { startImmediately: true }), (fiber) => {
      Fiber.runIn(fiber, this.scope)
    })
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Invalidations
  // -------------------------------------------------------------------------------------------------------------------

  invalidate(tags: ReadonlyArray<string>, source: InvalidationSource): void {
    this.state.invalidate(tags)
    this.counters.invalidations[source]++
    this.options.onInvalidate(tags, source)
  }

  invalidateAll(): void {
    this.state.invalidateAll()
    this.counters.invalidations.gap++
  }

  /**
   * Follows a write that outdates these tags. From COMMIT until its outcome is known they are in doubt, and until the
   * shared store has been told. An unknown outcome keeps them there for the doubt period, unless a late application is
   * announced.
   */
  observer(
    tags: ReadonlyArray<string>,
    { isAnnounced, write }: { readonly isAnnounced: boolean; readonly write: SharedWrite | undefined }
  ): { readonly onCommit: () => void; readonly onEnd: EndObserver["onEnd"] } {
    let isDoubted = false
    const doubt = () => {
      if (!isDoubted) this.state.doubt(tags)
      isDoubted = true
    }
    const settled = Effect.sync(() => this.state.settle(tags))
    return {
      onCommit: doubt,
      onEnd: (outcome) => {
        if (outcome === "NotApplied") {
          if (isDoubted) this.state.settle(tags)
          if (write !== undefined) this.fork(write.notApplied)
          return
        }
        doubt()
        this.invalidate(tags, "local")
        if (outcome === "Unknown" && (write !== undefined || !isAnnounced)) {
          this.fork(Effect.andThen(write?.unknown ?? Effect.void, this.settleLater(tags)))
        } else if (write !== undefined) this.fork(Effect.andThen(write.applied, settled))
        else this.state.settle(tags)
      }
    }
  }

  /** Tags that are in doubt stay so for the doubt period, and are invalidated once more at its end. */
  private settleLater(tags: ReadonlyArray<string>): Effect.Effect<void> {
    const settle = Effect.sync(() => {
      this.invalidate(tags, "doubt")
      this.state.settle(tags)
    })
    return Effect.delay(settle, this.options.doubt)
  }

  /** Runs an effect in the background, for as long as the cache lives. */
  fork(effect: Effect.Effect<void>): void {
    Fiber.runIn(Effect.runForkWith(this.context)(effect), this.scope)
  }
}

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || (Array.isArray(value) && value.length === 0)

/** Results are shared by all readers, so neither they nor the arrays and plain objects in them can be changed. */
const frozen = (value: unknown): unknown => {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return value
  const prototype: unknown = Object.getPrototypeOf(value)
  if (!Array.isArray(value) && prototype !== Object.prototype && prototype !== null) return value
  Object.freeze(value)
  for (const part of Object.values(value)) frozen(part)
  return value
}
