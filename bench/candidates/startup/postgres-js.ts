import postgres from "postgres"

const sql = postgres(process.env["BENCH_URL"]!)
const [row] = await sql`select ${1}::int as n`
process.stdout.write(`${row!["n"]}\n`)
await sql.end()
