/** A cluster that decides by itself who is the primary, while others go on writing. */
import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { describeWith, PatroniCluster } from "../support/index.ts"
import * as Failover from "./failover.ts"
import { fates } from "./patroni.ts"

describeWith("patroni")("a cluster under Patroni, under load,", () => {
  for (const [name, fate] of Object.entries(fates)) {
    it.live(`${name}: nothing is lost or done twice, and writes go on at once`, () =>
      Effect.gen(function*() {
        const cluster = yield* PatroniCluster.make({ synchronous: true, settings: { deadlock_timeout: "20ms" } })
        const report = yield* Failover.run(cluster, { seconds: 4, seed: 72, killEvery: 2, blow: fate })
        Failover.check(report)
      }).pipe(Effect.scoped), 300_000)
  }
})
