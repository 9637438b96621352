/** Nothing lost, nothing doubled: money is moved while the network is cut at random and the server is killed. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Outcome, Retry, Transaction } from "watertight"
import * as Ledger from "./ledger.ts"

const spec = (spec: Transaction.Spec): Ledger.Client => (_, body) =>
  Transaction.run(body, { isolation: "serializable", ...spec })

const modes: ReadonlyArray<readonly [string, Ledger.Client]> = [
  ["COMMIT is never resolved", spec({ resolve: "never" })],
  ["COMMIT is resolved where it is free", spec({ resolve: "free" })],
  ["COMMIT is always resolved", spec({ resolve: "always" })],
  [
    "each operation has an idempotency key",
    (operation, body) => Transaction.run(body, { isolation: "serializable", idempotencyKey: operation })
  ]
]

for (const [index, [mode, client]] of modes.entries()) {
  it.live(`the books are right when ${mode}`, () =>
    Effect.gen(function*() {
      const report = yield* Ledger.run({ client, seconds: 2.4, seed: 20260 + index })
      console.log(mode, report)
      assert.isTrue(Ledger.isRight(report), JSON.stringify(report))
      assert.isAbove(report.succeeded, 50)
      assert.isAbove(report.cuts, 10)
    }), 60_000)
}

it.live("the same books are wrong when a client repeats whatever lost its connection", () =>
  Effect.gen(function*() {
    const naive: Ledger.Client = (_, body) =>
      Effect.retry(Transaction.run(body, { isolation: "serializable", resolve: "never", retry: Retry.never }), {
        times: 20,
        while: (error) => Outcome.isUnknown(error) || error.isRetryable
      })
    const report = yield* Ledger.run({ client: naive, seconds: 3, seed: 4711 })
    console.log(report)
    assert.isFalse(Ledger.isRight(report), JSON.stringify(report))
    assert.isNotEmpty(report.doubled)
  }), 60_000)
