/** `pg`: `unnest` in batches, and a COPY of text through pg-copy-streams. */
import { Readable } from "node:stream"
import { pipeline } from "node:stream/promises"
import * as pg from "pg"
import { from } from "pg-copy-streams"
import type { Subject, Target } from "../../harness/model.ts"
import { promises } from "../../harness/styles.ts"
import { batches, columnsOf, insertColumns, lines, select, sumOf, unnest } from "./rows.ts"

export const open = async ({ options, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new pg.default.Pool({ connectionString: servers.postgres!.url, max: 4 })
  return {
    style: promises,
    close: () => pool.end(),
    write: async (rows) => {
      if (options["copy"] === true) {
        const client = await pool.connect()
        try {
          await pipeline(Readable.from(lines(rows)), client.query(from("copy bulk from stdin")))
        } finally {
          client.release()
        }
      } else {
        for (const batch of batches(rows)) {
          await pool.query({ name: "unnest", text: `${insertColumns} ${unnest}`, values: columnsOf(batch) })
        }
      }
      return rows.length
    },
    read: async (count) => sumOf((await pool.query(select(count))).rows)
  }
}
