/** `@effect/sql-pg` for Effect 4, through `SqlClient`. */
import * as PgClient from "@effect/sql-pg/PgClient"
import * as Context from "effect/Context"
import type * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import type { Subject, Target } from "../harness/model.ts"
import { built, operations, transferWithRetries } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, options, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const { close, context } = await built(
    PgClient.layer({
      url: Redacted.make(servers.postgres!.url),
      maxConnections: connections,
      ...(options["multiplex"] === true ? { multiplex: true } : {}),
      ...(typeof options["concurrency"] === "number" ? { multiplexConcurrency: options["concurrency"] } : {})
    })
  )
  const sql = Context.get(context, SqlClient.SqlClient)
  return { style: effects, close, ...operations(sql, "postgres"), transfer: transferWithRetries(sql) }
}
