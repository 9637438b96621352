/** Watertight on MariaDB with much data: `Bulk.insert`. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import * as Stream from "effect/Stream"
import { Bulk } from "watertight"
import { Mariadb } from "watertight/mariadb"
import { Mysql } from "watertight/mysql"
import { select, sumOf } from "../candidates/bulk/rows.ts"
import type { Subject, Target } from "../harness/model.ts"
import { built } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async ({ options, servers }: Target): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const config = { url: Redacted.make(servers.mariadb!.url) }
  const { close, context } = await built(
    options["driver"] === "mysql2" ? Mysql.layer(config) : Mariadb.layer(config)
  )
  const bulk = Context.get(context, Bulk.Bulk)
  const sql = Context.get(context, SqlClient.SqlClient)
  return {
    style: effects,
    close,
    write: (rows) => {
      const given = options["write"] === "stream" ? Stream.rechunk(Stream.fromArray(rows), 1000) : rows
      const inserted = Effect.map(bulk.insert("bulk", given), ({ rows }) => rows)
      return options["method"] === undefined
        ? inserted
        : Effect.provideService(inserted, Mysql.CurrentBulkMethod, options["method"] as Mysql.BulkMethod)
    },
    read: (count) =>
      Effect.suspend(() => {
        let sum = 0
        return Effect.map(
          Stream.runForEachArray(sql.unsafe(select(count)).stream, (batch) => {
            sum += sumOf(batch)
            return Effect.void
          }),
          () => sum
        )
      })
  }
}
