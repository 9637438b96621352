import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawn } from "node:child_process"
import { freshDatabase } from "../support/index.ts"

/** Runs the quickstart as `npm run quickstart` does. */
const quickstart = (env: Record<string, string>) =>
  Effect.callback<{ readonly code: number | null; readonly output: string }>((resume) => {
    const child = spawn(process.execPath, ["--conditions=watertight-source", "examples/quickstart.ts"], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"]
    })
    let output = ""
    child.stdout.on("data", (chunk) => output += chunk)
    child.stderr.on("data", (chunk) => output += chunk)
    child.on("close", (code) => resume(Effect.succeed({ code, output })))
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const told = [
  /135,233 in/,
  /PT: Lisbon \(517,802\)/,
  /10,000 people moved +Lisbon 507,802, Porto 259,633/,
  /10,000,000 people\? +ConstraintError, NotApplied/,
  /nothing has changed +Lisbon 507,802, Porto 259,633/,
  /1000 fibers/,
  /0 are in use and 0 fibers wait/
]

it.live("the quickstart tells its story on the embedded database", () =>
  Effect.gen(function*() {
    const { code, output } = yield* quickstart({})
    assert.strictEqual(code, 0, output)
    for (const line of told) assert.match(output, line)
  }), 60_000)

it.live.each(["postgres", "mysql", "mariadb"] as const)(
  "the quickstart tells the same story on %s",
  (scheme) =>
    Effect.gen(function*() {
      const url = yield* freshDatabase(scheme === "postgres" ? "postgresql" : scheme)
      const { code, output } = yield* quickstart({ DATABASE_URL: url.replace(/^[a-z]+:/, `${scheme}:`) })
      assert.strictEqual(code, 0, output)
      for (const line of told) assert.match(output, line)
    }),
  60_000
)

it.live("without a database the quickstart says what is wrong, and nothing else", () =>
  Effect.gen(function*() {
    const { code, output } = yield* quickstart({ DATABASE_URL: "postgres://postgres@127.0.0.1:1/nothing" })
    assert.strictEqual(code, 1)
    assert.match(output, /ECONNREFUSED.*Nobody listens there\. See whether the database is up/)
    assert.notMatch(output, /at .*\.ts:\d+/)
  }), 60_000)
