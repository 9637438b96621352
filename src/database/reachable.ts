import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import { isDoubtful, isFailure } from "../breaker/isFailure.ts"
import * as Evidence from "../failure/Evidence.ts"
import * as Outcome from "../failure/Outcome.ts"
import * as SqlFailure from "../failure/SqlFailure.ts"
import type { Pool } from "../pool/Pool.ts"
import { fromSqlError } from "../pool/PoolError.ts"

/** Whether a session has ended. It may have done so long before: another one tells more. */
const isLoss = (error: SqlError): boolean => {
  const { connecting, endedBy, ready } = Evidence.of(error)
  return !connecting && endedBy !== undefined && !ready
}

/**
 * Finds out whether the database can be reached beside the pool, by a connection that is closed at once. A server that
 * has no room for it has been reached.
 */
export const reachableBeside = (adapter: Adapter): Effect.Effect<void, SqlError> =>
  Effect.uninterruptibleMask((restore) => Effect.flatMap(restore(adapter.connect), ({ close }) => close)).pipe(
    Effect.catch((error) => {
      SqlFailure.attach(Outcome.attach(error, "Connect", adapter.ruleOf), "")
      return adapter.ruleOf(error)?.full === true ? Effect.void : Effect.fail(error)
    })
  )

/**
 * Finds out whether the database can be reached: a ping on a connection of the pool, which opens one if there is none.
 * A pool whose connections are all in use has not failed to reach it; if nobody gets one, they may all hang.
 */
export const reachable = (pool: Pool, adapter: Adapter): Effect.Effect<void, SqlError> =>
  pool.use((connection) => connection.ping).pipe(
    Effect.retry({ times: 3, while: isLoss }),
    Effect.catch((error) => {
      SqlFailure.attach(Outcome.attach(error, "Acquire", adapter.ruleOf), "")
      if (isDoubtful(error)) return reachableBeside(adapter)
      const reason = fromSqlError(error)?.reason._tag
      const isBusy = (reason === "AcquireTimeout" || reason === "QueueFull") && !isFailure(error)
      return isBusy ? Effect.void : Effect.fail(error)
    })
  )
