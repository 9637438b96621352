/** What is drawn while something takes long, and where it is not. */
import { assert, describe, it } from "@effect/vitest"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as path from "node:path"
import pg from "pg"
import { CurrentScreen, draw, progress } from "../../src/cli/progress.ts"
import { describeWith, freshDatabase, Terminal } from "../support/index.ts"
import { folder, program, root, write } from "./support.ts"

describe("progress", () => {
  it("the line is never as wide as the terminal, and counts what there is to count", () => {
    const state = { label: "20261127_a_very_long_name_of_a_migration", total: 40, done: 10, millis: 3400 }
    assert.strictEqual(
      draw(state, 200),
      "[#####...............] 10 of 40  20261127_a_very_long_name_of_a_migration  3 s"
    )
    assert.strictEqual(draw({ ...state, total: 0, label: "compares" }, 80), "/  compares  3 s")
    for (const columns of [80, 40, 10, 1, 0]) assert.isAtMost(draw(state, columns).length, Math.max(0, columns - 1))
  })

  for (
    const [name, isJson, hasScreen] of [
      ["with --json nothing is drawn and no line stays", true, true],
      ["without a terminal only the lines that stay are printed", false, false]
    ] as const
  ) {
    it.effect(name, () =>
      Effect.gen(function*() {
        const drawn: Array<string> = []
        const printed: Array<string> = []
        const screen = { columns: () => 80, write: (text: string) => void drawn.push(text) }
        yield* Effect.scoped(Effect.gen(function*() {
          const bar = yield* progress(isJson)
          yield* bar.now("works")
          yield* bar.of(2, 1)
          yield* bar.line("one is done")
        })).pipe(
          Effect.provideService(CurrentScreen, hasScreen ? screen : undefined),
          Effect.provideService(Console.Console, {
            ...globalThis.console,
            error: (text: string) => void printed.push(text)
          })
        )
        assert.deepStrictEqual(drawn, [])
        assert.deepStrictEqual(printed, isJson ? [] : ["one is done"])
      }))
  }
})

describeWith("url-postgresql", "tmux")("progress in a terminal", () => {
  it.live(
    "migrate: the bar is there while it works, and gone when it is done; a pipe gets none of it",
    () =>
      Effect.scoped(Effect.gen(function*() {
        const cwd = yield* folder
        const url = yield* freshDatabase()
        write(cwd, "1_quick.sql", "create table a (id int)")
        write(cwd, "2_slow.sql", "select pg_advisory_xact_lock(42)")
        write(cwd, "3_quick.sql", "create table b (id int)")
        const argsOf = (url: string) => ["migrate", "--url", url, "-d", path.join(cwd, "migrations")]
        const command = `${path.join(root, "node_modules/node/bin/node")} --conditions=watertight-source ${
          path.join(root, "src/cli/main.ts")
        } ${argsOf(url).join(" ")}`
        const gate = new pg.Client({ connectionString: url })
        yield* Effect.acquireRelease(Effect.promise(() => gate.connect()), () => Effect.promise(() => gate.end()))
        yield* Effect.promise(() => gate.query("select pg_advisory_lock(42)"))
        const terminal = yield* Terminal.open(command, { columns: 80, rows: 24 })
        const shown = yield* terminal.until("1 of 3  2_slow")
        assert.include(shown, "✓ 1_quick")
        assert.include(shown, "[#######.............] 1 of 3  2_slow")
        yield* Effect.promise(() => gate.query("select pg_advisory_unlock(42)"))
        const ended = yield* terminal.until("3 applied, 3 in all")
        assert.notInclude(ended, " of 3")
        const piped = yield* program(argsOf(yield* freshDatabase()))
        assert.include(piped.stderr, "1_quick")
        for (const sign of ["\r", "\u001b", "#"]) assert.notInclude(piped.stderr, sign)
      })),
    180_000
  )
})
