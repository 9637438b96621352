/** The code blocks of the pages and of the JSDoc comments, as files of one project that `tsc` can check. */
import * as fs from "node:fs"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

export const root = fileURLToPath(new URL("../..", import.meta.url))

export interface Snippet {
  /** Where its first line is, as an editor opens it. */
  readonly file: string
  readonly line: number
  readonly code: string
}

const block = /^([ \t]*(?:\*[ \t])?)```ts[^\n]*\n([\s\S]*?)^[ \t]*(?:\*[ \t])?```/gm

/** The blocks of one text. */
export const extract = (file: string, text: string): ReadonlyArray<Snippet> =>
  Array.from(text.matchAll(block), ({ 0: whole, 1: margin, 2: code, index }) => ({
    file,
    line: text.slice(0, index + whole.indexOf("\n")).split("\n").length + 1,
    // Inside a comment, what stands before the code on each line is taken away.
    code: margin!.includes("*") ? code!.replace(/^[ \t]*\*[ \t]?/gm, "") : code!
  }))

export const pages = (): ReadonlyArray<string> => [
  ...fs.readdirSync(root).filter((name) => /\.(md|txt)$/.test(name)),
  ...under("docs", ".md"),
  ...under("examples", ".md")
]

const under = (folder: string, ending: string): ReadonlyArray<string> =>
  fs.readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(ending) && !name.includes("node_modules"))
    .map((name) => path.join(folder, name))

export const all = (): ReadonlyArray<Snippet> =>
  [...pages(), ...under("src", ".ts")].flatMap((file) => extract(file, fs.readFileSync(path.join(root, file), "utf8")))

/** The entry points of the package by the names that a user imports them with, as sources. */
const entryPoints = (): Record<string, ReadonlyArray<string>> => {
  const { exports } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
    readonly exports: Record<string, string | Record<string, string>>
  }
  return Object.fromEntries(
    Object.entries(exports).flatMap(([name, target]) =>
      typeof target === "string"
        ? []
        : [[path.posix.join("watertight", name), [path.join(root, target["watertight-source"]!)]]]
    )
  )
}

/** Modules that a page has introduced before: a snippet may use them without its own import. */
const modules: Record<string, ReadonlyArray<string>> = {
  "effect": ["Config", "Effect", "Layer", "Redacted", "Schema", "Stream"],
  "effect/sql": ["SqlClient"],
  "watertight": ["Bulk", "Introspection", "Outcome", "Pool", "Pools", "Retry", "Transaction"],
  "watertight/cache": ["Cached"],
  "watertight/migrations": ["Migrations"],
  "watertight/mariadb": ["Mariadb"],
  "watertight/monitor": ["Monitor"],
  "watertight/mysql": ["Mysql"],
  "watertight/postgres": ["Arrays", "Notifications", "Postgres", "Types"]
}

const missingImports = (code: string): string => {
  const uses = (name: string) => new RegExp(`\\b${name}\\.`).test(code)
  const declares = (name: string) =>
    new RegExp(`import[^"]*\\b${name}\\b[^"]*from|\\b(?:const|class|namespace) ${name}\\b`).test(code)
  return Object.entries(modules).flatMap(([module, names]) => {
    const missing = names.filter((name) => uses(name) && !declares(name))
    return missing.length === 0 ? [] : [`import { ${missing.join(", ")} } from "${module}"; `]
  }).join("")
}

/** What a snippet takes for granted besides modules, declared once. */
const prelude = `
import type { Effect } from "effect"
import type { SqlClient } from "effect/sql"
import type { Transaction } from "watertight"

type Program<A, R = never> = Effect.Effect<A, SqlError, SqlClient.SqlClient | R>

declare global {
  const sql: SqlClient.SqlClient
  const url: import("effect").Redacted.Redacted
  type SqlError = import("effect/sql/SqlError").SqlError
  interface Entry {
    readonly id: string
  }
  const entry: Entry
  const user: number
  const name: string
  const words: string
  const ids: ReadonlyArray<string>
  const cities: ReadonlyArray<{ readonly id: number; readonly name: string }>
  const transfer: (from: string, to: string, cents: number) => Program<void>
  const book: (entry: Entry) => Program<void, Transaction.Transaction>
  const loadPage: (user: number, page: number) => Program<ReadonlyArray<object>>
  const TestLive: import("effect").Layer.Layer<
    SqlClient.SqlClient | import("watertight").Transaction.Manager
  >
  const turnover: Program<ReadonlyArray<object>>
  const booking: Program<void>
  const handle: (value: unknown) => Effect.Effect<void>
  const DatabaseLive: import("effect").Layer.Layer<SqlClient.SqlClient>
  const HttpLive: import("effect").Layer.Layer<never, never, SqlClient.SqlClient>
  const orders: Program<ReadonlyArray<object>>
  const report: Program<void>
  const insertJob: Program<void>
  const workOff: Effect.Effect<void>
  const handler: Program<void>
  const cookie: string
  /** Files that \`generate\` writes beside the models. */
  const columns: any
  const types: any
  const sendMail: (id: string, value: unknown) => Effect.Effect<void>
  const askAPerson: Effect.Effect<void>
}
`

const compilerOptions = (folder: string) => ({
  module: "nodenext",
  target: "es2022",
  lib: ["es2023"],
  types: ["node"],
  typeRoots: [path.join(folder, "node_modules/@types")],
  noEmit: true,
  strict: true,
  exactOptionalPropertyTypes: true,
  noUncheckedIndexedAccess: true,
  verbatimModuleSyntax: false,
  isolatedModules: false,
  allowImportingTsExtensions: true,
  skipLibCheck: true,
  moduleDetection: "force",
  customConditions: ["watertight-source"],
  paths: entryPoints()
})

/** Writes a project with a file per snippet, and returns whose file is whose. Line numbers stay those of the snippet. */
export const writeProject = (folder: string, snippets: ReadonlyArray<Snippet>): ReadonlyMap<string, Snippet> => {
  fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"))
  fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
  fs.writeFileSync(path.join(folder, "prelude.d.ts"), prelude)
  fs.writeFileSync(
    path.join(folder, "tsconfig.json"),
    JSON.stringify({ compilerOptions: compilerOptions(folder), include: ["*.ts"] })
  )
  const byName = new Map<string, Snippet>()
  for (const snippet of snippets) {
    const name = `${snippet.file.replaceAll(/[^\w]/g, "_")}_${snippet.line}.ts`
    const here = path.join(root, path.dirname(snippet.file))
    const code = snippet.code.replaceAll(/from "(\.[^"]+)"/g, (_, target) => `from "${path.join(here, target)}"`)
    fs.writeFileSync(path.join(folder, name), missingImports(code) + code)
    byName.set(name, snippet)
  }
  return byName
}
