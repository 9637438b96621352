import { createPool, sql } from "slonik"

const pool = await createPool(process.env["BENCH_URL"]!)
process.stdout.write(`${await pool.oneFirst(sql.unsafe`select ${1}::int as n`)}\n`)
await pool.end()
