/**
 * What goes wrong between a program and its database, by name: in a test, at the moment that the test says.
 *
 * | fault           | what happens                                                                              |
 * | --------------- | ----------------------------------------------------------------------------------------- |
 * | `loseCommit`    | the answer to the next COMMIT is lost; the COMMIT was applied, or never arrived           |
 * | `cut`           | all connections break                                                                     |
 * | `blackHole`     | nothing is answered any more, until `heal`: neither an error nor a close                  |
 * | `slow`          | every exchange takes so much longer, until `heal`                                         |
 * | `serverRestart` | all connections break, and none can be opened for a while                                 |
 * | `heal`          | ends what holds on                                                                        |
 *
 * **When to use**
 *
 * Use `layerProxy` for the real thing: real bytes through a TCP proxy, with the layer that the program has in production.
 * Use `layerAdapter` where there are no sockets, with an embedded database for example, or where a test runs on a
 * `TestClock`.
 *
 * **Example** (An answer to COMMIT is lost, and the transfer is made once)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { Postgres } from "watertight/postgres"
 * import { Faults } from "watertight/testing"
 *
 * const Live = Faults.layerProxy({
 *   url: Redacted.make("postgres://postgres@localhost/bank"),
 *   database: (url) => Postgres.layer({ url })
 * })
 *
 * const program = Effect.gen(function*() {
 *   yield* Faults.loseCommit({ applied: true })
 *   yield* transfer("ann", "bob", 500)
 * }).pipe(Effect.provide(Live))
 * ```
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import { Adapter } from "../Adapter.ts"
import * as Database from "../Database.ts"
import * as FaultProxy from "./FaultProxy.ts"
import { Controls, FaultyAdapter } from "./FaultyAdapter.ts"

/**
 * What can be done to the connections of a database.
 *
 * @category models
 * @since 0.2.0
 */
export interface Faults {
  readonly loseCommit: (options?: LoseCommit) => Effect.Effect<void, FaultProxy.FaultProxyError>
  readonly cut: Effect.Effect<number>
  readonly blackHole: Effect.Effect<void, FaultProxy.FaultProxyError>
  readonly slow: (by: Duration.Input) => Effect.Effect<void>
  readonly serverRestart: (options?: ServerRestart) => Effect.Effect<void, FaultProxy.FaultProxyError>
  readonly heal: Effect.Effect<void, FaultProxy.FaultProxyError>
  /** How many COMMITs have lost their answer so far. */
  readonly lostCommits: Effect.Effect<number>
}

/**
 * How an answer to COMMIT is lost.
 *
 * @category options
 * @since 0.2.0
 */
export interface LoseCommit {
  /** Whether the database has applied the transaction. If not, COMMIT never reached it. Default: true. */
  readonly applied?: boolean | undefined
  /** How many COMMITs lose their answer, one after the other. Default: 1. */
  readonly times?: number | undefined
}

/**
 * How a server restarts.
 *
 * @category options
 * @since 0.2.0
 */
export interface ServerRestart {
  /** For how long no connection can be opened. Default: 1 second. */
  readonly down?: Duration.Input | undefined
}

/**
 * The service of `Faults`.
 *
 * @category services
 * @since 0.2.0
 */
export const Faults = Context.Service<Faults>("watertight/testing/Faults")

/**
 * Loses the answer to the next COMMIT. The connection breaks with it.
 *
 * @category faults
 * @since 0.2.0
 */
export const loseCommit = (
  options?: LoseCommit
): Effect.Effect<void, FaultProxy.FaultProxyError, Faults> =>
  Effect.flatMap(Faults, (faults) => faults.loseCommit(options))

/**
 * Breaks all connections. Answers how many there were.
 *
 * @category faults
 * @since 0.2.0
 */
export const cut: Effect.Effect<number, never, Faults> = Effect.flatMap(Faults, (faults) => faults.cut)

/**
 * Swallows everything from now on, in both directions, until `heal`. A connection that has lost a byte stays lost.
 *
 * @category faults
 * @since 0.2.0
 */
export const blackHole: Effect.Effect<void, FaultProxy.FaultProxyError, Faults> = Effect.flatMap(
  Faults,
  (faults) => faults.blackHole
)

/**
 * Delays every exchange from now on, until `heal`.
 *
 * @category faults
 * @since 0.2.0
 */
export const slow = (by: Duration.Input): Effect.Effect<void, never, Faults> =>
  Effect.flatMap(Faults, (faults) => faults.slow(by))

/**
 * Breaks all connections, refuses new ones for a while, and ends when connections can be opened again.
 *
 * @category faults
 * @since 0.2.0
 */
export const serverRestart = (options?: ServerRestart): Effect.Effect<void, FaultProxy.FaultProxyError, Faults> =>
  Effect.flatMap(Faults, (faults) => faults.serverRestart(options))

/**
 * Ends the faults that hold on.
 *
 * @category faults
 * @since 0.2.0
 */
export const heal: Effect.Effect<void, FaultProxy.FaultProxyError, Faults> = Effect.flatMap(
  Faults,
  (faults) => faults.heal
)

/**
 * A layer of a database behind a proxy that can break its connections.
 *
 * **Details**
 *
 * `database` is the layer that the program has, for another URL. The proxy knows nothing of the protocol: it finds COMMIT
 * by its bytes, so `loseCommit` fails on a connection that is encrypted: add `sslmode: "disable"`. The other faults do not
 * mind.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerProxy = <Out, E, R>(options: {
  readonly url: Redacted.Redacted<string>
  readonly database: (url: Redacted.Redacted<string>) => Layer.Layer<Out, E, R>
}): Layer.Layer<Out | Faults, E | FaultProxy.FaultProxyError, R> =>
  Layer.unwrap(Effect.map(FaultProxy.make(Redacted.value(options.url)), (proxy) =>
    // A layer that is built twice has a proxy of its own each time.
    Layer.merge(
      Layer.fresh(options.database(Redacted.make(proxy.url))),
      Layer.succeed(Faults, overProxy(proxy))
    )))

const encrypted =
  "COMMIT cannot be found in an encrypted connection: add `sslmode: \"disable\"` to the layer of the database"

const overProxy = (proxy: FaultProxy.FaultProxy): Faults => {
  const rules: Array<FaultProxy.Rule> = []
  return {
    loseCommit: ({ applied = true, times = 1 } = {}) =>
      Effect.suspend(() => {
        if (proxy.isEncrypted()) return Effect.fail(new FaultProxy.FaultProxyError({ message: encrypted }))
        const rule = proxy.when("COMMIT", applied ? "after" : "before", { times })
        return Effect.map(rule, (rule) => void rules.push(rule))
      }),
    cut: proxy.cutAll,
    blackHole: proxy.blackhole,
    slow: (by) => proxy.delay(by),
    serverRestart: ({ down = "1 second" } = {}) =>
      proxy.refuse.pipe(
        Effect.andThen(proxy.cutAll),
        Effect.andThen(Effect.sleep(down)),
        Effect.andThen(proxy.heal)
      ),
    heal: proxy.heal,
    lostCommits: Effect.sync(() => rules.reduce((sum, rule) => sum + rule.count(), 0))
  }
}

/**
 * A layer of a database over an adapter whose connections can be broken.
 *
 * **Details**
 *
 * It works in the process and on the clock of the fiber, so that a `TestClock` moves its delays. `options` are those of
 * the pool and the database, as `Postgres.layer` has them beside those of the adapter.
 *
 * **Gotchas**
 *
 * It has `SqlClient`, `Transaction` and the pool, and none of what a database adds to them, such as `Copy`.
 *
 * @category layers
 * @since 0.2.0
 */
export const layerAdapter = <E, R>(
  adapter: Layer.Layer<Adapter, E, R>,
  options: Database.LayerOptions = {}
) =>
  Layer.unwrap(Effect.map(
    Effect.sync(() => new Controls()),
    (controls) =>
      Layer.merge(
        Database.layerOf(
          Layer.provide(
            Layer.effect(Adapter, Effect.map(Adapter, (inner) => new FaultyAdapter(inner, controls))),
            adapter
          ),
          options
        ),
        Layer.succeed(Faults, overAdapter(controls))
      )
  ))

const overAdapter = (controls: Controls): Faults => ({
  loseCommit: ({ applied = true, times = 1 } = {}) => Effect.sync(() => controls.loseCommit(applied, times)),
  cut: Effect.sync(() => controls.cut()),
  blackHole: Effect.sync(() => controls.blackHole()),
  slow: (by) => Effect.sync(() => controls.slow(Duration.toMillis(by))),
  serverRestart: ({ down = "1 second" } = {}) =>
    Effect.acquireUseRelease(
      Effect.sync(() => controls.refuse()),
      () => Effect.sleep(down),
      () => Effect.sync(() => controls.heal())
    ),
  heal: Effect.sync(() => controls.heal()),
  lostCommits: Effect.sync(() => controls.lostCommits)
})
