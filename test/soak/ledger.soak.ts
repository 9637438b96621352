/** The ledger of `test/transaction`, for minutes instead of seconds: each mode gets its share of the time. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Ledger from "../transaction/ledger/ledger.ts"
import { minutes } from "./minutes.ts"

const modes = Object.entries(Ledger.modes)

for (const [mode, client] of modes) {
  it.live(`the books are right when ${mode}`, () =>
    Effect.gen(function*() {
      const seconds = minutes * 60 / modes.length
      const seed = Math.floor(Math.random() * 2 ** 31)
      console.log(`${mode}: seed ${seed}, ${seconds} seconds`)
      const report = yield* Ledger.run({ place: Ledger.postgres, client, seconds, seed, killEvery: 5 })
      console.log(mode, report)
      assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
      assert.isAtMost(report.unknown, Ledger.mayStayUnknown(mode, report), Ledger.describe(report))
    }))
}
