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

/**
 * Whether a failure is that of a session which has ended, and may have because the database is away. A new connection
 * tells more.
 *
 * @category guards
 * @since 0.2.0
 */
export const isLoss = (error: unknown): boolean => {
  const found = Outcome.find(error)
  if (found === undefined || Outcome.of(found)!.phase === "Connect") return false
  const { endedBy } = Evidence.of(found)
  return endedBy !== undefined && Evidence.consequences[endedBy].counts
}

/**
 * Whether a caller waited in vain for connections that are all in use, and nobody else got one either. They may all be
 * at work that takes long, or hang because the database is away: only another connection can tell.
 *
 * @category guards
 * @since 0.2.0
 */
export const isDoubtful = (error: unknown): boolean => {
  const found = Outcome.find(error)
  if (found === undefined || !isPoolError(found.reason.cause)) return false
  const { reason } = found.reason.cause
  return reason._tag === "AcquireTimeout" && reason.isStandstill === true && (reason.stalledMillis ?? 0) === 0 &&
    !isFailure(found)
}

/** A pool whose connections are all in use is busy. A pool that cannot open one has an outage. */
const isOutage = ({ reason }: PoolError): boolean =>
  (reason._tag === "AcquireTimeout" || reason._tag === "QueueFull") && cannotConnect(reason)

const cannotConnect = ({ connectError, connecting, idle, max, used }: Situation): boolean =>
  connectError !== undefined ? used < max : connecting > 0 && used + idle === 0
