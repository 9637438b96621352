/** mysql2 with its pool and prepared statements, by promises. */
import * as mysql from "mysql2/promise"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf, mysql as sql } from "./sql.ts"

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pool = mysql.createPool({ uri: servers[server]!.url, connectionLimit: connections })
  const first = async (text: string, values: Array<number>) => {
    const [rows] = await pool.execute<Array<mysql.RowDataPacket>>(text, values)
    return rows[0]!
  }
  return {
    style: promises,
    close: () => pool.end(),
    echo: async (n) => (await first(sql.echo, [n]))["n"],
    byKey: async (id) => (await first(sql.byKey, [id]))["label"],
    sleep: (millis) => first(sql.sleep, [millis]),
    transaction: async (key) => {
      const connection = await pool.getConnection()
      try {
        await connection.beginTransaction()
        const [rows] = await connection.execute<Array<mysql.RowDataPacket>>(sql.amount, [key])
        await connection.execute(sql.change, [1, accountOf(key)])
        await connection.execute(sql.enter, [accountOf(key), 1])
        await connection.commit()
        return rows[0]!["amount"]
      } catch (error) {
        await connection.rollback()
        throw error
      } finally {
        connection.release()
      }
    }
  }
}
