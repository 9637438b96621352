import pgPromise from "pg-promise"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf, postgres as sql } from "./sql.ts"

export const open = async ({ connections, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const library = pgPromise()
  const db = library({ connectionString: servers.postgres!.url, max: connections })
  const { PreparedStatement } = library
  const echo = new PreparedStatement({ name: "echo", text: sql.echo })
  const byKey = new PreparedStatement({ name: "key", text: sql.byKey })
  const sleep = new PreparedStatement({ name: "sleep", text: sql.sleep })
  const amount = new PreparedStatement({ name: "amount", text: sql.amount })
  const change = new PreparedStatement({ name: "change", text: sql.change })
  const enter = new PreparedStatement({ name: "enter", text: sql.enter })
  return {
    style: promises,
    close: async () => library.end(),
    echo: async (n) => (await db.one(echo, [n])).n,
    byKey: async (id) => (await db.one(byKey, [id])).label,
    sleep: (millis) => db.one(sleep, [millis]),
    transaction: (key) =>
      db.tx(async (transaction) => {
        const row = await transaction.one(amount, [key])
        await transaction.none(change, [1, accountOf(key)])
        await transaction.none(enter, [accountOf(key), 1])
        return row.amount
      })
  }
}
