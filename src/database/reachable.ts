import * as Effect from "effect/Effect"
import type { SqlError } from "effect/sql/SqlError"
import type { Adapter } from "../Adapter.ts"
import { isFailure } from "../breaker/Breaker.ts"
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
 * Finds out whether the database can be reached: a ping on a connection of the pool, which opens one if there is none.
 * A pool whose connections are all in use has not failed to reach it.
 */
export const reachable = (pool: Pool, adapter: Adapter): Effect.Effect<void, SqlError> =>
  pool.use((connection) => connection.ping).pipe(
    Effect.retry({ times: 3, while: isLoss }),
    Effect.catch((error) => {
      SqlFailure.attach(Outcome.attach(error, "Acquire", adapter.ruleOf), "")
      const reason = fromSqlError(error)?.reason._tag
      const isBusy = (reason === "AcquireTimeout" || reason === "QueueFull") && !isFailure(error)
      return isBusy ? Effect.void : Effect.fail(error)
    })
  )
