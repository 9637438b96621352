/**
 * The API report: the declarations of the modules that the entry points export, without comments.
 *
 * `npm run api` writes one file per entry point into `api/`. A test compares them with the sources, so that a change of
 * the public API is seen in the diff of a commit and is never an accident.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"

const root = fileURLToPath(new URL("..", import.meta.url))

/** The reports by file name. */
export const makeReports = (): ReadonlyMap<string, string> => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-api-"))
  try {
    const tsc = path.join(root, "node_modules/typescript/bin/tsc")
    const flags = ["--emitDeclarationOnly", "--declarationMap", "false", "--sourceMap", "false", "--removeComments"]
    execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json", "--outDir", folder, ...flags], { cwd: root })
    const { exports } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as {
      readonly exports: Record<string, string | { readonly types: string }>
    }
    const reports = new Map<string, string>()
    for (const [name, target] of Object.entries(exports)) {
      if (typeof target === "string") continue
      const file = path.join(folder, target.types.replace(/^\.\/dist\//, ""))
      reports.set(`${name === "." ? "watertight" : name.slice(2)}.api.txt`, report(file))
    }
    return reports
  } finally {
    fs.rmSync(folder, { recursive: true, force: true })
  }
}

/** The index of an entry point, followed by each module that it exports. */
const report = (index: string): string => {
  const text = declarations(index)
  const modules = Array.from(text.matchAll(/from "(\.[^"]+)\.ts"/g), (match) => match[1]!)
  const parts = modules.map((module) =>
    `// ${module.replace(/^\.\//, "")}\n${declarations(path.resolve(path.dirname(index), `${module}.d.ts`))}`
  )
  return [text, ...parts].join("\n")
}

/** Declarations with each import on one line, sorted: their order means nothing. */
const declarations = (file: string): string => {
  const lines = fs.readFileSync(file, "utf8").split("\n").filter((line) => line.trim() !== "" && line !== "export {};")
  const isImport = (line: string) => line.startsWith("import ")
  return [...lines.filter(isImport).sort(), ...lines.filter((line) => !isImport(line))].join("\n") + "\n"
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const folder = path.join(root, "api")
  fs.rmSync(folder, { recursive: true, force: true })
  fs.mkdirSync(folder)
  for (const [name, text] of makeReports()) fs.writeFileSync(path.join(folder, name), text)
}
