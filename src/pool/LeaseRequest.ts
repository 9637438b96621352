/**
 * A caller that wants, has, or had a connection, the fiber that it is, and what it wants the connection for.
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import * as References from "effect/References"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import { Lease } from "./state/Slot.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"

/**
 * What is run with the connection. Whatever it needs is in the context of the fiber that runs it.
 *
 * @category models
 * @since 0.2.0
 */
export type Body = (connection: Connection) => Effect.Effect<any, any>

/**
 * Lends connections to requests.
 *
 * @category models
 * @since 0.2.0
 */
export interface Lender {
  readonly lend: (request: LeaseRequest) => Effect.Effect<any, any>
}

/**
 * It is itself the effect that asks for a connection, waits for it and uses it, because with ten thousand waiters every
 * object less counts. It is evaluated again when it has waited.
 *
 * @category models
 * @since 0.2.0
 */
export class LeaseRequest extends Lease<Connection> {
  readonly fiber: Fiber.Fiber<unknown, unknown>
  readonly lender: Lender
  readonly body: Body
  /** What the request waits with. */
  resume: ((effect: Effect.Effect<any, any>) => void) | undefined = undefined
  /** Whether there is a span for the wait, which ends before the body begins. */
  traced = false
  /** Whether the connection outlives the fiber that asked: that of `reserve`, which belongs to a scope. */
  scoped = false
  error: SqlError | undefined = undefined
  /** Where in the code the connection was asked for, if that is to be known. */
  caller: { readonly stack?: string | undefined } | undefined = undefined

  constructor(
    fiber: Fiber.Fiber<unknown, unknown>,
    lender: Lender,
    body: Body,
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
    this.resume?.(this.traced && this.state === "Held" ? Effect.void : this.effect)
  }

  get effect(): Effect.Effect<any, any> {
    return this as unknown as Effect.Effect<any, any>
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
  const caller = firstFrame(request.caller?.stack)
  if (caller !== undefined && !/[\\/]effect[\\/](?:src|dist)[\\/]/.test(caller)) return caller
  const frame = Context.get(request.fiber.context, References.CurrentStackFrame)
  if (frame === undefined) return undefined
  const place = firstFrame(frame.stack())
  return place === undefined ? frame.name : `${frame.name} (${place})`
}

const firstFrame = (stack: string | undefined): string | undefined =>
  stack === undefined ? undefined : /^\s*at (.+)$/m.exec(stack)?.[1]
