import pgPromise from "pg-promise"

const db = pgPromise()(process.env["BENCH_URL"]!)
const row = await db.one("select $1::int as n", [1])
process.stdout.write(`${row.n}\n`)
await db.$pool.end()
