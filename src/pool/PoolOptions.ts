/**
 * The options of a pool, and how they are checked.
 *
 * @since 0.2.0
 */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Check from "../options/Options.ts"
import type * as Lanes from "./state/Lanes.ts"
import type { Options as StateOptions } from "./state/StateOptions.ts"

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
   * How long a connection may take to answer a ping of the pool, to be reset after a borrower, or to say goodbye, until
   * the pool destroys it. Default: 10 seconds, or twice the time limit that the adapter has for these itself, whichever
   * is longer. It is the last resort: adapters end such a connection earlier.
   */
  readonly controlTimeout?: Duration.Input | undefined
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
   * does behind its name is in no text. PostgreSQL undoes everything after a call of one that is not its own; what a
   * trigger, a default, a view or a policy calls cannot be seen, and on MySQL no function can: `"always"` undoes
   * everything after every borrower. `"never"` undoes nothing. A
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
   * How long somebody may have a connection until it is taken away: it is destroyed, and the fiber that runs a `use` with
   * it is interrupted. One from `reserve` fails whatever is run on it afterwards. Default: never, because work that is cut off half way may do more harm than a connection less.
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
 * Options that have been checked, with every default filled in.
 *
 * @category models
 * @since 0.2.0
 */
export interface Resolved {
  readonly state: StateOptions
  readonly startup: "verify" | "lazy"
  /** In milliseconds. */
  readonly shutdownTimeout: number
  readonly captureLocation: boolean
  readonly reset: "detect" | "always" | "never"
  /** The numbers of the lanes; `undefined` if there are none. */
  readonly laneNumbers: ReadonlyMap<string, number> | undefined
}

const scaling = Check.nested<ScalingOptions>()({
  utilization: Check.number({ default: 0.75, min: 0, aboveMin: true, max: 1 }),
  wait: Check.duration({ default: "5 millis" }),
  interval: Check.duration({ default: "1 second", positive: true }),
  window: Check.duration({ default: "5 minutes" })
})

const lane = Check.nested<LaneOptions>()({
  guaranteed: Check.number({ default: 0, min: 0, max: 1 }),
  max: Check.number({ default: 1, min: 0, max: 1 })
})

const options = Check.make<Options>()("Pool", {
  min: Check.count({ default: 0 }),
  max: Check.count({ default: 10, min: 1 }),
  maxConnecting: Check.count({ default: 4, min: 1 }),
  acquireTimeout: Check.duration({ default: "10 seconds", positive: true }),
  maxWaiting: Check.count({ default: Infinity, infinite: true }),
  idleTimeout: Check.duration({ default: "10 minutes" }),
  lifetime: Check.duration({ default: "30 minutes", positive: true }),
  lifetimeJitter: Check.number({ default: 0.25, min: 0, max: 1 }),
  validateAfter: Check.duration({ default: "1 second" }),
  keepAlive: Check.duration({ default: "1 minute", positive: true }),
  pipelineDepth: Check.count({ default: 64, min: 1 }),
  slowStatement: Check.duration({ default: "10 millis", positive: true }),
  shareWait: Check.duration({ default: "1 millis" }),
  backoffBase: Check.duration({ default: "250 millis" }),
  backoffCap: Check.duration({ default: "5 seconds" }),
  startup: Check.oneOf(["verify", "lazy"], { default: "verify" }),
  controlTimeout: Check.duration({ positive: true }),
  overloadRecovery: Check.duration({ default: "10 seconds", positive: true }),
  adaptive: Check.boolean({ default: false }),
  scaling: Check.orFalse(scaling),
  lanes: Check.record(lane),
  reset: Check.oneOf(["detect", "always", "never"], { default: "detect" }),
  leakThreshold: Check.duration({ default: Infinity, positive: true }),
  reclaimAfter: Check.duration({ default: Infinity, positive: true }),
  captureLocation: Check.boolean({ default: false }),
  shutdownTimeout: Check.duration({ default: "10 seconds" })
}, {
  synonyms: { size: "max", connectionTimeout: "acquireTimeout", maxLifetime: "lifetime", minimumIdle: "min" },
  listNames: true
})

/** How long an attempt to connect may take until it no longer counts as supply, in milliseconds. */
const slowConnect = 1_000
const leastControlTimeout = 10_000

/**
 * Checks options and fills in the defaults. `adapter` tells what the database allows.
 *
 * @category constructors
 * @since 0.2.0
 */
export const resolve = (
  given: Options,
  adapter: { readonly maxConnections: number | undefined; readonly controlTimeout?: number | undefined }
): Effect.Effect<Resolved, InvalidOptions> =>
  Effect.gen(function*() {
    const { captureLocation, lanes: named, reset, shutdownTimeout, startup, ...rest } = yield* options.resolve(given)
    const size = yield* resolveSize(rest.min, rest.max, adapter.maxConnections)
    if (rest.backoffBase > rest.backoffCap) {
      return yield* options.invalid(
        "backoffBase",
        `is ${rest.backoffBase} ms and so above \`backoffCap\`, which is ${rest.backoffCap} ms`
      )
    }
    const { interval, window } = rest.scaling === false ? { interval: 1, window: 1 } : rest.scaling
    if (!(window >= interval && window <= interval * 10_000)) {
      return yield* options.invalid(
        "scaling",
        "is wrong: `window` must be as long as one interval at least, and as 10,000 at the most"
      )
    }
    const lanes = yield* resolveLanes(named)
    return {
      state: {
        ...rest,
        ...size,
        lanes,
        controlTimeout: rest.controlTimeout ?? Math.max(leastControlTimeout, 2 * (adapter.controlTimeout ?? 0)),
        // Where there is only one connection, there is nothing to decide.
        scaling: rest.scaling === false || adapter.maxConnections === 1 ? undefined : rest.scaling,
        slowConnect
      },
      startup,
      shutdownTimeout,
      captureLocation,
      reset,
      laneNumbers: lanes.length === 0 ? undefined : new Map(named.map(([name], i) => [name, i + 1]))
    }
  })

/**
 * Checks `min` and `max`, and limits them to what the database allows.
 *
 * @category constructors
 * @since 0.2.0
 */
export const resolveSize = (
  min: number,
  max: number,
  maxConnections: number | undefined
): Effect.Effect<{ readonly min: number; readonly max: number }, InvalidOptions> =>
  Effect.gen(function*() {
    yield* options.resolve({ min, max })
    if (min > max) return yield* options.invalid("min", `is ${min} and so above \`max\`, which is ${max}`)
    return { min: Math.min(min, maxConnections ?? Infinity), max: Math.min(max, maxConnections ?? Infinity) }
  })

const resolveLanes = (
  lanes: ReadonlyArray<readonly [name: string, lane: Lanes.LaneOptions]>
): Effect.Effect<ReadonlyArray<Lanes.LaneOptions>, InvalidOptions> =>
  Effect.gen(function*() {
    let sum = 0
    for (const [name, { guaranteed, max }] of lanes) {
      sum += guaranteed
      if (guaranteed > max) {
        return yield* options.invalid("lanes", `${name}.guaranteed is ${guaranteed} and so above its \`max\``)
      }
    }
    if (sum > 1) {
      return yield* options.invalid("lanes", "guarantee more than there is: together it must not be above 1")
    }
    return lanes.map(([, lane]) => lane)
  })
