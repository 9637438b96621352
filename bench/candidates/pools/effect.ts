/** Effect 4's own pool. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Pool from "effect/Pool"
import * as Scope from "effect/Scope"
import { holdEffect } from "../../harness/hold.ts"
import type { Subject, Target } from "../../harness/model.ts"
import { effects } from "../../harness/styles.ts"

export const open = async ({ connections }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const scope = Scope.makeUnsafe()
  const pool = await Effect.runPromise(
    Scope.provide(Pool.make({ acquire: Effect.sync(() => ({})), size: connections }), scope)
  )
  return {
    style: effects,
    close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
    checkout: (hold) =>
      Pool.use(pool, () => {
        const at = performance.now()
        return Effect.as(holdEffect(hold), at)
      })
  }
}
