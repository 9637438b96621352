import { createPool, sql } from "slonik"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf } from "./sql.ts"

export const open = async ({ connections, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = await createPool(servers.postgres!.url, { maximumPoolSize: connections })
  return {
    style: promises,
    close: () => pool.end(),
    echo: (n) => pool.oneFirst(sql.unsafe`select ${n}::int as n`),
    byKey: (id) => pool.oneFirst(sql.unsafe`select label from item where id = ${id}`),
    sleep: (millis) => pool.query(sql.unsafe`select pg_sleep(${millis}::float8 / 1000)`),
    transaction: (key) =>
      pool.transaction(async (transaction) => {
        const amount = await transaction.oneFirst(sql.unsafe`select amount from item where id = ${key}`)
        await transaction.query(sql.unsafe`update account set cents = cents + 1 where id = ${accountOf(key)}`)
        await transaction.query(sql.unsafe`insert into entry (account, cents) values (${accountOf(key)}, 1)`)
        return amount
      })
  }
}
