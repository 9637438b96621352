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
 * | failure                                                                           | counts |
 * | --------------------------------------------------------------------------------- | ------ |
 * | connecting failed                                                                 | yes    |
 * | no connection became free in time, or the queue for one was full                  | yes    |
 * | the server answers that it has too much to do, starts up or shuts down            | yes    |
 * | the connection was lost                                                           | yes    |
 * | a statement timeout that took longer than `slowCall`                              | yes    |
 * | constraint, syntax, access, conflict, deadlock, lock timeout, cancelled by a user | no     |
 * | interruption, a defect, a pool that is closed, a connection used after its lease  | no     |
 * | a rejection by a breaker                                                          | no     |
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
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Predicate from "effect/Predicate"
import * as PubSub from "effect/PubSub"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import * as Stream from "effect/Stream"
import type * as Take from "effect/Take"
import { Adapter } from "../Adapter.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import { isPoolError } from "../pool/PoolError.ts"

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

// ---------------------------------------------------------------------------------------------------------------------
// Errors
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The circuit is open: the database has failed too often.
 *
 * @category models
 * @since 0.1.0
 */
export class CircuitOpen extends Data.TaggedClass("CircuitOpen")<{
  /** The database. */
  readonly key: string
  /** How long nothing will be sent. The first call after that is the probe. */
  readonly retryAfter: Duration.Duration
}> {
  get message(): string {
    return `The circuit of ${this.key} is open, because too many calls have failed or were too slow. ` +
      `Nothing is sent for another ${Math.ceil(Duration.toMillis(this.retryAfter))} ms`
  }
}

/**
 * The circuit is half-open: one call is finding out whether the database is back.
 *
 * @category models
 * @since 0.1.0
 */
export class CircuitHalfOpen extends Data.TaggedClass("CircuitHalfOpen")<{ readonly key: string }> {
  get message(): string {
    return `The circuit of ${this.key} is half-open: one call is finding out whether the database is back`
  }
}

/**
 * Somebody has isolated the database by hand.
 *
 * @category models
 * @since 0.1.0
 */
export class Isolated extends Data.TaggedClass("Isolated")<{ readonly key: string }> {
  get message(): string {
    return `${this.key} is isolated by hand: nothing is sent until the breaker is reset`
  }
}

/**
 * @category models
 * @since 0.1.0
 */
export type BreakerErrorReason = CircuitOpen | CircuitHalfOpen | Isolated

const ErrorTypeId = "~watertight/Breaker/BreakerError"

/**
 * The breaker has turned a call away, so nothing was sent to the database. It is the `cause` of the `SqlError` that
 * the call fails with.
 *
 * @category errors
 * @since 0.1.0
 */
export class BreakerError extends Data.TaggedError("BreakerError")<{ readonly reason: BreakerErrorReason }> {
  readonly [ErrorTypeId] = ErrorTypeId

  override get message(): string {
    return this.reason.message
  }
}

/**
 * Whether a value is a `BreakerError`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isBreakerError = (u: unknown): u is BreakerError => Predicate.hasProperty(u, ErrorTypeId)

/**
 * The `BreakerError` along the causes of a failure, if a breaker has turned the call away.
 *
 * @category getters
 * @since 0.1.0
 */
export const find = (error: unknown): BreakerError | undefined => {
  if (isBreakerError(error)) return error
  const cause = Outcome.find(error)?.reason.cause
  return isBreakerError(cause) ? cause : undefined
}

/**
 * How long a call that was turned away should wait, if the breaker knows.
 *
 * @category getters
 * @since 0.1.0
 */
export const retryAfter = (error: unknown): Duration.Duration | undefined => {
  const reason = find(error)?.reason
  return reason?._tag === "CircuitOpen" ? reason.retryAfter : undefined
}

const verdict: Outcome.Verdict = {
  outcome: "NotSent",
  scope: "Connect",
  ladder: "Overload",
  phase: "Acquire",
  about: "circuit open"
}

const nothingSent = Evidence.make({})

const toSqlError = (reason: BreakerErrorReason): SqlError => {
  // Somebody is turned away thousands of times a second. The stack would show how the runtime runs fibers, and
  // capturing it, three times, takes ten times as long as all the rest.
  const limit = Error.stackTraceLimit
  Reflect.set(Error, "stackTraceLimit", 0)
  const cause = new BreakerError({ reason })
  const error = new SqlError({ reason: new ConnectionError({ cause, message: cause.message, operation: "acquire" }) })
  Reflect.set(Error, "stackTraceLimit", limit)
  return Outcome.mark(Evidence.attach(error, nothingSent), verdict)
}

// ---------------------------------------------------------------------------------------------------------------------
// What counts
// ---------------------------------------------------------------------------------------------------------------------

/**
 * Whether a failure says that the database is sick. The table is at the head of this module.
 *
 * **Details**
 *
 * `slow` is whether the call took longer than `slowCall`. Only a statement timeout is judged by it: whoever waited
 * for a lock, or broke a constraint late, has learned nothing about the health of the server.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFailure = (error: unknown, slow = false): boolean => {
  const found = Outcome.find(error)
  if (found === undefined) return false
  const { reason } = found
  const { cause } = reason
  if (isPoolError(cause)) return cause.reason._tag === "AcquireTimeout" || cause.reason._tag === "QueueFull"
  if (isBreakerError(cause)) return false
  if (Outcome.of(found)!.phase === "Connect") return true
  const { endedBy } = Evidence.of(found)
  return (endedBy !== undefined && Evidence.consequences[endedBy].counts) ||
    (slow && reason._tag === "StatementTimeoutError")
}

// ---------------------------------------------------------------------------------------------------------------------
// The service
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The options of a breaker. Each has a default that a production team can accept unread.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * When the circuit opens: a `CircuitBreaker.rate` or a `CircuitBreaker.consecutive`. Default: when half of the last
   * 20 calls have failed, and at least 10 calls were made. A rate also notices a database that answers every other
   * call, which a count of consecutive failures never does, and ten calls are enough to tell an outage from bad luck.
   */
  readonly tripPolicy?: CircuitBreaker.TripPolicy | undefined
  /**
   * How long it stays open: a duration, or a schedule whose n-th delay is for the n-th opening in a row. Default: one
   * second, then twice as long each time up to 30 seconds, give or take a fifth. So a restart of the database is
   * noticed within a second or two, and one that is down for long is not pestered.
   */
  readonly openDuration?: Duration.Input | Schedule.Schedule<unknown, number> | undefined
  /**
   * How long a call may take, from asking for a connection to the answer, before it counts as a failure although it
   * succeeds. Default: no limit, because a report may take a minute and be healthy. Set it where all statements are
   * meant to be quick.
   */
  readonly slowCall?: Duration.Input | undefined
  /**
   * With a store from the context: how often the circuit is looked up in it, at most, while there is traffic. Default:
   * 1 second, within which no client of a dead database has given up.
   */
  readonly refreshInterval?: Duration.Input | undefined
  /**
   * With a store from the context: how long it may take to answer before it counts as broken. Default: 1 second. Only
   * a call that asks to be the probe ever waits for it.
   */
  readonly storeTimeout?: Duration.Input | undefined
}

/**
 * The state of a circuit.
 *
 * @category models
 * @since 0.1.0
 */
export type State = CircuitBreaker.State | { readonly _tag: "Isolated"; readonly key: string }

/**
 * The circuit has changed its state, as this process sees it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Transition {
  readonly key: string
  readonly from: State["_tag"]
  readonly to: State["_tag"]
  /**
   * What did it: the outcomes of calls of this process, what was read from a shared store or followed from its
   * failure, or `isolate` and `reset`.
   */
  readonly by: "Calls" | "Store" | "Manual"
  /** For how long it is open. */
  readonly retryAfter: Duration.Duration | undefined
}

/**
 * What a call that found the circuit closed was admitted under. It tells late outcomes from current ones.
 *
 * @category models
 * @since 0.1.0
 */
export interface Permit {
  /** Rises whenever the circuit has left the state in which it admitted the call. */
  readonly epoch: number
}

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
  /** Whether a call may go without asking anything. A plain field. */
  readonly closed: boolean
  /** Whether a success matters now. A plain field, to be read when the call has ended. */
  readonly watching: boolean
  /** What a call that goes now is admitted under. A plain field. */
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

// ---------------------------------------------------------------------------------------------------------------------
// Metrics
// ---------------------------------------------------------------------------------------------------------------------

/**
 * The state of each circuit: 0 is closed, 1 half-open, 2 open, 3 isolated. The attribute `watertight.breaker.key` says
 * whose. Like the counters below it is read when metrics are, and costs a call nothing.
 *
 * @category metrics
 * @since 0.1.0
 */
export const stateGauge = Metric.gauge("watertight.breaker.state", {
  description: "The state of the circuit: 0 closed, 1 half-open, 2 open, 3 isolated"
})

/**
 * How many calls were turned away.
 *
 * @category metrics
 * @since 0.1.0
 */
export const rejectedCounter = Metric.counter("watertight.breaker.rejected", {
  description: "How many calls the circuit has turned away",
  incremental: true
})

/**
 * How often the calls of this process have opened the circuit, failed probes included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const tripsCounter = Metric.counter("watertight.breaker.trips", {
  description: "How often the calls of this process have opened the circuit",
  incremental: true
})

const severity: Record<State["_tag"], number> = { Closed: 0, HalfOpen: 1, Open: 2, Isolated: 3 }

// ---------------------------------------------------------------------------------------------------------------------
// The local view
// ---------------------------------------------------------------------------------------------------------------------

interface Store {
  readonly service: CircuitBreaker.CircuitBreakerStore["Service"]
  /** Whether it came from the context, so that others may use it too, and it may be slow or broken. */
  readonly shared: boolean
}

interface Ticket extends Permit {
  readonly store: Store
  readonly admission: CircuitBreaker.Admission
}

/** Outcomes to be recorded, or a look into the store. */
interface Work {
  readonly ticket: Ticket | undefined
  successes: number
  readonly failure: boolean
}

/**
 * What a call reads and writes while the circuit is closed. It decides nothing: it knows which outcomes the circuit
 * need not be told.
 *
 * `credit` successes are not recorded yet. Counting ends at as many as the policy can see, the window of a rate or one
 * success after a failure; a failure brings them with it. No success can trip a policy, but for one: that which makes
 * the number of calls reach `minimumCalls` of a rate, when there was a failure before. That one is recorded at once.
 */
class View {
  closed = false
  watching = true
  permit: Ticket
  /** When `touch` has something to do. */
  due = Infinity

  tag: "Closed" | "Open" | "HalfOpen" = "Closed"
  isolated = false
  store: Store
  epoch = 0
  /** Until when the circuit is open, or is known to be probed by another process. Wall clock. */
  until = 0
  openings = 0

  private credit = 0
  /** How many outcomes this epoch has had, until it is clear that `minimumCalls` are reached. */
  private seen = 0
  private tainted = false
  private readonly visible: number
  private readonly minimumCalls: number
  private readonly slowMillis: number
  private readonly submit: (work: Work) => void
  private readonly lookUp: (now: number) => void

  constructor(options: Resolved, store: Store, submit: (work: Work) => void, lookUp: (now: number) => void) {
    const { slowMillis, tripPolicy } = options
    this.visible = tripPolicy._tag === "Rate" ? tripPolicy.size : 1
    this.minimumCalls = tripPolicy._tag === "Rate" ? tripPolicy.minimumCalls : 0
    this.slowMillis = slowMillis
    this.store = store
    this.submit = submit
    this.lookUp = lookUp
    this.permit = {
      epoch: -1,
      store,
      admission: { generation: -1, probe: false, consecutiveOpenings: 0, transition: undefined }
    }
  }

  touch(now: number): void {
    if (now >= this.due) this.lookUp(now)
  }

  succeeded(millis: number, permit: Permit): void {
    if (permit.epoch !== this.epoch) return
    if (millis > this.slowMillis) return this.count(permit as Ticket)
    if (this.credit === this.visible) return
    this.credit++
    if (++this.seen === this.minimumCalls && this.tainted) return this.record(permit as Ticket, false)
    if (this.credit === this.visible) this.watching = this.slowMillis !== Infinity
  }

  failed(error: unknown, millis: number, permit: Permit): void {
    if (permit.epoch === this.epoch && isFailure(error, millis > this.slowMillis)) {
      this.count(permit as Ticket)
    }
  }

  private count(ticket: Ticket): void {
    this.seen++
    this.tainted = true
    this.record(ticket, true)
  }

  private record(ticket: Ticket, failure: boolean): void {
    const successes = this.credit
    this.credit = 0
    this.watching = true
    this.submit({ ticket, successes, failure })
  }

  /** Tells a shared store of the successes that no failure has brought to it. */
  reportSuccesses(): void {
    if (this.closed && this.credit > 0) this.record(this.permit, false)
  }

  /** The circuit is closed, and this is what the store admits calls under. */
  close(store: Store, admission: CircuitBreaker.Admission): void {
    const { permit } = this
    const continues = permit.epoch === this.epoch && permit.store === store &&
      permit.admission.generation === admission.generation
    if (!continues) {
      this.epoch++
      this.credit = 0
      this.seen = 0
      this.tainted = false
      this.watching = true
    }
    this.tag = "Closed"
    this.closed = !this.isolated
    this.permit = { epoch: this.epoch, store, admission }
  }

  /** The circuit is not closed any more: what it has admitted is late. */
  leave(tag: "Open" | "HalfOpen", until: number): void {
    this.epoch++
    this.closed = false
    this.tag = tag
    this.until = until
  }

  get seenAs(): State["_tag"] {
    return this.isolated ? "Isolated" : this.tag
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// Making one
// ---------------------------------------------------------------------------------------------------------------------

/** One `CircuitBreaker.execute`: under what it is admitted, if that is known, and where it is recorded. */
interface Call {
  readonly ticket: Ticket | undefined
  store: Store
}

const CurrentCall = Context.Reference<Call | undefined>("watertight/Breaker/Call", { defaultValue: () => undefined })

/** How long another process may probe before it is asked after again. */
const probeMillis = 100

/** More than this many records wait only if the store does not keep up. */
const maxWork = 1000

/**
 * Makes the breaker of a database. It uses the `CircuitBreakerStore` of the context, or one of its own in memory if
 * there is none.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = Effect.fnUntraced(function*(
  adapter: Pick<Adapter, "name">,
  options: Options = {}
): Effect.fn.Return<Breaker, InvalidOptions, Scope.Scope> {
  const key = adapter.name
  const resolved = yield* resolve(options)
  const { refreshMillis, slowMillis, storeTimeout, tripPolicy } = resolved
  const scope = yield* Effect.scope
  const clock = yield* Clock.Clock
  const context = yield* Effect.context<never>()
  const runFork = Effect.runForkWith(context)
  const given = Option.getOrUndefined(yield* Effect.serviceOption(CircuitBreaker.CircuitBreakerStore))
  const shared: Store | undefined = given === undefined ? undefined : { service: given, shared: true }
  const transitions = yield* PubSub.sliding<Take.Take<Transition>>(128)
  yield* Scope.addFinalizer(scope, PubSub.end(transitions, Exit.void))

  let rejected = 0
  let trips = 0
  /** The call that asks to be the probe, or is it. */
  let asking: Call | undefined
  /** How long the circuit was last open, in milliseconds. */
  let openFor = 0
  /** Whether the shared store has failed and not answered since. */
  let outage = false
  /** Whether the shared circuit is passed over until it is closed. */
  let overruled = false

  // As the pool has it.
  const now = clock === Clock.Clock.defaultValue()
    ? () => performance.now()
    : () => Number(clock.monotonicTimeNanosUnsafe()) / 1_000_000

  // -------------------------------------------------------------------------------------------------------------------
  // What the view sees
  // -------------------------------------------------------------------------------------------------------------------

  const publish = (from: State["_tag"], by: Transition["by"], retryAfter?: Duration.Duration): void => {
    const to = view.seenAs
    if (from !== to) PubSub.publishUnsafe(transitions, [{ key, from, to, by, retryAfter }])
  }

  const closed = (store: Store, admission: CircuitBreaker.Admission, by: Transition["by"]): void => {
    if (store !== view.store) return
    const from = view.seenAs
    view.close(store, admission)
    // Openings in a row are forgotten when the circuit has stayed closed for as long as it was last open.
    if (!store.shared && admission.consecutiveOpenings > 0) view.due = Math.min(view.due, now() + Math.ceil(openFor))
    publish(from, by)
  }

  const opened = (
    store: Store,
    by: Transition["by"],
    { consecutiveOpenings, retryAfter }: {
      readonly consecutiveOpenings?: number
      readonly retryAfter: Duration.Duration
    }
  ): void => {
    if (store !== view.store) return
    if (by === "Calls") {
      trips++
      openFor = Duration.toMillis(retryAfter)
    }
    const from = view.seenAs
    view.leave("Open", clock.currentTimeMillisUnsafe() + Duration.toMillis(retryAfter))
    view.openings = consecutiveOpenings ?? view.openings
    publish(from, by, retryAfter)
  }

  const halfOpened = (store: Store, by: Transition["by"], until: number): void => {
    if (store !== view.store) return
    const from = view.seenAs
    view.leave("HalfOpen", until)
    publish(from, by)
  }

  /** The store has turned a call away. */
  const turnedAway = (store: Store, reason: CircuitBreaker.CircuitOpen | CircuitBreaker.CircuitHalfOpen): void =>
    reason._tag === "CircuitOpen"
      ? opened(store, "Store", reason)
      : halfOpened(store, "Store", clock.currentTimeMillisUnsafe() + probeMillis)

  // -------------------------------------------------------------------------------------------------------------------
  // Stores
  // -------------------------------------------------------------------------------------------------------------------

  const makeOwnStore: Effect.Effect<Store> = Effect.map(
    // It holds one key, for as long as the breaker lives.
    Effect.scoped(Layer.build(CircuitBreaker.layerStoreMemory({ idleTimeToLive: Duration.infinity }))),
    (context) => ({ service: Context.get(context, CircuitBreaker.CircuitBreakerStore), shared: false })
  )

  /** An operation of a store, in bounded time. */
  const bounded = <A, R>(
    store: Store,
    operation: Effect.Effect<A, CircuitBreaker.CircuitBreakerError, R>
  ): Effect.Effect<A, CircuitBreaker.CircuitBreakerError, R> =>
    store.shared
      ? Effect.timeoutOrElse(operation, {
        duration: storeTimeout,
        orElse: () =>
          Effect.fail(
            new CircuitBreaker.CircuitBreakerError({
              reason: new CircuitBreaker.CircuitBreakerStoreError({
                message: `The store of the circuit has not answered within ${Duration.format(storeTimeout)}`
              })
            })
          )
      })
      : operation

  /** Uses a store of our own from now on. */
  const useOwnStore = (by: Transition["by"]): Effect.Effect<Store> =>
    Effect.flatMap(makeOwnStore, (store) => {
      const from = view.seenAs
      view.store = store
      view.isolated = view.isolated && by !== "Manual"
      asking = undefined
      return Effect.scoped(store.service.admit(key)).pipe(
        Effect.orDie,
        Effect.map((admission) => {
          view.close(store, admission)
          publish(from, by)
          return store
        })
      )
    })

  /** The shared store has failed. */
  const onOutage = (store: Store, cause: Cause.Cause<unknown>): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (store !== view.store || !store.shared || ended) return Effect.void
      outage = true
      return Effect.andThen(
        useOwnStore("Store"),
        Effect.logWarning(
          `The store of the circuit of ${key} has failed. Until it answers, this process has a circuit of its own`,
          cause
        )
      )
    })

  const rejectionOf = (cause: Cause.Cause<CircuitBreaker.CircuitBreakerError>) => {
    const reason = Option.getOrUndefined(Cause.findErrorOption(cause))?.reason
    return reason?._tag === "CircuitOpen" || reason?._tag === "CircuitHalfOpen" ? reason : undefined
  }

  /** Asks a store in which the circuit is closed what it admits calls under. */
  const renewPermit = Effect.fnUntraced(function*(store: Store, by: Transition["by"]) {
    const { epoch } = view
    const exit = yield* Effect.exit(Effect.scoped(bounded(store, store.service.admit(key))))
    if (Exit.isSuccess(exit)) {
      if (!exit.value.probe) {
        // Unless a call has found out something newer while the store was asked.
        if (view.epoch === epoch) closed(store, exit.value, by)
        return
      }
      // It has opened meanwhile, and we were taken for the probe.
      halfOpened(store, "Store", 0)
      return yield* leaveProbe(store, exit.value)
    }
    const rejection = rejectionOf(exit.cause)
    if (rejection !== undefined) return turnedAway(store, rejection)
    return yield* onOutage(store, exit.cause)
  })

  const leaveProbe = (store: Store, { generation }: CircuitBreaker.Admission): Effect.Effect<void> =>
    bounded(store, store.service.record({ key, generation, outcome: "Ignored", tripPolicy, openFor: Duration.zero }))
      .pipe(
        Effect.catchCause((cause) => onOutage(store, cause)),
        Effect.asVoid
      )

  /** Sees in the store how the circuit is. */
  const follow = (store: Store, state: CircuitBreaker.State): Effect.Effect<void> => {
    switch (state._tag) {
      case "Closed":
        return renewPermit(store, "Store")
      case "Open":
        return Effect.sync(() => opened(store, "Store", state))
      case "HalfOpen":
        return Effect.sync(() =>
          halfOpened(store, "Store", state.probing ? clock.currentTimeMillisUnsafe() + probeMillis : 0)
        )
    }
  }

  const refresh = Effect.gen(function*() {
    if (shared !== undefined) {
      const away = view.store !== shared
      if (!away && view.tag !== "Closed") return
      const state = yield* Effect.exit(bounded(shared, shared.service.state(key)))
      if (Exit.isFailure(state)) {
        if (!away) return yield* onOutage(shared, state.cause)
      } else if (!away) {
        return yield* follow(shared, state.value)
      } else if (!overruled || state.value._tag === "Closed") {
        const recovered = outage
        outage = false
        overruled = false
        asking = undefined
        view.store = shared
        yield* follow(shared, state.value)
        if (recovered && view.store === shared) {
          yield* Effect.logInfo(`The store of the circuit of ${key} answers again`)
        }
        return
      }
    }
    // The count of openings starts again when the circuit was closed for long enough. The next opening must know.
    if (view.tag === "Closed") yield* renewPermit(view.store, "Calls")
  })

  // -------------------------------------------------------------------------------------------------------------------
  // The circuit
  // -------------------------------------------------------------------------------------------------------------------

  const admit = (call: Call): Effect.Effect<
    CircuitBreaker.Admission,
    CircuitBreaker.CircuitBreakerError,
    Scope.Scope
  > =>
    Effect.suspend(() => {
      if (call.ticket !== undefined) return Effect.succeed(call.ticket.admission)
      const store = call.store = view.store
      return bounded(store, store.service.admit(key)).pipe(
        Effect.tap((admission) =>
          Effect.sync(() => {
            if (admission.probe) return halfOpened(store, "Calls", 0)
            // Another process has closed it. Nobody has to wait for this call.
            if (asking === call) asking = undefined
            closed(store, admission, "Store")
          })
        ),
        Effect.catchCause((cause) => {
          const rejection = rejectionOf(cause)
          if (rejection !== undefined) {
            turnedAway(store, rejection)
            return Effect.failCause(cause)
          }
          return store.shared && !Cause.hasInterruptsOnly(cause)
            ? Effect.andThen(onOutage(store, cause), admit(call))
            : Effect.failCause(cause)
        })
      )
    })

  const record = (
    call: Call,
    options: Parameters<CircuitBreaker.CircuitBreakerStore["Service"]["record"]>[0]
  ): Effect.Effect<CircuitBreaker.Transition | undefined> => {
    const { store } = call
    return bounded(store, store.service.record(options)).pipe(
      Effect.tap((transition) => {
        if (asking === call) asking = undefined
        if (transition?.to === "Open") opened(store, "Calls", transition)
        return transition?.to === "Closed" ? renewPermit(store, "Calls") : Effect.void
      }),
      Effect.catchCause((cause) => Effect.as(onOutage(store, cause), undefined))
    )
  }

  const withCall = <A, E, R>(f: (call: Call) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
    Effect.withFiber((fiber) => f(fiber.getRef(CurrentCall)!))

  const circuit = yield* CircuitBreaker.make({
    tripPolicy,
    openDuration: resolved.openDuration
  }).pipe(
    Effect.provideService(
      CircuitBreaker.CircuitBreakerStore,
      CircuitBreaker.CircuitBreakerStore.of({
        admit: () => withCall(admit),
        record: (options) => withCall((call) => record(call, options)),
        state: (key) => view.store.service.state(key)
      })
    )
  )

  // -------------------------------------------------------------------------------------------------------------------
  // What happens apart from all calls, one after the other
  // -------------------------------------------------------------------------------------------------------------------

  const queue: Array<Work> = []
  let working: Fiber.Fiber<void> | undefined
  let ended = false

  const submit = (work: Work): void => {
    if (queue.length < maxWork && !ended) queue.push(work)
    proceed()
  }

  let proceeding = false

  /** Does what waits, and does it before it returns as far as the store answers at once. */
  const proceed = (): void => {
    if (proceeding) return
    proceeding = true
    for (let next = nextStep(); next !== undefined; next = nextStep()) {
      const fiber = runFork(next)
      if (fiber.pollUnsafe() !== undefined) continue
      working = fiber
      fiber.addObserver(() => {
        working = undefined
        proceeding = false
        proceed()
      })
      return
    }
    proceeding = false
  }

  const nextStep = (): Effect.Effect<void> | undefined => {
    while (!ended && queue.length > 0) {
      const work = queue[0]!
      if (work.ticket === undefined) {
        queue.shift()
        return refresh
      }
      // Something before it has ended the epoch.
      if (work.ticket.epoch !== view.epoch) queue.shift()
      else if (work.successes > 0) {
        work.successes--
        return recordOne(work.ticket, classifySuccess)
      } else {
        queue.shift()
        if (work.failure) return recordOne(work.ticket, classifyFailure)
      }
    }
    return undefined
  }

  const classifySuccess = () => CircuitBreaker.success
  const classifyFailure = () => CircuitBreaker.failure()

  const recordOne = (ticket: Ticket, classify: () => CircuitBreaker.Outcome): Effect.Effect<void> =>
    circuit.execute(Effect.void, { key, classify }).pipe(
      Effect.provideService(CurrentCall, { ticket, store: ticket.store }),
      Effect.ignore
    )

  const lookUp = (at: number): void => {
    view.due = shared === undefined ? Infinity : at + refreshMillis
    if (!queue.some((work) => work.ticket === undefined)) submit({ ticket: undefined, successes: 0, failure: false })
    if (view.store === shared) view.reportSuccesses()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Calls
  // -------------------------------------------------------------------------------------------------------------------

  /** Why a call is turned away without asking the store. */
  const rejection = (): BreakerErrorReason | undefined => {
    if (view.isolated) return new Isolated({ key })
    const left = view.until - clock.currentTimeMillisUnsafe()
    if (view.tag === "Open" && left > 0) return new CircuitOpen({ key, retryAfter: Duration.millis(left) })
    if (asking !== undefined || (view.tag === "HalfOpen" && left > 0)) return new CircuitHalfOpen({ key })
    return undefined
  }

  const reject = (reason: BreakerErrorReason): SqlError => {
    rejected++
    return toSqlError(reason)
  }

  /** A call while the circuit is closed. */
  const watch = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
    const { permit } = view
    const startedAt = now()
    return Effect.onExitPrimitive(self, (exit) => {
      if (Exit.isFailure(exit)) {
        view.failed(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), now() - startedAt, permit)
      } else if (view.watching) {
        view.succeeded(now() - startedAt, permit)
      }
      return undefined
    })
  }

  /** A call while it is not, which may become the probe. */
  const ask = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E | SqlError, R> => {
    let call: Call | undefined
    let startedAt: number | undefined
    const admitted = Effect.suspend(() => {
      startedAt = now()
      return self
    })
    const classify = (exit: Exit.Exit<A, E>): CircuitBreaker.Outcome => {
      const slow = now() - startedAt! > slowMillis
      if (Exit.isSuccess(exit)) return slow ? CircuitBreaker.failure() : CircuitBreaker.success
      return isFailure(Option.getOrUndefined(Cause.findErrorOption(exit.cause)), slow)
        ? CircuitBreaker.failure()
        : CircuitBreaker.ignored
    }
    // What ends it is registered before it asks.
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        const reason = rejection()
        if (reason !== undefined) return Effect.fail(reject(reason))
        asking = call = { ticket: undefined, store: view.store }
        return circuit.execute(admitted, { key, classify }).pipe(
          Effect.provideService(CurrentCall, call),
          Effect.mapError((error) => {
            if (startedAt !== undefined) return error as E
            const { reason } = error as CircuitBreaker.CircuitBreakerError
            return reject(
              reason._tag === "CircuitOpen"
                ? new CircuitOpen({ key, retryAfter: reason.retryAfter })
                : new CircuitHalfOpen({ key })
            )
          })
        )
      }),
      () => {
        if (call !== undefined && asking === call) asking = undefined
        return undefined
      }
    )
  }

  const execute: Breaker["execute"] = (self) =>
    Effect.suspend(() => {
      view.touch(now())
      return view.closed ? watch(self) : ask(self)
    })

  // -------------------------------------------------------------------------------------------------------------------
  // By hand
  // -------------------------------------------------------------------------------------------------------------------

  const isolate = Effect.sync(() => {
    const from = view.seenAs
    view.isolated = true
    view.closed = false
    // What was admitted before is late, also after a reset.
    view.epoch++
    publish(from, "Manual")
  })

  const reset = Effect.uninterruptible(Effect.map(Effect.suspend(() => useOwnStore("Manual")), () => {
    view.due = shared === undefined ? Infinity : 0
    overruled = shared !== undefined
  }))

  const local = (): State => {
    switch (view.seenAs) {
      case "Isolated":
      case "Closed":
        return { _tag: view.seenAs, key }
      case "HalfOpen":
        return { _tag: "HalfOpen", key, probing: asking !== undefined, consecutiveOpenings: view.openings }
      case "Open":
        return {
          _tag: "Open",
          key,
          retryAfter: Duration.millis(Math.max(0, view.until - clock.currentTimeMillisUnsafe())),
          consecutiveOpenings: view.openings
        }
    }
  }

  const state: Effect.Effect<State> = Effect.suspend(() =>
    view.isolated
      ? Effect.succeed(local())
      : Effect.catchCause(bounded(view.store, view.store.service.state(key)), () => Effect.succeed(local()))
  )

  // -------------------------------------------------------------------------------------------------------------------
  // Beginning and end
  // -------------------------------------------------------------------------------------------------------------------

  const view: View = new View(resolved, shared ?? (yield* makeOwnStore), submit, lookUp)
  yield* refresh
  if (shared !== undefined) view.due = now() + refreshMillis

  const register = <State>(metric: Metric.Metric<number, State>, get: () => State) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        Metric.registerUnsafe(Metric.withAttributes(metric, { "watertight.breaker.key": key }), context, {
          get,
          update: () => {},
          modify: () => {}
        })
      ),
      (registration) => Effect.sync(registration.remove)
    )
  yield* register(stateGauge, () => ({ value: severity[view.seenAs] }))
  yield* register(rejectedCounter, () => ({ count: rejected, incremental: true }))
  yield* register(tripsCounter, () => ({ count: trips, incremental: true }))

  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      ended = true
      // What it is recording it records to the end, which is not far.
      working?.interruptUnsafe()
    })
  )

  return Object.assign(view, {
    [TypeId]: TypeId as TypeId,
    key,
    now,
    execute,
    state,
    stateUnsafe: () =>
      view.seenAs === "Open" && view.until <= clock.currentTimeMillisUnsafe() ? "HalfOpen" : view.seenAs,
    transitions: Stream.fromPubSubTake(transitions),
    isolate,
    reset
  })
})

/**
 * Provides the breaker of the adapter in the context, with the `CircuitBreakerStore` of the context, or one of its own
 * in memory if there is none.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options = {}): Layer.Layer<Breaker, InvalidOptions, Adapter> =>
  Layer.effect(Breaker, Effect.flatMap(Adapter, (adapter) => make(adapter, options)))

// ---------------------------------------------------------------------------------------------------------------------
// Options
// ---------------------------------------------------------------------------------------------------------------------

interface Resolved {
  readonly tripPolicy: CircuitBreaker.TripPolicy
  readonly openDuration: Duration.Duration | Schedule.Schedule<unknown, number>
  readonly slowMillis: number
  readonly refreshMillis: number
  readonly storeTimeout: Duration.Duration
}

/**
 * When the circuit opens, unless the options say otherwise.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaultTripPolicy: CircuitBreaker.TripPolicy = CircuitBreaker.rate({
  threshold: 0.5,
  size: 20,
  minimumCalls: 10
})

/**
 * How long it stays open, unless the options say otherwise.
 *
 * @category presets
 * @since 0.1.0
 */
export const defaultOpenDuration: Schedule.Schedule<unknown, number> = Schedule.min([
  Schedule.exponential("1 second"),
  Schedule.spaced("30 seconds")
]).pipe(Schedule.jittered)

const optionNames: ReadonlySet<string> = new Set([
  "tripPolicy",
  "openDuration",
  "slowCall",
  "refreshInterval",
  "storeTimeout"
])

const invalid = (option: string, problem: string): InvalidOptions =>
  new InvalidOptions({ module: "Breaker", option, problem })

const resolve = Effect.fnUntraced(function*(options: Options): Effect.fn.Return<Resolved, InvalidOptions> {
  for (const name of Object.keys(options)) {
    if (!optionNames.has(name)) {
      return yield* invalid(name, `does not exist. There are: ${Array.from(optionNames).join(", ")}`)
    }
  }
  const { openDuration = defaultOpenDuration, tripPolicy = defaultTripPolicy } = options
  yield* Effect.try({
    try: () =>
      tripPolicy._tag === "Consecutive"
        ? CircuitBreaker.consecutive(tripPolicy.failures)
        : CircuitBreaker.rate(tripPolicy),
    catch: (error) => invalid("tripPolicy", `cannot work: ${(error as Error).message}`)
  })
  const slowCall = options.slowCall === undefined ? Duration.infinity : yield* duration("slowCall", options.slowCall)
  const refreshInterval = yield* duration("refreshInterval", options.refreshInterval ?? "1 second")
  return {
    tripPolicy,
    openDuration: Schedule.isSchedule(openDuration)
      ? openDuration as Schedule.Schedule<unknown, number>
      : yield* duration("openDuration", openDuration as Duration.Input),
    slowMillis: Duration.toMillis(slowCall),
    refreshMillis: Duration.toMillis(refreshInterval),
    storeTimeout: yield* duration("storeTimeout", options.storeTimeout ?? "1 second")
  }
})

const duration = (option: string, input: Duration.Input): Effect.Effect<Duration.Duration, InvalidOptions> => {
  const value = Duration.fromInput(input)
  if (Option.isNone(value)) return Effect.fail(invalid(option, `is not a duration: ${String(input)}`))
  return Duration.toMillis(value.value) > 0
    ? Effect.succeed(value.value)
    : Effect.fail(invalid(option, "must be longer than zero"))
}
