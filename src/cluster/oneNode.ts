/**
 * What `Reads` means where there is one server: nothing is written there either, so that a program which passes its tests
 * on one server does not fail on several.
 */
import * as Effect from "effect/Effect"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import * as Outcome from "../failure/Outcome.ts"
import type { Pool } from "../pool/Pool.ts"
import * as Causal from "./Causal.ts"
import * as ClusterError from "./ClusterError.ts"
import * as Reads from "./Reads.ts"
import { noted } from "./route/following.ts"
import { readOnly } from "./route/readOnly.ts"

/** The pools that look at `Reads` themselves, and the policy of what has none. */
const routing = new WeakMap<Pool, Reads.Policy | undefined>()

/** Says that a pool looks at `Reads` itself. */
export const routed = (pool: Pool, standing: Reads.Policy | undefined): Pool => {
  routing.set(pool, standing)
  return pool
}

/** The policy of whatever runs on a pool outside of `Reads`. */
export const standingOf = (pool: Pool): Reads.Policy | undefined => routing.get(pool)

/** Lets a pool write nothing inside `Reads`. Costs nothing in programs that do not use it. */
export const guardReads = (pool: Pool, adapter: Adapter): Pool => {
  if (routing.has(pool)) return pool
  Causal.introduce(adapter.name, adapter.causality)
  const unguarded = { share: pool.share, leaseUnsafe: pool.leaseUnsafe, use: pool.use, reserve: pool.reserve }
  const isUsed = () => Reads.isUsed() || Causal.isUsed()
  const failed = <E>(error: E): E | SqlError =>
    isSqlError(error)
      ? ClusterError.inReads(Outcome.attach(error, "Statement", adapter.ruleOf), adapter.name)
      : error
  return {
    ...pool,
    share: (profile, f) =>
      isUsed()
        ? Effect.withFiber((fiber) => {
          const region = adapter.causality === undefined ? undefined : fiber.getRef(Causal.Current)
          const reads = fiber.getRef(Reads.Current)
          const body = region === undefined ? f : noted({
            region,
            causality: adapter.causality!,
            database: adapter.name,
            as: reads === undefined ? "Statement" : "Read"
          }, f)
          return reads === undefined
            ? unguarded.share(profile, body)
            : Effect.mapError(unguarded.use(readOnly(body)), failed)
        })
        : unguarded.share(profile, f),
    leaseUnsafe: (fiber, profile, body) => isUsed() ? undefined : unguarded.leaseUnsafe(fiber, profile, body),
    use: (f) =>
      Effect.withFiber((fiber) =>
        fiber.getRef(Reads.Current) === undefined || fiber.getRef(Reads.IsGuarded)
          ? unguarded.use(f)
          : Effect.mapError(unguarded.use(readOnly(f)), failed)
      ),
    reserve: Effect.withFiber((fiber) =>
      fiber.getRef(Reads.Current) === undefined || fiber.getRef(Reads.IsGuarded)
        ? unguarded.reserve
        : Effect.tap(unguarded.reserve, (connection) => connection.begin({ access: "read only", lazy: true }))
    )
  }
}
