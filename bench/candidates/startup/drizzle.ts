import { sql } from "drizzle-orm"
import { drizzle } from "drizzle-orm/node-postgres"
import * as pg from "pg"

const client = new pg.default.Pool({ connectionString: process.env["BENCH_URL"] })
const db = drizzle({ client })
const { rows } = await db.execute(sql`select ${1}::int as n`)
process.stdout.write(`${rows[0]!["n"]}\n`)
await client.end()
