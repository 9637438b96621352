/** `pg` with its pool. */
import * as pg from "pg"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf, partiesOf, postgres as sql } from "./sql.ts"

export const open = async ({ connections, options, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new pg.default.Pool({ connectionString: servers.postgres!.url, max: connections })
  // Without a listener a lost idle connection ends the process.
  pool.on("error", () => {})
  // Named statements are prepared once per connection.
  const named = options["named"] !== false
  const query = (client: pg.Pool | pg.PoolClient, name: string, text: string, values: Array<unknown>) =>
    client.query(named ? { name, text, values } : { text, values })

  const inTransaction = async <A>(begin: string, body: (client: pg.PoolClient) => Promise<A>): Promise<A> => {
    const client = await pool.connect()
    try {
      await client.query(begin)
      const value = await body(client)
      await client.query("commit")
      return value
    } catch (error) {
      await client.query("rollback")
      throw error
    } finally {
      client.release()
    }
  }

  return {
    style: promises,
    close: () => pool.end(),
    echo: async (n) => (await query(pool, "echo", sql.echo, [n])).rows[0].n,
    byKey: async (id) => (await query(pool, "key", sql.byKey, [id])).rows[0].label,
    sleep: (millis) => query(pool, "sleep", sql.sleep, [millis]),
    transaction: (key) =>
      inTransaction("begin", async (client) => {
        const { rows } = await query(client, "amount", sql.amount, [key])
        await query(client, "change", sql.change, [1, accountOf(key)])
        await query(client, "enter", sql.enter, [accountOf(key), 1])
        return rows[0].amount
      }),
    // The loop that everybody writes.
    transfer: async (key) => {
      const [from, to] = partiesOf(key)
      for (let attempt = 1;; attempt++) {
        try {
          await inTransaction("begin isolation level serializable", async (client) => {
            const [a] = (await query(client, "cents", sql.cents, [from])).rows
            const [b] = (await query(client, "cents", sql.cents, [to])).rows
            await query(client, "set", sql.set, [a.cents - 1, from])
            await query(client, "set", sql.set, [b.cents + 1, to])
          })
          return attempt
        } catch (error) {
          const { code } = error as pg.DatabaseError
          if (code !== "40001" && code !== "40P01") throw error
          await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(500, 5 * 2 ** attempt)))
        }
      }
    }
  }
}
