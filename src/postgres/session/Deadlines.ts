/**
 * What becomes of an exchange whose time is over. There is one timer for all of them.
 */
import { describeStall } from "../../timing/StallGuard.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import type { Cancellation } from "./Cancellation.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { Termination } from "./Termination.ts"

export class Deadlines {
  private readonly core: SessionCore
  private readonly termination: Termination
  private readonly cancellation: Cancellation

  constructor(core: SessionCore, termination: Termination, cancellation: Cancellation) {
    this.core = core
    this.termination = termination
    this.cancellation = cancellation
    core.onDue = this.expire
  }

  private readonly expire = (): void => {
    const { core } = this
    if (core.end !== undefined) return
    core.tick()
    const next = earliest(core.inFlight.soonest, core.pending.soonest)
    if (next === undefined) return
    const stalled = core.guard?.stalledBetween(next.startedAt, core.now) ?? 0
    const due = next.deadline + stalled
    if (due > core.now) return core.timer.arm(due, core.now)
    // What is cut off is stopped on the server first. Its answer says what became of the statement.
    if (next === core.inFlight.head && this.cancellation.cutOff(next)) return
    this.termination.lose({
      what: `the server has not answered to ${next.operation} in time${describeStall(stalled)}`,
      endedBy: "Silence",
      culprit: next.hasOwnLimit ? { exchange: next, endedBy: "Limit" } : undefined,
      stalledMillis: stalled
    })
  }
}

const earliest = (left: Exchange | undefined, right: Exchange | undefined): Exchange | undefined =>
  left === undefined || right === undefined ? left ?? right : right.deadline < left.deadline ? right : left
