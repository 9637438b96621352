/** Standbys that are promoted by hand, while others go on writing. */
import { it } from "@effect/vitest"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { describeWith, PostgresCluster, type ServerError } from "../support/index.ts"
import * as Failover from "./failover.ts"

interface Fate {
  /** What happens to the primary before another server takes its place. */
  readonly before: (old: PostgresCluster.Node) => Effect.Effect<void, ServerError>
  /** Lets it be what it was, while there is a new one. */
  readonly revive: (old: PostgresCluster.Node) => Effect.Effect<void, ServerError>
}

const fates: Record<string, Fate> = {
  "is stopped in order": { before: (old) => old.stop(), revive: (old) => old.start },
  "is killed": { before: (old) => old.kill, revive: (old) => old.start },
  "stands still": { before: (old) => old.pause, revive: (old) => old.resume },
  "is cut off from everybody": { before: (old) => old.cutOff, revive: (old) => old.reconnect },
  "is cut off from its standbys alone": {
    before: (old) => old.followers.blackhole,
    revive: (old) => old.reconnect
  }
}

describeWith("standby")("a standby that is promoted under load, after the primary", () => {
  for (const [name, { before, revive }] of Object.entries(fates)) {
    it.live(`${name}: nothing is lost or done twice, and writes go on at once`, () =>
      Effect.gen(function*() {
        const { nodes, url } = yield* PostgresCluster.make({
          synchronous: true,
          settings: { deadlock_timeout: "20ms" }
        })
        let [primary, standby] = nodes as [PostgresCluster.Node, PostgresCluster.Node]
        const report = yield* Failover.run({ url, nodes, primary: Effect.sync(() => primary) }, {
          seconds: 4,
          seed: 71,
          killEvery: 2,
          blow: () =>
            Effect.gen(function*() {
              yield* before(primary)
              // The new one waits for nobody, as it has no standby yet.
              yield* standby.query("alter system set synchronous_standby_names = ''")
              yield* standby.query("select pg_reload_conf()")
              yield* standby.promote
              const takenOverAt = yield* Clock.currentTimeMillis
              ;[primary, standby] = [standby, primary]
              const old = standby
              return {
                takenOverAt,
                after: Effect.gen(function*() {
                  yield* revive(old)
                  // It says that it is a primary too, and then follows the new one.
                  yield* Effect.sleep("500 millis")
                  yield* old.rejoin(primary)
                  yield* primary.query("alter system reset synchronous_standby_names")
                  yield* primary.query("select pg_reload_conf()")
                })
              }
            })
        })
        Failover.check(report)
      }).pipe(Effect.scoped), 180_000)
  }
})
