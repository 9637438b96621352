/** What it costs to take something out of a pool and give it back, with no database behind it: alone, and in a crowd. */
import { closedLoop } from "../harness/load.ts"
import type { Case, Job, Load, Metrics, Scenario } from "../harness/model.ts"
import * as Who from "./candidates.ts"
import * as Columns from "./columns.ts"

/** How many checkouts are done before the event loop may turn. */
const chunk = 10_000

/** One after the other, nobody waits. */
const alone = async (job: Job): Promise<Metrics> => {
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
        key: () => 0,
        operation: () => subject.checkout!("none"),
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

/** So many wait while each of the eight is held for one turn of the event loop. */
const crowd = (waiting: number) => async (job: Job): Promise<Metrics> => {
  const subject = await job.open({})
  const { count, spent } = await closedLoop(job, {
    style: subject.style,
    workers: 8 + waiting,
    keys: 1,
    operation: () => subject.checkout!("turn"),
    isRight: () => true
  })
  return { client: spent.client / count, rate: count / spent.seconds }
}

const columns: Case["columns"] = [{ ...Columns.client, label: "CPU per checkout" }, Columns.rate]
const common = { servers: [], columns, reference: Who.effectPool.id, limit: Who.limitPool.id, candidates: Who.pools }

const scenario: Scenario = {
  name: "checkout",
  title: "Checkout and return",
  cases: [
    {
      ...common,
      name: "alone",
      title: "One of 8, nobody else wants one",
      candidates: [...Who.pools, Who.watertightShare, Who.watertightReserve],
      run: alone
    },
    ...[10, 100, 1000, 10_000].map((waiting): Case => ({
      ...common,
      name: `crowd-${waiting}`,
      title: `One of 8, held for a turn of the event loop, ${waiting.toLocaleString("en-US")} wait`,
      run: crowd(waiting)
    }))
  ]
}

export default scenario
