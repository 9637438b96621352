/** Watertight on PostgreSQL, as it is unless told otherwise: everything is switched on. */
import type * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Database, Pool } from "watertight"
import { Postgres } from "watertight/postgres"
import type { Subject, Target } from "../harness/model.ts"
import { opened, operations } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, options, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const layer = Database.layer().pipe(
    Layer.provide(Pool.layer({ max: connections, ...options })),
    Layer.provide(Postgres.adapter({ url: Redacted.make(servers.postgres!.url) }))
  )
  const { close, service } = await opened(layer, SqlClient.SqlClient)
  return { style: effects, close, ...operations(service, "postgres") }
}
