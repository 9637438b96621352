/** Drizzle over `pg`, with prepared statements where its query builder offers them. */
import { eq, sql } from "drizzle-orm"
import { drizzle } from "drizzle-orm/node-postgres"
import { bigint, integer, pgTable, text } from "drizzle-orm/pg-core"
import * as pg from "pg"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf } from "./sql.ts"

const item = pgTable("item", {
  id: integer().primaryKey(),
  label: text().notNull(),
  amount: integer().notNull()
})
const account = pgTable("account", { id: integer().primaryKey(), cents: integer().notNull() })
const entry = pgTable("entry", {
  id: bigint({ mode: "number" }).generatedAlwaysAsIdentity().primaryKey(),
  account: integer().notNull(),
  cents: integer().notNull()
})

export const open = async ({ connections, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = new pg.default.Pool({ connectionString: servers.postgres!.url, max: connections })
  const db = drizzle({ client: pool })
  const byKey = db.select({ label: item.label }).from(item).where(eq(item.id, sql.placeholder("id"))).prepare("key")
  return {
    style: promises,
    close: () => pool.end(),
    echo: async (n) => (await db.execute(sql`select ${n}::int as n`)).rows[0]!["n"],
    byKey: async (id) => (await byKey.execute({ id }))[0]!.label,
    sleep: async (millis) => await db.execute(sql`select pg_sleep(${millis}::float8 / 1000)`),
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
