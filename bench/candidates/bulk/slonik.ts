/** slonik: its `unnest`, and a query. */
import { createPool, sql } from "slonik"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, sumOf } from "./rows.ts"

export const open = async ({ servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = await createPool(servers.postgres!.url, { maximumPoolSize: 4, statementTimeout: "DISABLE_TIMEOUT" })
  return {
    style: promises,
    close: () => pool.end(),
    write: async (rows) => {
      for (const batch of batches(rows)) {
        const tuples = batch.map(({ at, data, id, name, price }) => [
          id,
          name,
          price,
          at.toISOString(),
          JSON.stringify(data)
        ])
        await pool.query(sql.unsafe`
          insert into bulk (id, name, price, at, data)
          select * from ${sql.unnest(tuples, ["int4", "text", "float8", "timestamptz", "jsonb"])}
        `)
      }
      return rows.length
    },
    read: async (count) => sumOf((await pool.query(sql.unsafe`select * from bulk where id <= ${count}`)).rows)
  }
}
