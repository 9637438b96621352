/** `npm run bench -- profile`: takes CPU profiles of single candidates, and says where their time goes. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { ServerError } from "../../test/support/servers/index.ts"
import * as Results from "../report/results.ts"
import { format } from "../report/table.ts"
import type { Pace, Scenario, ServerName } from "./model.ts"
import { inProcess, prepare } from "./schedule.ts"
import * as Servers from "./servers.ts"

/** As the inspector leaves it. */
interface CpuProfile {
  readonly nodes: ReadonlyArray<{
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
    readonly children?: ReadonlyArray<number>
  }>
  readonly samples: ReadonlyArray<number>
  readonly timeDeltas: ReadonlyArray<number>
}

export const profile = Effect.fnUntraced(function*(
  scenarios: ReadonlyArray<Scenario>,
  pace: Pace,
  servers: ReadonlySet<ServerName>,
  only: ReadonlyArray<string>
): Effect.fn.Return<void, ServerError, Scope.Scope> {
  const running = yield* Servers.start(servers)
  fs.mkdirSync(Results.folder, { recursive: true })
  for (const scenario of scenarios) {
    for (const found of scenario.cases) {
      const chosen = found.candidates.filter(({ id }) =>
        only.length === 0 ? id.startsWith("watertight") : only.some((part) => id.includes(part))
      )
      for (const candidate of chosen) {
        yield* prepare(found, running)
        const file = path.resolve(Results.folder, `${scenario.name}-${found.name}-${candidate.id}.cpuprofile`)
        const measured = yield* Effect.result(Effect.tryPromise({
          try: () =>
            inProcess(found, candidate, {
              scenario: scenario.name,
              case: found.name,
              candidate: candidate.id,
              servers: Object.fromEntries(found.servers.map((name) => [name, running.servers[name]])),
              pace,
              round: 0,
              profile: file
            }),
          catch: (error) => error instanceof Error ? error.message : String(error)
        }))
        console.log(`\n${found.title}\n${candidate.label}`)
        if (measured._tag === "Failure") {
          console.log(`  ${measured.failure}`)
          continue
        }
        const { client, rate } = measured.success
        console.log(`  ${format(rate, "rate")} per second, ${format(client, "us")} of client CPU each, while profiled`)
        console.log(summary(JSON.parse(fs.readFileSync(file, "utf8")) as CpuProfile, rate ?? NaN))
        console.log(`  ${path.relative(process.cwd(), file)} opens in Chrome DevTools and in speedscope`)
      }
    }
  }
})

/** Self time by module and by function, in microseconds of the main thread for each operation. */
const summary = ({ nodes, samples, timeDeltas }: CpuProfile, rate: number): string => {
  const self = new Map<number, number>()
  let total = 0
  for (const [index, id] of samples.entries()) {
    const micros = timeDeltas[index]!
    self.set(id, (self.get(id) ?? 0) + micros)
    total += micros
  }
  const modules = new Map<string, number>()
  const functions = new Map<string, number>()
  const add = (map: Map<string, number>, key: string, micros: number) => map.set(key, (map.get(key) ?? 0) + micros)
  let busy = 0
  for (const { callFrame, id } of nodes) {
    const micros = self.get(id) ?? 0
    if (micros === 0 || callFrame.functionName === "(idle)") continue
    busy += micros
    const module = moduleOf(callFrame.functionName, callFrame.url)
    add(modules, module, micros)
    const line = callFrame.url === "" ? "" : `:${callFrame.lineNumber + 1}`
    add(functions, `${callFrame.functionName || "(anonymous)"}  ${fileOf(callFrame.url)}${line}`, micros)
  }
  const operations = rate * total / 1e6
  const table = (map: Map<string, number>, most: number) =>
    [...map].sort((a, b) => b[1] - a[1]).slice(0, most).map(([name, micros]) =>
      `  ${((micros / busy) * 100).toFixed(1).padStart(5)} %  ${
        (micros / operations).toFixed(2).padStart(6)
      } µs  ${name}`
    ).join("\n")
  return [
    `  the main thread was busy for ${Math.round((busy / total) * 100)} % of the time\n`,
    "  by module",
    table(modules, 20),
    "\n  by function",
    table(functions, 45),
    ""
  ].join("\n")
}

const root = path.resolve(import.meta.dirname, "../..")

const moduleOf = (name: string, url: string): string => {
  if (url === "") return name.startsWith("(") ? name : "(native)"
  if (url.startsWith("node:")) return url
  const file = fileOf(url)
  return file
}

const fileOf = (url: string): string => {
  if (!url.startsWith("file:")) return url
  const file = path.relative(root, fileURLToPath(url))
  return file.replace(/^.*node_modules\//, "")
}
