import Knex from "knex"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf } from "./sql.ts"

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const isPostgres = server === "postgres"
  const db = Knex.default({
    client: isPostgres ? "pg" : "mysql2",
    connection: servers[server]!.url,
    pool: { min: 0, max: connections }
  })
  const transaction = (key: number) =>
    db.transaction(async (transaction) => {
      const row = await transaction("item").where({ id: key }).select("amount").first()
      await transaction("account").where({ id: accountOf(key) }).increment("cents", 1)
      await transaction("entry").insert({ account: accountOf(key), cents: 1 })
      return row.amount
    })
  const byKey = async (id: number) => (await db("item").where({ id }).select("label").first()).label
  return {
    style: promises,
    close: () => db.destroy(),
    echo: isPostgres
      ? async (n) => (await db.raw("select ?::int as n", [n])).rows[0].n
      : async (n) => (await db.raw("select ? as n", [n]))[0][0].n,
    byKey,
    sleep: async (millis) =>
      await db.raw(isPostgres ? "select pg_sleep(? / 1000.0)" : "select sleep(? / 1000)", [millis]),
    transaction
  }
}
