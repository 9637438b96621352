/**
 * What slow statements do to fast ones: one in a hundred occupies its connection for 200 ms. On average two of the eight
 * connections are busy with them; a fast statement waits only if somebody sends it to one of those.
 */
import { openLoop } from "../harness/load.ts"
import type { Case, Job, Metrics, Scenario } from "../harness/model.ts"
import { items } from "../harness/servers.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const rate = 1000
const slowMillis = 200
const isSlow = (key: number) => key % 100 === 0

const run = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const { errors, latencies, spent } = await openLoop(job, {
    style: subject.style,
    rate,
    keys: items,
    operation: (key) => isSlow(key) ? subject.sleep!(slowMillis) : subject.byKey!(key),
    warmUp: subject.byKey!,
    kindOf: (key) => isSlow(key) ? 1 : 0,
    isRight: (key, value) => isSlow(key) || value === `item ${key}`
  })
  const [fast, slow] = latencies
  const count = fast!.count + slow!.count
  return {
    p50: fast!.quantile(0.5),
    p95: fast!.quantile(0.95),
    p99: fast!.quantile(0.99),
    max: fast!.max,
    slow: slow!.quantile(0.95),
    client: spent.client / count,
    errors
  }
}

const columns: Case["columns"] = [
  { ...Columns.p99, label: "p99 of the fast" },
  Columns.p50,
  Columns.p95,
  Columns.max,
  { key: "slow", label: "p95 of the slow", format: "ms", better: "lower" },
  Columns.client,
  Columns.errors
]

const title = `${
  rate.toLocaleString("en-US")
} a second at random moments on 8 connections, 1 % of them take ${slowMillis} ms`

const scenario: Scenario = {
  name: "mixed",
  title: "Slow statements among fast ones",
  cases: [
    {
      name: "postgres",
      title: `PostgreSQL: ${title}`,
      servers: ["postgres"],
      reference: Who.multiplex.id,
      columns,
      overhead: 1.5,
      candidates: [
        Who.watertightPostgres,
        Who.multiplex,
        Who.pgPool,
        Who.sqlPg,
        Who.pgNamed,
        Who.pgPipeline,
        Who.pgPromise,
        Who.postgresJs,
        Who.postgresJs1,
        Who.knex,
        Who.kysely,
        Who.drizzlePostgres,
        Who.slonik,
        Who.effect3
      ],
      run
    },
    {
      name: "mariadb",
      title: `MariaDB: ${title}`,
      servers: ["mariadb"],
      reference: Who.mysql2.id,
      columns,
      overhead: 1.5,
      candidates: [
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connectorPipeline,
        Who.connector,
        Who.mysql2,
        Who.knex,
        Who.kysely,
        Who.drizzleMysql,
        Who.effect3Mysql
      ],
      run
    }
  ]
}

export default scenario
