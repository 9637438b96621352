/**
 * Where the circuit of a process is kept: in a store that a fleet shares, or in one of its own.
 *
 * **Details**
 *
 * | what happens                                              | the store from then on                         |
 * | --------------------------------------------------------- | ---------------------------------------------- |
 * | the shared store fails, or does not answer in time        | its own, until the shared one answers          |
 * | the circuit is reset by hand                              | its own, until the shared circuit is closed    |
 * | the shared store says "open" for longer than can be true  | its own, until the shared circuit is closed    |
 *
 * Every answer of a store goes into the `LocalCircuit`, which calls read. Time inside of the process is monotonic, so a
 * clock that is set neither holds the circuit open nor closes it.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import type * as Scope from "effect/Scope"
import { timeoutOrElse } from "../timing/timeout.ts"
import type { Resolved } from "./BreakerOptions.ts"
import type { State, Transition } from "./BreakerState.ts"
import type { LocalCircuit, Store, Ticket } from "./LocalCircuit.ts"

/** One `CircuitBreaker.execute`: under what it is admitted, if that is known, and where it is recorded. */
export interface Call {
  readonly ticket: Ticket | undefined
  store: Store
}

/** How long another process may probe before it is asked after again, in milliseconds. */
const probeMillis = 100

export interface Options {
  readonly key: string
  readonly resolved: Resolved
  readonly shared: Store | undefined
  readonly clock: Clock.Clock
  readonly now: () => number
  readonly isEnded: () => boolean
  readonly publish: (transition: Transition) => void
}

export class CircuitStore {
  /** Set once, by whoever makes both: each needs the other. */
  local!: LocalCircuit
  readonly shared: Store | undefined
  /** How often the calls of this process have opened the circuit. */
  trips = 0
  /** The call that asks to be the probe, or is it. */
  asking: Call | undefined = undefined

  private readonly key: string
  private readonly resolved: Resolved
  private readonly now: () => number
  private readonly isEnded: () => boolean
  private readonly publishTransition: (transition: Transition) => void
  private readonly monotonicClock: Clock.Clock
  /** How long the circuit was last open, in milliseconds. */
  private openFor = 0
  /** Whether the shared store has failed and not answered since. */
  private outage = false
  /** Whether the shared circuit is passed over until it is closed. */
  private overruled = false
  /** Whether the shared store has said for how long the circuit is open, and that was too long to be true. */
  private isOverlong = false

  constructor(options: Options) {
    this.key = options.key
    this.resolved = options.resolved
    this.shared = options.shared
    this.now = options.now
    this.isEnded = options.isEnded
    this.publishTransition = options.publish
    this.monotonicClock = monotonic(options.clock, options.now)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // What the local circuit is told
  // -------------------------------------------------------------------------------------------------------------------

  publish(from: State["_tag"], by: Transition["by"], retryAfter?: Duration.Duration): void {
    const to = this.local.seenAs
    if (from !== to) this.publishTransition({ key: this.key, from, to, by, retryAfter })
  }

  private closed(store: Store, admission: CircuitBreaker.Admission, by: Transition["by"]): void {
    const { local } = this
    if (store !== local.store) return
    const from = local.seenAs
    local.close(store, admission)
    this.isOverlong = false
    // Openings in a row are forgotten when the circuit has stayed closed for as long as it was last open.
    if (!store.shared && admission.consecutiveOpenings > 0) {
      local.due = Math.min(local.due, this.now() + Math.ceil(this.openFor))
    }
    this.publish(from, by)
  }

  private opened(
    store: Store,
    by: Transition["by"],
    said: { readonly consecutiveOpenings?: number; readonly retryAfter: Duration.Duration }
  ): void {
    const { local } = this
    if (store !== local.store) return
    const millis = Duration.toMillis(said.retryAfter)
    const longest = this.resolved.longestOpenMillis
    if (by === "Calls") {
      this.trips++
      this.openFor = millis
    }
    const from = local.seenAs
    this.isOverlong = store.shared && millis > longest
    const open = this.isOverlong ? longest : millis
    local.leave("Open", this.now() + open)
    local.openings = said.consecutiveOpenings ?? local.openings
    this.publish(from, by, Duration.millis(open))
  }

  private halfOpened(store: Store, by: Transition["by"], until: number): void {
    const { local } = this
    if (store !== local.store) return
    const from = local.seenAs
    local.leave("HalfOpen", until)
    this.publish(from, by)
  }

  /** The store has turned a call away. */
  private turnedAway(store: Store, reason: CircuitBreaker.CircuitOpen | CircuitBreaker.CircuitHalfOpen): void {
    if (reason._tag === "CircuitOpen") this.opened(store, "Store", reason)
    else this.halfOpened(store, "Store", this.now() + probeMillis)
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Stores
  // -------------------------------------------------------------------------------------------------------------------

  readonly makeOwn: Effect.Effect<Store> = Effect.map(
    // It holds one key, for as long as the breaker lives.
    Effect.scoped(Layer.build(CircuitBreaker.layerStoreMemory({ idleTimeToLive: Duration.infinity }))),
    (context) => ({ service: Context.get(context, CircuitBreaker.CircuitBreakerStore), shared: false })
  )

  /** An operation of a store: in bounded time if it is shared, and on the monotonic clock if it is our own. */
  bounded<A, R>(
    store: Store,
    operation: Effect.Effect<A, CircuitBreaker.CircuitBreakerError, R>
  ): Effect.Effect<A, CircuitBreaker.CircuitBreakerError, R> {
    if (!store.shared) return Effect.provideService(operation, Clock.Clock, this.monotonicClock)
    const { storeTimeout } = this.resolved
    return timeoutOrElse(operation, {
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
  }

  /** Uses a store of our own from now on. */
  private useOwn(by: Transition["by"]): Effect.Effect<Store> {
    return Effect.flatMap(this.makeOwn, (store) => {
      const { local } = this
      const from = local.seenAs
      local.store = store
      local.isolated = local.isolated && by !== "Manual"
      this.asking = undefined
      this.isOverlong = false
      return this.bounded(store, Effect.scoped(store.service.admit(this.key))).pipe(
        // It is in memory, and asks nobody who could fail.
        Effect.orDie,
        Effect.map((admission) => {
          local.close(store, admission)
          this.publish(from, by)
          return store
        })
      )
    })
  }

  /** Closes the circuit of this process, and passes the shared one over until it is closed too. */
  readonly reset: Effect.Effect<void> = Effect.uninterruptible(
    Effect.map(Effect.suspend(() => this.useOwn("Manual")), () => this.overrule())
  )

  private overrule(): void {
    this.local.due = this.shared === undefined ? Infinity : 0
    this.overruled = this.shared !== undefined
  }

  /** The shared store has failed. */
  private onOutage(store: Store, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    return Effect.suspend(() => {
      if (store !== this.local.store || !store.shared || this.isEnded()) return Effect.void
      this.outage = true
      return Effect.andThen(
        this.useOwn("Store"),
        Effect.logWarning(
          `The store of the circuit of ${this.key} has failed. Until it answers, this process has a circuit of its own`,
          cause
        )
      )
    })
  }

  /** The shared store keeps the circuit open for longer than any process of the same options can have opened it. */
  private distrust(): Effect.Effect<void> {
    return Effect.andThen(
      Effect.map(this.useOwn("Store"), () => this.overrule()),
      Effect.logWarning(
        `The store of the circuit of ${this.key} keeps it open for longer than its options allow. ` +
          "Until it is closed there, this process has a circuit of its own"
      )
    )
  }

  /** Asks a store in which the circuit is closed what it admits calls under. */
  private renewPermit(store: Store, by: Transition["by"]): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { epoch } = this.local
      return Effect.flatMap(
        Effect.exit(Effect.scoped(this.bounded(store, store.service.admit(this.key)))),
        (exit) => {
          if (Exit.isSuccess(exit)) {
            if (!exit.value.probe) {
              // Unless a call has found out something newer while the store was asked.
              if (this.local.epoch === epoch) this.closed(store, exit.value, by)
              return Effect.void
            }
            // It has opened meanwhile, and we were taken for the probe.
            this.halfOpened(store, "Store", 0)
            return this.leaveProbe(store, exit.value)
          }
          const rejection = rejectionOf(exit.cause)
          if (rejection === undefined) return this.onOutage(store, exit.cause)
          this.turnedAway(store, rejection)
          return Effect.void
        }
      )
    })
  }

  private leaveProbe(store: Store, { generation }: CircuitBreaker.Admission): Effect.Effect<void> {
    const { key, resolved: { tripPolicy } } = this
    return this.bounded(
      store,
      store.service.record({ key, generation, outcome: "Ignored", tripPolicy, openFor: Duration.zero })
    ).pipe(
      Effect.catchCause((cause) => this.onOutage(store, cause)),
      Effect.asVoid
    )
  }

  /** Sees in the store how the circuit is. */
  private follow(store: Store, state: CircuitBreaker.State): Effect.Effect<void> {
    switch (state._tag) {
      case "Closed":
        return this.renewPermit(store, "Store")
      case "Open":
        return Effect.sync(() => this.opened(store, "Store", state))
      case "HalfOpen":
        return Effect.sync(() => this.halfOpened(store, "Store", state.probing ? this.now() + probeMillis : 0))
    }
  }

  /** Looks into the shared store, and comes back to it when it can be used again. */
  readonly refresh: Effect.Effect<void> = Effect.suspend(() => {
    const { local, shared } = this
    if (shared === undefined) return this.renewOwn()
    const away = local.store !== shared
    if (!away && local.tag !== "Closed") return Effect.void
    return Effect.flatMap(Effect.exit(this.bounded(shared, shared.service.state(this.key))), (state) => {
      if (Exit.isFailure(state)) return away ? this.renewOwn() : this.onOutage(shared, state.cause)
      if (!away) return this.follow(shared, state.value)
      return this.overruled && state.value._tag !== "Closed" ? this.renewOwn() : this.comeBack(shared, state.value)
    })
  })

  /** The count of openings starts again when the circuit was closed for long enough. The next opening must know. */
  private renewOwn(): Effect.Effect<void> {
    return this.local.tag === "Closed" ? this.renewPermit(this.local.store, "Calls") : Effect.void
  }

  private comeBack(shared: Store, state: CircuitBreaker.State): Effect.Effect<void> {
    const recovered = this.outage
    this.outage = false
    this.overruled = false
    this.asking = undefined
    this.local.store = shared
    return Effect.andThen(
      this.follow(shared, state),
      Effect.suspend(() =>
        recovered && this.local.store === shared
          ? Effect.logInfo(`The store of the circuit of ${this.key} answers again`)
          : Effect.void
      )
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Calls
  // -------------------------------------------------------------------------------------------------------------------

  /** Asks whether a call may go. One that has a ticket was admitted before. */
  admit(call: Call): Effect.Effect<CircuitBreaker.Admission, CircuitBreaker.CircuitBreakerError, Scope.Scope> {
    return Effect.suspend(() => {
      if (call.ticket !== undefined) return Effect.succeed(call.ticket.admission)
      const store = call.store = this.local.store
      const { isOverlong } = this
      return this.bounded(store, store.service.admit(this.key)).pipe(
        Effect.tap((admission) => Effect.sync(() => this.admitted(call, store, admission))),
        Effect.catchCause((cause) => {
          const rejection = rejectionOf(cause)
          if (rejection !== undefined) {
            this.turnedAway(store, rejection)
            // It said so before, and as long as that can be true has been waited for.
            return isOverlong && this.isOverlong
              ? Effect.andThen(this.distrust(), this.admit(call))
              : Effect.failCause(cause)
          }
          return store.shared && !Cause.hasInterruptsOnly(cause)
            ? Effect.andThen(this.onOutage(store, cause), this.admit(call))
            : Effect.failCause(cause)
        })
      )
    })
  }

  private admitted(call: Call, store: Store, admission: CircuitBreaker.Admission): void {
    if (admission.probe) return this.halfOpened(store, "Calls", 0)
    // Another process has closed it. No call has to wait for this one.
    if (this.asking === call) this.asking = undefined
    this.closed(store, admission, "Store")
  }

  /** Records the outcome of a call, and follows what the store makes of it. */
  record(
    call: Call,
    options: Parameters<CircuitBreaker.CircuitBreakerStore["Service"]["record"]>[0]
  ): Effect.Effect<CircuitBreaker.Transition | undefined> {
    const { store } = call
    return this.bounded(store, store.service.record(options)).pipe(
      Effect.tap((transition) => {
        if (this.asking === call) this.asking = undefined
        if (transition?.to === "Open") this.opened(store, "Calls", transition)
        return transition?.to === "Closed" ? this.renewPermit(store, "Calls") : Effect.void
      }),
      Effect.catchCause((cause) => Effect.as(this.onOutage(store, cause), undefined))
    )
  }

  // -------------------------------------------------------------------------------------------------------------------
  // The state
  // -------------------------------------------------------------------------------------------------------------------

  /** The state as this process sees it. */
  get localState(): State {
    const { key, local } = this
    switch (local.seenAs) {
      case "Isolated":
      case "Closed":
        return { _tag: local.seenAs, key }
      case "HalfOpen":
        return { _tag: "HalfOpen", key, probing: this.asking !== undefined, consecutiveOpenings: local.openings }
      case "Open":
        return {
          _tag: "Open",
          key,
          retryAfter: Duration.millis(Math.max(0, local.until - this.now())),
          consecutiveOpenings: local.openings
        }
    }
  }

  /** The state, from the store if it answers. */
  readonly state: Effect.Effect<State> = Effect.suspend(() => {
    const { isolated, store } = this.local
    return isolated ? Effect.succeed(this.localState) : Effect.catchCause(
      this.bounded<State, never>(store, store.service.state(this.key)),
      () => Effect.succeed(this.localState)
    )
  })
}

const rejectionOf = (cause: Cause.Cause<CircuitBreaker.CircuitBreakerError>) => {
  const reason = Option.getOrUndefined(Cause.findErrorOption(cause))?.reason
  return reason?._tag === "CircuitOpen" || reason?._tag === "CircuitHalfOpen" ? reason : undefined
}

/** A clock whose time of day is the monotonic time: what counts is how much of it has passed. */
const monotonic = (clock: Clock.Clock, now: () => number): Clock.Clock => {
  const nanos = () => BigInt(Math.round(now() * 1_000_000))
  return {
    currentTimeMillisUnsafe: now,
    currentTimeMillis: Effect.sync(now),
    currentTimeNanosUnsafe: nanos,
    currentTimeNanos: Effect.sync(nanos),
    monotonicTimeNanosUnsafe: nanos,
    monotonicTimeNanos: Effect.sync(nanos),
    sleep: (duration) => clock.sleep(duration)
  }
}
