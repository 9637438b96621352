/**
 * What becomes of an exchange whose time is over. There is one timer for all of them.
 */
import { describeStall } from "../../timing/StallGuard.ts"
import type { Exchange } from "../exchange/Exchange.ts"
import type { SessionCore } from "./SessionCore.ts"
import type { Termination } from "./Termination.ts"

export class Deadlines {
  private readonly core: SessionCore
  private readonly termination: Termination

  constructor(core: SessionCore, termination: Termination) {
    this.core = core
    this.termination = termination
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
    this.termination.lose({
      what: `the server has not answered to ${next.operation} in time${describeStall(stalled)}`,
      expired: next
    })
  }
}

const earliest = (left: Exchange | undefined, right: Exchange | undefined): Exchange | undefined =>
  left === undefined || right === undefined ? left ?? right : right.deadline < left.deadline ? right : left
