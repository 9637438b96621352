/**
 * Fifty requests at once meet an empty pool, and connecting is slow: how many connections are opened for them, and when
 * are all of them answered? The idea is HikariCP's.
 */
import { connects } from "../harness/connects.ts"
import { Histogram } from "../harness/histogram.ts"
import { sleep } from "../harness/load.ts"
import type { Case, Job, Metrics, Scenario } from "../harness/model.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const requests = 50
const slowConnect = 150
const queryMillis = 2

const run = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({ connections: 20 })
  // Whoever connects when it is made has done so; the spike begins when it is quiet again.
  await sleep(0.6)
  const atStart = connects()
  const latency = new Histogram()
  const window = job.window()
  const start = performance.now()
  let errors = 0
  await new Promise<void>((resolve) => {
    let left = requests
    for (let request = 0; request < requests; request++) {
      subject.style.start(subject.sleep!(queryMillis), (_, error) => {
        if (error === undefined) latency.add(performance.now() - start)
        else errors++
        if (--left === 0) resolve()
      })
    }
  })
  const all = performance.now() - start
  const { client } = await window.stop()
  // Those that were begun for nothing are opened, too.
  await sleep(0.4)
  return {
    all,
    first: latency.quantile(0),
    p50: latency.quantile(0.5),
    opened: connects(),
    during: connects() - atStart,
    client: client / 1000,
    errors
  }
}

const columns: Case["columns"] = [
  { key: "all", label: "all answered", format: "ms", better: "lower" },
  { key: "first", label: "first answered", format: "ms", better: "lower" },
  Columns.p50,
  { key: "opened", label: "connections", format: "count", better: "lower" },
  { key: "during", label: "opened by the spike", format: "count", better: "lower" },
  { ...Columns.client, format: "ms" },
  Columns.errors
]

const title =
  `${requests} requests of ${queryMillis} ms at once, at most 20 connections, each takes ${slowConnect} ms to open`

const common = { columns, run, proxy: { slowConnect }, takes: () => 2 }

const scenario: Scenario = {
  name: "spike",
  title: "A spike of requests at an empty pool",
  cases: [
    {
      ...common,
      name: "postgres",
      title: `PostgreSQL: ${title}`,
      servers: ["postgres"],
      reference: Who.sqlPg.id,
      candidates: [
        Who.watertightPostgres,
        Who.multiplex,
        Who.sqlPg,
        Who.pgNamed,
        Who.pgPromise,
        Who.postgresJs,
        { ...Who.knex, label: "knex (tarn)" },
        Who.slonik,
        Who.effect3
      ]
    },
    {
      ...common,
      name: "mariadb",
      title: `MariaDB: ${title}`,
      servers: ["mariadb"],
      reference: Who.mysql2.id,
      candidates: [
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connector,
        Who.mysql2,
        { ...Who.knex, label: "knex (tarn)" },
        Who.effect3Mysql
      ]
    }
  ]
}

export default scenario
