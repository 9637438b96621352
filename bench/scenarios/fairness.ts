/** How evenly a pool serves those that wait: 64 workers on 8 connections, each holds one for a millisecond or two. */
import { Histogram } from "../harness/histogram.ts"
import { sleep } from "../harness/load.ts"
import type { Case, Job, Load, Metrics, Scenario, Subject } from "../harness/model.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const workers = 64

/** Each worker is a loop of its own, so that it is known who got how much. */
const measure = async (
  job: Job,
  subject: Subject,
  operation: () => unknown,
  waited: (startedAt: number, value: unknown) => number
): Promise<Metrics> => {
  const waits = new Histogram()
  const turns = new Array<number>(workers).fill(0)
  let recording = false
  const loads = turns.map((_, worker): Load<unknown> & { running: boolean } => ({
    running: true,
    key: () => 0,
    operation,
    done: (_, startedAt, value) => {
      if (!recording) return
      turns[worker]!++
      waits.add(waited(startedAt, value))
    }
  }))
  const finished = Promise.all(loads.map((load) => subject.style.loop(1, load)))
  await sleep(job.pace.warmUp)
  recording = true
  await sleep(job.pace.measure)
  recording = false
  for (const load of loads) load.running = false
  await finished
  const [least, most] = [Math.min(...turns), Math.max(...turns)]
  return {
    tail: waits.quantile(0.99) / waits.quantile(0.5),
    p50: waits.quantile(0.5),
    p99: waits.quantile(0.99),
    max: waits.max,
    least,
    most
  }
}

const pool = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return measure(job, subject, () => subject.checkout!("millisecond"), (startedAt, value) => Number(value) - startedAt)
}

const statement = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return measure(job, subject, () => subject.sleep!(2), (startedAt) => performance.now() - startedAt)
}

const columns: Case["columns"] = [
  { key: "tail", label: "p99 to p50", format: "count", better: "lower" },
  Columns.p50,
  Columns.p99,
  Columns.max,
  { key: "least", label: "turns of the worst off", format: "count", better: "higher" },
  { key: "most", label: "turns of the best off", format: "count", better: "lower" }
]

const scenario: Scenario = {
  name: "fairness",
  title: "Fairness",
  cases: [
    {
      name: "pools",
      title: `The wait for one of 8, held for 1 ms by ${workers} workers; no database`,
      servers: [],
      reference: Who.effectPool.id,
      columns,
      candidates: Who.pools,
      run: pool
    },
    {
      name: "postgres",
      title: `PostgreSQL: statements of 2 ms from ${workers} workers on 8 connections`,
      servers: ["postgres"],
      reference: Who.sqlPg.id,
      columns,
      candidates: [
        Who.watertightPostgres,
        Who.multiplex,
        Who.sqlPg,
        Who.pgNamed,
        Who.postgresJs,
        { ...Who.knex, label: "knex (tarn)" },
        Who.effect3
      ],
      run: statement
    },
    {
      name: "mariadb",
      title: `MariaDB: statements of 2 ms from ${workers} workers on 8 connections`,
      servers: ["mariadb"],
      reference: Who.mysql2.id,
      columns,
      candidates: [
        Who.watertightMariadb,
        Who.watertightMysql2,
        Who.connector,
        Who.mysql2,
        { ...Who.knex, label: "knex (tarn)" },
        Who.effect3Mysql
      ],
      run: statement
    }
  ]
}

export default scenario
