/** The ledger of `test/transaction`, on MySQL and MariaDB. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Ledger from "../../transaction/ledger/ledger.ts"
import { describeEach } from "../support.ts"
import { placeOf } from "./ledger.ts"

describeEach("the ledger over $name", (subject) => {
  const place = placeOf(subject)

  for (const mode of ["COMMIT is never resolved", "each operation has an idempotency key"] as const) {
    it.live(`is right when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({ place, client: Ledger.modes[mode], seconds: 3, seed: 42 })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        // There was something to be wrong about.
        assert.isAbove(report.succeeded, 20, Ledger.describe(report))
        assert.isAbove(report.cuts, 5, Ledger.describe(report))
        assert.isAtMost(report.unknown, Ledger.mayStayUnknown(mode, report), Ledger.describe(report))
      }), 60_000)
  }

  // Without an isolation of their own, so that sessions which are lent for them begin late.
  for (const mode of ["COMMIT is not looked into", "each batch has an idempotency key"] as const) {
    it.live(`is right for batches when ${mode}`, () =>
      Effect.gen(function*() {
        const report = yield* Ledger.run({ place, client: Ledger.batches[mode], seconds: 2, seed: 44 })
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAbove(report.succeeded, 20, Ledger.describe(report))
        assert.isAbove(report.cuts, 5, Ledger.describe(report))
        if (mode === "each batch has an idempotency key") assert.strictEqual(report.unknown, 0, Ledger.describe(report))
      }), 60_000)
  }

  it.live("catches a client that repeats what is unknown", () =>
    Effect.gen(function*() {
      const report = yield* Ledger.run({ place, client: Ledger.naive, seconds: 2, seed: 43, commitCuts: 0.2 })
      assert.isNotEmpty(report.doubled, Ledger.describe(report))
    }), 60_000)
})
