/**
 * Connections of the MariaDB connector that are shared by hand: it can pipeline, its own pool cannot. The one with the
 * fewest statements under way is taken.
 */
import * as mariadb from "mariadb"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { mysql as sql } from "./sql.ts"

export const open = async ({ connections, server, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const { database, host, password, port, user } = servers[server]!
  const config = {
    host,
    port,
    user,
    password: password ?? "",
    database,
    pipelining: true,
    allowPublicKeyRetrieval: true
  }
  const all = await Promise.all(
    Array.from({ length: connections }, async () => ({ connection: await mariadb.createConnection(config), load: 0 }))
  )
  const first = async (text: string, value: number) => {
    let best = all[0]!
    for (const one of all) if (one.load < best.load) best = one
    best.load++
    try {
      return (await best.connection.execute(text, [value]))[0]
    } finally {
      best.load--
    }
  }
  return {
    style: promises,
    close: async () => {
      await Promise.all(all.map(({ connection }) => connection.end()))
    },
    echo: async (n) => Number((await first(sql.echo, n)).n),
    sleep: (millis) => first(sql.sleep, millis),
    byKey: async (id) => (await first(sql.byKey, id)).label
  }
}
