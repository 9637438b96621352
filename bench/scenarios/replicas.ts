/**
 * How much more can be read with two replicas than from the primary alone. All servers share the cores of this machine, so
 * there are two answers: reads that need the processor gain nothing here, reads that wait for something gain what the
 * connections of the replicas add.
 */
import { closedLoop, metricsOf } from "../harness/load.ts"
import type { Candidate, Case, Job, Metrics, Scenario } from "../harness/model.ts"
import { items } from "../harness/servers.ts"
import * as Columns from "./columns.ts"

const workers = 64
const waitMillis = 5

const reads = (id: string, label: string, replicas: boolean): Candidate => ({
  id,
  label,
  module: "watertight/reads.ts",
  options: { replicas }
})

const run = (what: "byKey" | "sleep") => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  return metricsOf(
    await closedLoop(job, {
      style: subject.style,
      workers,
      keys: items,
      operation: what === "byKey" ? subject.byKey! : () => subject.sleep!(waitMillis),
      isRight: what === "byKey" ? (key, value) => value === `item ${key}` : () => true
    })
  )
}

const common: Pick<Case, "servers" | "candidates" | "reference" | "columns" | "overhead"> = {
  servers: [],
  reference: "primary",
  columns: [Columns.rate, Columns.p50, Columns.p95, Columns.p99, Columns.client],
  candidates: [reads("primary", "from the primary", false), reads("replicas", "from two replicas", true)],
  // Three servers begin and end.
  overhead: 10
}

const load = `${workers} at a time on 8 connections to each server`

const scenario: Scenario = {
  name: "replicas",
  title: "Reads from replicas",
  cases: [
    { ...common, name: "key", title: `PostgreSQL: one row of 100,000 by primary key, ${load}`, run: run("byKey") },
    {
      ...common,
      name: "wait",
      title: `PostgreSQL: reads that wait for ${waitMillis} ms, ${load}`,
      run: run("sleep")
    }
  ]
}

export default scenario
