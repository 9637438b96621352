/** Storms on MySQL and MariaDB: everything is rejected, and everybody is interrupted. */
import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import type { LayerOptions } from "../../../src/mysql-family/adapter/layers.ts"
import * as Storm from "../../failure/storm.ts"
import * as Interruption from "../../transaction/faults/interruption.ts"
import { describeEach, liveWith } from "../support.ts"

describeEach("over $name", (subject) => {
  const place = {
    url: subject.server.fresh,
    layer: (url: string, options: LayerOptions) =>
      Layer.provideMerge(subject.module.layer({ url: Redacted.make(url), ...options }), Logger.layer([]))
  }
  const rejected: Storm.Place = {
    ...place,
    tables: [
      "create sequence attempts nocache",
      `create function work() returns int
       begin
         declare number bigint default nextval(attempts);
         if (select broken from state) then signal sqlstate '45000' set mysql_errno = 1213; end if;
         return 1;
       end`
    ],
    attempts: "select next_not_cached_value - 1 as n from attempts"
  }

  liveWith(subject, "sequences")("the budget bounds what is repeated", () =>
    Effect.gen(function*() {
      const { attempts, calls, recovery } = yield* Storm.run(rejected, 1_000, {
        breaker: false,
        budget: { conflictCost: 1 }
      })
      assert.isAtMost(attempts, calls + 100 + Storm.callers)
      assert.isBelow(recovery, 10_000)
      const without = yield* Storm.run(rejected, 600, { breaker: false, budget: { capacity: Infinity } })
      assert.isAbove(without.attempts, 2 * without.calls, "the check would not have noticed")
    }), 60_000)

  it.live(
    "interruptions leave no connection, no transaction, no waiter and no half transaction",
    () =>
      Interruption.run({
        ...place,
        open: "select trx_query from information_schema.innodb_trx join information_schema.processlist " +
          "on trx_mysql_thread_id = id where db = database() and trx_rows_modified > 0",
        wait: "do sleep(0.01)",
        // Until what was interrupted has been stopped on the server, its connection is nobody\'s.
        patience: 0.998
      }, 1_000),
    60_000
  )
})
