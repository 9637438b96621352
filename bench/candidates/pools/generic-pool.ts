import genericPool from "generic-pool"
import { holdPromise } from "../../harness/hold.ts"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"

export const open = async ({ connections }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = genericPool.createPool(
    { create: async () => ({}), destroy: async () => {} },
    { min: connections, max: connections }
  )
  await pool.ready()
  return {
    style: promises,
    close: async () => {
      await pool.drain()
      await pool.clear()
    },
    checkout: async (hold) => {
      const resource = await pool.acquire()
      try {
        const at = performance.now()
        await holdPromise(hold)
        return at
      } finally {
        await pool.release(resource)
      }
    }
  }
}
