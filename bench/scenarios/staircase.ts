/** What each part of the library costs a statement, one on top of the other, in microseconds of client CPU. */
import { closedLoop, metricsOf } from "../harness/load.ts"
import type { Candidate, Case, Job, Load, Metrics, Scenario } from "../harness/model.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const step = (id: string, label: string, options: Candidate["options"] = {}): Candidate => ({
  id,
  label,
  module: "watertight/staircase.ts",
  options: { step: id, ...options }
})

const steps: ReadonlyArray<Candidate> = [
  step("connection", "a connection by hand, no SqlClient"),
  step("share", "Pool.share, no SqlClient"),
  step("use", "Pool.use, no SqlClient"),
  step("pool", "SqlClient over Pool.share, nothing else"),
  step("no-breaker", "Watertight, breaker and retries switched off", {
    step: "database",
    retry: false,
    breaker: false
  }),
  step("no-retry", "Watertight, retries switched off", { step: "database", retry: false }),
  step("database", "Watertight, everything switched on"),
  step("untraced", "Watertight, everything switched on, tracing disabled"),
  step("traced", "Watertight, everything switched on, a tracer listens"),
  step("shelf", "SqlClient over Pool.share, with ready combinators: span, timer, timeout, breaker, retry")
]

const nodes: ReadonlyArray<Candidate> = [
  step("nodes", "Watertight, three nodes as one, to the primary", { step: "database", nodes: true }),
  step("nodes-read", "Watertight, three nodes as one, to a replica", { step: "replica", nodes: true })
]

const columns: Case["columns"] = [{ ...Columns.client, label: "client CPU" }, Columns.rate]

const real = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return metricsOf(
    await closedLoop(job, {
      style: subject.style,
      workers: 64,
      keys: 100_000,
      operation: subject.echo!,
      isRight: (key, value) => value === key
    })
  )
}

/** A database that answers at once leaves the event loop no time to turn, so it turns after each chunk. */
const chunk = 5000

const nothing = async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const work = async (seconds: number): Promise<number> => {
    const end = performance.now() + seconds * 1000
    let count = 0
    while (performance.now() < end) {
      let left = chunk
      const load: Load<unknown> = {
        get running() {
          return left > 0
        },
        key: () => 1,
        operation: subject.echo!,
        done: () => {
          left--
        }
      }
      await subject.style.loop(1, load)
      count += chunk
      await new Promise(setImmediate)
    }
    return count
  }
  await work(job.pace.warmUp)
  globalThis.gc?.()
  const window = job.window()
  const count = await work(job.pace.measure)
  const { client, seconds } = await window.stop()
  return { client: client / count, rate: count / seconds }
}

const scenario: Scenario = {
  name: "staircase",
  title: "What resilience costs",
  cases: [
    {
      name: "nothing",
      title: "A database that does nothing: our own cost alone, one statement at a time",
      servers: [],
      columns,
      reference: "pool",
      difference: true,
      candidates: [...steps, ...nodes, step("bare", "SqlClient over one connection, no pool")],
      run: nothing
    },
    {
      name: "postgres",
      title: "PostgreSQL: SELECT $1::int, 64 at a time on 8 connections",
      servers: ["postgres"],
      columns: [...columns, Columns.p99],
      reference: "pool",
      limit: Who.limitPostgres.id,
      difference: true,
      candidates: [Who.limitPostgres, ...steps],
      run: real
    }
  ]
}

export default scenario
