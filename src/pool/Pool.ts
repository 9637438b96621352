/**
 * The pool: lends the connections that an adapter opens, for as long as an effect runs and never longer.
 *
 * **Details**
 *
 * All decisions are taken by the pure `PoolState`; this module performs them. A caller waits for the pool, never for a
 * connection of its own: whichever becomes free first is for whoever has waited longest, and an interrupted caller
 * interrupts no attempt to connect.
 *
 * There are three ways to a connection. `use` lends one for one effect. `reserve` lends one until a scope closes. Both
 * lend it as a whole. `share` lends one for a single statement, which others may share.
 *
 * **Gotchas**
 *
 * A connection that is used after it was given back, for example by a forked fiber, fails with a `LeaseEnded`: it
 * never reaches what the next borrower does.
 *
 * **Example** (Choosing a size)
 *
 * ```ts
 * import { Pool } from "watertight"
 * import { Postgres } from "watertight/postgres"
 *
 * const DatabaseLive = Postgres.layer({
 *   host: "db",
 *   database: "shop",
 *   pool: { ...Pool.webApplication, max: 40 }
 * })
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import { Adapter, type Connection } from "../Adapter.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import type { Body, Lease, Use } from "./Body.ts"
import { Draining } from "./Draining.ts"
import * as Health from "./Health.ts"
import { type Activity, activityOf } from "./Holders.ts"
import { Lane, Lending } from "./Lending.ts"
import { PoolGroup } from "./PoolGroup.ts"
import {
  type LaneOptions,
  type Options,
  resolve,
  type Resolved,
  resolveSize,
  type ScalingOptions
} from "./PoolOptions.ts"
import { PoolRuntime } from "./PoolRuntime.ts"
import type { DrainReport, ShutdownReport, Stats } from "./PoolStats.ts"
import type { PoolEvent } from "./state/PoolEvent.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"
import type { Durations } from "./telemetry/Timing.ts"

/**
 * The runtime type identifier of `Pool`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: TypeId = "~watertight/Pool"

/**
 * The type-level identifier of `Pool`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = "~watertight/Pool"

/**
 * For a server that answers people: many short requests, and none of them may wait for long.
 *
 * @category presets
 * @since 0.1.0
 */
export const webApplication: Options = { min: 20, max: 100, acquireTimeout: "5 seconds" }

/**
 * For a process that works off a queue: few connections, and patience.
 *
 * @category presets
 * @since 0.1.0
 */
export const backgroundWorker: Options = { min: 2, max: 10, acquireTimeout: "60 seconds", lifetime: "30 minutes" }

/**
 * For a process that moves much data in long statements.
 *
 * @category presets
 * @since 0.1.0
 */
export const dataPipeline: Options = { min: 5, max: 20, idleTimeout: "10 minutes", lifetime: "30 minutes" }

export type {
  /**
   * What became of the borrowers when a pool was drained.
   *
   * @category models
   * @since 0.1.0
   */
  DrainReport,
  /**
   * Durations of always, and of the last minute.
   *
   * @category models
   * @since 0.1.0
   */
  Durations,
  /**
   * How much of a pool a lane has, from 0 to 1.
   *
   * @category options
   * @since 0.1.0
   */
  LaneOptions,
  /**
   * The options of a pool. Each has a default that a production team can accept unread.
   *
   * @category options
   * @since 0.1.0
   */
  Options,
  /**
   * Something that happened to a pool.
   *
   * @category models
   * @since 0.1.0
   */
  PoolEvent,
  /**
   * When a pool grows ahead of demand, and when it shrinks.
   *
   * @category options
   * @since 0.1.0
   */
  ScalingOptions,
  /**
   * What became of the borrowers when a pool was shut down.
   *
   * @category models
   * @since 0.1.0
   */
  ShutdownReport,
  /**
   * How a pool is doing, at one moment.
   *
   * @category models
   * @since 0.1.0
   */
  Stats
}

export type {
  /**
   * Who has a connection and who waits for one.
   *
   * @category models
   * @since 0.2.0
   */
  Activity,
  /**
   * What is run with a connection.
   *
   * @category models
   * @since 0.2.0
   */
  Body,
  /**
   * A connection that is lent to one statement.
   *
   * @category models
   * @since 0.2.0
   */
  Lease
}

export {
  /**
   * The connections that an effect which runs here has already.
   *
   * @category references
   * @since 0.1.0
   */
  Holds
} from "./NestedWaits.ts"

export {
  /**
   * The lane of whatever runs here, by name. A pool without a lane of this name takes no notice of it.
   *
   * @category references
   * @since 0.1.0
   */
  Lane
}

/**
 * A pool of connections to one database.
 *
 * @category models
 * @since 0.1.0
 */
export interface Pool {
  readonly [TypeId]: TypeId
  /** The database, as people should read it. */
  readonly name: string
  /**
   * Lends a connection for one effect and takes it back on every exit.
   *
   * **Details**
   *
   * Fails with a `SqlError` whose cause is a `PoolError` when there is no connection in time, and with the error of
   * the attempt to connect when nobody can connect until a person changes something.
   */
  readonly use: <A, E, R>(
    f: (connection: Connection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError, R>
  /** Lends a connection until the scope closes. Fails as `use` does. */
  readonly reserve: Effect.Effect<Connection, SqlError, Scope.Scope>
  /**
   * Lends a connection for one statement outside a transaction, which others may share where the database can
   * pipeline. Fails as `use` does.
   *
   * **Gotchas**
   *
   * The effect must be one statement that leaves the session as it was: neither a `BEGIN` nor a `SET`. The connection
   * is not guarded against use after the effect ended. `profile` says whether others may wait behind the statement.
   */
  readonly share: <A, E, R>(
    profile: StatementProfile | undefined,
    f: (connection: Connection) => Effect.Effect<A, E, R>
  ) => Effect.Effect<A, E | SqlError, R>
  /**
   * A lease for one statement of a fiber, for code that runs many statements and does something of its own when they
   * end. `undefined` where more than the pool decides how the statement gets a connection: then it has to go by `share`.
   *
   * **Gotchas**
   *
   * Whoever has a lease must run its `effect` in this fiber, and call `end` on every exit of it.
   *
   * @since 0.2.0
   */
  readonly leaseUnsafe: <A, E>(
    fiber: Fiber.Fiber<unknown, unknown>,
    profile: StatementProfile,
    body: Body<A, E>
  ) => Lease<A, E> | undefined
  /** How often a connection was lent so far. Cheap enough to be asked at any time. */
  readonly checkoutsUnsafe: () => number
  /** How the pool is doing. */
  readonly stats: Effect.Effect<Stats>
  /**
   * Who has a connection and who waits for one, at this moment.
   *
   * @since 0.2.0
   */
  readonly activity: Effect.Effect<Activity>
  /**
   * What happens to the pool from now on, with reasons, until it is gone. Nothing is made for it while nobody listens;
   * whoever is more than a thousand events behind misses the oldest.
   */
  readonly events: Stream.Stream<PoolEvent>
  /** Whether the pool does its work, by the default thresholds. `Health.check` takes others. */
  readonly health: Effect.Effect<Health.Health>
  /**
   * Counts a circuit breaker in front of the pool among what its health and its statistics tell, until the scope closes.
   * `Database` does this with its own.
   */
  readonly guardedBy: (breaker: {
    readonly stateUnsafe: () => NonNullable<Health.Signals["breaker"]>
  }) => Effect.Effect<void, never, Scope.Scope>
  /**
   * Shuts the pool down: nobody gets a connection any more, whoever waits fails at once, and borrowers may finish
   * until `shutdownTimeout`; then what they run is cancelled on the server and their connections are cut.
   *
   * **Details**
   *
   * The scope of the layer does this when it closes. Calling it more often is harmless.
   */
  readonly shutdown: Effect.Effect<ShutdownReport>
  /**
   * Replaces all connections, for example after the password was changed or the address points elsewhere.
   *
   * **Details**
   *
   * Idle connections are closed now. Lent ones are closed when they come back (`"graceful"`, the default), or cut off
   * now (`"immediate"`), so that what is run on them fails; attempts to connect are ended then and begun anew. No waiter
   * fails for it.
   */
  readonly clear: (options?: { readonly mode?: "graceful" | "immediate" | undefined }) => Effect.Effect<void>
  /**
   * Lends no connections until `resume`, for example while another server takes over.
   *
   * **Details**
   *
   * Callers wait (`"hold"`, the default), each until its own deadline, and are served in their order afterwards; or
   * they fail at once (`"reject"`). Both fail with `Suspended`. Connections that are lent stay so, and none is opened.
   */
  readonly suspend: (options?: { readonly mode?: "hold" | "reject" | undefined }) => Effect.Effect<void>
  /** Lends connections again. A drain that is under way ends, and cuts nobody off. */
  readonly resume: Effect.Effect<void>
  /**
   * Suspends, lets borrowers finish until a deadline, cuts off who has not, and closes all connections. When it ends
   * the pool has none, and stays suspended until `resume`.
   *
   * **Details**
   *
   * `timeout` is `shutdownTimeout` by default. Interrupting it does not resume. A drain that `resume` has ended reports
   * nobody, and one that a shutdown has overtaken ends with that.
   */
  readonly drain: (options?: {
    readonly mode?: "hold" | "reject" | undefined
    readonly timeout?: Duration.Input | undefined
  }) => Effect.Effect<DrainReport>
  /**
   * Changes how many connections there may be. Connections that are too many then are closed as they become free, idle
   * ones at once. Fails as the layer does when the numbers cannot work.
   */
  readonly resize: (
    options: { readonly min?: number | undefined; readonly max?: number | undefined }
  ) => Effect.Effect<void, InvalidOptions>
}

/**
 * The service of `Pool`.
 *
 * @category services
 * @since 0.1.0
 */
export const Pool = Context.Service<Pool>("watertight/Pool")

/**
 * Runs an effect in a lane of the pools that have one of this name, see the option `lanes`.
 *
 * **Example** (A report that cannot starve a login)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Pool } from "watertight"
 *
 * const report = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select sum(cents) from booking`
 * }).pipe(Pool.withLane("report"))
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const withLane: {
  (name: string): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R>
} = dual(
  2,
  <A, E, R>(self: Effect.Effect<A, E, R>, name: string): Effect.Effect<A, E, R> =>
    Effect.provideService(self, Lane, name)
)

/**
 * Makes a pool over an adapter. It is shut down when the scope closes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  adapter: Adapter,
  options: Options = {}
): Effect.fn.Return<Pool, InvalidOptions | SqlError, Scope.Scope> {
  const resolved = yield* resolve(options, adapter)
  const context = yield* Effect.context<never>()
  const group = Context.get(context, PoolGroup)
  const breakers = new Set<Parameters<Pool["guardedBy"]>[0]>()
  const runtime: PoolRuntime = new PoolRuntime({
    adapter,
    options: resolved,
    clock: yield* Clock.Clock,
    random: yield* Random.Random,
    context,
    health: () => Health.decide(stats())
  })
  const draining = new Draining(runtime, Math.min(resolved.shutdownTimeout, group?.shutdownMillis ?? Infinity))
  const stats = (): Stats => statsOf(runtime, breakers)
  let leaveGroup: (() => void) | undefined
  yield* Effect.addFinalizer(() =>
    Effect.andThen(
      draining.shutdown,
      Effect.sync(() => {
        leaveGroup?.()
        runtime.close()
      })
    )
  )

  if (resolved.startup === "verify") yield* verify(runtime)
  runtime.state.start(runtime.now())
  runtime.perform()
  leaveGroup = group?.join({ stats, telemetry: runtime.telemetry, shutdown: draining.shutdown })

  return {
    [TypeId]: TypeId,
    name: adapter.name,
    ...lending(runtime, resolved),
    checkoutsUnsafe: () => runtime.telemetry.wait.count,
    stats: Effect.sync(stats),
    activity: Effect.sync(() => activityOf(runtime)),
    health: Effect.sync(() => Health.decide(stats())),
    guardedBy: (breaker) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => breakers.add(breaker)),
          () => Effect.sync(() => breakers.delete(breaker))
        )
      ),
    events: runtime.telemetry.events,
    shutdown: draining.shutdown,
    ...commands(runtime, draining)
  }
})

/** The three ways to a connection. They are functions without `this`, because programs destructure services. */
const lending = (
  runtime: PoolRuntime,
  { captureLocation }: Resolved
): Pick<Pool, "leaseUnsafe" | "reserve" | "share" | "use"> => {
  const lending = new Lending(runtime)
  const use: Pool["use"] = (f) => {
    const caller: { readonly stack?: string } | undefined = captureLocation ? {} : undefined
    if (caller !== undefined) Error.captureStackTrace(caller, use)
    return lending.using(f as Use["f"], caller)
  }
  return {
    use,
    share: (profile, f) => runtime.pipelines ? lending.sharing(profile, f as Use["f"]) : use(f),
    leaseUnsafe: (fiber, profile, body) => runtime.pipelines ? lending.lease(fiber, profile, body) : undefined,
    reserve: Effect.withFiber((fiber) => lending.reserve(fiber))
  }
}

/** What a person asks for. */
const commands = (
  runtime: PoolRuntime,
  draining: Draining
): Pick<Pool, "clear" | "drain" | "resize" | "resume" | "suspend"> => {
  const { adapter, options, state } = runtime
  const command = (f: () => void): Effect.Effect<void> =>
    Effect.sync(() => {
      f()
      runtime.perform()
    })
  return {
    clear: (options) => command(() => state.clear(options?.mode ?? "graceful", runtime.now())),
    suspend: (options) => command(() => state.suspend(options?.mode ?? "hold")),
    resume: Effect.sync(() => draining.resume()),
    drain: ({ mode = "hold", timeout } = {}) =>
      draining.drain(
        mode,
        timeout === undefined ? options.shutdownTimeout : Duration.toMillis(Duration.fromInputUnsafe(timeout))
      ),
    resize: Effect.fnUntraced(function*(size) {
      const { min = Math.min(state.options.min, size.max ?? Infinity), max = state.options.max } = size
      const limits = yield* resolveSize(min, max, adapter.maxConnections)
      state.resize(limits.min, limits.max, runtime.now())
      runtime.perform()
    })
  }
}

const statsOf = (runtime: PoolRuntime, breakers: ReadonlySet<Parameters<Pool["guardedBy"]>[0]>): Stats => {
  const { closed, counts, failed, limits, options, state, telemetry } = runtime
  const now = runtime.now()
  const states = Array.from(breakers, (breaker) => breaker.stateUnsafe())
  return {
    ...counts,
    ...limits,
    ...telemetry.stats(now, state.waiting),
    validating: state.validating,
    unansweredMillis: state.unansweredMillis(now),
    acquireTimeoutMillis: options.state.acquireTimeout,
    breaker: (["Isolated", "Open", "HalfOpen", "Closed"] as const).find((state) => states.includes(state)),
    failed: { ...failed },
    closed: { ...closed }
  }
}

/** Opens the first connection. Fails if the database refuses for good; one that cannot be reached just now does not. */
const verify = (runtime: PoolRuntime): Effect.Effect<void, SqlError> =>
  Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
    const began = runtime.now()
    const slot = runtime.state.begin(began)
    // Without room in the quota, callers that wait need it more.
    if (runtime.account !== undefined && !runtime.account.ask(slot)) return runtime.state.closed(slot, began)
    const exit = yield* Effect.exit(restore(runtime.adapter.connect))
    const permanent = runtime.connected(slot, exit, began)
    if (Exit.isFailure(exit) && (permanent || Exit.hasInterrupts(exit) || Exit.hasDies(exit))) {
      return yield* Effect.failCause(exit.cause)
    }
  }))

/**
 * Provides a pool over the adapter in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Pool, InvalidOptions | SqlError, Adapter> =>
  Layer.effect(Pool, Effect.flatMap(Adapter, (adapter) => make(adapter, options)))
