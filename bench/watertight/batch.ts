/** Watertight on PostgreSQL, where a transaction is a batch: its statements are known beforehand. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { Batch, Transaction } from "watertight"
import { Postgres } from "watertight/postgres"
import { accountOf } from "../candidates/sql.ts"
import type { Subject, Target } from "../harness/model.ts"
import { built, operations } from "../harness/sqlClient.ts"
import { effects } from "../harness/styles.ts"

export const open = async (
  { connections, servers }: Target
): Promise<Subject<Effect.Effect<unknown, unknown>>> => {
  const layer = Postgres.layer({ url: Redacted.make(servers.postgres!.url), pool: { max: connections } })
  const { close, context } = await built(layer)
  const sql = Context.get(context, SqlClient.SqlClient)
  const transactions = Context.get(context, Transaction.Manager)
  return {
    style: effects,
    close,
    ...operations(sql, "postgres"),
    transaction: (key) =>
      Batch.run([
        sql<{ amount: number }>`select amount from item where id = ${key}`,
        sql`update account set cents = cents + 1 where id = ${accountOf(key)}`,
        sql`insert into entry (account, cents) values (${accountOf(key)}, 1)`
      ]).pipe(
        Effect.provideService(Transaction.Manager, transactions),
        Effect.map(([rows]) => rows[0]!.amount)
      )
  }
}
