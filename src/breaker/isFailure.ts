import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import { isPoolError, type PoolError, type Situation } from "../pool/PoolError.ts"
import { isBreakerError } from "./BreakerError.ts"

/**
 * Whether a failure says that the database is sick. The table is at the head of `Breaker`.
 *
 * **Details**
 *
 * `slow` is whether the call took longer than `slowCall`. Only a statement timeout is judged by it: a call that waited
 * for a lock, or broke a constraint late, has learned nothing about the health of the server.
 *
 * @category guards
 * @since 0.1.0
 */
export const isFailure = (error: unknown, slow = false): boolean => {
  const found = Outcome.find(error)
  if (found === undefined) return false
  const { cause } = found.reason
  const evidence = Evidence.of(found)
  // A process that stood still has learned nothing about the database.
  if (evidence.stalledMillis > 0 || isBreakerError(cause)) return false
  if (isPoolError(cause)) return isOutage(cause)
  if (Outcome.of(found)!.phase === "Connect") return true
  if (slow && found.reason._tag === "StatementTimeoutError") return true
  // What was not sent is repeated or asked for again, and that needs a connection: connecting is the better witness.
  return evidence.endedBy !== undefined && Evidence.consequences[evidence.endedBy].counts && evidence.sent
}

/** A pool whose connections are all in use is busy. A pool that cannot open one has an outage. */
const isOutage = ({ reason }: PoolError): boolean =>
  (reason._tag === "AcquireTimeout" || reason._tag === "QueueFull") && cannotConnect(reason)

const cannotConnect = ({ connectError, connecting, idle, max, used }: Situation): boolean =>
  connectError !== undefined ? used < max : connecting > 0 && used + idle === 0
