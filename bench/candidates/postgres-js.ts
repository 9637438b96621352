/** postgres.js, which pipelines up to 100 statements on a connection unless told otherwise. */
import postgres from "postgres"
import type { Subject, Target } from "../harness/model.ts"
import { promises } from "../harness/styles.ts"
import { accountOf, partiesOf } from "./sql.ts"

export const open = async ({ connections, options, servers }: Target): Promise<Subject<Promise<unknown>>> => {
  const pipeline = options["pipeline"]
  const sql = postgres(servers.postgres!.url, {
    max: connections,
    ...(pipeline === undefined ? {} : { max_pipeline: Number(pipeline) })
  })
  return {
    style: promises,
    close: () => sql.end(),
    echo: async (n) => (await sql`select ${n}::int as n`)[0]!["n"],
    byKey: async (id) => (await sql`select label from item where id = ${id}`)[0]!["label"],
    sleep: async (millis) => await sql`select pg_sleep(${millis}::float8 / 1000)`,
    transaction: (key) =>
      sql.begin(async (sql) => {
        const [row] = await sql`select amount from item where id = ${key}`
        await sql`update account set cents = cents + 1 where id = ${accountOf(key)}`
        await sql`insert into entry (account, cents) values (${accountOf(key)}, 1)`
        return row!["amount"]
      }),
    transfer: async (key) => {
      const [from, to] = partiesOf(key)
      for (let attempt = 1;; attempt++) {
        try {
          await sql.begin("isolation level serializable", async (sql) => {
            const [a] = await sql`select cents from account where id = ${from}`
            const [b] = await sql`select cents from account where id = ${to}`
            await sql`update account set cents = ${a!["cents"] - 1} where id = ${from}`
            await sql`update account set cents = ${b!["cents"] + 1} where id = ${to}`
          })
          return attempt
        } catch (error) {
          const { code } = error as postgres.PostgresError
          if (code !== "40001" && code !== "40P01") throw error
          await new Promise((resolve) => setTimeout(resolve, Math.random() * Math.min(500, 5 * 2 ** attempt)))
        }
      }
    }
  }
}
