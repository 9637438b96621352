import { Kysely, PostgresDialect, sql } from "kysely"
import * as pg from "pg"

const db = new Kysely({
  dialect: new PostgresDialect({ pool: new pg.default.Pool({ connectionString: process.env["BENCH_URL"] }) })
})
const { rows } = await sql<{ n: number }>`select ${1}::int as n`.execute(db)
process.stdout.write(`${rows[0]!.n}\n`)
await db.destroy()
