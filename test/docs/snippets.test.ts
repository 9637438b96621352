/** Every code block of the pages and of the comments is type checked, so that a reader can paste it. */
import { assert, describe, it } from "@effect/vitest"
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { all, extract, root, type Snippet, writeProject } from "./snippets.ts"

/** What `tsc` says of the snippets, with the place in the page instead of the place in the project. */
const check = (snippets: ReadonlyArray<Snippet>): ReadonlyArray<string> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-snippets-"))
  try {
    const byName = writeProject(folder, snippets)
    const tsc = path.join(root, "node_modules/typescript/bin/tsc")
    const { stdout } = spawnSync(process.execPath, [tsc, "--pretty", "false", "-p", folder], {
      cwd: folder,
      encoding: "utf8"
    })
    return stdout.split("\n").filter((line) => /\berror TS/.test(line)).map((line) =>
      line.replace(/^(\w+\.ts)\((\d+),(\d+)\)/, (whole, name, row) => {
        const snippet = byName.get(name)
        return snippet === undefined ? whole : `${snippet.file}:${snippet.line + Number(row) - 1}`
      })
    )
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

describe("snippets", () => {
  it("of all pages and comments compile", { timeout: 120_000 }, () => {
    const snippets = all()
    assert.isAbove(snippets.filter(({ file }) => file === "README.md").length, 1)
    assert.isAbove(snippets.filter(({ file }) => file.startsWith("src/")).length, 30)
    assert.deepStrictEqual(check(snippets), [])
  })

  it("that are wrong are named by page and line", { timeout: 60_000 }, () => {
    const page = "# A page\n\n```ts\nconst one = 1\nconst wrong: string = one\n```\n"
    const comment = "/**\n * ```ts\n * import { Nothing } from \"watertight\"\n * ```\n */\n"
    const messages = check([...extract("docs/page.md", page), ...extract("src/File.ts", comment)])
    assert.lengthOf(messages, 2)
    assert.match(messages[0]!, /^docs\/page\.md:5: error TS2322/)
    assert.match(messages[1]!, /^src\/File\.ts:3: error TS2305/)
  })
})
