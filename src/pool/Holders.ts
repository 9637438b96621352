/**
 * What the pool looks like, for the errors of callers that got no connection.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import type { SqlError } from "effect/sql/SqlError"
import * as Tracer from "effect/Tracer"
import { type LeaseRequest, locationOf } from "./LeaseRequest.ts"
import * as PoolError from "./PoolError.ts"
import type { PoolHost } from "./PoolHost.ts"
import type { FailReason } from "./state/PoolEvent.ts"

/** The spans that this library and Effect's client open themselves. What they are called says nothing of the program. */
const ownSpans = /^sql\.|^watertight\./

/** The name of the nearest span that the program has opened, or else of the nearest one. */
const spanOf = (request: LeaseRequest): string | undefined => {
  const nearest = Context.getOrUndefined(request.fiber.context, Tracer.ParentSpan)
  for (let span = nearest; span?._tag === "Span"; span = span.parent._tag === "Some" ? span.parent.value : undefined) {
    if (!ownSpans.test(span.name) && !span.attributes.has("db.query.summary")) return span.name
  }
  return nearest?._tag === "Span" ? nearest.name : undefined
}

/**
 * A caller that has a connection.
 *
 * @category getters
 * @since 0.2.0
 */
export const holderOf = (runtime: PoolHost, request: LeaseRequest): PoolError.Holder => {
  const location = runtime.options.captureLocation ? locationOf(request) : undefined
  return {
    fiberId: request.fiber.id,
    span: spanOf(request),
    heldMillis: runtime.now() - request.since,
    connectionId: request.slot!.connection!.id,
    ...(location === undefined ? undefined : { location }),
    ...(runtime.state.isLeakSuspected(request) ? { isLeakSuspected: true } : undefined)
  }
}

/**
 * The callers that have a connection, those first that have had it longest. Of those that share one, the first in line,
 * or all.
 *
 * @category getters
 * @since 0.2.0
 */
export const holdersOf = (runtime: PoolHost, all: boolean): ReadonlyArray<PoolError.Holder> => {
  const result: Array<PoolError.Holder> = []
  for (const slot of runtime.state.slots) {
    for (let lease = slot.lease; lease !== undefined; lease = all ? lease.next : undefined) {
      result.push(holderOf(runtime, lease as LeaseRequest))
    }
  }
  return result.sort((a, b) => b.heldMillis - a.heldMillis)
}

/**
 * The error of a caller that gets no connection.
 *
 * @category constructors
 * @since 0.2.0
 */
export const failureOf = (runtime: PoolHost, request: LeaseRequest, reason: FailReason): SqlError => {
  const database = runtime.adapter.name
  switch (reason) {
    case "ConnectFailed":
      return runtime.refusal!
    case "Suspended":
      return PoolError.toSqlError(
        new PoolError.Suspended({ database, waitedMillis: runtime.now() - request.since })
      )
    case "PoolClosed":
      return PoolError.toSqlError(new PoolError.PoolClosed({ database }))
    case "QueueFull":
      return PoolError.toSqlError(new PoolError.QueueFull(runtime.situation()))
    case "NestedAcquire":
      return PoolError.toSqlError(new PoolError.NestedAcquire(runtime.situation()))
    case "AcquireTimeout":
      return PoolError.toSqlError(
        new PoolError.AcquireTimeout({
          ...runtime.situation(),
          waitedMillis: runtime.now() - request.since,
          stalledMillis: request.stalledMillis,
          isStandstill: runtime.servedAt < request.since
        })
      )
  }
}

/**
 * A caller that waits for a connection.
 *
 * @category models
 * @since 0.2.0
 */
export interface Waiter {
  /** The id of its fiber. */
  readonly fiberId: number
  /** The name of the span that it is in, if any. */
  readonly span: string | undefined
  /** For how long it has waited, in milliseconds. */
  readonly waitedMillis: number
}

/**
 * Who has a connection and who waits for one.
 *
 * @category models
 * @since 0.2.0
 */
export interface Activity {
  /** Those first that have had it longest, at most 100. */
  readonly holders: ReadonlyArray<PoolError.Holder>
  /** Those first that have waited longest, at most 100. */
  readonly waiters: ReadonlyArray<Waiter>
}

/** Nobody reads more of them. */
const enough = 100

/**
 * Who has a connection and who waits for one.
 *
 * @category getters
 * @since 0.2.0
 */
export const activityOf = (runtime: PoolHost): Activity => ({
  holders: holdersOf(runtime, true).slice(0, enough),
  waiters: runtime.state.waiters(enough).map((lease) => ({
    fiberId: (lease as LeaseRequest).fiber.id,
    span: spanOf(lease as LeaseRequest),
    waitedMillis: Math.max(0, runtime.now() - lease.since)
  }))
})
