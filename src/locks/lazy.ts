import * as Effect from "effect/Effect"
import type { Locks } from "./AdvisoryLock.ts"

/** Locks that are loaded with the first one. */
export const lazyLocks = (locks: Effect.Effect<Locks>): Locks => ({
  acquire: (key, options) => Effect.flatMap(locks, (locks) => locks.acquire(key, options)),
  inTransaction: (key, options) => Effect.flatMap(locks, (locks) => locks.inTransaction(key, options))
})
