/**
 * Runs the suites of each database on newer servers than those of this machine, and prints a table of what came of it.
 *
 * With `--all` the servers of this machine are a part of the table too, and with `--write` it goes into
 * `docs/servers.md`.
 */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import type { FileSummary } from "./reporter.ts"
import * as Binaries from "./servers/binaries.ts"
import { MariadbServer, MysqlServer, PgBouncer, PostgresServer } from "./servers/index.ts"
import type { ServerError } from "./servers/ServerError.ts"
import { run } from "./servers/ServerProcess.ts"
import * as Unpack from "./servers/unpack.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Suites that run on servers of one family, and whose programs they are. */
interface Family {
  readonly suites: ReadonlyArray<string>
  readonly servers: Readonly<Record<string, Binaries.Requirement>>
}

const families: ReadonlyArray<Family> = [
  {
    suites: [
      "test/postgres/",
      "test/transaction/",
      "test/failure/",
      "test/contract/postgres",
      "test/contract/pgbouncer"
    ],
    servers: { PostgreSQL: PostgresServer.requirement, PgBouncer: PgBouncer.requirement }
  },
  {
    suites: ["test/mysql-family/", "test/contract/mysql", "test/contract/mariadb"],
    servers: { MySQL: MysqlServer.requirement, MariaDB: MariadbServer.requirement }
  }
]

/** One line of the table. */
interface Row {
  readonly suite: string
  readonly server: string
  passed: number
  failed: number
  leftOut: number
}

/** The folders of the newest servers, for the front of the `PATH`. */
const newest = (family: Family): Effect.Effect<ReadonlyArray<string>, ServerError> =>
  Effect.forEach(
    Object.values(family.servers),
    ({ debian }) => Unpack.unpack({ ...debian, release: debian.release ?? "sid" })
  )

const versionsOf = Effect.fnUntraced(function*(family: Family, searchPath: string) {
  const versions: Record<string, string> = {}
  for (const [name, requirement] of Object.entries(family.servers)) {
    const before = process.env["PATH"]
    process.env["PATH"] = searchPath
    const program = yield* Binaries.locate(requirement)
    process.env["PATH"] = before
    versions[name] = /\d+\.\d+(\.\d+)?/.exec(yield* run(program, ["--version"]))?.[0] ?? "?"
  }
  return versions
})

/** Runs the suites of a family with these servers; the summaries of their files, and whether all went well. */
const runSuites = (
  family: Family,
  searchPath: string
): Effect.Effect<{ readonly files: ReadonlyArray<FileSummary>; readonly isGood: boolean }> =>
  Effect.callback((resume) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-matrix-"))
    const summary = path.join(folder, "summary.json")
    const vitest = path.join(root, "node_modules/vitest/vitest.mjs")
    const child = spawn(process.execPath, [vitest, "run", ...family.suites], {
      cwd: root,
      stdio: "inherit",
      env: {
        ...process.env,
        PATH: searchPath,
        WATERTIGHT_TEST_MATRIX: "1",
        WATERTIGHT_TEST_SUMMARY: summary
      }
    })
    child.once("close", (code) => {
      const files = fs.existsSync(summary) ? JSON.parse(fs.readFileSync(summary, "utf8")) as Array<FileSummary> : []
      fs.rmSync(folder, { recursive: true, force: true })
      resume(Effect.succeed({ files, isGood: code === 0 && files.length > 0 }))
    })
  })

const rowsOf = (
  family: Family,
  versions: Readonly<Record<string, string>>,
  files: ReadonlyArray<FileSummary>
): ReadonlyArray<Row> => {
  const rows = new Map<string, Row>()
  const main = Object.keys(family.servers)[0]!
  for (const { counts, file } of files) {
    const suite = family.suites.find((suite) => file.startsWith(suite)) ?? file
    for (const [found, { failed, leftOut, passed }] of Object.entries(counts)) {
      const name = suite.endsWith("pgbouncer") ? "PgBouncer" : found === "" ? main : found
      // Where a test file has tests of no server, they are counted with those of the first.
      const server = `${name} ${versions[name] ?? ""}`.trim()
      const title = suite.replace(/^test\//, "").replace(/\/$/, "").replace(/^contract\/.*/, "contract")
      const row = rows.get(`${title} ${server}`) ?? { suite: title, server, passed: 0, failed: 0, leftOut: 0 }
      row.passed += passed
      row.failed += failed
      row.leftOut += leftOut
      rows.set(`${title} ${server}`, row)
    }
  }
  return [...rows.values()].toSorted((a, b) => a.server.localeCompare(b.server) || a.suite.localeCompare(b.suite))
}

const tableOf = (rows: ReadonlyArray<Row>): string => {
  const cells = [
    ["suite", "server", "passed", "failed", "left out"],
    ...rows.map((row) => [row.suite, row.server, ...[row.passed, row.failed, row.leftOut].map(String)])
  ]
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((line) => line[column]!.length)))
  const lines = cells.map((line) => `| ${line.map((cell, column) => cell.padEnd(widths[column]!)).join(" | ")} |`)
  lines.splice(1, 0, `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`)
  return lines.join("\n")
}

const writeTable = (table: string): void => {
  const file = path.join(root, "docs/servers.md")
  const page = fs.readFileSync(file, "utf8")
  const [before, rest] = page.split("<!-- matrix -->\n")
  const after = rest!.slice(rest!.indexOf("<!-- end of matrix -->"))
  fs.writeFileSync(file, `${before}<!-- matrix -->\n\n${table}\n\n${after}`)
}

const matrix = Effect.gen(function*() {
  const own = process.env["PATH"] ?? ""
  const rows: Array<Row> = []
  let isGood = true
  for (const family of families) {
    const folders = yield* newest(family)
    const paths = [[...folders, own].join(path.delimiter), ...(process.argv.includes("--all") ? [own] : [])]
    for (const searchPath of paths) {
      const versions = yield* versionsOf(family, searchPath)
      const result = yield* runSuites(family, searchPath)
      isGood &&= result.isGood
      rows.push(...rowsOf(family, versions, result.files))
    }
  }
  const table = tableOf(rows)
  const sum = (of: (row: Row) => number) => rows.reduce((sum, row) => sum + of(row), 0)
  const total = `${sum((row) => row.passed)} passed, ${sum((row) => row.failed)} failed, ` +
    `${sum((row) => row.leftOut)} skipped`
  console.log(`\n${table}\n\n${total}`)
  if (process.argv.includes("--write")) writeTable(table)
  if (!isGood) process.exitCode = 1
})

await Effect.runPromise(matrix)
