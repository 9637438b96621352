import { type Generated, Kysely, MysqlDialect, PostgresDialect, sql } from "kysely"
import * as mysql from "mysql2"
import * as pg from "pg"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf } from "./sql.ts"

interface Tables {
  item: { id: number; label: string; amount: number }
  account: { id: number; cents: number }
  entry: { id: Generated<number>; account: number; cents: number }
}

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const isPostgres = server === "postgres"
  const { url } = servers[server]!
  const db = new Kysely<Tables>({
    dialect: isPostgres
      ? new PostgresDialect({ pool: new pg.default.Pool({ connectionString: url, max: connections }) })
      : new MysqlDialect({ pool: mysql.createPool({ uri: url, connectionLimit: connections }) })
  })
  return {
    style: promises,
    close: () => db.destroy(),
    echo: async (n) =>
      (await (isPostgres ? sql<{ n: number }>`select ${n}::int as n` : sql<{ n: number }>`select ${n} as n`).execute(
        db
      ))
        .rows[0]!.n,
    byKey: async (id) =>
      (await db.selectFrom("item").select("label").where("id", "=", id).executeTakeFirstOrThrow()).label,
    sleep: (millis) =>
      (isPostgres ? sql`select pg_sleep(${millis}::float8 / 1000)` : sql`select sleep(${millis} / 1000)`).execute(db),
    transaction: (key) =>
      db.transaction().execute(async (transaction) => {
        const row = await transaction.selectFrom("item").select("amount").where("id", "=", key)
          .executeTakeFirstOrThrow()
        await transaction.updateTable("account").set((eb) => ({ cents: eb("cents", "+", 1) }))
          .where("id", "=", accountOf(key)).execute()
        await transaction.insertInto("entry").values({ account: accountOf(key), cents: 1 }).execute()
        return row.amount
      })
  }
}
