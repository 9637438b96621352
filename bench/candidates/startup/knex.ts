import Knex from "knex"

const db = Knex.default({ client: "pg", connection: process.env["BENCH_URL"]! })
const { rows } = await db.raw("select ?::int as n", [1])
process.stdout.write(`${rows[0].n}\n`)
await db.destroy()
