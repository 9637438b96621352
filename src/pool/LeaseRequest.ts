/**
 * A caller that wants, has, or had a connection, and the fiber that it is.
 *
 * @since 0.2.0
 */
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import type { Body, Lease as StatementLease } from "./Body.ts"
import { Lease } from "./state/Slot.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"

/**
 * Lends connections to requests.
 *
 * @category models
 * @since 0.2.0
 */
export interface Lender {
  readonly lend: (request: LeaseRequest) => Effect.Effect<any, any>
  readonly end: (request: LeaseRequest, cause: Cause.Cause<unknown> | undefined) => void
}

/**
 * It is itself the effect that asks for a connection, waits for it and uses it, because with ten thousand waiters every
 * object less counts. It is evaluated again when it has waited.
 *
 * @category models
 * @since 0.2.0
 */
export class LeaseRequest extends Lease<Connection> implements StatementLease<any, any> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly lender: Lender
  readonly body: Body<any, any>
  /** What the request waits with. */
  resume: ((effect: Effect.Effect<any, any>) => void) | undefined = undefined
  error: SqlError | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    lender: Lender,
    body: Body<any, any>,
    shared: boolean,
    profile: StatementProfile | undefined,
    lane: number
  ) {
    super(shared, profile, lane)
    this.fiber = fiber
    this.lender = lender
    this.body = body
  }

  /** The request need not wait any more, in whatever state it is. */
  wake(): void {
    this.resume?.(this.effect)
  }

  get effect(): Effect.Effect<any, any> {
    return this as unknown as Effect.Effect<any, any>
  }

  /** What `effect` was has ended: what the request has is given back, or it leaves the queue. */
  end(cause: Cause.Cause<unknown> | undefined): void {
    this.lender.end(this, cause)
  }
}

Object.defineProperties(
  LeaseRequest.prototype,
  Object.getOwnPropertyDescriptors(Effectable.Prototype<Effect.Effect<any, any> & LeaseRequest>({
    label: "Lend",
    evaluate() {
      return this.lender.lend(this)
    }
  }))
)

/**
 * Where in the code the connection was asked for: the caller of `use`, or else the function of Effect around it.
 *
 * @category getters
 * @since 0.2.0
 */
export const locationOf = (request: LeaseRequest): string | undefined => {
  const caller = firstFrame(request.body.caller?.stack)
  if (caller !== undefined && !/[\\/]effect[\\/](?:src|dist)[\\/]/.test(caller)) return caller
  const frame = Context.get(request.fiber.context, References.CurrentStackFrame)
  if (frame === undefined) return undefined
  const place = firstFrame(frame.stack())
  return place === undefined ? frame.name : `${frame.name} (${place})`
}

const firstFrame = (stack: string | undefined): string | undefined =>
  stack === undefined ? undefined : /^\s*at (.+)$/m.exec(stack)?.[1]
