/** Watertight on PostgreSQL with much data: `Bulk.insert`, `Copy` and a stream. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk } from "watertight"
import { Copy, Postgres, type Sessions } from "watertight/postgres"
import { lines, select, sumOf } from "../candidates/bulk/rows.ts"
import type { BulkRow, Subject, Target } from "../harness/model.ts"
import { built } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

const sumOfStream = <E, R>(rows: Stream.Stream<unknown, E, R>) =>
  Effect.suspend(() => {
    let sum = 0
    return Effect.map(
      Stream.runForEachArray(rows, (batch) => {
        sum += sumOf(batch)
        return Effect.void
      }),
      () => sum
    )
  })

export const open = async ({ options, servers }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const { close, context } = await built(Postgres.layer({ url: Redacted.make(servers.postgres!.url) }))
  const sql = Context.get(context, SqlClient.SqlClient)

  const write = (
    rows: ReadonlyArray<BulkRow>
  ): Effect.Effect<{ readonly rows: number }, unknown, Bulk.Bulk | Sessions.Sessions> => {
    switch (options["write"]) {
      case "copy":
        return Stream.run(Stream.fromIterable(lines(rows), { chunkSize: 1 }), Copy.sink({ table: "bulk" }))
      case "stream":
        return Bulk.insert("bulk", Stream.rechunk(Stream.fromArray(rows), 1000))
      default:
        return Bulk.insert("bulk", rows)
    }
  }
  const read = (count: number) => {
    switch (options["read"]) {
      case "copy":
        return sumOfStream(Copy.rows({ query: select(count) }))
      case "transaction":
        return sql.withTransaction(sumOfStream(sql.unsafe(select(count)).stream))
      default:
        return sumOfStream(sql.unsafe(select(count)).stream)
    }
  }
  return {
    style: effects,
    close,
    write: (rows) => Effect.provideContext(Effect.map(write(rows), ({ rows }) => rows), context),
    read: (count) => Effect.provideContext(read(count), context)
  }
}
