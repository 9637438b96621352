import * as pg from "pg"

const pool = new pg.default.Pool({ connectionString: process.env["BENCH_URL"] })
const { rows } = await pool.query("select $1::int as n", [1])
process.stdout.write(`${rows[0].n}\n`)
await pool.end()
