/** mysql2: multi-row inserts, and its stream. */
import * as mysql from "mysql2"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, select } from "./rows.ts"

export const open = async ({ servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = mysql.createPool({ uri: servers.mariadb!.url, connectionLimit: 4 })
  return {
    style: promises,
    close: () => pool.promise().end(),
    write: async (rows) => {
      for (const batch of batches(rows)) {
        const values = batch.map(({ at, data, id, name, price }) => [id, name, price, at, JSON.stringify(data)])
        await pool.promise().query("insert into bulk (id, name, price, at, data) values ?", [values])
      }
      return rows.length
    },
    read: async (count) => {
      let sum = 0
      for await (const row of pool.query(select(count)).stream()) sum += (row as { readonly id: number }).id
      return sum
    }
  }
}
