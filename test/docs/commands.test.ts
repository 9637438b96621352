/** The commands that pages and messages name, against those that there are. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { Exit } from "../../src/cli/answer.ts"
import { cli, root } from "../cli/support.ts"

/** A command line that a text names. */
interface Named {
  readonly file: string
  readonly command: string
  readonly flags: ReadonlyArray<string>
}

const files = (folder: string, ending: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending) && !name.includes("node_modules"))
    .map((name) => path.join(folder, name))

const flagsOf = (text: string): ReadonlyArray<string> => text.match(/(?<=\s)--?[a-z][\w-]*/g) ?? []

/** Lines of shells, and what stands between backticks. */
const namedIn = (file: string, text: string): ReadonlyArray<Named> =>
  [...text.matchAll(/(?:^|`|\bnpx )watertight ([a-z]+)\b([^`\n]*)/gm)]
    .filter(([whole]) => !whole.includes(" effect"))
    .map(([, command, rest]) => ({ file, command: command!, flags: flagsOf(rest!) }))

/** The first column of the table of commands. */
const tabled = (text: string): ReadonlyArray<Named> =>
  [...text.matchAll(/^\| `([a-z]+)([^`]*)` +\|/gm)].map(([, command, rest]) => ({
    file: "the table of docs/cli.md",
    command: command!,
    flags: flagsOf(rest!)
  }))

const page = fs.readFileSync(path.join(root, "docs/cli.md"), "utf8")

const commands = Effect.map(
  cli(".", ["--help"]),
  ({ stdout }) => [...stdout.split("SUBCOMMANDS")[1]!.matchAll(/^ {2}(\w+) /gm)].map(([, name]) => name!)
)

describe("the command line", () => {
  it.live(
    "what pages, comments and messages name is there, and every command is on its page",
    () =>
      Effect.gen(function*() {
        const known = new Map<string, ReadonlySet<string>>()
        for (const command of yield* commands) {
          const { stdout } = yield* cli(".", [command, "--help"])
          known.set(command, new Set(flagsOf(stdout)))
        }
        const named = [
          ...tabled(page.split("## Commands")[1]!.split("\n## ")[0]!),
          ...["README.md", ...files("docs", ".md"), ...files("src", ".ts"), ...files("examples", ".ts")].flatMap((
            file
          ) => namedIn(file, fs.readFileSync(path.join(root, file), "utf8")))
        ]
        assert.isAbove(named.length, 30)
        for (const { command, file, flags } of named) {
          assert.isTrue(known.has(command), `${file} names \`watertight ${command}\`, which does not exist`)
          for (const flag of flags) {
            assert.isTrue(known.get(command)!.has(flag), `${file} names \`${command} ${flag}\`, which does not exist`)
          }
        }
        const onPage = new Set(named.filter(({ file }) => file.endsWith("docs/cli.md")).map(({ command }) => command))
        assert.deepStrictEqual([...known.keys()].filter((command) => !onPage.has(command)), [])
      }),
    120_000
  )

  it("what is wrong is found", () => {
    assert.deepStrictEqual(namedIn("x", "```sh\nnpx watertight migrat --dri\n```\nor `watertight status -x`"), [
      { file: "x", command: "migrat", flags: ["--dri"] },
      { file: "x", command: "status", flags: ["-x"] }
    ])
  })

  it("the exit codes on the page are those of the program", () => {
    const codes = [...page.split("| exit code")[1]!.matchAll(/^\| (\d+) +\|/gm)].map(([, code]) => Number(code))
    // The last one is that of a process that a signal has stopped.
    assert.deepStrictEqual(codes, [...Object.values(Exit).toSorted((left, right) => left - right), 130])
  })
})
