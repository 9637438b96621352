/** Runs the candidates, each in a process of its own, A B C A B C, so that whatever else the machine does hits all. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { fork } from "node:child_process"
import type { Progress } from "../report/progress.ts"
import * as Results from "../report/results.ts"
import { fromSource, published } from "./built.ts"
import type { Candidate, Case, Metrics, NetworkCommand, Pace, Scenario, Servers } from "./model.ts"
import * as Network from "./network.ts"
import type { Answer, Done, Order } from "./protocol.ts"
import type { Running } from "./servers.ts"

/** How long a process takes before it can begin, and to end, in seconds: for the progress bar. */
const processTime = 0.7

/** How long one run of one candidate takes, in seconds. */
export const secondsOf = (found: Case, pace: Pace): number =>
  processTime + (found.overhead ?? 0) + (found.takes?.(pace) ?? pace.warmUp + pace.measure)

export const secondsOfScenario = (scenario: Scenario, pace: Pace): number =>
  scenario.cases.reduce(
    (sum, found) =>
      sum + secondsOf(found, pace) * (found.candidates.length + (found.beside?.length ?? 0)) * pace.rounds,
    0
  )

/** Measures all candidates of a scenario. `onCase` is told each case when it is done. */
export const measure = (
  scenario: Scenario,
  pace: Pace,
  running: Running,
  progress: Progress,
  onCase: (result: Results.CaseResult) => void
): Effect.Effect<void> =>
  Effect.gen(function*() {
    const results = Results.empty(scenario)
    for (const [index, found] of scenario.cases.entries()) {
      const result = results[index]!
      for (let round = 0; round < pace.rounds; round++) {
        for (const outcome of result.outcomes) {
          const seconds = secondsOf(found, pace)
          progress.begin(`${scenario.name} ${found.name}, round ${round + 1} of ${pace.rounds}: ${outcome.label}`)
          // Who has failed once will again, and its time is better spent on others.
          if (outcome.failure === undefined) {
            const measured = yield* Effect.result(measureOne(scenario, found, outcome.id, pace, round, running))
            if (measured._tag === "Success") outcome.runs.push(measured.success)
            else outcome.failure = measured.failure
          }
          progress.finish(seconds)
        }
      }
      onCase(result)
    }
  })

/** Brings the databases of a case into the state that a run begins with. */
export const prepare = (found: Case, running: Running): Effect.Effect<void> =>
  Effect.forEach(found.servers, (server) => {
    const statements = found.prepare?.[server]
    return statements === undefined ? Effect.void : Effect.orDie(running.execute(server, statements))
  }, { discard: true })

const measureOne = Effect.fnUntraced(function*(
  scenario: Scenario,
  found: Case,
  id: string,
  pace: Pace,
  round: number,
  running: Running
): Effect.fn.Return<Metrics, string, Scope.Scope> {
  yield* prepare(found, running)
  const direct: Servers = Object.fromEntries(found.servers.map((name) => [name, running.servers[name]]))
  const network = found.proxy === undefined ? undefined : yield* Effect.orDie(Network.open(direct, found.proxy))
  const servers = network?.servers ?? direct
  const beside = found.beside?.find((one) => one.id === id)
  const metrics = yield* Effect.tryPromise({
    try: () =>
      beside === undefined
        ? inProcess(found, found.candidates.find((one) => one.id === id)!, {
          scenario: scenario.name,
          case: found.name,
          candidate: id,
          servers,
          pace,
          round
        }, { network: network?.command, published: found.published })
        : beside.run(servers, pace),
    catch: (error) => error instanceof Error ? error.message : String(error)
  })
  for (const server of found.servers) {
    const query = found.verify?.[server]
    if (query !== undefined && !(yield* Effect.orDie(running.holds(server, query)))) {
      return yield* Effect.fail(`left wrong data: ${query}`)
    }
  }
  return metrics
}, Effect.scoped)

/** One run in a new process. */
export const inProcess = (
  found: Case,
  candidate: Candidate,
  order: Order,
  { bench = `${import.meta.dirname}/..`, network, published: isPublished = false }: {
    /** The `bench` folder whose library is measured. */
    readonly bench?: string | undefined
    readonly network?: ((command: NetworkCommand) => Promise<void>) | undefined
    /** Whether the library is run as it is published. */
    readonly published?: boolean | undefined
  } = {}
): Promise<Metrics> =>
  new Promise((resolve, reject) => {
    const child = fork(`${bench}/harness/child.ts`, {
      execArgv: [...(isPublished ? published() : [fromSource]), "--expose-gc", "--no-warnings"],
      stdio: ["ignore", "ignore", "pipe", "ipc"],
      // The libraries are measured as they run in production.
      env: { ...process.env, NODE_ENV: "production" }
    })
    let errors = ""
    let answered = false
    child.stderr!.on("data", (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-4000)
    })
    const limit = 60 + 3 * secondsOf(found, order.pace)
    const timer = setTimeout(() => {
      child.kill("SIGKILL")
      reject(new Error(`no answer in ${Math.round(limit)} s`))
    }, limit * 1000)
    child.on("message", (answer: Answer) => {
      if ("network" in answer) {
        network!(answer.network).then(() => child.send({ done: true } satisfies Done), reject)
        return
      }
      answered = true
      if ("metrics" in answer) resolve(answer.metrics)
      else reject(new Error(answer.failure))
    })
    child.on("exit", (code, signal) => {
      clearTimeout(timer)
      if (process.env["BENCH_DEBUG"] && errors !== "") process.stderr.write(`[${candidate.id}] ${errors}\n`)
      if (!answered) reject(new Error(errors.trim().split("\n").at(-1) || `ended with ${signal ?? code}`))
    })
    child.send(order)
  })
