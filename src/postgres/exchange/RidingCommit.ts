/**
 * COMMIT that is written behind statements before these have been answered. If one of them fails, the server skips it, or
 * answers it by rolling back.
 */
import * as frames from "../wire/frames.ts"
import { Control, ControlExchange } from "./ControlExchange.ts"
import type { Settle } from "./Exchange.ts"
import type { StatementExchange } from "./StatementExchange.ts"

const commit = frames.execution("COMMIT", [])

export class RidingCommit extends ControlExchange {
  private readonly ahead: ReadonlyArray<StatementExchange>

  constructor(ahead: ReadonlyArray<StatementExchange>, limit: number, resume: Settle) {
    super(Control.Commit, commit, "commit", resume)
    this.ahead = ahead
    this.tail = frames.sync
    this.limit = limit
  }

  override get canJoin(): boolean {
    return true
  }

  /** It has the time of a control statement, though only from its turn on: what is ahead of it has a time of its own. */
  override get hasOwnLimit(): boolean {
    return false
  }

  /** A statement that is not sent any more, because its caller has left, must not be missing from what is committed. */
  override get mayBeSent(): boolean {
    return this.ahead.every((statement) => statement.isSent)
  }
}
