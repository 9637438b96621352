/**
 * How test files ask the process that runs them all: for the URL of a server that they share, which is started when the
 * first of them asks, and whether a server can be had. A question is a file in a folder, and so is its answer: a test
 * file can wait for it while it is being collected, where nothing may be asynchronous.
 */
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import * as fs from "node:fs"
import * as path from "node:path"
import { explain, type ServerError } from "./servers/ServerError.ts"

/** What was found, or what is missing and what to do about it. */
export type Answer = { readonly found: string } | { readonly missing: string }

const patienceMillis = 900_000

/** Answers questions in a folder until the scope ends. What an answer starts ends with the scope too. */
export const answer = (
  folder: string,
  answers: Readonly<Record<string, Effect.Effect<string, ServerError, Scope.Scope>>>
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function*() {
    const scope = yield* Effect.scope
    const asked = new Set<string>()
    const reply = (name: string): void => {
      asked.add(name)
      const give = (answer: Answer) =>
        Effect.sync(() => {
          const draft = path.join(folder, `${name}.draft`)
          fs.writeFileSync(draft, JSON.stringify(answer))
          fs.renameSync(draft, path.join(folder, `${name}.answer`))
        })
      const attempt = answers[name]
      Effect.runFork(
        attempt === undefined ? give({ missing: `There is nothing called ${name}` }) : attempt.pipe(
          Scope.provide(scope),
          Effect.matchEffect({
            onSuccess: (found) => give({ found }),
            onFailure: (error) => give({ missing: explain(error) })
          })
        )
      )
    }
    yield* Effect.acquireRelease(
      Effect.sync(() =>
        setInterval(() => {
          for (const file of fs.readdirSync(folder)) {
            const name = path.basename(file, ".question")
            if (file.endsWith(".question") && !asked.has(name)) reply(name)
          }
        }, 10)
      ),
      (timer) => Effect.sync(() => clearInterval(timer))
    )
  })

const sleeping = new Int32Array(new SharedArrayBuffer(4))

/** Asks, and waits for the answer. */
export const ask = (folder: string, name: string): Answer => {
  const file = path.join(folder, `${name}.answer`)
  fs.writeFileSync(path.join(folder, `${name}.question`), "")
  for (let waited = 0; !fs.existsSync(file); waited += 5) {
    if (waited > patienceMillis) return { missing: `No answer about ${name} in ${patienceMillis / 1000} s` }
    Atomics.wait(sleeping, 0, 0, 5)
  }
  return JSON.parse(fs.readFileSync(file, "utf8")) as Answer
}
