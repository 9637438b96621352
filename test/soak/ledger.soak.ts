/**
 * The ledger of `test/transaction`, for minutes instead of seconds, on each database: each mode gets its share of the
 * time. The books are right, and every failure has an outcome.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { placeOf } from "../mysql-family/session/ledger.ts"
import { subjects } from "../mysql-family/support.ts"
import * as Ledger from "../transaction/ledger/ledger.ts"
import { minutes } from "./minutes.ts"

type Mode = keyof typeof Ledger.modes

/** MySQL and MariaDB find out about a lost COMMIT by a key only. */
const byKey = ["COMMIT is never resolved", "each operation has an idempotency key"] as const
const books: ReadonlyArray<readonly [database: string, place: Ledger.Place, modes: ReadonlyArray<Mode>]> = [
  ["PostgreSQL", Ledger.postgres, Object.keys(Ledger.modes) as ReadonlyArray<Mode>],
  ...subjects.map((subject) => [subject.name, placeOf(subject), byKey] as const)
]
const shares = books.reduce((sum, [, , modes]) => sum + modes.length, 0)

for (const [database, place, modes] of books) {
  for (const mode of modes) {
    it.live(`the books of ${database} are right when ${mode}`, () =>
      Effect.gen(function*() {
        const seconds = minutes * 60 / shares
        const seed = Math.floor(Math.random() * 2 ** 31)
        console.log(`${database}, ${mode}: seed ${seed}, ${seconds} seconds`)
        const report = yield* Ledger.run({ place, client: Ledger.modes[mode], seconds, seed, killEvery: 5 })
        console.log(database, mode, report)
        assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
        assert.isAtMost(report.unknown, Ledger.mayStayUnknown(mode, report), Ledger.describe(report))
      }))
  }
}
