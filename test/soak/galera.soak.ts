/** The ledger of `test/mysql-family/cluster/galera.test.ts`, for minutes instead of seconds, with nodes that come back. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { cutOff, kill, place, restart } from "../mysql-family/cluster/galera.ts"
import { onMariadb } from "../mysql-family/support.ts"
import { GaleraCluster } from "../support/index.ts"
import * as Ledger from "../transaction/ledger/ledger.ts"
import { minutes } from "./minutes.ts"

function* fate() {
  while (true) yield* [cutOff, kill, restart]
}

for (const subject of onMariadb) {
  it.live(`the books of a Galera cluster are right over ${subject.name}`, () =>
    Effect.gen(function*() {
      const cluster = yield* GaleraCluster.make()
      const seed = Math.floor(Math.random() * 2 ** 31)
      console.log(`${subject.name}: seed ${seed}`)
      const report = yield* Ledger.run({
        place: place(cluster, subject, fate()),
        client: Ledger.modes["each operation has an idempotency key"],
        seconds: minutes * 60 / onMariadb.length,
        seed,
        killEvery: 2
      })
      console.log(subject.name, report)
      assert.isTrue(Ledger.isRight(report), Ledger.describe(report))
      assert.strictEqual(report.unknown, 0, Ledger.describe(report))
    }))
}
