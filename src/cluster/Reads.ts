/**
 * Reads that may be served by a replica.
 *
 * **Details**
 *
 * Everything goes to the primary unless it says otherwise. What is run inside one of these says so: statements outside
 * of transactions, streams, and transactions, which are `read only` then. Nothing is decided by looking at SQL.
 *
 * | policy                    | how old the data may be                        | when no replica is fit           |
 * | ------------------------- | ---------------------------------------------- | -------------------------------- |
 * | `replica`                 | as the option `maxStaleness` of the cluster    | fails with `NoReplica`           |
 * | `prefer`                  | the same                                       | the primary, within `overflow`   |
 * | `within("2 seconds")`     | at most two seconds older than when it begins  | as the option `otherwise`        |
 * | `on("reports")`           | any                                            | fails with `NoReplica`           |
 *
 * A write inside fails with `WriteInReads`, wherever it was sent: what passes on one server passes on many.
 *
 * **Gotchas**
 *
 * A replica does not have what was written a moment ago. `Causal` is for reading one's own writes.
 *
 * Inside a transaction everything stays on its connection, so a policy around statements there changes nothing.
 *
 * **Example** (A dashboard that may be two seconds old)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { SqlClient } from "effect/sql"
 * import { Reads } from "watertight"
 *
 * const turnover = Effect.gen(function*() {
 *   const sql = yield* SqlClient.SqlClient
 *   return yield* sql`select sum(cents) from booking`
 * }).pipe(Reads.within("2 seconds"))
 * ```
 *
 * @since 0.2.0
 */
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Options from "../options/Options.ts"

/**
 * The runtime type identifier of `Policy`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export const TypeId: TypeId = "~watertight/Reads"

/**
 * The type-level identifier of `Policy`.
 *
 * @category type IDs
 * @since 0.2.0
 */
export type TypeId = "~watertight/Reads"

/**
 * Which replicas may serve a read.
 *
 * @category options
 * @since 0.2.0
 */
export interface PolicyOptions {
  /** How old the data may be when the read begins. Default: as far as the cluster lets a replica fall behind. */
  readonly within?: Duration.Input | undefined
  /** What becomes of the read when no replica is fit. Default: as the option `otherwise` of the cluster. */
  readonly otherwise?: "primary" | "fail" | undefined
  /** The zone whose replicas are preferred. Default: that of the program. */
  readonly zone?: string | undefined
  /** Only the nodes with this `use`. Default: those that have none. */
  readonly on?: string | undefined
}

/**
 * Which replicas may serve a read: a combinator for an effect, and the option `reads` of a transaction.
 *
 * @category models
 * @since 0.2.0
 */
export interface Policy {
  <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R>
  readonly [TypeId]: TypeId
  /** In milliseconds; `Infinity` for no bound. */
  readonly bound: number
  readonly otherwise: "primary" | "fail" | undefined
  readonly zone: string | undefined
  readonly on: string | undefined
}

/**
 * What the reads of a fiber may be served by. `undefined`: by the primary. Policies set it.
 *
 * @category references
 * @since 0.2.0
 */
export const Current = Context.Reference<Policy | undefined>("watertight/Reads/Current", {
  defaultValue: () => undefined
})

/** Whether any policy has been put around anything so far. Until then nobody has to look. */
export const isUsed = (): boolean => used

let used = false

/** Whether whoever asks for a connection sees to it himself that nothing is written: a transaction does. */
export const IsGuarded = Context.Reference<boolean>("watertight/internal/Reads/IsGuarded", {
  defaultValue: () => false
})

const table = Options.make<PolicyOptions>()("Reads", {
  within: Options.duration({ default: Infinity, positive: true }),
  otherwise: Options.oneOf(["primary", "fail"]),
  zone: Options.text(),
  on: Options.text()
})

/**
 * Makes a policy. Throws `InvalidOptions` if the options cannot work: they are written into programs.
 *
 * @category constructors
 * @since 0.2.0
 */
export const make = (options: PolicyOptions): Policy => {
  const { on, otherwise, within } = Result.getOrThrow(table.check(options))
  const policy: Policy = Object.assign(
    <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> => {
      used = true
      return Effect.provideService(self, Current, policy)
    },
    { [TypeId]: TypeId, bound: within, otherwise, zone: options.zone, on } as const
  )
  return policy
}

/**
 * Whether a value is a `Policy`.
 *
 * @category guards
 * @since 0.2.0
 */
export const isPolicy = (u: unknown): u is Policy => typeof u === "function" && TypeId in u

/**
 * Reads from a replica, or not at all.
 *
 * @category policies
 * @since 0.2.0
 */
export const replica: Policy = make({ otherwise: "fail" })

/**
 * Reads from a replica, and from the primary while none is fit.
 *
 * @category policies
 * @since 0.2.0
 */
export const prefer: Policy = make({ otherwise: "primary" })

/**
 * Reads from a replica that is at most this much older than the primary. It is proved before the read, not guessed from
 * what replication says of itself.
 *
 * @category policies
 * @since 0.2.0
 */
export const within = (bound: Duration.Input, options: Omit<PolicyOptions, "within"> = {}): Policy =>
  make({ ...options, within: bound })

/**
 * Reads from a node that is kept for this, see the option `use` of a node.
 *
 * @category policies
 * @since 0.2.0
 */
export const on = (use: string, options: Omit<PolicyOptions, "on"> = {}): Policy =>
  make({ otherwise: "fail", ...options, on: use })

/**
 * Takes the effect out of a policy around it: it goes to the primary, and may write.
 *
 * @category combinators
 * @since 0.2.0
 */
export const primary = <A, E, R>(self: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.provideService(self, Current, undefined)
