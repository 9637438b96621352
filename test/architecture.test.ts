/** The rings of `docs/architecture.md` are held by the linter. Here the linter is shown to bite. */
import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

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
      ["src/core/Probe.ts", "../Adapter.ts", "Ring 1"],
      ["src/core/Probe.ts", "../postgres/index.ts", "Ring 1"],
      ["src/core/Probe.ts", "node:net", "Ring 1"],
      ["src/core/Probe.ts", "mariadb", "Ring 1"],
      ["src/core/Probe.ts", "events", "Ring 1"],
      ["src/core/Probe.ts", "effect", "Ring 1 has no runtime"],
      ["src/core/Probe.ts", "effect/Effect", "Ring 1 has no runtime"],
      ["src/core/Probe.ts", "effect/Clock", "Ring 1 has no runtime"],
      ["src/Probe.ts", "@effect/sql-pg/PgClient", "Ring 2 knows no driver"],
      ["src/Probe.ts", "mysql2/promise", "Ring 2 knows no driver"],
      ["src/Probe.ts", "@electric-sql/pglite", "Ring 2 knows no driver"],
      ["src/Probe.ts", "node:tls", "Ring 2 knows no driver"],
      ["src/Probe.ts", "./postgres/index.ts", "Ring 2 knows no database"],
      ["src/Probe.ts", "./mysql-common/errors.ts", "Ring 2 knows no database"],
      ["src/internal/Probe.ts", "../pglite/index.ts", "Ring 2 knows no database"],
      ["src/postgres/Probe.ts", "../pglite/index.ts", "imports no other one"],
      ["src/postgres/internal/Probe.ts", "../../mysql/index.ts", "imports no other one"],
      ["src/postgres/Probe.ts", "mysql2", "its own folder"],
      ["src/postgres/Probe.ts", "watertight", "by relative path"],
      ["src/pglite/Probe.ts", "../mysql-common/errors.ts", "imports no other one"],
      ["src/pglite/Probe.ts", "@effect/sql-pg/PgClient", "its own folder"],
      ["src/mysql/Probe.ts", "../mariadb/index.ts", "imports no other one"],
      ["src/mysql/Probe.ts", "mariadb", "its own folder"],
      ["src/mariadb/Probe.ts", "../mysql/index.ts", "imports no other one"],
      ["src/mariadb/Probe.ts", "mysql2", "its own folder"],
      ["src/mysql-common/Probe.ts", "mysql2", "neither driver"]
    ] as const
  ) {
    it(`${specifier} in ${file}`, () => {
      assert.include(lint(file, importing(specifier)), reason)
    })
  }

  for (
    const [expression, reason] of [
      ["Date.now()", "Ring 1 has no clock"],
      ["new Date()", "Ring 1 has no clock"],
      ["performance.now()", "Ring 1 has no clock"],
      ["Math.random()", "Ring 1 has no randomness"],
      ["setTimeout(() => {}, 1)", "Ring 1 has no timers"]
    ] as const
  ) {
    it(`${expression} in src/core`, () => {
      assert.include(lint("src/core/Probe.ts", `export const probe = ${expression}\n`), reason)
    })
  }
})

describe("the linter allows", () => {
  for (
    const [file, source] of [
      ["src/core/Probe.ts", importing("./Neighbour.ts")],
      ["src/core/Probe.ts", importing("effect/Duration")],
      [
        "src/core/Probe.ts",
        "import type * as Effect from \"effect/Effect\"\nexport type Probe = Effect.Effect<void>\n"
      ],
      ["src/Probe.ts", importing("./core/PoolState.ts")],
      ["src/Probe.ts", importing("effect/Effect")],
      ["src/postgres/Probe.ts", importing("@effect/sql-pg/PgClient")],
      ["src/postgres/Probe.ts", importing("../Adapter.ts")],
      ["src/pglite/Probe.ts", importing("../postgres/Adapter.ts")],
      ["src/pglite/Probe.ts", importing("@electric-sql/pglite")],
      ["src/mysql/Probe.ts", importing("../mysql-common/errors.ts")],
      ["src/mysql/Probe.ts", importing("mysql2")],
      ["src/mariadb/Probe.ts", importing("mariadb")]
    ] as const
  ) {
    it(`${source.trim().split("\n")[0]} in ${file}`, () => {
      assert.strictEqual(lint(file, source), "")
    })
  }
})
