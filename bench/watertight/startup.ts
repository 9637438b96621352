import { Effect, Redacted } from "effect"
import { SqlClient } from "effect/sql"
import { Postgres } from "watertight/postgres"

const program = Effect.gen(function*() {
  const sql = yield* SqlClient.SqlClient
  const [row] = yield* sql<{ n: number }>`select ${1}::int as n`
  process.stdout.write(`${row!.n}\n`)
})

await Effect.runPromise(
  Effect.provide(program, Postgres.layer({ url: Redacted.make(process.env["BENCH_URL"]!) }))
)
