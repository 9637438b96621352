/** `watertight top`: a live view of a running program that serves `Monitor.layer`. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Result from "effect/Result"
import type * as Scope from "effect/Scope"
import * as Terminal from "effect/Terminal"
import type { Snapshot } from "../../monitor/Snapshot.ts"
import { code, Colors, Exit } from "../answer.ts"
import { conclude, json } from "../flags.ts"
import { Unreached, Usage } from "../problems.ts"
import { line, type Paint, screen } from "./screen.ts"

export const top = Command.make("top", {
  url: Argument.String("url").pipe(
    Argument.withDescription("Where the program serves it. Default: http://127.0.0.1:7717"),
    Argument.withDefault("http://127.0.0.1:7717")
  ),
  json,
  once: Flag.Boolean("once").pipe(
    Flag.withDescription("Print one screen, and end"),
    Flag.withDefault(false)
  ),
  interval: Flag.Int("interval").pipe(
    Flag.withDescription("How many milliseconds to wait between two screens. Default: 1000"),
    Flag.withMetavar("MILLISECONDS"),
    Flag.withDefault(1000)
  )
}, (flags) =>
  conclude(
    "top",
    flags.json,
    Effect.gen(function*() {
      const read = snapshotOf(flags.url)
      const first = yield* read
      const hasColors = yield* Colors
      const paint: Paint = (color, text) => hasColors ? code(color, text) : text
      const terminal = yield* Terminal.Terminal
      const columns = yield* terminal.columns
      const isTerminal = columns > 0
      if (flags.json || flags.once) {
        const size = { columns: isTerminal ? columns : 120, rows: 60 }
        return { command: "top", exitCode: Exit.ok, data: { snapshot: first }, lines: screen(first, size, paint) }
      }
      const interval = Math.max(100, flags.interval)
      yield* isTerminal ? Effect.scoped(live(read, interval, paint)) : lines(read, interval)
      return { command: "top", exitCode: Exit.ok, data: {}, lines: [] }
    })
  )).pipe(
    Command.withDescription("Look at the connections of a running program"),
    Command.withExamples([
      { command: "watertight top", description: "The program of this machine that serves `Monitor.layer`" },
      { command: "watertight top http://127.0.0.1:9000 --json", description: "One snapshot, for a script" }
    ])
  )

/** Reads one snapshot. */
const snapshotOf = (url: string): Effect.Effect<Snapshot, Unreached | Usage> => {
  if (!URL.canParse(url) || !/^https?:/.test(url)) {
    return Effect.fail(new Usage({ problem: `not a URL of a monitor: http://127.0.0.1:7717 is one` }))
  }
  const at = new URL("snapshot", url.endsWith("/") ? url : `${url}/`)
  const unreached = (problem: string) =>
    new Unreached({ problem: `${at.origin} ${problem}: does the program have \`Monitor.layer\`?` })
  return Effect.tryPromise({
    try: (signal) => fetch(at, { signal: AbortSignal.any([signal, AbortSignal.timeout(5000)]) }),
    catch: () => unreached("does not answer")
  }).pipe(
    Effect.flatMap((response) =>
      Effect.tryPromise({
        try: () => response.ok ? response.json() as Promise<Snapshot> : Promise.reject(new Error(response.statusText)),
        catch: () => unreached("does not answer with a snapshot")
      })
    ),
    Effect.filterOrFail(
      (snapshot) => snapshot.version === 1 && Array.isArray(snapshot.databases),
      () => unreached("answers in another version")
    )
  )
}

/** Without a terminal: a line each time. */
const lines = (read: Effect.Effect<Snapshot, Unreached | Usage>, interval: number) =>
  read.pipe(
    Effect.match({ onSuccess: line, onFailure: (error) => error.problem }),
    Effect.flatMap((text) => Console.log(text)),
    Effect.andThen(Effect.sleep(interval)),
    Effect.forever
  )

/** The other screen of the terminal, without its cursor; and back, however this ends. */
const enter = "\u001b[?1049h\u001b[?25l"
const leave = "\u001b[?25h\u001b[?1049l"

/** Draws until `q` is pressed. */
const live = Effect.fnUntraced(function*(
  read: Effect.Effect<Snapshot, Unreached | Usage>,
  interval: number,
  paint: Paint
): Effect.fn.Return<void, never, Terminal.Terminal | Scope.Scope> {
  const terminal = yield* Terminal.Terminal
  const show = (text: string) => Effect.ignore(terminal.display(text))
  const keys = yield* terminal.readInput
  const sizes = yield* terminal.size
  yield* Effect.acquireRelease(show(enter), () => show(leave))
  let last: Snapshot | undefined
  let problem: string | undefined
  const draw = Effect.gen(function*() {
    const size = { columns: yield* terminal.columns, rows: yield* terminal.rows }
    const body = last === undefined ? [] : screen(last, { ...size, rows: size.rows - 1 }, paint)
    const all = problem === undefined ? body : [paint("red", problem.slice(0, size.columns)), ...body]
    // Each line is written over, and what is behind its end is erased: a cleared screen would flicker.
    yield* show(`\u001b[H${all.map((text) => `${text}\u001b[K`).join("\r\n")}\u001b[J`)
  })
  const refresh = Effect.gen(function*() {
    const found = yield* Effect.result(read)
    if (Result.isSuccess(found)) {
      last = found.success
      problem = undefined
    } else {
      problem = `reconnecting: ${found.failure.problem}`
    }
    yield* draw
  })
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(refresh, Effect.sleep(interval))))
  yield* Effect.forkScoped(Effect.forever(Effect.andThen(Queue.take(sizes), draw)))
  // `q`, or the end of the input: Control-C ends it too.
  yield* Queue.take(keys).pipe(
    Effect.repeat({ until: ({ key }) => key.name === "q" || key.name === "escape" }),
    Effect.ignore
  )
})
