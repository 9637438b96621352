/** mysql2 with its pool and prepared statements, by callbacks. */
import * as mysql from "mysql2"
import type { Subject, Target } from "../harness/model.ts"
import { type Callback, callbacks } from "../harness/styles.ts"
import { mysql as sql } from "./sql.ts"

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Callback>> => {
  const pool = mysql.createPool({ uri: servers[server]!.url, connectionLimit: connections })
  const first = (text: string, column: string) => (value: number): Callback => (done) => {
    pool.execute<Array<mysql.RowDataPacket>>(text, [value], (error, rows) => done(rows?.[0]?.[column], error))
  }
  return {
    style: callbacks,
    close: () => new Promise((resolve) => pool.end(() => resolve())),
    echo: first(sql.echo, "n"),
    byKey: first(sql.byKey, "label"),
    sleep: first(sql.sleep, "")
  }
}
