/** Drizzle over mysql2. */
import { eq, sql } from "drizzle-orm"
import { bigint, int, mysqlTable, varchar } from "drizzle-orm/mysql-core"
import { drizzle } from "drizzle-orm/mysql2"
import * as mysql from "mysql2/promise"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf } from "./sql.ts"

const item = mysqlTable("item", {
  id: int().primaryKey(),
  label: varchar({ length: 100 }).notNull(),
  amount: int().notNull()
})
const account = mysqlTable("account", { id: int().primaryKey(), cents: int().notNull() })
const entry = mysqlTable("entry", {
  id: bigint({ mode: "number" }).autoincrement().primaryKey(),
  account: int().notNull(),
  cents: int().notNull()
})

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = mysql.createPool({ uri: servers[server]!.url, connectionLimit: connections })
  const db = drizzle({ client: pool })
  const byKey = db.select({ label: item.label }).from(item).where(eq(item.id, sql.placeholder("id"))).prepare()
  return {
    style: promises,
    close: () => pool.end(),
    echo: async (n) => {
      const [rows] = await db.execute(sql`select ${n} as n`)
      return (rows as unknown as ReadonlyArray<{ readonly n: number }>)[0]!.n
    },
    byKey: async (id) => (await byKey.execute({ id }))[0]!.label,
    sleep: async (millis) => await db.execute(sql`select sleep(${millis} / 1000)`),
    transaction: (key) =>
      db.transaction(async (transaction) => {
        const [row] = await transaction.select({ amount: item.amount }).from(item).where(eq(item.id, key))
        await transaction.update(account).set({ cents: sql`${account.cents} + 1` }).where(
          eq(account.id, accountOf(key))
        )
        await transaction.insert(entry).values({ account: accountOf(key), cents: 1 })
        return row!.amount
      })
  }
}
