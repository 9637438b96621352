/**
 * Performs what `PoolState` decides: opens, asks, resets and closes connections, keeps the one timer, and tells waiters
 * what has become of them.
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Option from "effect/Option"
import type * as Random from "effect/Random"
import { ConnectionError, SqlError } from "effect/sql/SqlError"
import type { Adapter, Connection } from "../Adapter.ts"
import * as Evidence from "../failure/Evidence.ts"
import { afterReading, type StallGuard } from "../timing/StallGuard.ts"
import { guardOf, monotonicOf } from "../timing/timeout.ts"
import { DeadlockDetector } from "./DeadlockDetector.ts"
import { failureOf, holderOf, holdersOf } from "./Holders.ts"
import type { LeaseRequest } from "./LeaseRequest.ts"
import { NestedWaits } from "./NestedWaits.ts"
import type * as PoolError from "./PoolError.ts"
import { PoolGroup } from "./PoolGroup.ts"
import type { PoolHost } from "./PoolHost.ts"
import type { Resolved } from "./PoolOptions.ts"
import { QuotaAccount } from "./QuotaAccount.ts"
import type { Action } from "./state/Agenda.ts"
import type { CloseReason, ConnectFailure, FailReason } from "./state/PoolEvent.ts"
import { type Counts, PoolState } from "./state/PoolState.ts"
import type { Slot } from "./state/Slot.ts"
import { PoolTelemetry, type Source } from "./telemetry/PoolTelemetry.ts"

/**
 * What a pool is made of.
 *
 * @category models
 * @since 0.2.0
 */
export interface Parts {
  readonly adapter: Adapter
  readonly options: Resolved
  readonly clock: Clock.Clock
  readonly random: typeof Random.Random["Service"]
  readonly context: Context.Context<never>
  readonly health: Source["health"]
}

const noFailures = (): Record<FailReason, number> => ({
  AcquireTimeout: 0,
  QueueFull: 0,
  PoolClosed: 0,
  ConnectFailed: 0,
  Suspended: 0,
  NestedAcquire: 0
})

const noneClosed = (): Record<CloseReason, number> => ({
  Lifetime: 0,
  IdleTimeout: 0,
  PingFailed: 0,
  Unanswered: 0,
  ResetFailed: 0,
  Lost: 0,
  Cleared: 0,
  Retired: 0,
  Resized: 0,
  Reclaimed: 0,
  Unneeded: 0,
  Budget: 0,
  Shutdown: 0
})

/**
 * @category models
 * @since 0.2.0
 */
export class PoolRuntime implements PoolHost {
  readonly adapter: Adapter
  readonly options: Resolved
  readonly state: PoolState<Connection>
  readonly telemetry: PoolTelemetry
  readonly nested: NestedWaits
  readonly account: QuotaAccount | undefined
  /** The monotonic time in milliseconds. */
  readonly now: () => number
  readonly runFork: <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>
  readonly failed = noFailures()
  readonly closed = noneClosed()
  /** Why the last attempt to connect failed, unless one has succeeded since. */
  connectError: SqlError | undefined = undefined
  /** Why no caller can connect until a person changes something. */
  refusal: SqlError | undefined = undefined
  /** Whether statements may share a connection. Only connections can tell whether they pipeline. */
  pipelines: boolean
  /** Done when the last connection is gone; then there is another one for the next time. */
  drained: Deferred.Deferred<void> = Deferred.makeUnsafe()

  private readonly clock: Clock.Clock
  private readonly guard: StallGuard | undefined
  private readonly attempts = new Map<Slot<Connection>, Fiber.Fiber<Connection, SqlError>>()
  /** The attempts that the pool itself has ended. */
  private readonly abandoned = new WeakSet<Slot<Connection>>()
  private readonly stopListening: (() => void) | undefined
  private performing = false
  /** When to call `tick`, if that has changed. */
  private wakeAt: number | undefined = undefined
  private timer: Fiber.Fiber<void> | undefined = undefined
  private cancelTick: (() => void) | undefined = undefined
  /** Who has a connection. It does not change while actions are performed that fail all waiters. */
  private holding: ReadonlyArray<PoolError.Holder> | undefined = undefined

  constructor({ adapter, clock, context, health, options, random }: Parts) {
    this.adapter = adapter
    this.options = options
    this.clock = clock
    this.guard = guardOf(clock)
    this.now = monotonicOf(clock)
    this.runFork = Effect.runForkWith(context)
    this.state = new PoolState<Connection>(options.state, () => random.nextDoubleUnsafe())
    this.pipelines = adapter.maxConnections !== 1 && options.state.pipelineDepth > 1
    this.telemetry = new PoolTelemetry(adapter, context, this.now, this.runFork, {
      counts: () => this.counts,
      limits: () => this.limits,
      failed: this.failed,
      closed: this.closed,
      health
    })
    const group = Context.get(context, PoolGroup)
    this.account = group?.budget === undefined ? undefined : new QuotaAccount(this, group.budget)
    this.nested = new NestedWaits(this, group?.nesting ?? new DeadlockDetector(), group?.budget)
    this.stopListening = this.guard?.onStall(({ from, to }) => this.stalled(from, to))
  }

  get limits() {
    const { limit, options: { max, min } } = this.state
    return { min, max, effectiveMax: limit }
  }

  /** Connections for which there is no room in the quota yet are none. */
  get counts(): Counts {
    const { connecting, total, ...rest } = this.state.counts
    const asked = this.account?.asked.size ?? 0
    return { total: total - asked, connecting: connecting - asked, ...rest }
  }

  get servedAt(): number {
    return this.telemetry.servedAt
  }

  situation(): PoolError.Situation {
    return {
      database: this.adapter.name,
      max: this.state.limit,
      ...this.counts,
      holders: this.performing ? this.holding ??= holdersOf(this, false) : holdersOf(this, false),
      connectError: this.connectError
    }
  }

  /** The pool is gone. */
  close(): void {
    this.disarm()
    this.stopListening?.()
    this.nested.leave()
    this.account?.leave()
    this.telemetry.close()
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Performing
  // -------------------------------------------------------------------------------------------------------------------

  /** Performs all actions, also those that performing them brings about. */
  perform(): void {
    if (this.performing) return
    const { actions } = this.state
    this.performing = true
    let performed = 0
    try {
      while (performed < actions.length) this.performOne(actions[performed++]!)
    } finally {
      if (performed === actions.length) actions.length = 0
      else actions.splice(0, performed)
      this.performing = false
      this.holding = undefined
      if (this.wakeAt !== undefined) this.arm(this.wakeAt)
      // An observer of a resumed fiber has thrown: those behind it are served nevertheless.
      if (actions.length > 0) this.perform()
      else this.settle()
    }
  }

  /** Performs what an event of the hot path has brought about, which is nothing as a rule. */
  performIfAny(): void {
    if (this.state.actions.length > 0) this.perform()
    else if (this.account !== undefined) this.settle()
  }

  /** What depends on the pool as a whole, after an event. */
  private settle(): void {
    this.account?.settle()
    this.nested.refuse()
    if (this.state.actions.length > 0) this.perform()
  }

  private performOne(action: Action<Connection>): void {
    switch (action._tag) {
      case "Lease":
        return this.served(action.lease as LeaseRequest, action.waitedMillis)
      case "Fail":
        return this.failedWith(action.lease as LeaseRequest, action.reason)
      case "Connect":
        if (this.account === undefined || this.account.ask(action.slot)) this.open(action.slot)
        return
      case "Abandon":
        return this.abandon(action.slot)
      case "Ping":
        return this.ping(action.slot)
      case "Reset": {
        const { slot } = action
        const connection = slot.connection!
        this.telemetry.tally.resets++
        this.observe(connection.reset, (exit) => {
          this.state.wasReset(slot, this.now(), Exit.isSuccess(exit) && connection.isReady)
        })
        return
      }
      case "Close":
        return this.closeConnection(action.slot, action.reason, action.abrupt)
      case "Wake":
        this.wakeAt = action.at
        return
      case "Reclaim": {
        const request = action.lease as LeaseRequest
        // The fiber that reserved a connection may be at other work by now: the connection belongs to a scope.
        if (!request.body.isScoped) request.fiber.interruptUnsafe()
        return
      }
      case "Report": {
        const { event, lease } = action
        if (event._tag === "Closed") this.closed[event.reason]++
        return this.telemetry.report(event, lease === undefined ? undefined : holderOf(this, lease as LeaseRequest))
      }
      case "Drained": {
        const done = this.drained
        this.drained = Deferred.makeUnsafe()
        this.telemetry.report({ _tag: "Drained" })
        Deferred.doneUnsafe(done, Effect.void)
        return
      }
    }
  }

  private served(request: LeaseRequest, waitedMillis: number): void {
    this.holding = undefined
    this.telemetry.served(waitedMillis, request.since, true)
    // An earlier action of the same batch may have ended it.
    if (request.state === "Held") request.wake()
  }

  private failedWith(request: LeaseRequest, reason: FailReason): void {
    this.failed[reason]++
    this.telemetry.failed(reason, request.since, this.now())
    request.error = failureOf(this, request, reason)
    request.wake()
  }

  /** Fails a request that waits. */
  refuse(request: LeaseRequest, reason: FailReason): void {
    this.nested.ended(request)
    const error = failureOf(this, request, reason)
    this.state.end(request, this.now(), true)
    this.failed[reason]++
    this.telemetry.failed(reason, request.since, this.now())
    request.error = error
    request.wake()
    this.perform()
  }

  /** Runs an effect of a connection apart from all borrowers, and tells the state what became of it. */
  private observe<A, E>(effect: Effect.Effect<A, E>, f: (exit: Exit.Exit<A, E>) => void): Fiber.Fiber<A, E> {
    const fiber = this.runFork(effect)
    fiber.addObserver((exit) => {
      f(exit)
      this.perform()
    })
    return fiber
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Connections
  // -------------------------------------------------------------------------------------------------------------------

  open(slot: Slot<Connection>): void {
    const began = this.now()
    const fiber = this.observe(this.adapter.connect, (exit) => {
      this.attempts.delete(slot)
      this.connected(slot, exit, began)
    })
    if (fiber.pollUnsafe() === undefined) this.attempts.set(slot, fiber)
  }

  private abandon(slot: Slot<Connection>): void {
    this.abandoned.add(slot)
    this.attempts.get(slot)?.interruptUnsafe()
  }

  /** Ends all attempts to connect. */
  abandonAll(): void {
    for (const slot of Array.from(this.attempts.keys())) this.abandon(slot)
    this.account?.withdrawAll()
    this.perform()
  }

  /** What became of an attempt to connect. Returns whether it failed for good. */
  connected(slot: Slot<Connection>, exit: Exit.Exit<Connection, SqlError>, began: number): boolean {
    // One that is lost by the time it is open is a failed attempt: it is not lent, and the next one waits.
    if (Exit.isSuccess(exit) && !exit.value.isClosed) {
      this.opened(slot, exit.value, began)
      return false
    }
    const error = connectErrorOf(exit)
    const permanent = error !== undefined && this.adapter.isPermanent(error)
    if (error !== undefined) {
      this.telemetry.connectFailed(error, permanent, this.now())
      this.connectError = error
    }
    if (permanent) this.refusal = error
    this.state.connectFailed(slot, this.now(), this.failureOf(slot, error, permanent))
    return permanent
  }

  private failureOf(slot: Slot<Connection>, error: SqlError | undefined, permanent: boolean): ConnectFailure {
    if (permanent) return "Permanent"
    if (error === undefined) return this.abandoned.has(slot) ? "Interrupted" : "Unreachable"
    return this.adapter.ruleOf(error)?.full === true ? "Full" : "Unreachable"
  }

  private opened(slot: Slot<Connection>, connection: Connection, began: number): void {
    const at = this.now()
    this.connectError = undefined
    this.telemetry.connected(at - began, at)
    this.pipelines &&= connection.canPipeline
    this.state.connected(slot, connection, at)
    connection.onLost((error) => {
      this.state.lost(slot, this.now(), suspectsOthers(error))
      this.perform()
    })
    connection.onRetire(() => {
      this.state.retire(slot, this.now())
      this.perform()
    })
  }

  private ping(slot: Slot<Connection>): void {
    const { ping, verify } = slot.connection!
    this.observe(slot.asked === "RoleChange" ? verify : ping, (exit) => {
      if (Exit.isFailure(exit)) this.telemetry.tally.validationFailures++
      this.state.validated(slot, this.now(), Exit.isSuccess(exit))
    })
  }

  private closeConnection(slot: Slot<Connection>, reason: CloseReason, abrupt: boolean): void {
    const connection = slot.connection!
    if (abrupt || reason === "PingFailed" || reason === "ResetFailed") {
      if (reason === "Unanswered") this.telemetry.tally.validationFailures++
      connection.destroy(`closed by the pool: ${reason}`)
      return this.state.closed(slot, this.now())
    }
    this.observe(connection.close, () => this.state.closed(slot, this.now()))
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Time
  // -------------------------------------------------------------------------------------------------------------------

  /** One timer for everything. */
  private arm(at: number): void {
    this.disarm()
    const { idle, total, waiting } = this.state.counts
    if (total > idle || waiting > 0) this.guard?.watch(at)
    // Rounded up, because a clock that is woken too early by less than it can measure would be so for ever.
    const fiber = this.runFork(this.clock.sleep(Duration.millis(Math.max(0, Math.ceil(at - this.now())))))
    this.timer = fiber
    fiber.addObserver(() => {
      if (this.timer !== fiber) return
      this.timer = undefined
      if (this.guard === undefined) return this.tick()
      this.guard.late(at)
      // What has arrived meanwhile may have answered what is due.
      if (this.timer === undefined) this.cancelTick = afterReading(() => this.tick())
    })
  }

  disarm(): void {
    const fiber = this.timer
    this.timer = undefined
    this.wakeAt = undefined
    this.cancelTick?.()
    this.cancelTick = undefined
    fiber?.interruptUnsafe()
  }

  private tick(): void {
    this.cancelTick = undefined
    if (this.account !== undefined) this.state.roomInQuota = this.account.room
    this.state.tick(this.now())
    this.perform()
  }

  /** This process stood still. */
  private stalled(from: number, to: number): void {
    const { idle, total, waiting } = this.state.counts
    if (total === idle && waiting === 0) return
    this.state.stalled(from, to)
    this.telemetry.stalled(from, to)
    this.perform()
  }
}

/** Why there is no connection. An interruption says nothing; a defect must not go without a trace. */
const connectErrorOf = (exit: Exit.Exit<Connection, SqlError>): SqlError | undefined => {
  if (Exit.isSuccess(exit)) return notConnected(undefined, "The connection was lost as soon as it was open")
  const error = Cause.findErrorOption(exit.cause)
  if (Option.isSome(error)) return error.value
  return Cause.hasInterruptsOnly(exit.cause)
    ? undefined
    : notConnected(Cause.squash(exit.cause), "The adapter died of a defect while it connected")
}

const notConnected = (cause: unknown, message: string): SqlError =>
  new SqlError({ reason: new ConnectionError({ cause, message, operation: "connect" }) })

/** Whether what ended a connection may have ended those beside it as well. */
const suspectsOthers = (error: SqlError): boolean => {
  const { endedBy } = Evidence.of(error)
  return endedBy !== undefined && Evidence.consequences[endedBy].suspects
}
