/**
 * The circuit breaker: while a database is sick, callers fail in microseconds instead of queueing up for it.
 *
 * It is Effect's own `CircuitBreaker`, one circuit per database, with what a database needs around it: a rule which
 * failures count, slow calls, manual states, metrics, and a local view that keeps it off the way of a statement.
 *
 * **Details**
 *
 * | state      | a call                                                           | what ends it                                     |
 * | ---------- | ---------------------------------------------------------------- | ------------------------------------------------ |
 * | `Closed`   | runs                                                             | the trip policy                                  |
 * | `Open`     | fails with `CircuitOpen`, which says when to come back           | the first call after `retryAfter`: the probe     |
 * | `HalfOpen` | fails with `CircuitHalfOpen` while the probe runs                | the probe: its success closes, its failure opens |
 * | `Isolated` | fails with `Isolated`                                            | `reset`                                          |
 *
 * A rejected call fails with a `SqlError` whose cause is a `BreakerError`. Nothing was sent, and `Outcome.of` says so.
 *
 * What counts, success aside, is decided from what `Outcome` knows about the failure:
 *
 * | failure                                                                             | counts         |
 * | ----------------------------------------------------------------------------------- | -------------- |
 * | connecting failed                                                                   | yes            |
 * | no connection in time, or a full queue, while none can be opened                    | yes            |
 * | a pooler, a proxy or a node says that it has not reached a server that works        | yes            |
 * | the connection was lost after sending: the network, a crash, a shutdown             | once per event |
 * | a statement timeout that took longer than `slowCall`                                | yes            |
 * | the connection was lost before sending: what is repeated tells more                 | no             |
 * | a session ended by an administrator, by idling, by our own limit, by its statement  | no             |
 * | no connection in time, or a full queue, while all connections are in use            | no, unless ¹   |
 * | any other error that the server has answered, whatever its code                     | no             |
 * | interruption, a defect, a pool that is closed, a connection used after its lease    | no             |
 * | a rejection by a breaker, and anything found out after this process had stood still | no             |
 *
 * ¹ If nobody gets a connection for as long as a caller waits, those that are in use may hang because the database is
 * away. A connection beside the pool finds that out. If it cannot be opened, the callers that waited count.
 *
 * An event is all sessions that ended together: a restart counts once, however many statements met it. The breaker of a
 * `Database` asks a connection beside the pool first: if one can be opened, the event does not count.
 *
 * The breaker of a `Database` probes with a ping over the pool, which opens a connection if there is none. So a slow
 * statement that happens to come first holds no other call up. A breaker that stands alone probes with the call itself.
 *
 * With `slowCall`, a call that succeeds but takes longer counts as a failure too, so that the same policy trips on
 * the rate of slow calls.
 *
 * **What is recorded**
 *
 * `CircuitBreaker.execute` around every statement would cost more than many a statement. So while the circuit is
 * closed a statement only reads plain fields, and what happened is recorded when it matters: a failure at once, and
 * before it the successes since the last record, as many as can still be seen by the policy. A success after a
 * success that fills the window changes nothing, and is not even counted. With a store of its own, which is the
 * default, the circuit decides exactly as one that has seen every call: it opens on the same call, for the same time.
 * What was admitted before the circuit opened is late, and changes nothing after that.
 *
 * **A fleet**
 *
 * With `CircuitBreaker.layerStoreRedis` below it, processes share the circuit: one that finds the database dead opens
 * it for all. A process learns of it with its next failure, and otherwise from the store, at most once per
 * `refreshInterval` and only while there is traffic; no statement waits for that. When it looks, it reports its
 * successes too, at most as many as the window holds. So the failures of one process are weighed against what the
 * others have seen, but the window is a sample of all calls, no longer all of them.
 *
 * When the store itself fails, the process keeps a circuit of its own, closed at first, until the store answers
 * again, and says so in the log once. A broken Redis does not take the database down.
 *
 * **Gotchas**
 *
 * - `isolate` and `reset` act on this process. After a `reset` it keeps a circuit of its own until the shared one is
 *   closed.
 * - In a fleet, a process that is cut off from a healthy database opens the circuit for all with a burst of failures
 *   that fills half of the window, as it would if every call were recorded. If that can happen, make the window larger
 *   than what one process runs at a time, or let each process keep its own circuit. With `consecutive`, successes of
 *   other processes reset the count only once per `refreshInterval`: prefer `rate` there.
 * - The breaker stands around one attempt, inside of retries: it must see each attempt, and a rejection is nothing
 *   that waiting in a queue would cure.
 * - A probe that ends with a failure that does not count says nothing: the next call is the next probe.
 *
 * **Example** (A breaker whose circuit a fleet shares)
 *
 * ```ts
 * import { Layer } from "effect"
 * import { CircuitBreaker } from "effect/persistence"
 * import { Breaker } from "watertight"
 *
 * const BreakerLive = Breaker.layer({ slowCall: "5 seconds" }).pipe(
 *   // Needs `Redis` of `effect/persistence`, as `@effect/platform-node` provides it.
 *   Layer.provide(CircuitBreaker.layerStoreRedis({ prefix: "shop:circuit:" }))
 * )
 * ```
 *
 * **Example** (Telling callers when to come back)
 *
 * ```ts
 * import { Duration, Effect } from "effect"
 * import type { SqlError } from "effect/sql/SqlError"
 * import { Breaker } from "watertight"
 *
 * declare const order: Effect.Effect<string, SqlError>
 *
 * const response = order.pipe(
 *   Effect.map((body) => ({ status: 200, headers: {}, body })),
 *   Effect.catchIf(
 *     (error) => Breaker.find(error) !== undefined,
 *     (error) => {
 *       const seconds = Math.ceil(Duration.toSeconds(Breaker.retryAfter(error) ?? Duration.seconds(1)))
 *       return Effect.succeed({ status: 503, headers: { "Retry-After": String(seconds) }, body: "" })
 *     }
 *   )
 * )
 * ```
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as PubSub from "effect/PubSub"
import type * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import { Adapter } from "../Adapter.ts"
import type { InvalidOptions } from "../options/InvalidOptions.ts"
import { guardOf, monotonicOf } from "../timing/timeout.ts"
import * as metrics from "./breakerMetrics.ts"
import { type Options, resolve } from "./BreakerOptions.ts"
import type { Permit, State, Transition } from "./BreakerState.ts"
import { Calls, makeCircuit, recordOne } from "./Calls.ts"
import { CircuitStore } from "./CircuitStore.ts"
import { Doubt } from "./Doubt.ts"
import { LocalCircuit } from "./LocalCircuit.ts"
import { Recorder } from "./Recorder.ts"

export {
  BreakerError,
  type BreakerErrorReason,
  CircuitHalfOpen,
  CircuitOpen,
  find,
  isBreakerError,
  Isolated,
  retryAfter
} from "./BreakerError.ts"
export { rejectedCounter, stateGauge, tripsCounter } from "./breakerMetrics.ts"
export { defaultOpenDuration, defaultTripPolicy, type Options } from "./BreakerOptions.ts"
export type { Permit, State, Transition } from "./BreakerState.ts"
export { isFailure } from "./isFailure.ts"

/**
 * The runtime type identifier of `Breaker`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export const TypeId: TypeId = "~watertight/Breaker"

/**
 * The type-level identifier of `Breaker`.
 *
 * @category type IDs
 * @since 0.1.0
 */
export type TypeId = "~watertight/Breaker"

/**
 * The circuit breaker of a database.
 *
 * **Details**
 *
 * `execute` is all that most callers need. For the way of a statement there is the same in parts, which costs a few
 * nanoseconds while the circuit is closed:
 *
 * 1. Before the call: `touch(now)`. Then, if `closed` is `false`, the call goes through `execute`. Otherwise keep
 *    `permit` and let the call go.
 * 2. After it: `failed(error, millis, permit)` if it failed, or, if `watching` is `true` now,
 *    `succeeded(millis, permit)`. Call neither when it was interrupted.
 *
 * A success that is not reported although `watching` is `true`, or a `permit` that is not the one of the call, makes
 * the circuit open too early or too late. A duration is measured from asking for a connection to the first answer; it
 * matters only with the option `slowCall`.
 *
 * **Example** (A call in parts)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { SqlError } from "effect/sql/SqlError"
 * import type { Breaker } from "watertight"
 *
 * const guard = <A>(breaker: Breaker.Breaker, statement: Effect.Effect<A, SqlError>) =>
 *   Effect.suspend(() => {
 *     const startedAt = breaker.now()
 *     breaker.touch(startedAt)
 *     if (!breaker.closed) return breaker.execute(statement)
 *     const { permit } = breaker
 *     return statement.pipe(
 *       Effect.tapError((error) => Effect.sync(() => breaker.failed(error, breaker.now() - startedAt, permit))),
 *       Effect.tap(() => {
 *         if (breaker.watching) breaker.succeeded(breaker.now() - startedAt, permit)
 *         return Effect.void
 *       })
 *     )
 *   })
 * ```
 *
 * @category models
 * @since 0.1.0
 */
export interface Breaker {
  readonly [TypeId]: TypeId
  /** The database, which is also the key of the circuit in the store. */
  readonly key: string
  /** Whether a call may go without asking anything. */
  readonly closed: boolean
  /** Whether a success matters now. To be read when the call has ended. */
  readonly watching: boolean
  /** What a call that goes now is admitted under. */
  readonly permit: Permit
  /** The time that `touch` and all durations are in: the monotonic time of the clock, in milliseconds. */
  readonly now: () => number
  /** Looks whether the local view is too old, which takes one comparison. */
  touch(now: number): void
  /** A call has failed after this many milliseconds. Decides whether that counts, and records it. Never throws. */
  failed(error: unknown, millis: number, permit: Permit): void
  /** A call has succeeded after this many milliseconds. Needed only while `watching`. */
  succeeded(millis: number, permit: Permit): void
  /**
   * Runs one attempt through the circuit, in whatever state it is.
   *
   * **Details**
   *
   * Fails with a `SqlError` whose cause is a `BreakerError` if the circuit does not admit it, and with the error of
   * the attempt otherwise. An interrupted probe leaves its place to the next call.
   */
  readonly execute: <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E | SqlError, R>
  /** The state, from the store if it answers. */
  readonly state: Effect.Effect<State>
  /**
   * The state as this process sees it, without asking a store. `"HalfOpen"` also when the circuit has been open for its
   * time and nobody has come since: the next call is the probe.
   */
  readonly stateUnsafe: () => State["_tag"]
  /** The transitions from now on, as this process sees them. Ends when the scope of the breaker closes. */
  readonly transitions: Stream.Stream<Transition>
  /** Turns every call of this process away until `reset`. Calls under way go on. */
  readonly isolate: Effect.Effect<void>
  /** Closes the circuit at once, for this process, and forgets what was counted. */
  readonly reset: Effect.Effect<void>
}

/**
 * The service of `Breaker`.
 *
 * @category services
 * @since 0.1.0
 */
export const Breaker = Context.Service<Breaker>("watertight/Breaker")

/**
 * What `make` may be given besides the options.
 *
 * @category options
 * @since 0.2.0
 */
export interface Surroundings {
  /**
   * Finds out whether the database can be reached, for example by a ping. It is run when the circuit has been open for
   * its time. Default: the first call after that time finds it out.
   */
  readonly probe?: Effect.Effect<void, SqlError> | undefined
  /**
   * Opens a connection of its own and closes it, so it tells whether the database can be reached when all connections
   * of the pool are in use, or a session has ended. It is asked, at most once a second, when callers wait in vain and
   * nobody gets a connection, and when a session was lost; the failure counts only if it fails as well.
   */
  readonly witness?: Effect.Effect<void, SqlError> | undefined
}

/**
 * Makes the breaker of a database. It uses the `CircuitBreakerStore` of the context, or one of its own in memory if
 * there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  adapter: Pick<Adapter, "name">,
  options: Options = {},
  surroundings: Surroundings = {}
): Effect.fn.Return<Breaker, InvalidOptions, Scope.Scope> {
  const key = adapter.name
  const resolved = yield* resolve(options)
  const clock = yield* Clock.Clock
  const now = monotonicOf(clock)
  const guard = guardOf(clock)
  const runFork = Effect.runForkWith(yield* Effect.context<never>())
  const service = Option.getOrUndefined(yield* Effect.serviceOption(CircuitBreaker.CircuitBreakerStore))
  const shared = service === undefined ? undefined : { service, shared: true }
  const transitions = yield* PubSub.sliding<Take.Take<Transition>>(128)
  yield* Effect.addFinalizer(() => PubSub.end(transitions, Exit.void))

  const store = new CircuitStore({
    key,
    resolved,
    shared,
    clock,
    now,
    isEnded: () => recorder.isEnded,
    publish: (transition) => PubSub.publishUnsafe(transitions, [transition])
  })
  const recorder: Recorder = new Recorder({
    local: () => store.local,
    runFork,
    refresh: store.refresh,
    record: (ticket, outcome) => recordOne(circuit, key, ticket, outcome)
  })
  const local = new LocalCircuit(resolved, shared ?? (yield* store.makeOwn), {
    submit: (work) => recorder.submit(work),
    lookUp: (at) => {
      local.due = shared === undefined ? Infinity : at + resolved.refreshMillis
      if (!recorder.isLooking) recorder.submit({ ticket: undefined, successes: 0, failure: false })
      if (local.store === shared) local.reportSuccesses()
    },
    doubt: () => {
      doubt?.raise()
      return doubt !== undefined
    },
    stalled: (millis) => guard === undefined ? 0 : guard.stalledBetween(now() - millis, now())
  })
  store.local = local
  const doubt = surroundings.witness === undefined
    ? undefined
    : new Doubt({
      witness: surroundings.witness,
      now,
      runFork,
      failed: (error) => local.failed(error, 0, local.permit)
    })
  const circuit = yield* makeCircuit(store, resolved)
  const calls = new Calls({ key, store, local, circuit, now, probe: surroundings.probe })

  yield* store.refresh
  if (shared !== undefined) local.due = now() + resolved.refreshMillis
  yield* metrics.register(key, {
    state: () => local.seenAs,
    rejected: () => calls.rejected,
    trips: () => store.trips
  })
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      recorder.end()
      doubt?.end()
    })
  )
  return new DatabaseBreaker(key, now, store, calls, Stream.fromPubSubTake(transitions))
})

class DatabaseBreaker implements Breaker {
  readonly [TypeId]: TypeId = TypeId
  readonly key: string
  readonly now: () => number
  readonly transitions: Stream.Stream<Transition>
  readonly #local: LocalCircuit
  readonly #store: CircuitStore
  readonly #calls: Calls

  constructor(
    key: string,
    now: () => number,
    store: CircuitStore,
    calls: Calls,
    transitions: Stream.Stream<Transition>
  ) {
    this.key = key
    this.now = now
    this.transitions = transitions
    this.#local = store.local
    this.#store = store
    this.#calls = calls
  }

  get closed(): boolean {
    return this.#local.closed
  }
  get watching(): boolean {
    return this.#local.watching
  }
  get permit(): Permit {
    return this.#local.permit
  }
  touch(now: number): void {
    this.#local.touch(now)
  }
  failed(error: unknown, millis: number, permit: Permit): void {
    this.#local.failed(error, millis, permit)
  }
  succeeded(millis: number, permit: Permit): void {
    this.#local.succeeded(millis, permit)
  }

  readonly execute: Breaker["execute"] = (self) => this.#calls.execute(self)

  get state(): Effect.Effect<State> {
    return this.#store.state
  }
  readonly stateUnsafe = (): State["_tag"] => {
    const { seenAs, until } = this.#local
    return seenAs === "Open" && until <= this.now() ? "HalfOpen" : seenAs
  }

  readonly isolate: Effect.Effect<void> = Effect.sync(() => {
    const from = this.#local.seenAs
    this.#local.isolate()
    this.#store.publish(from, "Manual")
  })
  get reset(): Effect.Effect<void> {
    return this.#store.reset
  }
}

/**
 * Provides the breaker of the adapter in the context, with the `CircuitBreakerStore` of the context, or one of its own
 * in memory if there is none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Breaker, InvalidOptions, Adapter> =>
  Layer.effect(Breaker, Effect.flatMap(Adapter, (adapter) => make(adapter, options)))
