/** Watertight on PostgreSQL, as it is unless told otherwise: everything is switched on. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import type { Subject, Target } from "../harness/model.ts"
import { built, operations, transferBody } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, options, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const layer = Postgres.layer({
    url: Redacted.make(servers.postgres!.url),
    pool: { max: connections },
    ...options
  })
  const { close, context } = await built(layer)
  const sql = Context.get(context, SqlClient.SqlClient)
  const transactions = Context.get(context, Transaction.Manager)
  return {
    style: effects,
    close,
    ...operations(sql, "postgres"),
    transfer: (key) =>
      Effect.suspend(() => {
        let attempts = 0
        return Effect.suspend(() => {
          attempts++
          return transferBody(sql, key)
        }).pipe(
          Transaction.run({ isolation: "serializable" }),
          Effect.provideService(Transaction.Manager, transactions),
          Effect.map(() => attempts)
        )
      })
  }
}
