/** postgres.js: its insert helper, and a cursor. */
import postgres from "postgres"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, sumOf } from "./rows.ts"

export const open = async ({ servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const sql = postgres(servers.postgres!.url, { max: 4 })
  return {
    style: promises,
    close: () => sql.end(),
    write: async (rows) => {
      for (const batch of batches(rows)) {
        await sql`insert into bulk ${sql(batch as never, "id", "name", "price", "at", "data")}`
      }
      return rows.length
    },
    read: async (count) => {
      let sum = 0
      for await (const rows of sql`select * from bulk where id <= ${count}`.cursor(1000)) sum += sumOf(rows)
      return sum
    }
  }
}
