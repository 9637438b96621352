/**
 * What is run with a connection, and the effect that lends one for it.
 *
 * **Details**
 *
 * What waits for a connection is kept in as few objects as possible. So a body is an object, which an effect can be
 * itself, and not a closure.
 *
 * @since 0.2.0
 */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import type { SqlError } from "effect/sql/SqlError"
import type { Connection } from "../Adapter.ts"
import type { StatementProfile } from "./state/StatementProfile.ts"

/**
 * What is run with a connection. Whatever it needs is in the context of the fiber that runs it.
 *
 * @category models
 * @since 0.2.0
 */
export interface Body<A, E> {
  readonly runOn: (connection: Connection) => Effect.Effect<A, E>
  /** Where in the code the connection was asked for, if that is to be known. */
  readonly caller?: { readonly stack?: string | undefined } | undefined
  /** Whether the connection outlives the fiber that asked: that of `reserve`, which belongs to a scope. */
  readonly isScoped?: boolean | undefined
}

/**
 * A connection that is lent to one statement.
 *
 * @category models
 * @since 0.2.0
 */
export interface Lease<A, E> {
  readonly profile: StatementProfile | undefined
  readonly body: Body<A, E>
  /** Asks for the connection, waits for it, and runs the body. */
  readonly effect: Effect.Effect<A, E | SqlError>
  /** Gives the connection back. To be called once `effect` has ended, with why it failed if it did. */
  readonly end: (cause: Cause.Cause<unknown> | undefined) => void
}

type AnyFiber = Fiber.Fiber<unknown, unknown>

/**
 * Asks for a connection when it is run, each time anew.
 *
 * @category models
 * @since 0.2.0
 */
export interface Asker {
  readonly use: (fiber: AnyFiber, body: Body<any, any>) => Effect.Effect<any, any>
  readonly share: (
    fiber: AnyFiber,
    profile: StatementProfile | undefined,
    body: Body<any, any>
  ) => Effect.Effect<any, any>
}

type F = (connection: Connection) => Effect.Effect<any, any>

/**
 * Lends a connection for one effect.
 *
 * @category models
 * @since 0.2.0
 */
export class Use implements Body<any, any> {
  readonly asker: Asker
  readonly f: F
  readonly caller: Body<any, any>["caller"]

  constructor(asker: Asker, f: F, caller: Body<any, any>["caller"]) {
    this.asker = asker
    this.f = f
    this.caller = caller
  }

  runOn(connection: Connection): Effect.Effect<any, any> {
    return this.f(connection)
  }
}

/**
 * Lends a connection for one statement.
 *
 * @category models
 * @since 0.2.0
 */
export class Share implements Body<any, any> {
  readonly asker: Asker
  readonly f: F
  readonly profile: StatementProfile | undefined

  constructor(asker: Asker, f: F, profile: StatementProfile | undefined) {
    this.asker = asker
    this.f = f
    this.profile = profile
  }

  runOn(connection: Connection): Effect.Effect<any, any> {
    return this.f(connection)
  }
}

/**
 * Lends a connection until a scope closes.
 *
 * @category constants
 * @since 0.2.0
 */
export const reserving: Body<Connection, never> = { runOn: Effect.succeed, isScoped: true }

const makeEffects = <B extends Body<any, any>>(
  prototype: B,
  label: string,
  evaluate: (body: B, fiber: AnyFiber) => Effect.Effect<any, any>
): void => {
  Object.defineProperties(
    prototype,
    Object.getOwnPropertyDescriptors(Effectable.Prototype<Effect.Effect<any, any> & B>({
      label,
      evaluate(fiber) {
        return evaluate(this, fiber)
      }
    }))
  )
}

makeEffects(Use.prototype, "Use", (body, fiber) => body.asker.use(fiber, body))
makeEffects(Share.prototype, "Share", (body, fiber) => body.asker.share(fiber, body.profile, body))
