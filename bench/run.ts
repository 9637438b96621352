/**
 * The benchmark.
 *
 *     npm run bench                            all scenarios
 *     npm run bench -- point latency           some of them
 *     npm run bench -- point --quick           a first impression
 *     npm run bench -- point --only pg,watertight --case postgres
 *     npm run bench -- profile point           a CPU profile of our client, and where its time goes
 *     npm run bench -- guard main              whether the working tree is slower than a commit
 *     npm run bench -- list                    what there is
 *     npm run bench -- docs                    writes the last results into docs/performance.md
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import { parseArgs } from "node:util"
import { guard } from "./guard/guard.ts"
import { install } from "./harness/install.ts"
import type { Case, Pace, Scenario, ServerName } from "./harness/model.ts"
import { profile } from "./harness/profile.ts"
import * as Schedule from "./harness/schedule.ts"
import * as Servers from "./harness/servers.ts"
import * as Chart from "./report/chart.ts"
import { writeDocs } from "./report/docs.ts"
import * as Progress from "./report/progress.ts"
import * as Results from "./report/results.ts"
import * as Table from "./report/table.ts"
import { names } from "./scenarios/index.ts"

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    quick: { type: "boolean", default: false },
    rounds: { type: "string" },
    seconds: { type: "string" },
    "warm-up": { type: "string" },
    /** Candidates whose id contains one of these, besides the reference and the limit. */
    only: { type: "string" },
    /** Cases whose name contains one of these. */
    case: { type: "string" }
  }
})

const pace: Pace = {
  quick: values.quick,
  rounds: Number(values.rounds ?? (values.quick ? 2 : 5)),
  warmUp: Number(values["warm-up"] ?? (values.quick ? 0.4 : 1)),
  measure: Number(values.seconds ?? (values.quick ? 0.8 : 2))
}

const list = (text: string | undefined): ReadonlyArray<string> => text?.split(",").filter((part) => part !== "") ?? []

/** What was asked for of a scenario. */
const narrow = (scenario: Scenario): Scenario => {
  const [only, cases] = [list(values.only), list(values.case)]
  const takesPart = (found: Case) => ({ id }: { readonly id: string }) =>
    only.length === 0 || id === found.reference || id === found.limit || only.some((part) => id.includes(part))
  return {
    ...scenario,
    cases: scenario.cases
      .filter(({ name }) => cases.length === 0 || cases.some((part) => name.includes(part)))
      .map((found) => ({
        ...found,
        candidates: found.candidates.filter(takesPart(found)),
        beside: found.beside?.filter(takesPart(found))
      }))
  }
}

const scenarios = async (chosen: ReadonlyArray<string>): Promise<ReadonlyArray<Scenario>> => {
  for (const name of chosen) {
    if (!names.includes(name)) throw new Error(`There is no scenario ${name}. There are: ${names.join(", ")}`)
  }
  const loaded = await Promise.all(
    (chosen.length === 0 ? names : chosen).map(async (name) =>
      ((await import(`./scenarios/${name}.ts`)) as { readonly default: Scenario }).default
    )
  )
  return loaded.map(narrow).filter(({ cases }) => cases.length > 0)
}

const serversOf = (chosen: ReadonlyArray<Scenario>): ReadonlySet<ServerName> =>
  new Set(chosen.flatMap(({ cases }) => cases.flatMap(({ servers }) => servers)))

const command = `npm run bench${process.argv.length > 2 ? " -- " + process.argv.slice(2).join(" ") : ""}`

const bench = (chosen: ReadonlyArray<Scenario>) =>
  Effect.gen(function*() {
    const estimate = chosen.reduce((sum, scenario) => sum + Schedule.secondsOfScenario(scenario, pace), 0)
    process.stderr.write(`About ${Progress.clock(estimate)} minutes. Starting the servers ...\n`)
    const running = yield* Servers.start(serversOf(chosen))
    const machine = Results.machine(running.versions)
    const progress = Progress.make(estimate)
    yield* Effect.addFinalizer(() => Effect.sync(progress.close))
    for (const scenario of chosen) {
      progress.print(`\n${scenario.title}\n`)
      yield* Schedule.measure(scenario, pace, running, progress, (measured) => {
        progress.print(Table.text(measured) + "\n")
        const result: Results.Result = {
          ...measured,
          scenario: scenario.name,
          command,
          date: new Date().toISOString().slice(0, 10),
          commit: Results.commit(),
          pace,
          partial: values.only !== undefined,
          machine
        }
        Results.save(result)
        fs.writeFileSync(`${Results.nameOf(scenario.name, measured.name)}.svg`, Chart.svg(measured, describe(result)))
      })
    }
    progress.print("Results: bench/results")
  })

const describe = ({ machine, pace }: Results.Result): string =>
  `${pace.rounds} rounds of ${pace.measure} s · ${machine.cores} cores · Node ${machine.node.slice(1)}`

const main = async (): Promise<void> => {
  const [first, ...rest] = positionals
  if (first === "list") {
    for (const { cases, name, title } of await scenarios(rest)) {
      console.log(`${name.padEnd(14)}${title}`)
      for (const found of cases) {
        console.log(`  ${found.name.padEnd(16)}${found.candidates.map(({ id }) => id).join(" ")}`)
      }
    }
    return
  }
  if (first === "docs") return writeDocs()
  if (first === "guard") {
    const short: Pace = {
      quick: true,
      rounds: Number(values.rounds ?? 10),
      warmUp: Number(values["warm-up"] ?? 0.5),
      measure: Number(values.seconds ?? 1)
    }
    if (!await Effect.runPromise(Effect.scoped(guard(rest[0], short, list(values.case))))) process.exitCode = 1
    return
  }
  install()
  if (first === "profile") {
    const chosen = await scenarios(rest.length === 0 ? ["point"] : rest)
    await Effect.runPromise(Effect.scoped(profile(chosen, pace, serversOf(chosen), list(values.only))))
    return
  }
  await Effect.runPromise(Effect.scoped(bench(await scenarios(positionals))))
}

// The servers are ended by whoever watches over them when we are.
process.once("SIGINT", () => process.exit(130))

try {
  await main()
} catch (error) {
  console.error(process.env["BENCH_DEBUG"] ? error : (error as Error).message)
  process.exitCode = 1
}
