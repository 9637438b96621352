/**
 * The way of a caller to a connection: it asks, waits, uses and gives back.
 *
 * @since 0.2.0
 */
import * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import { type Asker, type Body, reserving, Share, Use } from "./Body.ts"
import { LeasedConnection } from "./LeasedConnection.ts"
import { LeaseRequest, type Lender } from "./LeaseRequest.ts"
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
export class Lending implements Asker, Lender {
  private readonly runtime: PoolRuntime
  private readonly leaseEnded: Effect.Effect<never, SqlError>

  constructor(runtime: PoolRuntime) {
    this.runtime = runtime
    const database = runtime.adapter.name
    this.leaseEnded = Effect.suspend(() => Effect.fail(PoolError.toSqlError(new PoolError.LeaseEnded({ database }))))
  }

  /** Lends a connection for one effect. */
  using(f: Use["f"], caller: Body<any, any>["caller"]): Effect.Effect<any, any> {
    return new Use(this, f, caller) as unknown as Effect.Effect<any, any>
  }

  /** Lends a connection for one statement, which others may share. */
  sharing(profile: StatementProfile | undefined, f: Share["f"]): Effect.Effect<any, any> {
    return new Share(this, f, profile) as unknown as Effect.Effect<any, any>
  }

  lease(
    fiber: Fiber.Fiber<unknown, unknown>,
    profile: StatementProfile | undefined,
    body: Body<any, any>
  ): LeaseRequest {
    return new LeaseRequest(fiber, this, body, true, profile, this.laneOf(fiber))
  }

  share(
    fiber: Fiber.Fiber<unknown, unknown>,
    profile: StatementProfile | undefined,
    body: Body<any, any>
  ): Effect.Effect<any, any> {
    return ending(this.lease(fiber, profile, body))
  }

  use(fiber: Fiber.Fiber<unknown, unknown>, body: Body<any, any>): Effect.Effect<any, any> {
    return ending(new LeaseRequest(fiber, this, body, false, undefined, this.laneOf(fiber)))
  }

  /** Lends a connection until a scope closes. */
  reserve(fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<Connection, SqlError> {
    const scope = Context.get(fiber.context as Context.Context<Scope.Scope>, Scope.Scope)
    const request = new LeaseRequest(fiber, this, reserving, false, undefined, this.laneOf(fiber))
    // A scope of its own, so that a request which gets nothing leaves nothing behind in the caller's scope. It is there
    // before anything is asked for, and an interrupted request leaves the queue at once.
    return Effect.flatMap(Scope.fork(scope), (own) =>
      Effect.andThen(
        Scope.addFinalizer(own, Effect.sync(() => request.end(undefined))),
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
    if (!telemetry.isTraced(request.fiber)) return this.wait(request, false)
    // The span of the wait ends before the body begins.
    const traced = telemetry.traced(request.fiber, this.wait(request, true), () => runtime.now() - at)
    return Effect.flatMap(traced, () => request.effect)
  }

  /** Waits until the request is decided, and goes on with it or, if so asked, fails with it or ends. */
  private wait(request: LeaseRequest, ends: boolean): Effect.Effect<any, any> {
    return Effect.callback((resume) => {
      request.resume = ends
        ? (effect) => resume(request.state === "Held" ? Effect.void : effect)
        : resume
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
    return request.body.runOn(
      request.shared ? connection : new LeasedConnection(connection, request, adapter.name, telemetry.operations)
    )
  }

  /**
   * Gives back what the request has, or takes it out of the queue. It is registered before anything is asked for, so
   * there is no moment at which an interruption could lose a connection.
   */
  end(request: LeaseRequest, cause: Cause.Cause<unknown> | undefined): void {
    const { runtime } = this
    const { state, telemetry } = runtime
    runtime.nested.ended(request)
    if (request.state === "Held") {
      const at = runtime.now()
      const millis = at - request.since
      telemetry.use.record(millis, at)
      if (request.shared) telemetry.operations.ended(millis, at, cause)
      const slot = request.slot!
      const connection = slot.connection!
      const ready = connection.handBack(runtime.options.reset)
      // The code that destroys a connection knows why; it says nothing about the connections beside it.
      if (!ready && connection.isClosed) state.lost(slot, at, false)
      // An interrupted statement may still run on the server.
      state.end(request, at, ready, !(request.shared && cause !== undefined && Cause.hasInterrupts(cause)))
    } else {
      const waiting = request.state === "Waiting"
      state.end(request, runtime.now(), true)
      // The scope in which its fiber waits may have been closed by another one.
      if (waiting) request.wake()
    }
    runtime.performIfAny()
  }
}

/** Ends a request when its effect ends. */
const ending = (request: LeaseRequest): Effect.Effect<any, any> =>
  Effect.onExitPrimitive(request.effect, (exit) => {
    request.end(Exit.isSuccess(exit) ? undefined : exit.cause)
    return undefined
  })
