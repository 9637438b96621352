/** Watertight's pool, with connections that do nothing. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { Pool } from "watertight"
import { holdEffect } from "../harness/hold.ts"
import type { Subject, Target } from "../harness/model.ts"
import { effects } from "../harness/styles.ts"
import { adapter } from "./stub.ts"

export const open = async ({ connections }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const scope = Scope.makeUnsafe()
  const pool = await Effect.runPromise(
    Scope.provide(Pool.make(adapter, { min: connections, max: connections }), scope)
  )
  return {
    style: effects,
    close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
    checkout: (hold) =>
      pool.use(() => {
        const at = performance.now()
        return Effect.as(holdEffect(hold), at)
      })
  }
}
