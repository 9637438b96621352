/**
 * The database goes away under a hundred workers, and comes back: how often does the client knock meanwhile, how many
 * errors do its callers see, and how soon after does it work again?
 */
import { connects } from "../harness/connects.ts"
import { sleep } from "../harness/load.ts"
import type { Case, Job, Metrics, NetworkCommand, Scenario } from "../harness/model.ts"
import * as Who from "./candidates.ts"

const workers = 100
const outage = 2
const pauseMillis = 10

const run = (kind: NetworkCommand) => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({ connections: 20 })
  let running = true
  let successes = 0
  let lastSuccess = 0
  let onSuccess = (): void => {}
  let errors = 0
  let key = 0
  /** A worker that begins again, after a pause when it failed. */
  const work = (): void => {
    if (!running) return
    const n = ++key
    let answered = false
    subject.style.start(subject.echo!(n), (_, error) => {
      if (answered) return
      answered = true
      if (error === undefined) {
        successes++
        lastSuccess = performance.now()
        onSuccess()
        // Also a fast client leaves time for others.
        setTimeout(work, 5)
      } else {
        errors++
        setTimeout(work, pauseMillis)
      }
    })
  }
  for (let worker = 0; worker < workers; worker++) work()
  await sleep(0.7)
  if (successes === 0) throw new Error("does not work at all")

  const window = job.window()
  await job.network(kind)
  const [connectsBefore, errorsBefore] = [connects(), errors]
  const began = performance.now()
  await sleep(outage)
  const attempts = connects() - connectsBefore
  const errorsDuring = errors - errorsBefore
  const { client } = await window.stop()

  const healing = performance.now()
  const first = new Promise<number>((resolve) => {
    onSuccess = () => resolve(performance.now() - healing)
    // One that never recovers is shown as such.
    setTimeout(() => resolve(20_000), 20_000)
  })
  await job.network("heal")
  const firstSuccess = await first
  const errorsAtFirst = errors
  const successesAtFirst = successes
  await sleep(1)
  running = false
  return {
    first: firstSuccess,
    attempts: attempts / outage,
    errors: errorsDuring,
    after: errors - errorsAtFirst,
    rate: successes - successesAtFirst,
    gone: Math.max(0, lastSuccess - began) === 0 ? 1 : 0,
    client: client / 1000 / outage
  }
}

const columns: Case["columns"] = [
  { key: "first", label: "first success", format: "ms", better: "lower" },
  { key: "attempts", label: "connects per second", format: "count", better: "lower" },
  { key: "errors", label: "errors in the outage", format: "count", better: "lower" },
  { key: "after", label: "errors after", format: "count", better: "lower" },
  { key: "rate", label: "answers in the second after", format: "count", better: "higher" },
  { key: "client", label: "client CPU per second", format: "ms", better: "lower" }
]

const postgres = {
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
} as const

const mariadb = {
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
} as const

const common = { columns, proxy: {}, takes: () => 5 }
const title = `${workers} workers on 20 connections, ${outage} s`

const scenario: Scenario = {
  name: "outage",
  title: "An outage, and the recovery from it",
  cases: [
    {
      ...common,
      ...postgres,
      name: "postgres-close",
      title: `PostgreSQL: connections are accepted and closed; ${title}`,
      run: run("acceptAndClose")
    },
    {
      ...common,
      ...postgres,
      name: "postgres-refuse",
      title: `PostgreSQL: connections are refused; ${title}`,
      run: run("refuse")
    },
    {
      ...common,
      ...mariadb,
      name: "mariadb-close",
      title: `MariaDB: connections are accepted and closed; ${title}`,
      run: run("acceptAndClose")
    },
    {
      ...common,
      ...mariadb,
      name: "mariadb-refuse",
      title: `MariaDB: connections are refused; ${title}`,
      run: run("refuse")
    }
  ]
}

export default scenario
