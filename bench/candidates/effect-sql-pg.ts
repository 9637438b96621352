/** `@effect/sql-pg` for Effect 4, through `SqlClient`. */
import * as PgClient from "@effect/sql-pg/PgClient"
import type * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import type { Subject, Target } from "../harness/model.ts"
import { opened, operations } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, options, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const { close, service } = await opened(
    PgClient.layer({
      url: Redacted.make(servers.postgres!.url),
      maxConnections: connections,
      ...(options["multiplex"] === true ? { multiplex: true } : {}),
      ...(typeof options["concurrency"] === "number" ? { multiplexConcurrency: options["concurrency"] } : {})
    }),
    SqlClient.SqlClient
  )
  return { style: effects, close, ...operations(service, "postgres") }
}
