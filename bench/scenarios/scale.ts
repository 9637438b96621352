/** Where it bends: from one caller to ten thousand, on one connection, on eight, and on sixty-four. */
import { closedLoop, metricsOf } from "../harness/load.ts"
import type { Candidate, Case, Job, Metrics, Scenario } from "../harness/model.ts"
import { items } from "../harness/servers.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

const callers = [1, 10, 100, 1000, 10_000]

const run = (connections: number) => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({ connections })
  const measured = await closedLoop(job, {
    style: subject.style,
    workers: job.candidate.callers!,
    keys: items,
    operation: subject.echo!,
    isRight: (key, value) => value === key
  })
  return { ...metricsOf(measured), rss: process.memoryUsage.rss() }
}

const each = (who: Candidate): ReadonlyArray<Candidate> =>
  callers.map((count) => ({
    ...who,
    id: `${who.id}-${count}`,
    label: `${who.label}, ${count.toLocaleString("en-US")} ${count === 1 ? "caller" : "callers"}`,
    callers: count
  }))

const columns: Case["columns"] = [
  Columns.rate,
  Columns.p50,
  Columns.p99,
  Columns.client,
  Columns.server,
  { key: "rss", label: "resident", format: "bytes", better: "lower" }
]

const scenario: Scenario = {
  name: "scale",
  title: "Scale",
  cases: [1, 8, 64].map((connections): Case => ({
    name: `connections-${connections}`,
    title: `PostgreSQL: SELECT $1::int on ${connections === 1 ? "one connection" : `${connections} connections`}`,
    servers: ["postgres"],
    reference: `${Who.watertightPostgres.id}-1`,
    columns,
    candidates: [...each(Who.watertightPostgres), ...each(Who.pgNamed)],
    run: run(connections)
  }))
}

export default scenario
