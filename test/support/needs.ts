/**
 * What tests need that not every machine has. A test says so with `describeWith`. Where it is not to be had, the tests
 * are left out under a name that says why, or fail, if `WATERTIGHT_TEST_REQUIRE` names what is missing. What a run left
 * out is printed at its end.
 */
import { describe, inject } from "vitest"
import type {} from "./globalSetup.ts"
import { leftOut } from "./leftOut.ts"
import type { Need, SharedServer } from "./need.ts"
import { type Answer, ask } from "./questions.ts"

export type { Need, SharedServer }

const variable = "WATERTIGHT_TEST_REQUIRE"

/** What takes so long that only `npm run test:matrix` runs it. */
const slow: ReadonlyArray<string> = ["group-replication", "patroni"]

const isMatrix = (): boolean => (process.env["WATERTIGHT_TEST_MATRIX"] ?? "") !== ""

/** What a run must not leave out: everything in CI, and PostgreSQL everywhere. */
const isRequired = (name: string): boolean => {
  const given = process.env[variable] || (process.env["CI"] ? "all" : "postgresql")
  return given.split(",").some((each) => each === "all" || each === name)
}

const answers = new Map<string, Answer>()

const answerOf = (name: string): Answer => {
  const known = answers.get(name)
  if (known !== undefined) return known
  const answer = ask(inject("questions"), name)
  answers.set(name, answer)
  return answer
}

/** The URL of a server that all tests share; the first who asks has it started. */
export const sharedUrl = (server: SharedServer): string => {
  const answer = answerOf(`url-${server}`)
  if ("found" in answer) return answer.found
  throw new Error(answer.missing)
}

/** Why the tests that need all this are left out; `undefined` where they are not. Fails where they must not be. */
export const whyLeftOut = (...names: ReadonlyArray<Need | `url-${SharedServer}`>): string | undefined => {
  for (const name of names) {
    if (slow.includes(name) && !isMatrix()) return "it is a part of npm run test:matrix"
    const answer = answerOf(name)
    if ("found" in answer) continue
    if (isRequired(name.replace("url-", ""))) throw new Error(answer.missing)
    return answer.missing.split("\n")[0]
  }
  return undefined
}

type Describe = (name: string, body: () => void) => void

/** Like `describe`, of tests that need all of these to be on this machine. */
export const describeWith = (...names: ReadonlyArray<Need | `url-${SharedServer}`>): Describe => (name, body) => {
  const reason = whyLeftOut(...names)
  if (reason === undefined) describe(name, body)
  else describe.skip(`${name}${leftOut}${reason}`, body)
}
