/** tarn, the pool of knex. */
import { Pool } from "tarn"
import { holdPromise } from "../../harness/hold.ts"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"

export const open = async ({ connections }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new Pool({
    create: async () => ({}),
    destroy: async () => {},
    validate: () => true,
    min: connections,
    max: connections
  })
  return {
    style: promises,
    close: async () => {
      await pool.destroy()
    },
    checkout: async (hold) => {
      const resource = await pool.acquire().promise
      try {
        const at = performance.now()
        await holdPromise(hold)
        return at
      } finally {
        pool.release(resource)
      }
    }
  }
}
