/**
 * A live view of a running program's database layer, for `npx watertight top` and for a browser.
 *
 * **Details**
 *
 * The program serves it itself, on this machine only unless it is told otherwise: who has connections and who waits for
 * one, what each of several servers is, statements by their form, the breaker, what was repeated, COMMITs without answer, and the cache. It can be read
 * and nothing else. There are no parameters in it and no secrets: statements are shown with `?` for each value.
 *
 * Statements are told only where the database layer has a `log`: what is not asked for is not measured.
 *
 * **Gotchas**
 *
 * Whoever can reach the address can read it. Another host than that of this machine is refused unless `allowRemote` says
 * that something in front of it asks who is there.
 *
 * **Example** (A program that can be looked into)
 *
 * ```ts
 * import { Layer, Redacted } from "effect"
 * import { Monitor } from "watertight/monitor"
 * import { Postgres } from "watertight/postgres"
 *
 * const DatabaseLive = Monitor.layer().pipe(
 *   Layer.provideMerge(Postgres.layer({ url: Redacted.make("postgres://app@db/shop"), log: { statements: "slow" } }))
 * )
 * // npx watertight top, or a browser at http://127.0.0.1:7717
 * ```
 *
 * @since 0.2.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { Cluster } from "../cluster/Topology.ts"
import { Database } from "../Database.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import * as Options from "../options/Options.ts"
import { Pool } from "../pool/Pool.ts"
import { isLoopback, serve } from "./serve.ts"
import { collect, hear, hearPool, hearTopology, nothingHeard, type Snapshot } from "./Snapshot.ts"

export type { DatabaseSnapshot, Happening, NodeSnapshot, Snapshot } from "./Snapshot.ts"

/**
 * Where it is served.
 *
 * @category options
 * @since 0.2.0
 */
export interface MonitorOptions {
  /** Default: `"127.0.0.1"`, which only this machine can reach. */
  readonly host?: string | undefined
  /** 0 takes a free one. Default: 7717. */
  readonly port?: number | undefined
  /** Whether another host than this machine may be given. Default: `false`. */
  readonly allowRemote?: boolean | undefined
}

/**
 * The port where nothing else is said.
 *
 * @category constants
 * @since 0.2.0
 */
export const defaultPort = 7717

const table = Options.make<MonitorOptions>()("Monitor", {
  host: Options.text({ default: "127.0.0.1" }),
  port: Options.count({ default: defaultPort, max: 65_535 }),
  allowRemote: Options.boolean({ default: false })
})

/**
 * Where a monitor is.
 *
 * @category models
 * @since 0.2.0
 */
export interface Monitor {
  readonly url: string
  readonly snapshot: Effect.Effect<Snapshot>
}

/**
 * Serves the view until the scope closes.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = Effect.fnUntraced(function*(
  options: MonitorOptions = {}
): Effect.fn.Return<Monitor, InvalidOptions, Database | Pool | Scope.Scope> {
  const { allowRemote, host, port } = yield* table.resolve(options)
  if (!isLoopback(host) && !allowRemote) {
    return yield* table.invalid(
      "host",
      "is not this machine: everybody who reaches it can read it. Put something in front that asks who is there, and " +
        "say `allowRemote: true`"
    )
  }
  const database = yield* Database
  const pool = yield* Pool
  const heard = nothingHeard()
  yield* Effect.forkScoped(
    Stream.runForEach(
      database.events,
      (event) => Effect.map(Clock.currentTimeMillis, (at) => hear(heard, at, event))
    ),
    { startImmediately: true }
  )
  yield* Effect.forkScoped(
    Stream.runForEach(
      pool.events,
      (event) => Effect.map(Clock.currentTimeMillis, (at) => hearPool(heard, at, event))
    ),
    { startImmediately: true }
  )
  const cluster = Option.getOrUndefined(yield* Effect.serviceOption(Cluster))
  if (cluster !== undefined) {
    yield* Effect.forkScoped(
      Stream.runForEach(
        cluster.events,
        (event) => Effect.map(Clock.currentTimeMillis, (at) => hearTopology(heard, at, event))
      ),
      { startImmediately: true }
    )
  }
  const snapshot = collect(database, pool, heard, cluster)
  const bound = yield* Effect.mapError(
    serve(host, port, snapshot),
    (error) =>
      new InvalidOptions({ module: "Monitor", option: "port", problem: `cannot be listened on: ${error.message}` })
  )
  return { url: `http://${host.includes(":") && !host.startsWith("[") ? `[${host}]` : host}:${bound}`, snapshot }
})

/**
 * Serves the view for as long as the database layer lives.
 *
 * @category layers
 * @since 0.2.0
 */
export const layer = (options?: MonitorOptions): Layer.Layer<never, InvalidOptions, Database | Pool> =>
  Layer.effectDiscard(
    Effect.flatMap(make(options), ({ url }) => Effect.logInfo(`watertight top ${url}`))
  )
