/** What concurrent transactions saw of each other, under fire, against what their isolation allows. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWith } from "../../support/index.ts"
import * as History from "./history.ts"

describeWith("postgresql")("the history under fire", () => {
  for (const isolation of ["read committed", "repeatable read", "serializable"] as const) {
    it.live(`${isolation} is what it says`, () =>
      Effect.gen(function*() {
        const report = yield* History.run({ isolation, seconds: 3, seed: 31 })
        assert.deepStrictEqual(report.anomalies, [], JSON.stringify(report))
        assert.isAbove(report.succeeded, 20, JSON.stringify(report))
      }), 120_000)
  }

  it.live(
    "the check finds read committed that pretends to be repeatable read, or serializable",
    () =>
      Effect.gen(function*() {
        const report = yield* History.run({
          isolation: "read committed",
          checkedAs: "serializable",
          seconds: 2,
          seed: 32,
          fire: false
        })
        assert.include(report.anomalies.map(({ name }) => name), "G-single", JSON.stringify(report))
      }),
    60_000
  )

  it.live("the check finds repeatable read that pretends to be serializable", () =>
    Effect.gen(function*() {
      const report = yield* History.run({
        isolation: "repeatable read",
        checkedAs: "serializable",
        seconds: 2,
        seed: 33,
        fire: false,
        lists: 8
      })
      assert.deepStrictEqual([...new Set(report.anomalies.map(({ name }) => name))], ["G2"], JSON.stringify(report))
    }), 60_000)
})
