/** The failovers of `test/cluster/patroni.test.ts`, one after the other for minutes, from a new seed. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Failover from "../cluster/failover.ts"
import { fates } from "../cluster/patroni.ts"
import { PatroniCluster } from "../support/index.ts"
import { minutes } from "./minutes.ts"

function* inTurn() {
  while (true) yield* Object.values(fates)
}

it.live("the books of a cluster under Patroni are right through failovers of every kind", () =>
  Effect.gen(function*() {
    const cluster = yield* PatroniCluster.make({ synchronous: true, settings: { deadlock_timeout: "20ms" } })
    const seed = Math.floor(Math.random() * 2 ** 31)
    console.log(`seed ${seed}`)
    const next = inTurn()
    const report = yield* Failover.run(cluster, {
      seconds: minutes * 60,
      seed,
      killEvery: 5,
      blow: (...blow) => next.next().value!(...blow)
    })
    console.log(report)
    Failover.check(report)
    // A machine with much to do, or a new primary that waits for its standbys, may take longer now and then.
    const sorted = report.backAfter.toSorted((a, b) => a - b)
    assert.isBelow(sorted[Math.floor(sorted.length / 2)]!, 1_000)
  }))
