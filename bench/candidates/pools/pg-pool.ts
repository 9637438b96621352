/** The pool of `pg`, with clients that do nothing. */
import { EventEmitter } from "node:events"
import * as pg from "pg"
import { holdPromise } from "../../harness/hold.ts"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"

/** As much of a client as the pool looks at. */
class Client extends EventEmitter {
  _queryable = true
  _ending = false
  _getActiveQuery = () => null
  connect(done: () => void): void {
    done()
  }
  end(done?: () => void): void {
    done?.()
  }
  ref(): void {}
  unref(): void {}
}

export const open = async ({ connections }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new pg.default.Pool({ max: connections, Client: Client as never } as pg.PoolConfig)
  return {
    style: promises,
    close: () => pool.end(),
    checkout: async (hold) => {
      const client = await pool.connect()
      try {
        const at = performance.now()
        await holdPromise(hold)
        return at
      } finally {
        client.release()
      }
    }
  }
}
