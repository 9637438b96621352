/**
 * The way of a caller to a connection: it asks, waits, uses and gives back.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import { LeasedConnection } from "./LeasedConnection.ts"
import { type Body, LeaseRequest, type Lender } from "./LeaseRequest.ts"
import * as PoolError from "./PoolError.ts"
import type { PoolRuntime } from "./PoolRuntime.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"

/**
 * The lane of whatever runs here, by name. A pool without a lane of this name takes no notice of it.
 *
 * @category references
 * @since 0.1.0
 */
export const Lane = Context.Reference<string | undefined>("watertight/Pool/Lane", { defaultValue: () => undefined })

/**
 * Since when whoever runs here has waited elsewhere for what it asks a pool for now, until it has that.
 *
 * @category references
 * @since 0.2.0
 */
export const WaitedSince = Context.Reference<{ readonly at: number | undefined } | undefined>(
  "watertight/internal/Pool/WaitedSince",
  { defaultValue: () => undefined }
)

/**
 * @category models
 * @since 0.2.0
 */
export class Lending implements Lender {
  private readonly runtime: PoolRuntime
  private readonly leaseEnded: Effect.Effect<never, SqlError>

  constructor(runtime: PoolRuntime) {
    this.runtime = runtime
    const database = runtime.adapter.name
    this.leaseEnded = Effect.suspend(() => Effect.fail(PoolError.toSqlError(new PoolError.LeaseEnded({ database }))))
  }

  /** Lends a connection for one statement, which others may share. */
  share(
    fiber: Fiber.Fiber<unknown, unknown>,
    profile: StatementProfile | undefined,
    body: Body
  ): Effect.Effect<any, any> {
    const request = new LeaseRequest(fiber, this, body, true, profile, this.laneOf(fiber))
    return Effect.onExitPrimitive(request.effect, (exit) => {
      this.end(request, Exit.isSuccess(exit) || !Exit.hasInterrupts(exit), exit)
      return undefined
    })
  }

  /** Lends a connection for one effect. */
  use(fiber: Fiber.Fiber<unknown, unknown>, body: Body, caller: LeaseRequest["caller"]): Effect.Effect<any, any> {
    const request = new LeaseRequest(fiber, this, body, false, undefined, this.laneOf(fiber))
    request.caller = caller
    return Effect.onExitPrimitive(request.effect, () => {
      this.end(request, true)
      return undefined
    })
  }

  /** Lends a connection until a scope closes. */
  reserve(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<Connection, SqlError> {
    const scope = Context.get(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
    const request = new LeaseRequest(fiber, this, Effect.succeed, false, undefined, this.laneOf(fiber))
    request.scoped = true
    // A scope of its own, so that a request which gets nothing leaves nothing behind in the caller's scope. It is there
    // before anything is asked for, and an interrupted request leaves the queue at once.
    return Effect.flatMap(Scope.fork(scope), (own) =>
      Effect.andThen(
        Scope.addFinalizer(own, Effect.sync(() => this.end(request, true))),
        Effect.onError(request.effect as Effect.Effect<Connection, SqlError>, (cause) =>
          Scope.close(own, Exit.failCause(cause)))
      ))
  }

  private laneOf(fiber: Fiber.Fiber<unknown, unknown>): number {
    const { laneNumbers } = this.runtime.options
    if (laneNumbers === undefined) return 0
    const name = Context.get(fiber.context, Lane)
    return name === undefined ? 0 : laneNumbers.get(name) ?? 0
  }

  /** What a request does: it asks for a connection, waits for it, and comes here again to use it. */
  lend(request: LeaseRequest): Effect.Effect<any, any> {
    if (request.resume !== undefined) return this.afterWait(request)
    const { runtime } = this
    const { state, telemetry } = runtime
    const at = runtime.now()
    if (state.acquire(request, at)) {
      telemetry.served(0, at, false)
      if (state.actions.length > 0) runtime.perform()
      return this.begin(request)
    }
    if (request.state === "Waiting") {
      telemetry.waits(state.waiting, at)
      const since = Context.get(request.fiber.context, WaitedSince)?.at
      if (since !== undefined) state.waitsSince(request, since)
    }
    if (state.actions.length > 0) runtime.perform()
    const waiting = this.wait(request)
    const traced: Effect.Effect<any, any> = telemetry.traced(request.fiber, waiting, () => runtime.now() - at)
    request.traced = traced !== waiting
    return request.traced ? Effect.flatMap(traced, () => request.effect) : waiting
  }

  /** Waits until the request is decided. Only for one that `acquire` did not serve at once. */
  private wait(request: LeaseRequest): Effect.Effect<any, any> {
    return Effect.callback((resume) => {
      request.resume = resume
      if (request.state === "Waiting") {
        this.runtime.nested.waits(request)
      } else if (request.state === "Held" || request.state === "Ended" || request.error !== undefined) {
        // Already decided. A failed request without an error yet is woken by its `Fail` action.
        request.wake()
      }
    })
  }

  private afterWait(request: LeaseRequest): Effect.Effect<any, any> {
    if (request.state === "Held") return this.begin(request)
    return request.error === undefined ? this.leaseEnded : Effect.fail(request.error)
  }

  private begin(request: LeaseRequest): Effect.Effect<any, any> {
    const connection = request.slot!.connection!
    const { adapter, telemetry } = this.runtime
    return request.body(
      request.shared ? connection : new LeasedConnection(connection, request, adapter.name, telemetry.operations)
    )
  }

  /**
   * Gives back what the request has, or takes it out of the queue. It is registered before anything is asked for, so
   * there is no moment at which an interruption could lose a connection.
   */
  private end(request: LeaseRequest, answered: boolean, statement?: Exit.Exit<unknown, unknown>): void {
    const { runtime } = this
    const { state, telemetry } = runtime
    runtime.nested.ended(request)
    if (request.state === "Held") {
      const at = runtime.now()
      telemetry.use.record(at - request.heldAt, at)
      if (statement !== undefined) telemetry.operations.ended(at - request.heldAt, at, statement)
      const slot = request.slot!
      const connection = slot.connection!
      const ready = connection.handBack(runtime.options.reset)
      // The code that destroys a connection knows why; it says nothing about the connections beside it.
      if (!ready && connection.isClosed) state.lost(slot, at, false)
      state.end(request, at, ready, answered)
    } else {
      const waiting = request.state === "Waiting"
      state.end(request, runtime.now(), true)
      // The scope in which its fiber waits may have been closed by another one.
      if (waiting) request.wake()
    }
    runtime.performIfAny()
  }
}
