import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"

/** For how long losses may belong to the same event, in milliseconds. */
const horizonMillis = 10_000

/**
 * Counts an event once, however many statements met it.
 *
 * Sessions that were open when the first one was lost, and that are lost soon after it, belong to one event: a restart,
 * a cut of the network. Some are noticed late, because nothing was asked of them. A session that was opened after the
 * event began and is lost as well is a new event.
 */
export class LossEvents {
  private beganAt = -Infinity

  /** Whether the failure is a loss that belongs to an event which was counted. Otherwise the event begins with it. */
  isKnown(error: unknown): boolean {
    const found = Outcome.find(error)
    const session = found === undefined ? undefined : Evidence.of(found).session
    if (session === undefined) return false
    if (session.openedAt <= this.beganAt && session.endedAt - this.beganAt < horizonMillis) return true
    this.beganAt = session.endedAt
    return false
  }
}
