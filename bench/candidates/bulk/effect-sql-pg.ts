/** `@effect/sql-pg` for Effect 4: the insert helper or `unnest`, in batches, and a stream. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import type { BulkRow, Subject, Target } from "../../harness/model.ts"
import { built } from "../../harness/sqlClient.ts"
import { effects } from "../../harness/styles.ts"
import { batches, columnsOf, insertColumns, sumOf, unnest } from "./rows.ts"

type Records = readonly [Record<string, unknown>, ...ReadonlyArray<Record<string, unknown>>]

const toRecords = (rows: ReadonlyArray<BulkRow>): Records =>
  rows.map((row) => ({ ...row, data: JSON.stringify(row.data) })) as never

export const open = async ({ options, servers }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const { close, context } = await built(
    PgClient.layer({ url: Redacted.make(servers.postgres!.url), maxConnections: 4 })
  )
  const sql = Context.get(context, SqlClient.SqlClient)
  const concurrency = Number(options["concurrency"] ?? 1)
  return {
    style: effects,
    close,
    write: (rows) =>
      Effect.forEach(
        batches(rows),
        (batch) =>
          options["unnest"] === true
            ? sql.unsafe(`${insertColumns} ${unnest}`, columnsOf(batch))
            : sql`insert into bulk ${sql.insert(toRecords(batch))}`,
        { concurrency, discard: true }
      ).pipe(Effect.as(rows.length)),
    read: (count) =>
      Effect.suspend(() => {
        let sum = 0
        return Effect.map(
          Stream.runForEachArray(sql`select * from bulk where id <= ${count}`.stream, (rows) => {
            sum += sumOf(rows)
            return Effect.void
          }),
          () => sum
        )
      })
  }
}
