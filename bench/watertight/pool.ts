/** Watertight's pool, with connections that do nothing. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import { Pool } from "watertight"
import { StatementProfile } from "../../src/pool/state/StatementProfile.ts"
import { holdEffect } from "../harness/hold.ts"
import type { Hold, Subject, Target } from "../harness/model.ts"
import { effects } from "../harness/styles.ts"
import { adapter } from "./stub.ts"

export const open = async ({ connections, options }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const scope = Scope.makeUnsafe()
  const pool = await Effect.runPromise(
    Scope.provide(Pool.make(adapter, { min: connections, max: connections }), scope)
  )
  // `Database` keeps one for each statement.
  const profile = new StatementProfile()
  const how: Record<string, (hold: Hold) => Effect.Effect<unknown, unknown>> = {
    use: (hold) =>
      pool.use(() => {
        const at = performance.now()
        return Effect.as(holdEffect(hold), at)
      }),
    share: (hold) => pool.share(profile, () => holdEffect(hold)),
    reserve: (hold) => Effect.scoped(Effect.flatMap(pool.reserve, () => holdEffect(hold)))
  }
  return {
    style: effects,
    close: () => Effect.runPromise(Scope.close(scope, Exit.void)),
    checkout: how[String(options["how"] ?? "use")]!
  }
}
