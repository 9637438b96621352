/** The MariaDB connector: its `batch`, and its stream. */
import * as mariadb from "mariadb"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, select } from "./rows.ts"

export const open = async ({ servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const { database, host, password, port, user } = servers.mariadb!
  const pool = mariadb.createPool({ host, port, user, password: password ?? "", database, connectionLimit: 4 })
  return {
    style: promises,
    close: () => pool.end(),
    write: async (rows) => {
      for (const batch of batches(rows)) {
        await pool.batch(
          "insert into bulk (id, name, price, at, data) values (?, ?, ?, ?, ?)",
          batch.map(({ at, data, id, name, price }) => [id, name, price, at, JSON.stringify(data)])
        )
      }
      return rows.length
    },
    read: async (count) => {
      const connection = await pool.getConnection()
      let sum = 0
      try {
        for await (const row of connection.queryStream(select(count))) sum += (row as { readonly id: number }).id
      } finally {
        await connection.release()
      }
      return sum
    }
  }
}
