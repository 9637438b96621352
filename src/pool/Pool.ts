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
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as References from "effect/References"
import * as Scope from "effect/Scope"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import type * as Stream from "effect/Stream"
import * as Tracer from "effect/Tracer"
import { Adapter, type Connection } from "../Adapter.ts"
import { ConnectionLost } from "../failure/ConnectionLost.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Health from "./Health.ts"
import { LeasedConnection } from "./LeasedConnection.ts"
import * as PoolError from "./PoolError.ts"
import { PoolGroup } from "./PoolGroup.ts"
import type { Action } from "./state/Agenda.ts"
import type { Request } from "./state/ConnectionQuota.ts"
import { DeadlockDetector, type Place } from "./state/DeadlockDetector.ts"
import type * as Lanes from "./state/Lanes.ts"
import { Lease } from "./state/Lease.ts"
import type { CloseReason, FailReason, PoolEvent } from "./state/PoolEvent.ts"
import { type Counts, PoolState } from "./state/PoolState.ts"
import type * as Scaling from "./state/Scaling.ts"
import type { Slot } from "./state/Slot.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"
import type { Options as StateOptions } from "./state/StateOptions.ts"
import { type Durations, PoolTelemetry } from "./telemetry/PoolTelemetry.ts"

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
 * The options of a pool. Each has a default that a production team can accept unread.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * How many connections are kept open without demand. Default: 0, because a connection that nobody needs costs the
   * server memory, and one more is opened within milliseconds.
   */
  readonly min?: number | undefined
  /**
   * The most connections, counting those being opened and closed. Default: 10, which keeps some four server cores
   * busy; more connections than that make a database slower, not faster.
   */
  readonly max?: number | undefined
  /**
   * How long a caller waits for a connection, whatever happens meanwhile. Default: 10 seconds: longer than a restart
   * of the database, shorter than most clients of an HTTP server wait.
   */
  readonly acquireTimeout?: Duration.Input | undefined
  /**
   * How many callers may wait while all connections are in use. The next one fails at once with `QueueFull`. Default:
   * no limit.
   */
  readonly maxWaiting?: number | undefined
  /**
   * How many connections are opened at a time. Default: 4. Callers are served by whichever connection is free first,
   * so more only cost the server.
   */
  readonly maxConnecting?: number | undefined
  /** How long a connection above `min` may be idle before it is closed. Default: 10 minutes. */
  readonly idleTimeout?: Duration.Input | undefined
  /**
   * How old a connection gets. Default: 30 minutes, so that servers, balancers and credentials can be changed. A
   * connection that is lent is closed when it comes back.
   */
  readonly lifetime?: Duration.Input | undefined
  /**
   * The part of `lifetime` by which a connection ends early, chosen at random for each, so that connections opened
   * together do not end together. Default: 0.25.
   */
  readonly lifetimeJitter?: number | undefined
  /**
   * How long a connection may be idle and still be lent without a ping. Default: 1 second: a busy pool never pings,
   * and a connection that a firewall has dropped overnight never reaches a caller.
   */
  readonly validateAfter?: Duration.Input | undefined
  /**
   * How long a connection may be idle before it is pinged, so that nothing on the way forgets it. Default: 1 minute,
   * which is below the idle limits of the usual firewalls and balancers.
   */
  readonly keepAlive?: Duration.Input | undefined
  /**
   * How many statements outside transactions may be under way on one connection when no connection is free. Default:
   * 64; 1 switches sharing off. Only databases that can pipeline share at all.
   */
  readonly pipelineDepth?: number | undefined
  /**
   * How much longer than the fastest answer of the last minutes a statement may take and still count as quick. Nobody
   * is sent to wait behind a slower one. Default: 10 milliseconds, wherever the server is: the way to it does not count.
   */
  readonly slowStatement?: Duration.Input | undefined
  /**
   * How long a statement may have to wait for those that it shares a connection with, by what was measured, until one
   * more connection is opened. Default: 1 millisecond: few connections with many quick statements on each are faster
   * than many connections, because each write and each answer carries more of them.
   */
  readonly shareWait?: Duration.Input | undefined
  /**
   * The least ceiling of the random delay between attempts to connect while the database cannot be reached. The
   * ceiling is a tenth of the time that the outage has lasted, between `backoffBase` and `backoffCap`. Default: 250
   * milliseconds.
   */
  readonly backoffBase?: Duration.Input | undefined
  /** The greatest ceiling of that delay. Default: 5 seconds. */
  readonly backoffCap?: Duration.Input | undefined
  /**
   * What construction does. `"verify"` (the default) opens the first connection: a wrong password or an unknown
   * database fails the layer, a database that cannot be reached just now does not. `"lazy"` opens none.
   */
  readonly startup?: "verify" | "lazy" | undefined
  /**
   * How long the pool gets by with the connections that it has after the server refused one more, before it tries one
   * more. Default: 10 seconds. Nobody fails for it: whoever waits is served from the connections that there are.
   */
  readonly overloadRecovery?: Duration.Input | undefined
  /**
   * Whether the pool gives the database less to do at a time when its answers get slower under the load, and more when
   * they do not: `max` stays the upper limit. It protects a database that does less the more it is given. Default:
   * `false`, because how long connections are held says little about the database where transactions wait for other
   * things than statements.
   */
  readonly adaptive?: boolean | undefined
  /**
   * When the pool opens connections before anybody has to wait for them, and closes those that were not needed lately,
   * between `min` and `max`; `false` if it is to do neither. Default: on, see `ScalingOptions`.
   */
  readonly scaling?: ScalingOptions | false | undefined
  /**
   * Lanes by name, see `withLane`: parts of the pool, so that one kind of work cannot take all connections away from
   * another. `guaranteed` is what is kept free for a lane (default 0) and `max` what it may have at the most (default
   * 1), as parts of the connections that there may be just now, rounded down. Whoever is in no lane has what is not
   * guaranteed to any. Default: no lanes. The waiting order is kept within a lane, and between lanes as far as they have
   * room.
   *
   * ```ts
   * import { Pool } from "watertight"
   *
   * // A report can have half of the connections, and a login always finds a fifth of them.
   * const options: Pool.Options = { max: 20, lanes: { report: { max: 0.5 }, login: { guaranteed: 0.2 } } }
   * ```
   */
  readonly lanes?: { readonly [name: string]: LaneOptions } | undefined
  /**
   * What is undone of what a borrower changed in its session: settings, role, temporary tables, advisory locks,
   * listens, cursors. `"detect"` (the default) undoes it when the statements that were run, or the server, show that
   * something was changed. On PostgreSQL that rides with the next borrower's first statement and so costs no round trip;
   * elsewhere it is done before the connection is lent again, while the others are lent. What a function of the database
   * does behind its name cannot be seen: `"always"` undoes everything after every borrower. `"never"` undoes nothing. A
   * transaction that was left open is rolled back in any case.
   */
  readonly reset?: "detect" | "always" | "never" | undefined
  /**
   * How long somebody may have a connection until it is reported, with who that is, in the log and as an event; again
   * when it comes back after all. Default: never. A scope makes it impossible to forget a connection, but not to hold
   * one for too long. It costs nothing while it is off, and no more than an entry of the pool's timer while it is on.
   */
  readonly leakThreshold?: Duration.Input | undefined
  /**
   * How long somebody may have a connection until it is taken away: it is destroyed, and the fiber that holds it is
   * interrupted. Default: never, because work that is cut off half way may do more harm than a connection less.
   */
  readonly reclaimAfter?: Duration.Input | undefined
  /**
   * Whether reports about who holds connections name the place in the code. Default: `false`, because a stack is
   * captured for each `use` then, which takes some microseconds.
   */
  readonly captureLocation?: boolean | undefined
  /** How long shutting down waits for borrowers before their connections are cut. Default: 10 seconds. */
  readonly shutdownTimeout?: Duration.Input | undefined
}

/**
 * When a pool grows ahead of demand, and when it shrinks.
 *
 * **Details**
 *
 * Demand is looked at while the pool is used. A pool that nobody uses is left to `idleTimeout`, and has no timer for
 * this. Statements that share a connection do not make it grow as long as they are answered at once.
 *
 * @category options
 * @since 0.1.0
 */
export interface ScalingOptions {
  /**
   * The part of the connections that may be in use on average before more are opened, above 0 and at most 1. Default:
   * 0.75, which leaves room for a rise by a third within one `interval`.
   */
  readonly utilization?: number | undefined
  /**
   * How long callers may have to wait on average before more are opened, as predicted from how often they come and how
   * long they keep a connection. Default: 5 milliseconds, about half of what opening a connection takes.
   */
  readonly wait?: Duration.Input | undefined
  /** How often demand is looked at. Default: 1 second. */
  readonly interval?: Duration.Input | undefined
  /**
   * How far back it is looked when the pool shrinks: to the median of what was needed, by connections that were idle for
   * a tenth of this. Default: 5 minutes, so neither a burst keeps connections open nor a lull closes them.
   */
  readonly window?: Duration.Input | undefined
}

/**
 * How much of a pool a lane has, from 0 to 1.
 *
 * @category options
 * @since 0.1.0
 */
export interface LaneOptions {
  /** The part of the connections that is kept free for it. Default: 0. */
  readonly guaranteed?: number | undefined
  /** The part of the connections that it may have at the most; one connection in any case. Default: 1. */
  readonly max?: number | undefined
}

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

/**
 * How a pool is doing, at one moment.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stats extends Counts {
  /** The name of the pool in metrics: the address of the database and its name. */
  readonly pool: string
  readonly min: number
  readonly max: number
  /** The most connections just now: less than `max` while the server has no room for more. */
  readonly effectiveMax: number
  /** How often a connection was lent, or shared by a statement, since the pool was made. */
  readonly checkouts: number
  /** How often one was given back. */
  readonly checkins: number
  /** How many of them had to wait. */
  readonly waited: number
  /** How many callers got no connection, by reason. */
  readonly failed: Readonly<Record<FailReason, number>>
  /** How many connections were opened. */
  readonly created: number
  /** How many attempts to open one failed. */
  readonly connectFailures: number
  /** How many connections were closed, by reason. */
  readonly closed: Readonly<Record<CloseReason, number>>
  /** How many connections did not answer a ping. */
  readonly validationFailures: number
  /** How often a connection had to be cleaned up before the next borrower could have it. */
  readonly resets: number
  /** How often somebody was suspected to hold a connection for too long, what came of it, and how many there are now. */
  readonly leaks: {
    readonly suspected: number
    readonly returned: number
    readonly reclaimed: number
    readonly current: number
  }
  /** How long callers waited for a connection, in milliseconds. Those who did not have to wait count as well. */
  readonly wait: Durations
  /** How long they had it. */
  readonly use: Durations
  /** How long opening a connection took. */
  readonly create: Durations
  /** How long statements took on the server and on the way there, without waiting for a connection. */
  readonly query: Durations
  /** What happened within the window that is "recent" here. */
  readonly recent: {
    readonly windowMillis: number
    readonly checkouts: number
    /** How many callers got no connection. */
    readonly failed: number
    readonly created: number
    readonly connectFailures: number
  }
  readonly acquireTimeoutMillis: number
  /** For how long somebody has waited while nobody got a connection, in milliseconds; 0 if nobody waits. */
  readonly exhaustedMillis: number
  /** For how long every attempt to connect has failed, in milliseconds; 0 if the last one did not. */
  readonly outageMillis: number
  /** The state of the circuit breaker in front of the pool, the worst if there are several; `undefined` without one. */
  readonly breaker: Health.Signals["breaker"]
}

export type {
  /**
   * Durations of always, and of the last minute.
   *
   * @category models
   * @since 0.1.0
   */
  Durations,
  /**
   * Something that happened to a pool.
   *
   * @category models
   * @since 0.1.0
   */
  PoolEvent
}

/**
 * What became of the borrowers when a pool was shut down.
 *
 * @category models
 * @since 0.1.0
 */
export interface ShutdownReport {
  readonly database: string
  /** Who had not given its connection back in time, and was cut off. */
  readonly cut: ReadonlyArray<PoolError.Holder>
}

/**
 * What became of the borrowers when a pool was drained.
 *
 * @category models
 * @since 0.1.0
 */
export interface DrainReport extends ShutdownReport {}

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
  /** How often a connection was lent so far. Cheap enough to be asked at any time. */
  readonly checkoutsUnsafe: () => number
  /** How the pool is doing. */
  readonly stats: Effect.Effect<Stats>
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
   * now (`"immediate"`), so that what is run on them fails. Nobody who waits fails for it.
   */
  readonly clear: (options?: { readonly mode?: "graceful" | "immediate" | undefined }) => Effect.Effect<void>
  /**
   * Lends no connections until `resume`, for example while another server takes over.
   *
   * **Details**
   *
   * Callers wait (`"hold"`, the default), each until its own deadline, and are served in their order afterwards; or
   * they fail at once with `Suspended` (`"reject"`). Connections that are lent stay so, and none is opened.
   */
  readonly suspend: (options?: { readonly mode?: "hold" | "reject" | undefined }) => Effect.Effect<void>
  /** Lends connections again. */
  readonly resume: Effect.Effect<void>
  /**
   * Suspends, lets borrowers finish until a deadline, cuts off who has not, and closes all connections. When it ends
   * the pool has none, and stays suspended until `resume`.
   *
   * **Details**
   *
   * `timeout` is `shutdownTimeout` by default. Interrupting it does not resume.
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
 * The connections that whatever runs here has already. Whoever lets others run while it has a connection says so, and
 * the pool can tell waiting for another one from a deadlock.
 *
 * @category references
 * @since 0.1.0
 */
export const Holds = Context.Reference<ReadonlyArray<Connection>>("watertight/Pool/Holds", { defaultValue: () => [] })

/** Whatever the effect needs is in the context of the fiber that runs it. */
type Body = (connection: Connection) => Effect.Effect<any, any>

/**
 * The lane of whatever runs here, by name. A pool without a lane of this name takes no notice of it.
 *
 * @category references
 * @since 0.1.0
 */
export const Lane = Context.Reference<string | undefined>("watertight/Pool/Lane", { defaultValue: () => undefined })

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
 * Somebody who wants, has, or had a connection, the fiber that it is, and what it wants the connection for.
 *
 * It is itself the effect that asks for a connection, waits for it and uses it, because with ten thousand waiters every
 * object less counts. It is evaluated again when it has waited.
 */
class Borrower extends Lease<Connection> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly lend: (borrower: Borrower) => Effect.Effect<any, any>
  readonly body: Body
  /** What it waits with. */
  resume: ((effect: Effect.Effect<any, any>) => void) | undefined = undefined
  /** Whether there is a span for the wait, which ends before the body begins. */
  traced = false
  error: SqlError | undefined = undefined
  /** Where in the code it asked, if that is to be known. */
  caller: { readonly stack?: string | undefined } | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    lend: (borrower: Borrower) => Effect.Effect<any, any>,
    body: Body,
    shared: boolean,
    profile: StatementProfile | undefined,
    lane: number
  ) {
    super(shared, profile, lane)
    this.fiber = fiber
    this.lend = lend
    this.body = body
  }

  /** It need not wait any more, whatever has become of it. */
  wake(): void {
    this.resume?.(this.traced && this.state === "Held" ? Effect.void : this.effect)
  }

  get effect(): Effect.Effect<any, any> {
    return this as unknown as Effect.Effect<any, any>
  }
}

Object.defineProperties(
  Borrower.prototype,
  Object.getOwnPropertyDescriptors(Effectable.Prototype<Effect.Effect<any, any> & Borrower>({
    label: "Lend",
    evaluate() {
      return this.lend(this)
    }
  }))
)

/** Why there is no connection. An interruption says nothing; a defect must not go without a trace. */
const connectErrorOf = (exit: Exit.Exit<Connection, SqlError>): SqlError | undefined => {
  if (Exit.isSuccess(exit)) return notConnected(undefined, "The connection was lost as soon as it was open")
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isSome(error)) return error.value
  return Cause.hasInterruptsOnly(exit.cause)
    ? undefined
    : notConnected(Cause.squash(exit.cause), "The adapter died of a defect while it connected")
}

const noHolders: ReadonlyArray<PoolError.Holder> = []

/** Whether nobody ended the connection, so that the network or the server must be gone. */
const isNetworkFault = (error: SqlError): boolean => {
  const { cause } = error.reason
  return !(cause instanceof ConnectionLost) || cause.serverError === undefined
}

/** Where in the code somebody asked for its connection: who called `use`, or else the function of Effect around it. */
const locationOf = (borrower: Borrower): string | undefined => {
  const caller = firstFrame(borrower.caller?.stack)
  if (caller !== undefined && !/[\\/]effect[\\/](?:src|dist)[\\/]/.test(caller)) return caller
  const frame = Context.get(borrower.fiber.context, References.CurrentStackFrame)
  if (frame === undefined) return undefined
  const place = firstFrame(frame.stack())
  return place === undefined ? frame.name : `${frame.name} (${place})`
}

const firstFrame = (stack: string | undefined): string | undefined =>
  stack === undefined ? undefined : /^\s*at (.+)$/m.exec(stack)?.[1]

const notConnected = (cause: unknown, message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause, message, operation: "connect" }) })

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
  const resolved = yield* resolve(options, adapter.maxConnections)
  const clock = yield* Clock.Clock
  const random = yield* Random.Random
  const context = yield* Effect.context<never>()
  const runFork = Effect.runForkWith(context)
  const state = new PoolState<Connection>(resolved.state, () => random.nextDoubleUnsafe())
  /** Done when the last connection is gone; then there is another one for the next time. */
  let drained = Deferred.makeUnsafe<void>()
  const opening = new Map<Slot<Connection>, Fiber.Fiber<Connection, SqlError>>()

  /** Why the last attempt to connect failed, unless one has succeeded since. */
  let connectError: SqlError | undefined
  /** Why nobody can connect until a person changes something. */
  let refusal: SqlError | undefined
  const failed: Record<FailReason, number> = {
    AcquireTimeout: 0,
    QueueFull: 0,
    PoolClosed: 0,
    ConnectFailed: 0,
    Suspended: 0
  }
  const closed: Record<CloseReason, number> = {
    Lifetime: 0,
    IdleTimeout: 0,
    PingFailed: 0,
    ResetFailed: 0,
    Lost: 0,
    Cleared: 0,
    Retired: 0,
    Resized: 0,
    Reclaimed: 0,
    Unneeded: 0,
    Budget: 0,
    Shutdown: 0
  }

  // The live clock's monotonic time, without a bigint for every statement.
  const now = clock === Context.get(Context.empty(), Clock.Clock)
    ? () => performance.now()
    : () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

  const limits = () => ({ min: state.options.min, max: state.options.max, effectiveMax: state.limit })
  const telemetry = new PoolTelemetry(adapter, context, now, runFork, {
    counts: () => counts(),
    limits,
    failed,
    closed,
    health: () => Health.decide(stats())
  })
  const { operations } = telemetry
  const group = Context.get(context, PoolGroup)
  let leaveGroup: (() => void) | undefined
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      leaveGroup?.()
      nesting.places.delete(place)
      if (account !== undefined) budget!.leave(account)
      telemetry.close()
    })
  )

  // -------------------------------------------------------------------------------------------------------------------
  // Performing what the state decides
  // -------------------------------------------------------------------------------------------------------------------

  const actions = state.actions
  let performing = false
  /** When to call `tick`, if that has changed. */
  let wakeAt: number | undefined
  /** Who has a connection. It does not change while actions are performed that fail everybody who waits. */
  let holding: ReadonlyArray<PoolError.Holder> | undefined

  /** Performs all actions, also those that performing them brings about. */
  const perform = (): void => {
    if (performing) return
    performing = true
    let performed = 0
    try {
      while (performed < actions.length) performOne(actions[performed++]!)
    } finally {
      if (performed === actions.length) actions.length = 0
      else actions.splice(0, performed)
      performing = false
      holding = undefined
      if (wakeAt !== undefined) arm(wakeAt)
      // An observer of a resumed fiber has thrown: that is not the affair of those behind it.
      if (actions.length > 0) perform()
      else if (account !== undefined) settleAccount()
    }
  }

  const performOne = (action: Action<Connection>): void => {
    switch (action._tag) {
      case "Lease": {
        const borrower = action.lease as Borrower
        holding = undefined
        telemetry.served(borrower.heldAt - borrower.askedAt, borrower.heldAt, true)
        // An earlier action of the same batch may have ended it.
        if (borrower.state === "Held") borrower.wake()
        return
      }
      case "Fail": {
        const borrower = action.lease as Borrower
        failed[action.reason]++
        telemetry.failed(action.reason, borrower.askedAt, now())
        borrower.error = failure(borrower, action.reason)
        borrower.wake()
        return
      }
      case "Connect":
        return connect(action.slot)
      case "Ping": {
        const { slot } = action
        const { ping, verify } = slot.connection!
        observe(slot.asked === "RoleChange" ? verify ?? ping : ping, (exit) => {
          if (Exit.isFailure(exit)) telemetry.tally.validationFailures++
          state.validated(slot, now(), Exit.isSuccess(exit))
        })
        return
      }
      case "Reset": {
        const { slot } = action
        const connection = slot.connection!
        telemetry.tally.resets++
        observe(connection.reset, (exit) => state.wasReset(slot, now(), Exit.isSuccess(exit) && connection.isReady))
        return
      }
      case "Close": {
        const { abrupt, reason, slot } = action
        const connection = slot.connection!
        if (abrupt || reason === "PingFailed" || reason === "ResetFailed") {
          connection.destroy(`closed by the pool: ${reason}`)
          return state.closed(slot, now())
        }
        observe(connection.close, () => state.closed(slot, now()))
        return
      }
      case "Wake":
        wakeAt = action.at
        return
      case "Reclaim":
        return (action.lease as Borrower).fiber.interruptUnsafe()
      case "Report": {
        const { event, lease } = action
        if (event._tag === "Closed") closed[event.reason]++
        return telemetry.report(event, lease === undefined ? undefined : holderOf(lease as Borrower, now()))
      }
      case "Drained": {
        const done = drained
        drained = Deferred.makeUnsafe()
        telemetry.report({ _tag: "Drained" })
        Deferred.doneUnsafe(done, Effect.void)
        return
      }
    }
  }

  /** Runs an effect of a connection apart from all borrowers, and tells the state what became of it. */
  const observe = <A, E>(effect: Effect.Effect<A, E>, f: (exit: Exit.Exit<A, E>) => void): Fiber.Fiber<A, E> => {
    const fiber = runFork(effect)
    fiber.addObserver((exit) => {
      f(exit)
      perform()
    })
    return fiber
  }

  const connect = (slot: Slot<Connection>): void => {
    if (account === undefined) return open(slot)
    if (ask(slot, () => connectGranted(slot))) open(slot)
  }

  const open = (slot: Slot<Connection>): void => {
    const began = now()
    const fiber = observe(adapter.connect, (exit) => {
      opening.delete(slot)
      connected(slot, exit, began)
    })
    if (fiber.pollUnsafe() === undefined) opening.set(slot, fiber)
  }

  /** Whether statements may share a connection. Only connections can tell whether they pipeline. */
  let pipelines = adapter.maxConnections !== 1 && resolved.state.pipelineDepth > 1

  /** What became of an attempt to connect. Returns whether it failed for good. */
  const connected = (slot: Slot<Connection>, exit: Exit.Exit<Connection, SqlError>, began: number): boolean => {
    // One that is lost by the time it is open is a failed attempt: nobody gets it, and the next one waits.
    if (Exit.isSuccess(exit) && !exit.value.isClosed) {
      const at = now()
      connectError = undefined
      telemetry.connected(at - began, at)
      pipelines &&= exit.value.canPipeline
      state.connected(slot, exit.value, at)
      exit.value.onLost((error) => {
        lost(slot, isNetworkFault(error))
        perform()
      })
      exit.value.onRetire?.(() => {
        state.retire(slot, now())
        perform()
      })
      return false
    }
    const error = connectErrorOf(exit)
    const permanent = error !== undefined && adapter.isPermanent(error)
    if (error !== undefined) {
      telemetry.connectFailed(error, permanent, now())
      connectError = error
    }
    if (permanent) refusal = error
    const full = error !== undefined && adapter.ruleOf(error)?.about.startsWith("too many connections") === true
    state.connectFailed(slot, now(), permanent ? "Permanent" : full ? "Full" : "Unreachable")
    return permanent
  }

  const lost = (slot: Slot<Connection>, fault: boolean): void => state.lost(slot, now(), fault)

  // -------------------------------------------------------------------------------------------------------------------
  // The budget that several pools have together
  // -------------------------------------------------------------------------------------------------------------------

  const budget = group?.budget
  const account = budget?.join({
    isStarving: () => state.waiting > 0 && !state.closing,
    idle: () => state.counts.idle,
    giveUpIdle: () => {
      const had = state.giveUpIdle(now())
      if (had) perform()
      return had
    },
    giveUpNext: () => {
      state.closeForOthers++
    }
  })
  /** Those that may be open by the budget, and those for which it was asked. */
  const permitted = new Set<Slot<Connection>>()
  const asked = new Map<Slot<Connection>, Request>()

  const nesting = group?.nesting ?? new DeadlockDetector<Connection>()
  const place: Place<Connection> = { state, budget, lacksRoom: (slot) => asked.has(slot) }
  nesting.places.add(place)

  const ask = (slot: Slot<Connection>, granted: () => void): boolean => {
    const request: Request = {
      account: account!,
      grant: () => {
        asked.delete(slot)
        permitted.add(slot)
        granted()
      }
    }
    asked.set(slot, request)
    if (!budget!.ask(request)) return false
    asked.delete(slot)
    permitted.add(slot)
    return true
  }

  /** There is room for the connection now, if it is still needed. */
  const connectGranted = (slot: Slot<Connection>): void => {
    if (slot.phase === "Connecting" && state.wantsMore(now())) open(slot)
    else state.closed(slot, now())
    perform()
  }

  /** Tells the budget which connections are gone, and whether somebody else could have one of ours. */
  const settleAccount = (): void => {
    // Nobody waits any more for what was asked for.
    if (asked.size > 0 && !state.wantsMore(now())) {
      for (const slot of Array.from(asked.keys())) state.closed(slot, now())
    }
    if (permitted.size + asked.size > state.slots.size) {
      for (const [slot, request] of asked) {
        if (slot.phase !== "Gone") continue
        asked.delete(slot)
        budget!.cancel(request)
      }
      for (const slot of permitted) {
        if (slot.phase !== "Gone") continue
        permitted.delete(slot)
        budget!.release(account!)
      }
      state.closeForOthers = Math.min(state.closeForOthers, account!.owed)
    }
    if (asked.size > 0) refuseNested()
    if (budget!.waiting > 0) budget!.relieve()
    if (actions.length > 0) perform()
  }

  /** Connections for which there is no room yet are none. */
  const counts = (): Counts => {
    const { connecting, total, ...rest } = state.counts
    return { total: total - asked.size, connecting: connecting - asked.size, ...rest }
  }

  let timer: Fiber.Fiber<void> | undefined

  /** One timer for everything. */
  const arm = (at: number): void => {
    disarm()
    // Rounded up, because a clock that is woken too early by less than it can measure would be so for ever.
    const fiber = runFork(clock.sleep(Duration.millis(Math.max(0, Math.ceil(at - now())))))
    timer = fiber
    fiber.addObserver(() => {
      if (timer !== fiber) return
      timer = undefined
      if (budget !== undefined) state.roomInQuota = budget.spare
      state.tick(now())
      perform()
    })
  }

  const disarm = (): void => {
    const fiber = timer
    timer = undefined
    wakeAt = undefined
    fiber?.interruptUnsafe()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Telling what is wrong
  // -------------------------------------------------------------------------------------------------------------------

  const holderOf = (borrower: Borrower, at: number): PoolError.Holder => {
    const { fiber } = borrower
    const span = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
    const location = resolved.captureLocation ? locationOf(borrower) : undefined
    return {
      fiberId: fiber.id,
      span: span?._tag === "Span" ? span.name : undefined,
      heldMillis: at - borrower.heldAt,
      connectionId: borrower.slot!.connection!.id,
      ...(location === undefined ? undefined : { location }),
      ...(borrower.leaked ? { isLeakSuspected: true } : undefined)
    }
  }

  /** Who has a connection; of those that share one, who is first in line, or all. */
  const holders = (all: boolean): ReadonlyArray<PoolError.Holder> => {
    const at = now()
    const result: Array<PoolError.Holder> = []
    for (const slot of state.slots) {
      for (let lease = slot.lease; lease !== undefined; lease = all ? lease.next : undefined) {
        result.push(holderOf(lease as Borrower, at))
      }
    }
    return result.sort((a, b) => b.heldMillis - a.heldMillis)
  }

  const failure = (borrower: Borrower, reason: FailReason): SqlError => {
    if (reason === "ConnectFailed") return refusal!
    if (reason === "Suspended") return PoolError.toSqlError(new PoolError.Suspended({ database: adapter.name }))
    if (reason === "PoolClosed") return PoolError.toSqlError(new PoolError.PoolClosed({ database: adapter.name }))
    return reason === "QueueFull"
      ? situated(PoolError.QueueFull)
      : PoolError.toSqlError(new PoolError.AcquireTimeout({ ...situation(), waitedMillis: now() - borrower.askedAt }))
  }

  const situation = (): PoolError.Situation => ({
    database: adapter.name,
    max: state.limit,
    ...counts(),
    holders: performing ? holding ??= holders(false) : holders(false),
    connectError
  })

  const situated = (Reason: new(situation: PoolError.Situation) => PoolError.PoolErrorReason): SqlError =>
    PoolError.toSqlError(new Reason(situation()))

  // -------------------------------------------------------------------------------------------------------------------
  // Lending
  // -------------------------------------------------------------------------------------------------------------------

  const { laneNumbers } = resolved
  const laneOf = (fiber: Fiber.Fiber<unknown, unknown>): number => {
    if (laneNumbers === undefined) return 0
    const name = Context.get(fiber.context, Lane)
    return name === undefined ? 0 : laneNumbers.get(name) ?? 0
  }

  const leaseEnded = Effect.suspend(() =>
    Effect.fail(PoolError.toSqlError(new PoolError.LeaseEnded({ database: adapter.name })))
  )

  /** Waits until something has become of the borrower. Only for one that `acquire` did not serve at once. */
  const wait = (borrower: Borrower): Effect.Effect<any, any> =>
    Effect.callback((resume) => {
      borrower.resume = resume
      if (borrower.state === "Waiting") {
        if (isNested(borrower)) refuseNested()
      } else if (borrower.state === "Held" || borrower.state === "Ended" || borrower.error !== undefined) {
        // It did not have to wait. Who has failed without knowing why is told soon.
        borrower.wake()
      }
    })

  /** Whether somebody who begins to wait has connections already. */
  const isNested = (borrower: Borrower): boolean => {
    let held: Set<Lease<Connection>> | undefined
    for (const connection of borrower.fiber.getRef(Holds)) {
      if (connection instanceof LeasedConnection) (held ??= new Set()).add(connection.lease)
    }
    // What it has of others matters where it waits for them to give one back.
    for (const { state } of asked.size > 0 ? nesting.places : [place]) {
      for (const { lease } of state.slots) {
        if ((lease as Borrower | undefined)?.fiber === borrower.fiber) (held ??= new Set()).add(lease!)
      }
    }
    if (held === undefined) return false
    nesting.add(borrower, place, held)
    return true
  }

  /** Fails those who would wait for ever. */
  const refuseNested = (): void => {
    let borrower: Borrower | undefined
    while ((borrower = nesting.stuck(place) as Borrower | undefined) !== undefined) {
      borrower.error = situated(PoolError.NestedAcquire)
      end(borrower, true)
    }
  }

  /**
   * Gives back what the borrower has, or takes it out of the queue.
   *
   * It is registered before anything is asked for, so there is no moment at which an interruption could lose a
   * connection.
   */
  const end = (borrower: Borrower, answered: boolean, statement?: Exit.Exit<unknown, unknown>): void => {
    nesting.remove(borrower)
    if (borrower.state === "Held") {
      const at = now()
      telemetry.use.record(at - borrower.heldAt, at)
      if (statement !== undefined) operations.ended(at - borrower.heldAt, at, statement)
      const slot = borrower.slot!
      const connection = slot.connection!
      const ready = connection.handBack === undefined ? connection.isReady : connection.handBack(resolved.reset)
      // Whoever destroys a connection knows why; it says nothing about those beside it.
      if (!ready && connection.isClosed) lost(slot, false)
      state.end(borrower, at, ready, answered)
    } else {
      const waiting = borrower.state === "Waiting"
      state.end(borrower, now(), true)
      // Somebody else may have closed the scope in which its fiber waits.
      if (waiting) borrower.wake()
    }
    if (actions.length > 0) perform()
    else if (account !== undefined) settleAccount()
  }

  /** What a borrower does: it asks for a connection, waits for it, and comes here again to use it. */
  const lend = (borrower: Borrower): Effect.Effect<any, any> => {
    if (borrower.resume !== undefined) return afterWait(borrower)
    const at = now()
    if (state.acquire(borrower, at)) {
      telemetry.served(0, at, false)
      if (actions.length > 0) perform()
      return begin(borrower)
    }
    if (borrower.state === "Waiting") telemetry.waits(state.waiting, at)
    if (actions.length > 0) perform()
    const waiting = wait(borrower)
    const traced: Effect.Effect<any, any> = telemetry.traced(borrower.fiber, waiting, () => now() - at)
    borrower.traced = traced !== waiting
    return borrower.traced ? Effect.flatMap(traced, () => borrower.effect) : waiting
  }

  const afterWait = (borrower: Borrower): Effect.Effect<any, any> => {
    if (borrower.state === "Held") return begin(borrower)
    return borrower.error === undefined ? leaseEnded : Effect.fail(borrower.error)
  }

  const begin = (borrower: Borrower): Effect.Effect<any, any> => {
    const connection = borrower.slot!.connection!
    return borrower.body(
      borrower.shared ? connection : new LeasedConnection(connection, borrower, adapter.name, operations)
    )
  }

  const share: Pool["share"] = (profile, f) => {
    if (!pipelines) return use(f)
    return Effect.withFiber((fiber) => {
      const borrower = new Borrower(fiber, lend, f as Body, true, profile, laneOf(fiber))
      return Effect.onExitPrimitive(borrower.effect, (exit) => {
        end(borrower, Exit.isSuccess(exit) || !Exit.hasInterrupts(exit), exit)
        return undefined
      })
    })
  }

  const use: Pool["use"] = (f) => {
    const caller: Borrower["caller"] = resolved.captureLocation ? {} : undefined
    if (caller !== undefined) Error.captureStackTrace(caller, use)
    return Effect.withFiber((fiber) => {
      const borrower = new Borrower(fiber, lend, f as Body, false, undefined, laneOf(fiber))
      borrower.caller = caller
      return Effect.onExitPrimitive(borrower.effect, () => {
        end(borrower, true)
        return undefined
      })
    })
  }

  const reserve: Pool["reserve"] = Effect.withFiber((fiber) => {
    const scope = Context.get(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
    const borrower = new Borrower(fiber, lend, Effect.succeed, false, undefined, laneOf(fiber))
    const release = Effect.sync(() => end(borrower, true))
    return Effect.andThen(
      Scope.addFinalizer(scope, release),
      // Whoever is interrupted while it waits leaves the queue at once, not when its scope closes.
      Effect.onInterrupt(borrower.effect, () => release)
    )
  })

  // -------------------------------------------------------------------------------------------------------------------
  // Shutting down
  // -------------------------------------------------------------------------------------------------------------------

  const cutOff = Effect.suspend(() => {
    const cut = holders(true)
    if (cut.length > 0) telemetry.report({ _tag: "CutOff", count: cut.length }, cut)
    const slots = Array.from(state.slots).filter((slot) => slot.connection !== undefined)
    return Effect.forEach(
      slots,
      (slot) =>
        Effect.andThen(
          slot.phase === "Closing" ? Effect.void : slot.connection!.cancel,
          Effect.sync(() => {
            slot.connection!.destroy(`cut off at the ${state.closing ? "shutdown" : "draining"} of the pool`)
            state.closed(slot, now())
          })
        ),
      { concurrency: "unbounded", discard: true }
    ).pipe(
      Effect.andThen(Effect.sync(perform)),
      Effect.as(cut)
    )
  })

  /** Waits until the last connection is gone, and cuts off whoever stands in the way of that for too long. */
  const draining = (begin: () => void, timeout: Duration.Duration): Effect.Effect<ShutdownReport> =>
    Effect.suspend(() => {
      const gone = drained
      begin()
      perform()
      for (const fiber of opening.values()) fiber.interruptUnsafe()
      for (const slot of Array.from(asked.keys())) state.closed(slot, now())
      perform()
      return Effect.map(
        Effect.timeoutOrElse(Effect.as(Deferred.await(gone), noHolders), { duration: timeout, orElse: () => cutOff }),
        (cut) => ({ database: adapter.name, cut })
      )
    })

  const shuttingDown = Effect.tap(
    draining(
      () => state.shutdown(now()),
      Duration.min(resolved.shutdownTimeout, Duration.millis(group?.shutdownMillis ?? Infinity))
    ),
    () => Effect.sync(disarm)
  )

  const drain: Pool["drain"] = (options) =>
    Effect.suspend(() =>
      // In a fiber of its own, as the shutdown.
      Fiber.join(runFork(draining(
        () => state.drain(options?.mode ?? "hold", now()),
        options?.timeout === undefined ? resolved.shutdownTimeout : Duration.fromInputUnsafe(options.timeout)
      )))
    )

  const resize: Pool["resize"] = Effect.fnUntraced(function*(options) {
    const { min = Math.min(state.options.min, options.max ?? Infinity), max = state.options.max } = options
    const size = yield* resolveSize(min, max, adapter.maxConnections)
    state.resize(size.min, size.max, now())
    perform()
  })

  /** Performs what a person asked for. */
  const command = (f: () => void): Effect.Effect<void> =>
    Effect.sync(() => {
      f()
      perform()
    })

  let shutdownFiber: Fiber.Fiber<ShutdownReport> | undefined

  // In a fiber of its own: whoever is interrupted while it waits for the end does not stop it.
  const shutdown = Effect.suspend(() => Fiber.join(shutdownFiber ??= runFork(shuttingDown)))

  yield* Effect.addFinalizer(() => shutdown)

  const breakers = new Set<Parameters<Pool["guardedBy"]>[0]>()
  const breaker = (): Health.Signals["breaker"] => {
    const states = Array.from(breakers, (breaker) => breaker.stateUnsafe())
    return (["Isolated", "Open", "HalfOpen", "Closed"] as const).find((state) => states.includes(state))
  }

  const stats = (): Stats => ({
    ...counts(),
    ...limits(),
    ...telemetry.stats(now(), state.waiting),
    acquireTimeoutMillis: resolved.state.acquireTimeout,
    breaker: breaker(),
    failed: { ...failed },
    closed: { ...closed }
  })

  if (resolved.startup === "verify") {
    yield* Effect.uninterruptibleMask(Effect.fnUntraced(function*(restore) {
      const began = now()
      const slot = state.begin(began)
      // Whoever waits for a connection needs the room more.
      if (account !== undefined && !ask(slot, () => connectGranted(slot))) return state.closed(slot, began)
      const exit = yield* Effect.exit(restore(adapter.connect))
      const permanent = connected(slot, exit, began)
      if (Exit.isFailure(exit) && (permanent || Exit.hasInterrupts(exit) || Exit.hasDies(exit))) {
        return yield* Effect.failCause(exit.cause)
      }
    }))
  }
  state.start(now())
  perform()

  leaveGroup = group?.join({ stats, telemetry, shutdown })

  return {
    [TypeId]: TypeId,
    name: adapter.name,
    use,
    reserve,
    share,
    checkoutsUnsafe: () => telemetry.wait.count,
    stats: Effect.sync(stats),
    health: Effect.sync(() => Health.decide(stats())),
    guardedBy: (breaker) =>
      Effect.asVoid(
        Effect.acquireRelease(
          Effect.sync(() => breakers.add(breaker)),
          () => Effect.sync(() => breakers.delete(breaker))
        )
      ),
    events: telemetry.events,
    shutdown,
    clear: (options) => command(() => state.clear(options?.mode ?? "graceful", now())),
    suspend: (options) => command(() => state.suspend(options?.mode ?? "hold")),
    resume: command(() => state.resume(now())),
    drain,
    resize
  }
})

/**
 * Provides a pool over the adapter in the context.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Pool, InvalidOptions | SqlError, Adapter> =>
  Layer.effect(Pool, Effect.flatMap(Adapter, (adapter) => make(adapter, options)))

// ---------------------------------------------------------------------------------------------------------------------
// Options
// ---------------------------------------------------------------------------------------------------------------------

interface Resolved {
  readonly state: StateOptions
  readonly startup: "verify" | "lazy"
  readonly shutdownTimeout: Duration.Duration
  readonly captureLocation: boolean
  readonly reset: "detect" | "always" | "never"
  /** The numbers of the lanes; `undefined` if there are none. */
  readonly laneNumbers: ReadonlyMap<string, number> | undefined
}

const counts = {
  min: { fallback: 0, least: 0 },
  max: { fallback: 10, least: 1 },
  maxConnecting: { fallback: 4, least: 1 },
  maxWaiting: { fallback: Infinity, least: 0 },
  pipelineDepth: { fallback: 64, least: 1 }
} as const

const durations = {
  acquireTimeout: Duration.seconds(10),
  idleTimeout: Duration.minutes(10),
  lifetime: Duration.minutes(30),
  validateAfter: Duration.seconds(1),
  keepAlive: Duration.minutes(1),
  slowStatement: Duration.millis(10),
  shareWait: Duration.millis(1),
  backoffBase: Duration.millis(250),
  backoffCap: Duration.seconds(5),
  overloadRecovery: Duration.seconds(10),
  leakThreshold: Duration.infinity,
  reclaimAfter: Duration.infinity,
  shutdownTimeout: Duration.seconds(10)
} as const

const optionNames: ReadonlySet<string> = new Set([
  ...Object.keys(counts),
  ...Object.keys(durations),
  "lifetimeJitter",
  "startup",
  "captureLocation",
  "reset",
  "lanes",
  "adaptive",
  "scaling"
])

const scalingDurations = {
  wait: Duration.millis(5),
  interval: Duration.seconds(1),
  window: Duration.minutes(5)
} as const

const invalid = (option: string, problem: string): InvalidOptions =>
  new InvalidOptions({ module: "Pool", option, problem })

const resolveCount = (name: keyof typeof counts, value: number): Effect.Effect<number, InvalidOptions> => {
  const { least } = counts[name]
  return value >= least && (Number.isInteger(value) || (value === Infinity && name === "maxWaiting"))
    ? Effect.succeed(value)
    : Effect.fail(invalid(name, `must be a whole number of at least ${least}, it is ${value}`))
}

const resolveSize = Effect.fnUntraced(function*(
  min: number,
  max: number,
  maxConnections: number | undefined
): Effect.fn.Return<{ readonly min: number; readonly max: number }, InvalidOptions> {
  yield* resolveCount("min", min)
  yield* resolveCount("max", max)
  if (min > max) return yield* invalid("min", `is ${min} and so above \`max\`, which is ${max}`)
  return { min: Math.min(min, maxConnections ?? Infinity), max: Math.min(max, maxConnections ?? Infinity) }
})

const resolveScaling = Effect.fnUntraced(function*(
  options: ScalingOptions
): Effect.fn.Return<Scaling.Options, InvalidOptions> {
  const utilization = options.utilization ?? 0.75
  if (!(utilization > 0 && utilization <= 1)) {
    return yield* invalid("scaling", `utilization must be a number above 0 and at most 1, it is ${utilization}`)
  }
  const millis = {} as Record<keyof typeof scalingDurations, number>
  for (const name of Object.keys(scalingDurations) as Array<keyof typeof scalingDurations>) {
    const input = options[name] ?? scalingDurations[name]
    const value = Duration.fromInput(input)
    if (Option.isNone(value) || Number.isNaN(input)) {
      return yield* invalid("scaling", `${name} is not a duration: ${String(input)}`)
    }
    millis[name] = Duration.toMillis(value.value)
    if (!(millis[name] >= 0)) return yield* invalid("scaling", `${name} must not be negative`)
  }
  if (millis.interval === 0) return yield* invalid("scaling", "interval must be longer than zero")
  if (!(millis.window >= millis.interval && millis.window <= millis.interval * 10_000)) {
    return yield* invalid("scaling", "window must be as long as one interval at least, and as 10,000 at the most")
  }
  return { utilization, ...millis }
})

const resolve = Effect.fnUntraced(function*(
  options: Options,
  maxConnections: number | undefined
): Effect.fn.Return<Resolved, InvalidOptions> {
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) {
      return yield* invalid(name, `does not exist. There are: ${Array.from(optionNames).join(", ")}`)
    }
  }
  const number = {} as Record<keyof typeof counts, number>
  for (const name of Object.keys(counts) as Array<keyof typeof counts>) {
    number[name] = yield* resolveCount(name, options[name] ?? counts[name].fallback)
  }
  Object.assign(number, yield* resolveSize(number.min, number.max, maxConnections))
  const millis = {} as Record<keyof typeof durations, number>
  for (const name of Object.keys(durations) as Array<keyof typeof durations>) {
    const input = options[name] ?? durations[name]
    const value = Duration.fromInput(input)
    // `Duration` takes what is not a number for no time at all.
    if (Option.isNone(value) || Number.isNaN(input)) {
      return yield* invalid(name, `is not a duration: ${String(options[name])}`)
    }
    millis[name] = Duration.toMillis(value.value)
    if (!(millis[name] >= 0)) return yield* invalid(name, "must not be negative")
  }
  for (
    const name of [
      "acquireTimeout",
      "lifetime",
      "keepAlive",
      "slowStatement",
      "overloadRecovery",
      "leakThreshold",
      "reclaimAfter"
    ] as const
  ) {
    if (millis[name] === 0) return yield* invalid(name, "must be longer than zero")
  }
  if (millis.backoffBase > millis.backoffCap) {
    return yield* invalid(
      "backoffBase",
      `is ${millis.backoffBase} ms and so above \`backoffCap\`, which is ${millis.backoffCap} ms`
    )
  }
  const lifetimeJitter = options.lifetimeJitter ?? 0.25
  if (typeof lifetimeJitter !== "number" || !(lifetimeJitter >= 0 && lifetimeJitter <= 1)) {
    return yield* invalid("lifetimeJitter", `must be a number between 0 and 1, it is ${String(lifetimeJitter)}`)
  }
  const startup = options.startup ?? "verify"
  if (startup !== "verify" && startup !== "lazy") {
    return yield* invalid("startup", `must be "verify" or "lazy"`)
  }
  const reset = options.reset ?? "detect"
  if (!["detect", "always", "never"].includes(reset)) {
    return yield* invalid("reset", `must be "detect", "always" or "never"`)
  }
  const lanes: Array<Lanes.LaneOptions> = []
  const laneNumbers = new Map<string, number>()
  for (const [name, lane] of Object.entries(options.lanes ?? {})) {
    const { guaranteed = 0, max = 1 } = lane
    for (const [which, part] of [["guaranteed", guaranteed], ["max", max]] as const) {
      if (!(part >= 0 && part <= 1)) {
        return yield* invalid("lanes", `${name}.${which} must be a number between 0 and 1, it is ${part}`)
      }
    }
    if (guaranteed > max) return yield* invalid("lanes", `${name}.guaranteed is ${guaranteed} and so above its \`max\``)
    laneNumbers.set(name, lanes.push({ guaranteed, max }))
  }
  if (lanes.reduce((sum, lane) => sum + lane.guaranteed, 0) > 1) {
    return yield* invalid("lanes", "guarantee more than there is: together it must not be above 1")
  }
  const { scaling = {} } = options
  if (typeof scaling !== "object" && scaling !== false) return yield* invalid("scaling", "must be options, or `false`")
  const { shutdownTimeout, ...times } = millis
  return {
    state: {
      ...number,
      ...times,
      lifetimeJitter,
      lanes,
      adaptive: options.adaptive === true,
      // Where there is only one connection, there is nothing to decide.
      scaling: scaling === false || maxConnections === 1 ? undefined : yield* resolveScaling(scaling),
      slowConnect: 1000
    },
    startup,
    shutdownTimeout: Duration.millis(shutdownTimeout),
    captureLocation: options.captureLocation === true,
    reset,
    laneNumbers: lanes.length === 0 ? undefined : laneNumbers
  }
})
