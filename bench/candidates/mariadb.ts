/** The MariaDB connector with its pool and prepared statements. */
import * as mariadb from "mariadb"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf, mysql as sql } from "./sql.ts"

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const { database, host, password, port, user } = servers[server]!
  const pool = mariadb.createPool({
    host,
    port,
    user,
    password: password ?? "",
    database,
    connectionLimit: connections,
    allowPublicKeyRetrieval: true
  })
  return {
    style: promises,
    close: () => pool.end(),
    echo: async (n) => Number((await pool.execute(sql.echo, [n]))[0].n),
    byKey: async (id) => (await pool.execute(sql.byKey, [id]))[0].label,
    sleep: (millis) => pool.execute(sql.sleep, [millis]),
    transaction: async (key) => {
      const connection = await pool.getConnection()
      try {
        await connection.beginTransaction()
        const [row] = await connection.execute(sql.amount, [key])
        await connection.execute(sql.change, [1, accountOf(key)])
        await connection.execute(sql.enter, [accountOf(key), 1])
        await connection.commit()
        return row.amount
      } catch (error) {
        await connection.rollback()
        throw error
      } finally {
        await connection.release()
      }
    }
  }
}
