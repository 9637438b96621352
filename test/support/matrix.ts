/**
 * Runs the suites of each database on newer servers than those of this machine, and prints a table of what came of it.
 *
 * Words are the names of families, and say which of them to run. With `--all` the servers of this machine are a part of
 * the table too, and with `--write` it goes into `docs/servers.md`. With `--again` a few files that failed run once more alone.
 */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { parseArgs } from "node:util"
import { long } from "./long.ts"
import type { FileSummary } from "./reporter.ts"
import * as Binaries from "./servers/binaries.ts"
import { MariadbServer, MysqlServer, PgBouncer, PostgresServer } from "./servers/index.ts"
import type { ServerError } from "./servers/ServerError.ts"
import { run } from "./servers/ServerProcess.ts"
import * as Unpack from "./servers/unpack.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** Suites that run on servers of one family, and whose programs they are. */
interface Family {
  readonly name: string
  readonly suites: ReadonlyArray<string>
  /** The first is that of tests which name none. */
  readonly servers: Readonly<Record<string, Binaries.Requirement>>
  /** Test files of servers that are made of others, or stand before them. */
  readonly places?: Readonly<Record<string, string>> | undefined
}

const families: ReadonlyArray<Family> = [
  {
    name: "postgresql",
    suites: [
      "test/postgres/",
      "test/transaction/",
      "test/failure/",
      "test/cluster/",
      "test/contract/postgres",
      "test/contract/pgbouncer"
    ],
    servers: { PostgreSQL: PostgresServer.requirement, PgBouncer: PgBouncer.requirement },
    places: { "test/contract/pgbouncer": "PgBouncer", "test/cluster/patroni": "Patroni of PostgreSQL" }
  },
  {
    name: "mysql",
    suites: ["test/mysql-family/", "test/contract/mysql", "test/contract/mariadb"],
    servers: { MySQL: MysqlServer.requirement, MariaDB: MariadbServer.requirement },
    places: {
      "test/mysql-family/cluster/galera": "Galera of MariaDB",
      "test/mysql-family/cluster/groupReplication": "Group Replication of MySQL"
    }
  }
]

const isOfFamily = (file: string): boolean =>
  families.some(({ suites }) => suites.some((suite) => file.startsWith(suite)))

/** What takes long and belongs to no family: it runs once, on the servers of this machine. */
const others: Family = { name: "others", suites: long.filter((file) => !isOfFamily(file)), servers: {} }

const all: ReadonlyArray<Family> = [...families, others]

/** One line of the table. */
interface Row {
  readonly suite: string
  readonly server: string
  passed: number
  failed: number
  leftOut: number
  /** Why how many were left out. */
  readonly reasons: Map<string, number>
}

/** The folders of the newest servers, for the front of the `PATH`. */
const newest = (family: Family): Effect.Effect<ReadonlyArray<string>, ServerError> =>
  Effect.forEach(
    Object.values(family.servers).flatMap(({ debian }) => debian ?? []),
    (debian) => Unpack.unpack({ ...debian, release: debian.release ?? "sid" })
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

interface Run {
  readonly files: ReadonlyArray<FileSummary>
  readonly isGood: boolean
}

/** Runs suites with these servers; the summaries of their files, and whether all went well. */
const runSuites = (suites: ReadonlyArray<string>, searchPath: string): Effect.Effect<Run> =>
  Effect.callback((resume) => {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-matrix-"))
    const summary = path.join(folder, "summary.json")
    const vitest = path.join(root, "node_modules/vitest/vitest.mjs")
    const child = spawn(process.execPath, [vitest, "run", ...suites], {
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

const hasFailed = ({ counts }: FileSummary): boolean => Object.values(counts).some(({ failed }) => failed > 0)

/** A few files that failed beside others are named and run once more by themselves. */
const runAgain = Effect.fnUntraced(function*(first: Run, searchPath: string): Effect.fn.Return<Run> {
  const failed = first.files.filter(hasFailed).map(({ file }) => file)
  // A process that died is never a matter of the machine.
  if (
    first.isGood || failed.length === 0 || failed.length > mostAgain || first.files.some(({ isCutOff }) => isCutOff)
  ) {
    return first
  }
  console.log(`\nFailed beside the others, and run once more alone:\n  ${failed.join("\n  ")}\n`)
  const again = yield* runSuites(failed, searchPath)
  return { files: [...first.files.filter((file) => !hasFailed(file)), ...again.files], isGood: again.isGood }
})

/** More than this have failed for a reason. */
const mostAgain = 8

const rowsOf = (
  family: Family,
  versions: Readonly<Record<string, string>>,
  files: ReadonlyArray<FileSummary>
): ReadonlyArray<Row> => {
  const rows = new Map<string, Row>()
  const main = Object.keys(family.servers)[0] ?? "this machine's servers"
  for (const { counts, file } of files) {
    const suite = family.suites.find((suite) => file.startsWith(suite)) ?? file
    for (const [found, { failed, leftOut, passed, reasons }] of Object.entries(counts)) {
      // Where a test file has tests of no server, they are counted with those of the first.
      const name = Object.entries(family.places ?? {}).find(([place]) => file.startsWith(place))?.[1] ??
        (found === "" ? main : found)
      const server = `${name} ${versions[name.split(" of ").at(-1)!] ?? ""}`.trim()
      const title = suite.replace(/^test\//, "").replace(/\/$/, "").replace(/^contract\/.*/, "contract")
      const row = rows.get(`${title} ${server}`) ??
        { suite: title, server, passed: 0, failed: 0, leftOut: 0, reasons: new Map() }
      row.passed += passed
      row.failed += failed
      row.leftOut += leftOut
      for (const [reason, count] of Object.entries(reasons)) {
        row.reasons.set(reason, (row.reasons.get(reason) ?? 0) + count)
      }
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
  const reasons = rows.flatMap(({ reasons, server, suite }) =>
    [...reasons].map(([reason, count]) => `- ${count} of ${suite} on ${server}: ${reason}.`)
  )
  return [...lines, ...(reasons.length > 0 ? ["", "Left out:", "", ...reasons] : [])].join("\n")
}

/** Puts the table of a family into its place on the page. */
const writeTable = (family: Family, table: string): void => {
  const file = path.join(root, "docs/servers.md")
  const page = fs.readFileSync(file, "utf8")
  const begin = `<!-- ${family.name} -->\n`
  const end = `<!-- end of ${family.name} -->`
  const before = page.slice(0, page.indexOf(begin) + begin.length)
  fs.writeFileSync(file, `${before}\n${table}\n\n${page.slice(page.indexOf(end))}`)
}

/** Runs a family on the newest servers, and on those of this machine where that was asked for. */
const runFamily = Effect.fnUntraced(
  function*(family: Family, options: { readonly all: boolean; readonly again: boolean }) {
    const own = process.env["PATH"] ?? ""
    const folders = yield* newest(family)
    const rows: Array<Row> = []
    let isGood = true
    for (
      const searchPath of [[...folders, own].join(path.delimiter), ...(options.all && folders.length > 0 ? [own] : [])]
    ) {
      const versions = yield* versionsOf(family, searchPath)
      const first = yield* runSuites(family.suites, searchPath)
      const result = options.again ? yield* runAgain(first, searchPath) : first
      isGood &&= result.isGood
      rows.push(...rowsOf(family, versions, result.files))
    }
    return { family, rows, isGood }
  }
)

const matrix = Effect.gen(function*() {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: { again: { type: "boolean" }, all: { type: "boolean" }, write: { type: "boolean" } }
  })
  const unknown = positionals.find((name) => !all.some((family) => family.name === name))
  if (unknown !== undefined) {
    throw new Error(`There is no family ${unknown}, but ${all.map(({ name }) => name).join(", ")}`)
  }
  const chosen = all.filter(({ name }) => positionals.length === 0 || positionals.includes(name))
  const results = yield* Effect.forEach(
    chosen,
    (family) => runFamily(family, { all: values.all === true, again: values.again === true })
  )
  for (const { family, rows } of results) {
    const table = tableOf(rows)
    console.log(`\n${table}`)
    if (values.write === true) writeTable(family, table)
  }
  const rows = results.flatMap(({ rows }) => rows)
  const sum = (of: (row: Row) => number) => rows.reduce((sum, row) => sum + of(row), 0)
  console.log(
    `\n${sum((row) => row.passed)} passed, ${sum((row) => row.failed)} failed, ${sum((row) => row.leftOut)} skipped`
  )
  if (results.some(({ isGood }) => !isGood)) process.exitCode = 1
})

await Effect.runPromise(matrix)
