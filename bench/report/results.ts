/** From single runs to rows of a table, and to the file that keeps them. */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import type { Case, Metrics, Pace, Scenario } from "../harness/model.ts"
import { median, spread } from "./statistics.ts"

/** What became of one candidate in one case. */
export interface Outcome {
  readonly id: string
  readonly label: string
  /** One for each round, in order. */
  readonly runs: Array<Metrics>
  failure?: string | undefined
  /** It takes no part: it is there for orientation. */
  readonly beside?: boolean | undefined
}

export interface CaseResult {
  readonly name: string
  readonly title: string
  readonly reference: string
  readonly limit?: string | undefined
  readonly columns: Case["columns"]
  readonly difference?: boolean | undefined
  readonly note?: string | undefined
  readonly outcomes: ReadonlyArray<Outcome>
}

export interface Machine {
  readonly cpu: string
  readonly cores: number
  readonly memory: string
  readonly system: string
  readonly node: string
  readonly servers: ReadonlyArray<string>
  /** The load average when the run began: what else the machine had to do. */
  readonly load: number
}

/** One table with everything that one must know to believe it: a file. */
export interface Result extends CaseResult {
  readonly scenario: string
  readonly command: string
  readonly date: string
  readonly commit: string
  readonly pace: Pace
  /** Not all candidates took part. */
  readonly partial: boolean
  readonly machine: Machine
}

export interface Row {
  readonly id: string
  readonly label: string
  readonly failure: string | undefined
  readonly beside: boolean
  /** Of the first column. */
  readonly best: number
  readonly spread: number
  /** Medians by column. */
  readonly values: Metrics
  /** How many times as good as the reference: above 1 is better, whichever way the column counts. */
  readonly toReference: number | undefined
  readonly toLimit: number | undefined
  /** By how much the first column is more than that of the reference. */
  readonly more: number | undefined
}

/** The rows of a table, best first. */
export const rowsOf = (result: CaseResult): ReadonlyArray<Row> => {
  const main = result.columns[0]
  const sign = main.better === "higher" ? -1 : 1
  const runsOf = (id: string | undefined) => result.outcomes.find((outcome) => outcome.id === id)?.runs ?? []
  // Both were measured in the same round, next to each other: whatever else the machine did, it did to both.
  const ratio = (runs: ReadonlyArray<Metrics>, others: ReadonlyArray<Metrics>): number | undefined => {
    const ratios = runs.flatMap((run, round) => {
      const mine = run[main.key]
      const other = others[round]?.[main.key]
      if (mine === undefined || other === undefined || other === 0 || mine === 0) return []
      return [main.better === "higher" ? mine / other : other / mine]
    })
    return ratios.length === 0 ? undefined : median(ratios)
  }
  const differences = (runs: ReadonlyArray<Metrics>, others: ReadonlyArray<Metrics>): number | undefined => {
    const all = runs.flatMap((run, round) => {
      const difference = (run[main.key] ?? NaN) - (others[round]?.[main.key] ?? NaN)
      return Number.isFinite(difference) ? [difference] : []
    })
    return all.length === 0 ? undefined : median(all)
  }
  return result.outcomes.map((outcome): Row => {
    const of = (key: string) => outcome.runs.flatMap((run) => run[key] ?? [])
    const mine = of(main.key)
    return {
      id: outcome.id,
      label: outcome.label,
      failure: outcome.failure,
      beside: outcome.beside ?? false,
      best: main.better === "higher" ? Math.max(...mine) : Math.min(...mine),
      spread: spread(mine),
      values: Object.fromEntries(result.columns.flatMap(({ key }) => {
        const values = of(key)
        return values.length === 0 ? [] : [[key, median(values)]]
      })),
      toReference: outcome.beside ? undefined : ratio(outcome.runs, runsOf(result.reference)),
      toLimit: outcome.beside ? undefined : ratio(outcome.runs, runsOf(result.limit)),
      more: outcome.beside ? undefined : differences(outcome.runs, runsOf(result.reference))
    }
  }).sort((a, b) => {
    const left = a.values[main.key]
    const right = b.values[main.key]
    if (left === undefined || right === undefined) return left === right ? 0 : left === undefined ? 1 : -1
    return sign * (left - right)
  })
}

export const machine = (servers: ReadonlyArray<string>): Machine => ({
  cpu: os.cpus()[0]?.model ?? "unknown",
  cores: os.cpus().length,
  memory: `${Math.round(os.totalmem() / 2 ** 30)} GiB`,
  system: `${os.type()} ${os.machine()}`,
  node: process.version,
  servers,
  load: Math.round(os.loadavg()[0]! * 100) / 100
})

/** The commit that was measured; a `+` says that something was changed since. */
export const commit = (): string => {
  try {
    const git = (...args: ReadonlyArray<string>) =>
      execFileSync("git", args, { cwd: import.meta.dirname, encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] })
    const changed = git("status", "--porcelain", "--untracked-files=no", "--", "../../src").trim() !== ""
    return git("rev-parse", "--short", "HEAD").trim() + (changed ? "+" : "")
  } catch {
    return "unknown"
  }
}

export const folder = `${import.meta.dirname}/../results`

/** The name of a result's files, without what they end with. */
export const nameOf = (scenario: string, name: string): string => `${folder}/${scenario}-${name}`

export const save = (result: Result): void => {
  fs.mkdirSync(folder, { recursive: true })
  fs.writeFileSync(`${nameOf(result.scenario, result.name)}.json`, JSON.stringify(result, undefined, 1) + "\n")
}

export const read = (scenario: string, name: string): Result | undefined => {
  const file = `${nameOf(scenario, name)}.json`
  return fs.existsSync(file) ? JSON.parse(fs.readFileSync(file, "utf8")) as Result : undefined
}

/** The cases of a scenario as they are before anything was measured. */
export const empty = (scenario: Scenario): ReadonlyArray<CaseResult> =>
  scenario.cases.map(({ columns, difference, limit, name, note, reference, title, ...rest }) => ({
    name,
    title,
    reference,
    limit,
    columns,
    difference,
    note,
    outcomes: [
      ...rest.candidates.map(({ id, label }) => ({ id, label, runs: [] })),
      ...(rest.beside ?? []).map(({ id, label }) => ({ id, label, runs: [], beside: true }))
    ]
  }))
