/** Random transactions of appends and reads on few lists, and what their callers saw of them. */
import { Clock, Effect, Exit, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { Outcome, Transaction as T } from "watertight"
import { FaultProxy, PostgresServer, seed as makeSeed } from "../../support/index.ts"
import { layerAt } from "../support.ts"
import { check, type Isolation, type Operation, type Transaction } from "./checker.ts"

export interface Options {
  /** What the transactions ask for. */
  readonly isolation: Isolation
  /** What they are checked against. Default: the same. */
  readonly checkedAs?: Isolation | undefined
  readonly spec?: T.Spec | undefined
  readonly seconds: number
  /** How many have to succeed, for which it goes on longer on a machine with much to do. Default: 100. */
  readonly enough?: number | undefined
  readonly seed: number
  readonly workers?: number | undefined
  readonly lists?: number | undefined
  /** Whether the network is cut and the server killed. Default: yes. */
  readonly fire?: boolean | undefined
}

type Step = { readonly key: number; readonly append: number } | { readonly key: number }

export const run = Effect.fnUntraced(function*(options: Options) {
  const { enough = 100, fire = true, isolation, lists = 4, seconds, workers = 8 } = options
  const seed = makeSeed(options.seed)
  // Nobody shall wait a second for each deadlock.
  const server = yield* PostgresServer.make({ settings: { deadlock_timeout: "20ms" } })
  yield* server.query("create table list (key int primary key, entries int[] not null default '{}')")
  yield* server.query(`insert into list (key) select i from generate_series(1, ${lists}) i`)
  const proxy = yield* FaultProxy.make(server.url)
  const history: Array<Transaction> = []
  const count = (status: Transaction["status"]) => history.filter((transaction) => transaction.status === status).length
  let values = 0

  const body = Effect.fnUntraced(function*(steps: ReadonlyArray<Step>, done: Array<Operation>) {
    const sql = yield* SqlClient.SqlClient
    // A repeated body begins with nothing.
    done.length = 0
    for (const step of steps) {
      if ("append" in step) {
        done.push(step)
        yield* sql`update list set entries = entries || ${step.append}::int where key = ${step.key}`
      } else {
        const rows = yield* sql<{ entries: string }>`
          select array_to_string(entries, ',') as entries from list where key = ${step.key}`
        done.push({ key: step.key, read: rows[0]!.entries.split(",").filter((text) => text !== "").map(Number) })
      }
    }
  })

  let stopped = false
  const worker = Effect.fnUntraced(function*(name: number) {
    const random = seed.fork()
    for (let n = 0; !stopped; n++) {
      const steps = Array.from({ length: random.int(2, 5) }, (): Step => {
        const key = random.int(1, lists)
        return random.chance(0.5) ? { key, append: ++values } : { key }
        // In one order, so that they meet in other ways than in deadlocks.
      }).sort((a, b) => a.key - b.key)
      const operations: Array<Operation> = []
      const exit = yield* Effect.exit(T.run(body(steps, operations), { isolation, ...options.spec }))
      const id = `${name}/${n}`
      if (Exit.isSuccess(exit)) {
        history.push({ id, status: "succeeded", operations })
      } else {
        const error = exit.cause.reasons[0]?._tag === "Fail" ? exit.cause.reasons[0].error : exit.cause
        const failed = Outcome.isNotApplied(error) || Outcome.isNotSent(error)
        history.push({ id, status: failed ? "failed" : "unknown", operations })
      }
    }
  })

  const unrest = Effect.gen(function*() {
    const end = (yield* Clock.currentTimeMillis) + seconds * 1000
    while ((yield* Clock.currentTimeMillis) < end || count("succeeded") < enough) {
      yield* Effect.sleep(1500)
      if (!fire) continue
      yield* server.kill
      yield* server.start
    }
    stopped = true
    yield* proxy.heal
  })

  if (fire) {
    yield* proxy.randomCuts({ seed: seed.int(0, 1e9), probability: 0.005 })
    const chance = seed.fork()
    for (const fault of ["before", "after"] as const) {
      yield* proxy.when((chunk) => chunk.includes("COMMIT") && chance.chance(0.03), fault, { times: Infinity })
    }
  }
  yield* Effect.all([unrest, ...Array.from({ length: workers }, (_, name) => worker(name))], {
    concurrency: "unbounded",
    discard: true
  }).pipe(Effect.provide(Layer.fresh(layerAt(proxy.url, { pool: { max: workers, startup: "lazy" } }))))

  const rows = yield* server.query("select key, array_to_string(entries, ',') as entries from list")
  const final = new Map(
    rows.map(({ entries, key }) =>
      [key as number, (entries as string).split(",").filter((text) => text !== "").map(Number)] as const
    )
  )
  return {
    seed: seed.value,
    succeeded: count("succeeded"),
    failed: count("failed"),
    unknown: count("unknown"),
    anomalies: check(history, final, options.checkedAs ?? isolation)
  }
})
