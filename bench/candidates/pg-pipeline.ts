/** `pg` clients that pipeline. `pg` has no pool that shares them: the one with the fewest statements under way is taken. */
import * as pg from "pg"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { postgres as sql } from "./sql.ts"

export const open = async ({ connections, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const clients = await Promise.all(Array.from({ length: connections }, async () => {
    // Newer than its type declarations.
    const client = new pg.default.Client({ connectionString: servers.postgres!.url, pipeline: true } as pg.ClientConfig)
    await client.connect()
    return { client, load: 0 }
  }))
  const query = async (name: string, text: string, values: Array<unknown>) => {
    let best = clients[0]!
    for (const one of clients) if (one.load < best.load) best = one
    best.load++
    try {
      return await best.client.query({ name, text, values })
    } finally {
      best.load--
    }
  }
  return {
    style: promises,
    close: async () => {
      await Promise.all(clients.map(({ client }) => client.end()))
    },
    echo: async (n) => (await query("echo", sql.echo, [n])).rows[0].n,
    sleep: (millis) => query("sleep", sql.sleep, [millis]),
    byKey: async (id) => (await query("key", sql.byKey, [id])).rows[0].label
  }
}
