/**
 * Many databases of one kind: one for each tenant, shard or region, each with a pool of its own.
 *
 * **Details**
 *
 * A database is connected when it is first asked for, shared by everybody who asks for the same key, and closed when
 * nobody has asked for it for a while. Underneath is Effect's `LayerMap`.
 *
 * With a `budget`, all pools together never have more connections than that, opened, closed and being opened. When it
 * is used up, a pool whose callers wait gets a connection at the cost of the others: one that is idle elsewhere is
 * closed, and if none is idle, whoever has more than its share gives up the next one that comes back. Whoever has the
 * fewest connections comes first, so no tenant can starve the others.
 *
 * **Gotchas**
 *
 * `refresh` reaches whoever asks afterwards. Whoever has a database meanwhile keeps the old one to the end, and the old
 * one is closed when the last of them is done. A layer from `get` that a whole program is built on is never done: take
 * `use` or `provide` where credentials are rotated.
 *
 * What all databases need, a service that looks credentials up for example, should be provided to the layer of the
 * pools. Each database builds what `lookup` returns for itself.
 *
 * **Example** (A database for each tenant)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Pools } from "watertight"
 * import { Postgres } from "watertight/postgres"
 *
 * class Tenants extends Pools.Service<Tenants>()("app/Tenants", {
 *   lookup: (tenant: string) => Postgres.layer({ url: Redacted.make(`postgres://app@db/${tenant}`) }),
 *   budget: 100,
 *   idleTimeToLive: "10 minutes"
 * }) {}
 *
 * const orders = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select * from orders`
 * })
 *
 * const program = orders.pipe(Tenants.provide("acme"), Effect.provide(Tenants.layer))
 * ```
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as LayerMap from "effect/LayerMap"
import * as RcMap from "effect/RcMap"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Check from "../options/Options.ts"
import { DeadlockDetector } from "./DeadlockDetector.ts"
import * as Health from "./Health.ts"
import * as PoolError from "./PoolError.ts"
import { type Member, PoolGroup } from "./PoolGroup.ts"
import type * as Pool from "./PoolStats.ts"
import { ConnectionQuota } from "./state/ConnectionQuota.ts"
import type { Counts } from "./state/PoolState.ts"
import { type Durations, together } from "./telemetry/Timing.ts"

/**
 * The runtime type identifier of `Pools`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: TypeId = "~watertight/Pools"

/**
 * The type-level identifier of `Pools`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = "~watertight/Pools"

/**
 * The options of many pools.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<K, I, E, R> {
  /** The database of a key, for example `Postgres.layer({ … })`. Called whenever it must be connected anew. */
  readonly lookup: (key: K) => Layer.Layer<I, E, R>
  /** The most connections of all pools together. Default: no limit but that of each pool. */
  readonly budget?: number | undefined
  /**
   * How long a database stays connected after the last one who had it is done. Default: 10 minutes, because whoever
   * asks next would have to wait for a connection.
   */
  readonly idleTimeToLive?: Duration.Input | ((key: K) => Duration.Input) | undefined
  /**
   * How long shutting down all pools may take, all of them at the same time, until those who still have a connection
   * are cut off. Default: 10 seconds. A pool whose own `shutdownTimeout` is shorter keeps to that.
   */
  readonly shutdownTimeout?: Duration.Input | undefined
  /** What is not healthy. */
  readonly health?: Health.Thresholds | undefined
}

/**
 * How all pools are doing: those that there are at the moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats<K> extends Counts {
  readonly pools: ReadonlyArray<{ readonly key: K; readonly stats: Pool.Stats }>
  /** `Infinity` if there is no budget. `waiting` is for how many connections there is no room. */
  readonly budget: { readonly total: number; readonly used: number; readonly waiting: number }
  readonly checkouts: number
  readonly checkins: number
  readonly waited: number
  readonly created: number
  readonly connectFailures: number
  readonly validationFailures: number
  readonly resets: number
  readonly failed: Pool.Stats["failed"]
  readonly closed: Pool.Stats["closed"]
  readonly wait: Durations
  readonly use: Durations
  readonly create: Durations
  readonly query: Durations
}

/**
 * Many databases of one kind.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pools<in out K, in out I, in out E> {
  readonly [TypeId]: TypeId
  /** The database of a key, as a layer. It is shared, and in use for as long as what it is provided to. */
  readonly get: (key: K) => Layer.Layer<I, E>
  /** Runs an effect with the database of a key. */
  readonly use: (key: K) => <A, E2, R>(effect: Effect.Effect<A, E2, R>) => Effect.Effect<A, E | E2, Exclude<R, I>>
  /** Whoever asks for this key from now on gets a database that is connected anew, with new credentials for example. */
  readonly refresh: (key: K) => Effect.Effect<void>
  /** As `refresh`, for all keys. */
  readonly refreshAll: Effect.Effect<void>
  /** The keys whose databases are connected. */
  readonly keys: Effect.Effect<ReadonlyArray<K>>
  /** How the pools are doing. */
  readonly stats: Effect.Effect<Stats<K>>
  /** Whether the pools do their work: one answer, as bad as that of the worst, with the reasons of all. */
  readonly health: Effect.Effect<Health.Health>
  /**
   * Shuts all pools down at the same time, and reports who was cut off. Nobody gets a database afterwards. The scope in
   * which the pools were made does this when it closes.
   */
  readonly shutdown: Effect.Effect<ReadonlyArray<Pool.ShutdownReport>>
}

/**
 * Makes pools that are shut down when the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*<K, I, E, R>(
  options: Options<K, I, E, R>
): Effect.fn.Return<Pools<K, I, E | SqlError>, InvalidOptions, R | Scope.Scope> {
  const { budget: total, shutdownTimeout } = yield* checks.resolve(options as Options<any, any, any, any>)
  // What the pools are made with is what was there when these pools were made, not what a caller happens to have.
  const context = yield* Effect.context<R>()
  const runFork = Effect.runForkWith(context as Context.Context<never>)
  const budget = new ConnectionQuota(total)
  const nesting = new DeadlockDetector<Connection>()
  const members = new Map<Member, K>()
  let closed = false

  const groupOf = (key: K): PoolGroup => ({
    budget: total === Infinity ? undefined : budget,
    nesting,
    shutdownMillis: shutdownTimeout,
    join: (member) => {
      members.set(member, key)
      // Connecting it took longer than the pools were open.
      if (closed) runFork(member.shutdown)
      return () => members.delete(member)
    }
  })

  const map = yield* LayerMap.make(
    (key: K): Layer.Layer<I, E> =>
      Layer.effectContext(
        Effect.flatMap(Effect.scope, (scope) =>
          // Whatever it is made of is made for it alone. Otherwise a part that somebody still has would be handed out
          // again after `refresh`.
          Layer.buildWithMemoMap(options.lookup(key), Layer.makeMemoMapUnsafe(), scope).pipe(
            Effect.updateContext<never, R>(() => Context.add(context, PoolGroup, groupOf(key))),
            // The next one who asks tries again. Not before this attempt has ended, which nobody may be waiting for.
            Effect.tapCause(() =>
              Effect.forkDetach(Effect.andThen(Effect.yieldNow, Effect.suspend(() => map.invalidate(key))))
            )
          ))
      ),
    { idleTimeToLive: options.idleTimeToLive ?? "10 minutes" }
  )

  const contextOf = (key: K): Effect.Effect<Context.Context<I>, E | SqlError, Scope.Scope> =>
    Effect.suspend((): Effect.Effect<Context.Context<I>, E | SqlError, Scope.Scope> => {
      const isClosed = Effect.suspend(() => closed ? poolClosed(key) : Effect.void)
      // Asked again afterwards, because connecting takes a while.
      return Effect.andThen(isClosed, Effect.tap(map.contextEffect(key), () => isClosed))
    })

  const keys = Effect.map(RcMap.keys(map.rcMap), (keys) => Array.from(keys))

  const shuttingDown = Effect.suspend(() => {
    closed = true
    return Effect.forEach(Array.from(members.keys()), (member) => member.shutdown, { concurrency: "unbounded" })
  })
  let shutdownFiber: Fiber.Fiber<ReadonlyArray<Pool.ShutdownReport>> | undefined
  const shutdown = Effect.suspend(() => Fiber.join(shutdownFiber ??= runFork(shuttingDown)))
  // Before the databases are closed, which happens one after the other.
  yield* Effect.addFinalizer(() => shutdown)

  return {
    [TypeId]: TypeId,
    // Fresh, because the layer that somebody has already would be handed out again after `refresh`.
    get: (key) => Layer.fresh(Layer.effectContext(contextOf(key))),
    use: (key) => (effect) =>
      Effect.scopedWith((scope) =>
        Effect.flatMap(Scope.provide(contextOf(key), scope), (context) => Effect.provideContext(effect, context))
      ),
    refresh: (key) => map.invalidate(key),
    refreshAll: Effect.flatMap(keys, Effect.forEach(map.invalidate, { concurrency: "unbounded", discard: true })),
    keys,
    stats: Effect.map(monotonic, (now) => statsOf(members, budget, now)),
    health: Effect.sync(() =>
      Health.combine(Array.from(members.keys(), (member) => Health.decide(member.stats(), options.health)))
    ),
    shutdown
  }
})

const monotonic = Effect.clockWith((clock) => Effect.sync(() => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000))

/** What the pools say of themselves, and together. */
const statsOf = <K>(members: ReadonlyMap<Member, K>, budget: ConnectionQuota, now: number): Stats<K> => {
  const pools = Array.from(members, ([member, key]) => ({ key, stats: member.stats() }))
  const telemetries = Array.from(members.keys(), (member) => member.telemetry)
  const sum = (f: (stats: Pool.Stats) => number): number => pools.reduce((total, { stats }) => total + f(stats), 0)
  return {
    pools,
    budget: {
      total: budget.total,
      used: budget.total === Infinity ? sum((stats) => stats.total) : budget.used,
      waiting: budget.waiting
    },
    total: sum((stats) => stats.total),
    idle: sum((stats) => stats.idle),
    used: sum((stats) => stats.used),
    connecting: sum((stats) => stats.connecting),
    waiting: sum((stats) => stats.waiting),
    checkouts: sum((stats) => stats.checkouts),
    checkins: sum((stats) => stats.checkins),
    waited: sum((stats) => stats.waited),
    created: sum((stats) => stats.created),
    connectFailures: sum((stats) => stats.connectFailures),
    validationFailures: sum((stats) => stats.validationFailures),
    resets: sum((stats) => stats.resets),
    failed: sums(pools.map(({ stats }) => stats.failed)),
    closed: sums(pools.map(({ stats }) => stats.closed)),
    wait: together(telemetries.map(({ wait }) => wait.histogram), now),
    use: together(telemetries.map(({ use }) => use.histogram), now),
    create: together(telemetries.map(({ create }) => create.histogram), now),
    query: together(telemetries.map(({ operations }) => operations.timing), now)
  }
}

const poolClosed = (key: unknown): Effect.Effect<never, SqlError> =>
  Effect.fail(PoolError.toSqlError(new PoolError.PoolClosed({ database: String(key) })))

const sums = <Name extends string>(all: ReadonlyArray<Readonly<Record<Name, number>>>): Record<Name, number> => {
  const result = {} as Record<Name, number>
  for (const each of all) {
    for (const name of Object.keys(each) as Array<Name>) result[name] = (result[name] ?? 0) + each[name]
  }
  return result
}

const checks = Check.make<Options<any, any, any, any>>()("Pools", {
  lookup: Check.custom<Options<any, any, any, any>["lookup"]>(
    "a function that returns a layer",
    (value) => typeof value === "function"
  ),
  budget: Check.count({ default: Infinity, min: 1, infinite: true }),
  idleTimeToLive: Check.either(Check.duration({ default: "10 minutes" }), (value) => typeof value === "function"),
  shutdownTimeout: Check.duration({ default: "10 seconds" }),
  health: Check.custom<Health.Thresholds>("an object", (value) => typeof value === "object" && value !== null)
})

/**
 * A service that is many databases, with what is needed to use it.
 *
 * @category services
 * @since 0.1.0
 */
export interface ServiceClass<Self, Id extends string, K, I, E, R>
  extends Context.ServiceClass<Self, Id, Pools<K, I, E | SqlError>>
{
  /** Provides the pools. */
  readonly layer: Layer.Layer<Self, InvalidOptions, R>
  /** The database of a key, as a layer. */
  readonly get: (key: K) => Layer.Layer<I, E | SqlError, Self>
  /** Runs an effect with the database of a key. */
  readonly provide: (
    key: K
  ) => <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) => Effect.Effect<A, E | SqlError | E2, Self | Exclude<R2, I>>
}

/**
 * Makes a service of many databases.
 *
 * **Example** (A database for each region)
 *
 * ```ts
 * import { Pools } from "watertight"
 * import { Postgres } from "watertight/postgres"
 *
 * class Regions extends Pools.Service<Regions>()("app/Regions", {
 *   lookup: (region: "eu" | "us") => Postgres.layer({ host: `${region}.db.internal`, database: "shop" }),
 *   budget: 50
 * }) {}
 * ```
 *
 * @category services
 * @since 0.1.0
 */
export const Service = <Self>() =>
<const Id extends string, K, I, E, R>(
  id: Id,
  options: Options<K, I, E, R>
): ServiceClass<Self, Id, K, I, E, R> => {
  const tag = Context.Service<Self, Pools<K, I, E | SqlError>>()(id)
  return Object.assign(tag, {
    layer: Layer.effect(tag, make(options)),
    get: (key: K) => Layer.unwrap(Effect.map(tag, (pools) => pools.get(key))),
    provide: (key: K) => <A, E2, R2>(effect: Effect.Effect<A, E2, R2>) =>
      Effect.flatMap(tag, (pools) => pools.use(key)(effect))
  }) as never
}
