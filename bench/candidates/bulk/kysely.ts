/** Kysely on `pg`: a multi-row insert, and its stream where its dialect has one. */
import { Kysely, PostgresDialect } from "kysely"
import * as pg from "pg"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, sumOf } from "./rows.ts"

interface Tables {
  bulk: { id: number; name: string; price: number; at: Date; data: unknown }
}

export const open = async ({ servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new pg.default.Pool({ connectionString: servers.postgres!.url, max: 4 })
  const db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool }) })
  return {
    style: promises,
    close: () => db.destroy(),
    write: async (rows) => {
      for (const batch of batches(rows)) await db.insertInto("bulk").values(batch).execute()
      return rows.length
    },
    read: async (count) => sumOf(await db.selectFrom("bulk").selectAll().where("id", "<=", count).execute())
  }
}
