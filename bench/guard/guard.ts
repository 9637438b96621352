/**
 * `npm run bench -- guard [commit]`: whether the working tree is slower or bigger than a commit. Both take turns in one
 * run, each time in a process of its own.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ServerError } from "../../test/support/servers/index.ts"
import type { Candidate, Case, Metrics, Pace, Scenario } from "../harness/model.ts"
import { inProcess } from "../harness/schedule.ts"
import * as Servers from "../harness/servers.ts"
import { format } from "../report/table.ts"
import { checkout, defaultCommit } from "./base.ts"
import { type Pair, type Verdict, verdictOf } from "./verdict.ts"

/** What is looked at of a candidate of ours in a case: columns of which less is better. */
interface Check {
  readonly scenario: string
  readonly case: string
  readonly candidate: string
  readonly keys: ReadonlyArray<string>
  /** How much more is no matter, as a part. */
  readonly allowance: number
  /** Counts that a run does not change need no more rounds. */
  readonly rounds?: number
}

/** CPU time of the client, since the rate is what the whole machine makes of it. */
const time = { keys: ["client"], allowance: 0.03 } as const
const size = { keys: ["each"], allowance: 0.03, rounds: 2 } as const

const checks: ReadonlyArray<Check> = [
  { scenario: "staircase", case: "nothing", candidate: "database", ...time },
  { scenario: "point", case: "postgres-echo", candidate: "watertight", ...time },
  { scenario: "point", case: "mariadb-echo", candidate: "watertight", ...time },
  { scenario: "transaction", case: "postgres", candidate: "watertight", ...time },
  { scenario: "transaction", case: "mariadb", candidate: "watertight", ...time },
  { scenario: "memory", case: "connections", candidate: "watertight", ...size },
  { scenario: "memory", case: "waiters", candidate: "watertight", ...size },
  {
    scenario: "startup",
    case: "postgres",
    candidate: "watertight",
    keys: ["modules", "bytes"],
    allowance: 0.02,
    rounds: 1
  }
]

interface Chosen extends Check {
  readonly found: Case
  readonly who: Candidate
}

const choose = async (parts: ReadonlyArray<string>): Promise<ReadonlyArray<Chosen>> => {
  const wanted = checks.filter((check) =>
    parts.length === 0 || parts.some((part) => `${check.scenario} ${check.case}`.includes(part))
  )
  return Promise.all(wanted.map(async (check) => {
    const scenario = ((await import(`../scenarios/${check.scenario}.ts`)) as { readonly default: Scenario }).default
    const found = scenario.cases.find(({ name }) => name === check.case)!
    return { ...check, found, who: found.candidates.find(({ id }) => id === check.candidate)! }
  }))
}

/** Resolves to whether nothing has become worse. */
export const guard = Effect.fnUntraced(function*(
  commit: string | undefined,
  pace: Pace,
  cases: ReadonlyArray<string>
): Effect.fn.Return<boolean, ServerError | Error, Scope.Scope> {
  const chosen = yield* Effect.promise(() => choose(cases))
  const against = commit ?? defaultCommit()
  const base = yield* checkout(against)
  const running = yield* Servers.start(new Set(chosen.flatMap(({ found }) => found.servers)))
  console.log(`The working tree against ${against}: more than 1 is worse\n`)
  console.log(`${"".padEnd(34)}${[against, "now", "ratio", "rounds"].map((text) => text.padStart(14)).join("")}`)

  const run = Effect.fnUntraced(function*(check: Chosen, bench: string | undefined, round: number) {
    for (const server of check.found.servers) {
      yield* Effect.orDie(running.execute(server, check.found.prepare?.[server] ?? []))
    }
    return yield* Effect.tryPromise({
      try: () =>
        inProcess(check.found, check.who, {
          scenario: check.scenario,
          case: check.case,
          candidate: check.candidate,
          servers: Object.fromEntries(check.found.servers.map((name) => [name, running.servers[name]])),
          pace,
          round
        }, { bench }),
      catch: (cause) => new Error(`${bench === undefined ? "now" : against}: ${(cause as Error).message}`)
    })
  })

  let isGood = true
  for (const check of chosen) {
    const rounds: Array<{ readonly base: Metrics; readonly now: Metrics }> = []
    const measured = yield* Effect.result(Effect.gen(function*() {
      for (let round = 0; round < (check.rounds ?? pace.rounds); round++) {
        // Who begins takes turns as well.
        if (round % 2 === 0) {
          rounds.push({ base: yield* run(check, base, round), now: yield* run(check, undefined, round) })
        } else {
          const now = yield* run(check, undefined, round)
          rounds.push({ base: yield* run(check, base, round), now })
        }
      }
    }))
    if (measured._tag === "Failure") {
      isGood = false
      console.log(`${check.scenario} ${check.case}: cannot be compared: ${measured.failure.message}`)
      continue
    }
    for (const key of check.keys) {
      const pairs = rounds.map(({ base, now }): Pair => ({ base: base[key] ?? NaN, now: now[key] ?? NaN }))
      const verdict = verdictOf(pairs, check.allowance)
      if (verdict.change === "worse") isGood = false
      console.log(lineOf(check, key, verdict, pairs.length))
    }
  }
  console.log(isGood ? "\nNothing is worse beyond the spread." : "\nSomething is worse.")
  return isGood
})

const lineOf = (check: Chosen, key: string, verdict: Verdict, rounds: number): string => {
  const column = check.found.columns.find((one) => one.key === key)!
  const { base, change, from, now, ratio, to } = verdict
  const mark = change === "worse" ? "  WORSE" : change === "better" ? "  better" : ""
  const cells = [format(base, column.format), format(now, column.format), ratio.toFixed(3)]
  return `${`${check.scenario} ${check.case} ${key}`.padEnd(34)}${cells.map((text) => text.padStart(14)).join("")}${
    `${from.toFixed(2)}–${to.toFixed(2)}`.padStart(14)
  }${rounds === 1 ? "" : ` of ${rounds}`}${mark}`
}
