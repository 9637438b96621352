/** How long one waits for a short statement when the client is not busy: requests that arrive at random, 3,000 a second. */
import { openLoop } from "../harness/load.ts"
import type { Case, Job, Metrics, Scenario } from "../harness/model.ts"
import { items } from "../harness/servers.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const rate = 3000

const run = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const { errors, latencies, spent } = await openLoop(job, {
    style: subject.style,
    rate,
    keys: items,
    operation: subject.byKey!,
    isRight: (key, value) => value === `item ${key}`
  })
  const latency = latencies[0]!
  return {
    p50: latency.quantile(0.5),
    p95: latency.quantile(0.95),
    p99: latency.quantile(0.99),
    p999: latency.quantile(0.999),
    max: latency.max,
    client: spent.client / latency.count,
    ...(spent.server === undefined ? {} : { server: spent.server / latency.count }),
    errors
  }
}

const columns: Case["columns"] = [
  Columns.p99,
  Columns.p50,
  Columns.p95,
  { key: "p999", label: "p99.9", format: "ms", better: "lower" },
  Columns.max,
  Columns.client,
  Columns.server
]

const title = `one row of 100,000 by primary key, ${rate.toLocaleString("en-US")} a second at random moments`
const note =
  "The time counts from the moment at which a request was due. Client CPU includes the thread that sends them."

const scenario: Scenario = {
  name: "latency",
  title: "Latency at a moderate load",
  cases: [
    {
      name: "postgres",
      title: `PostgreSQL: ${title}`,
      note,
      servers: ["postgres"],
      reference: Who.multiplex.id,
      limit: Who.limitPostgres.id,
      columns,
      overhead: 1.5,
      candidates: [
        Who.limitPostgres,
        Who.watertightPostgres,
        Who.multiplex,
        Who.pgPool,
        Who.sqlPg,
        Who.pgNamed,
        Who.pgPipeline,
        Who.pgPromise,
        Who.postgresJs,
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
      note,
      servers: ["mariadb"],
      reference: Who.mysql2.id,
      limit: Who.limitMariadb.id,
      columns,
      overhead: 1.5,
      candidates: [
        Who.limitMariadb,
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connectorPipeline,
        Who.connector,
        Who.mysql2,
        Who.mysql2Callbacks,
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
