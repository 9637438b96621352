/** The storm of `storm.ts`, against PostgreSQL. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Retry } from "watertight"
import * as Storm from "./storm.ts"

it.live("the budget bounds what is repeated", () =>
  Effect.gen(function*() {
    const { attempts, calls, recovery } = yield* Storm.run(Storm.postgres, 2_000, {
      breaker: false,
      budget: { conflictCost: 1 }
    })
    // The capacity; what was earned before the outage is within it. And those that were under way at either end.
    assert.isAtMost(attempts, calls + 100 + Storm.callers)
    assert.isBelow(recovery, 10_000)
  }), 60_000)

it.live("the same check finds repetition without a budget", () =>
  Effect.gen(function*() {
    const { attempts, calls } = yield* Storm.run(Storm.postgres, 600, {
      breaker: false,
      budget: { capacity: Infinity },
      retry: Retry.defaults
    })
    assert.isAbove(attempts, 2 * calls)
  }), 60_000)
