/** Nothing lost, nothing doubled: money is moved while the network is cut at random and the server is killed. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { describeWith } from "../../support/index.ts"
import * as Ledger from "./ledger.ts"

describeWith("postgresql")("the ledger under fire", () => {
  for (const [index, [mode, client]] of Object.entries(Ledger.modes).entries()) {
    it.live(`the books are right when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({
          place: Ledger.postgres,
          client,
          seconds: 1.8,
          seed: 20260 + index,
          killEvery: 0.9
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        // There was something to be wrong about.
        assert.isAbove(report.succeeded, 20)
        assert.isAbove(report.cuts, 5)
        assert.isAtMost(report.unknown, Ledger.mayStayUnknown(mode, report), Ledger.describe(report))
      }), 60_000)
  }

  for (const mode of ["COMMIT is resolved where it is free", "COMMIT is always resolved"] as const) {
    it.live(`nothing that only the network did stays unknown when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({
          place: Ledger.postgres,
          client: Ledger.modes[mode],
          seconds: 1.2,
          seed: 4,
          commitCuts: 0.1,
          killEvery: Infinity
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.cuts, 5)
        assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }), 60_000)
  }

  for (const [index, [mode, client]] of Object.entries(Ledger.batches).entries()) {
    it.live(`the books of batches are right when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({
          place: Ledger.postgres,
          client,
          seconds: 1.8,
          seed: 30260 + index,
          killEvery: 0.9
        })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.succeeded, 20)
        assert.isAbove(report.cuts, 5)
        if (mode === "each batch has an idempotency key") assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }), 60_000)
  }

  it.live("the same books are wrong when a client repeats whatever lost its connection", () =>
    Effect.gen(function*() {
      const report = yield* Ledger.run({
        place: Ledger.postgres,
        client: Ledger.naive,
        seconds: 2,
        seed: 4711,
        commitCuts: 0.2
      })
      assert.isNotEmpty(report.doubled, Ledger.describe(report))
    }), 60_000)
})
