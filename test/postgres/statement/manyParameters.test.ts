import { assert, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { SqlClient } from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Outcome } from "watertight"
import { database } from "../clientSupport.ts"
import { sqlFailure } from "../support.ts"

it.layer(database({ maxConnections: 1 }))("very many parameters", (it) => {
  type Rows = [Record<string, number>, ...Array<Record<string, number>>]
  const rows = Array.from({ length: 70_000 }, (_, a) => ({ a, b: a })) as never as Rows
  it.effect("are refused by their number, in all ways, and never a defect", () =>
    Effect.gen(function*() {
      const sql = yield* SqlClient
      yield* sql`create table many (a int, b int)`
      const statements = [
        sql`insert into many ${sql.insert(rows)}`,
        sql`select 1 from many where a in ${sql.in(rows.flatMap(({ a, b }) => [a, b]))}`,
        sql`update many set b = d.b from ${sql.updateValues(rows, "d")} where many.a = d.a`
      ]
      for (const statement of statements) {
        for (
          const way of [
            statement,
            statement.unprepared,
            statement.values,
            statement.raw,
            Stream.runDrain(statement.stream)
          ]
        ) {
          const error = yield* sqlFailure(way as Effect.Effect<unknown, unknown>)
          assert.include(error.message, "at most 65535 parameters, not 140000: use Bulk.insert")
          assert.strictEqual(Outcome.of(error)?.outcome, "NotSent")
        }
      }
      yield* sql`insert into many ${sql.insert(rows.slice(0, 32_767) as Rows)}`
      assert.deepStrictEqual(yield* sql`select count(*)::int as n from many`, [{ n: 32_767 }])
    }))
})
