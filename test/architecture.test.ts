/** The rooms of `docs/architecture.md` are held by the linter. Here the linter is shown to bite. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { long } from "./support/long.ts"

const root = fileURLToPath(new URL("..", import.meta.url))

/** Lints one file as if it lay at `file` in this repository; returns the messages. */
const lint = (file: string, source: string): string => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-lint-"))
  try {
    fs.copyFileSync(path.join(root, ".oxlintrc.json"), path.join(folder, ".oxlintrc.json"))
    const target = path.join(folder, file)
    fs.mkdirSync(path.dirname(target), { recursive: true })
    fs.writeFileSync(target, source)
    const oxlint = path.join(root, "node_modules/oxlint/bin/oxlint")
    execFileSync(process.execPath, [oxlint, "--config", ".oxlintrc.json"], { cwd: folder, encoding: "utf8" })
    return ""
  } catch (error) {
    return (error as { readonly stdout: string }).stdout
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

const importing = (specifier: string) => `export * as Imported from "${specifier}"\n`

describe("the linter refuses", () => {
  for (
    const [file, specifier, reason] of [
      ["src/pool/state/Probe.ts", "../Pool.ts", "A pure room"],
      ["src/pool/state/Probe.ts", "../../postgres/index.ts", "A pure room"],
      ["src/pool/state/Probe.ts", "node:net", "A pure room"],
      ["src/pool/state/Probe.ts", "mariadb", "A pure room"],
      ["src/pool/state/Probe.ts", "events", "A pure room"],
      ["src/pool/state/Probe.ts", "effect", "A pure room has no runtime"],
      ["src/pool/state/Probe.ts", "effect/Effect", "A pure room has no runtime"],
      ["src/pool/state/Probe.ts", "effect/Clock", "A pure room has no runtime"],
      ["src/cluster/state/Probe.ts", "../Cluster.ts", "A pure room"],
      ["src/cluster/state/Probe.ts", "effect/Effect", "A pure room has no runtime"],
      ["src/cluster/Probe.ts", "../postgres/index.ts", "This room knows no database"],
      ["src/Probe.ts", "@effect/sql-pg/PgClient", "This room knows no driver"],
      ["src/Probe.ts", "mysql2/promise", "This room knows no driver"],
      ["src/Probe.ts", "@electric-sql/pglite", "This room knows no driver"],
      ["src/Probe.ts", "node:tls", "This room knows no driver"],
      ["src/Probe.ts", "./postgres/index.ts", "This room knows no database"],
      ["src/Probe.ts", "./mysql-family/errors.ts", "This room knows no database"],
      ["src/pool/Probe.ts", "../pglite/index.ts", "This room knows no database"],
      ["src/postgres/Probe.ts", "../pglite/index.ts", "imports no other one"],
      ["src/postgres/session/Probe.ts", "../../mysql/index.ts", "imports no other one"],
      ["src/postgres/Probe.ts", "mysql2", "its own folder"],
      ["src/postgres/Probe.ts", "watertight", "by relative path"],
      ["src/pglite/Probe.ts", "../mysql-family/errors.ts", "imports no other one"],
      ["src/pglite/Probe.ts", "@effect/sql-pg/PgClient", "its own folder"],
      ["src/mysql/Probe.ts", "../mariadb/index.ts", "imports no other one"],
      ["src/mysql/Probe.ts", "mariadb", "its own folder"],
      ["src/mariadb/Probe.ts", "../mysql/index.ts", "imports no other one"],
      ["src/mariadb/Probe.ts", "mysql2", "its own folder"],
      ["src/mysql-family/Probe.ts", "mysql2", "neither driver"]
    ] as const
  ) {
    it(`${specifier} in ${file}`, () => {
      assert.include(lint(file, importing(specifier)), reason)
    })
  }

  for (
    const [expression, reason] of [
      ["Date.now()", "A pure room has no clock"],
      ["new Date()", "A pure room has no clock"],
      ["performance.now()", "A pure room has no clock"],
      ["Math.random()", "A pure room has no randomness"],
      ["setTimeout(() => {}, 1)", "A pure room has no timers"]
    ] as const
  ) {
    it(`${expression} in src/pool/state`, () => {
      assert.include(lint("src/pool/state/Probe.ts", `export const probe = ${expression}\n`), reason)
    })
  }
})

describe("a circle of types", () => {
  it("is refused by the linter", () => {
    const config = fs.readFileSync(path.join(root, ".oxlintrc.json"), "utf8")
    assert.match(config, /"import\/no-cycle": \["error", \{ "ignoreTypes": false \}\]/)
  })
})

describe("sizes", () => {
  const most = 20
  const lines = (count: number, line: (i: number) => string) =>
    Array.from({ length: count }, (_, i) => line(i)).join("")
  /** A file with a function, each of so many lines. */
  const file = (long: number, body: number) =>
    `export const probe = () => {\n${lines(body - 2, (i) => `  console.log(${i})\n`)}}\n` +
    lines(long - body, (i) => `export const line${i} = ${i}\n`)

  for (const folder of ["src", "test/support", "bench"]) {
    it(`${folder}: the linter refuses a file of more than 800 lines, and a function of more than 150`, () => {
      assert.strictEqual(lint(`${folder}/Probe.ts`, file(800, 150)), "")
      const messages = lint(`${folder}/Probe.ts`, file(801, 151))
      assert.include(messages, "max-lines)")
      assert.include(messages, "max-lines-per-function)")
    })
  }

  /** Folders with more files than somebody looks through. */
  const crowded = (folder: string): ReadonlyArray<string> => {
    const entries = fs.readdirSync(folder, { withFileTypes: true })
    const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith(".ts"))
    return entries
      .filter((entry) => entry.isDirectory() && entry.name !== "node_modules")
      .flatMap((entry) => crowded(path.join(folder, entry.name)))
      .concat(files.length > most ? [`${path.relative(root, folder)}: ${files.length} files`] : [])
  }

  it(`no folder has more than ${most} files`, () => {
    const found = ["src", "test", "bench", "examples"].flatMap((folder) => crowded(path.join(root, folder)))
    assert.deepStrictEqual(found, [])
  })

  it(`a folder of ${most + 1} files is found`, () => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-sizes-"))
    try {
      const room = path.join(folder, "room")
      fs.mkdirSync(room)
      for (let i = 0; i <= most; i++) fs.writeFileSync(path.join(room, `${i}.ts`), "")
      assert.deepStrictEqual(crowded(folder), [`${path.relative(root, room)}: ${most + 1} files`])
    } finally {
      fs.rmSync(folder, { recursive: true, force: true })
    }
  })
})

describe("the linter allows", () => {
  for (
    const [file, source] of [
      ["src/pool/state/Probe.ts", importing("./Neighbour.ts")],
      ["src/pool/state/Probe.ts", importing("effect/Duration")],
      [
        "src/pool/state/Probe.ts",
        "import type * as Effect from \"effect/Effect\"\nexport type Probe = Effect.Effect<void>\n"
      ],
      ["src/Probe.ts", importing("./pool/state/PoolState.ts")],
      ["src/Probe.ts", importing("effect/Effect")],
      ["src/postgres/Probe.ts", importing("@effect/sql-pg/PgClient")],
      ["src/postgres/Probe.ts", importing("../Adapter.ts")],
      ["src/pglite/Probe.ts", importing("../postgres/Adapter.ts")],
      ["src/pglite/Probe.ts", importing("@electric-sql/pglite")],
      ["src/mysql/Probe.ts", importing("../mysql-family/errors.ts")],
      ["src/mysql/Probe.ts", importing("mysql2")],
      ["src/mariadb/Probe.ts", importing("mariadb")]
    ] as const
  ) {
    it(`${source.trim().split("\n")[0]} in ${file}`, () => {
      assert.strictEqual(lint(file, source), "")
    })
  }
})

describe("the pages", () => {
  const pages = ["README.md", "CONTRIBUTING.md", "AGENTS.md", "llms.txt"].concat(
    fs.readdirSync(path.join(root, "docs"), { recursive: true, encoding: "utf8" })
      .filter((file) => file.endsWith(".md"))
      .map((file) => path.join("docs", file))
  )
  for (const page of pages) {
    it(`${page}: each link leads to a file of the repository`, () => {
      const text = fs.readFileSync(path.join(root, page), "utf8")
      const broken = Array.from(text.matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g), (match) => match[1]!).filter((target) =>
        !/^\w+:/.test(target) && !fs.existsSync(path.join(root, path.dirname(page), target))
      )
      assert.deepStrictEqual(broken, [])
    })
  }

  it("docs/architecture.md: each room that it names is a folder", () => {
    const text = fs.readFileSync(path.join(root, "docs/architecture.md"), "utf8")
    const missing = Array.from(text.matchAll(/`((?:src|test)\/[\w/-]+)\/?`/g), (match) => match[1]!)
      .filter((folder) => !fs.existsSync(path.join(root, folder)))
    assert.deepStrictEqual(missing, [])
  })
})

describe("the files that take long", () => {
  it("are there, each once, and in order", () => {
    assert.deepStrictEqual(long.filter((file) => !fs.existsSync(path.join(root, file))), [])
    assert.deepStrictEqual([...new Set(long)].toSorted(), long)
  })
})
