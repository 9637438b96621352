/** The history of `test/transaction`, in many rounds instead of one, each from a new seed. */
import { assert, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import * as History from "../transaction/history/history.ts"
import { minutes } from "./minutes.ts"

for (const isolation of ["read committed", "repeatable read", "serializable"] as const) {
  it.live(`${isolation} is what it says`, () =>
    Effect.gen(function*() {
      const end = (yield* Clock.currentTimeMillis) + minutes * 60_000 / 3
      while ((yield* Clock.currentTimeMillis) < end) {
        const seed = Math.floor(Math.random() * 2 ** 31)
        const report = yield* Effect.scoped(History.run({ isolation, seconds: 5, seed }))
        console.log(isolation, report)
        assert.deepStrictEqual(report.anomalies, [], JSON.stringify(report))
      }
    }))
}
