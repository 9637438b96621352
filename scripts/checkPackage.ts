/**
 * The package as npm would publish it: packed, unpacked beside its peers, and looked at as a user gets it.
 *
 * `npm run check:package` runs it after a build. It packs with `npm pack`, so `files` and `exports` are those of a release.
 */
import { execFileSync, spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"
import { fileURLToPath } from "node:url"
import { publint } from "publint"
import { formatMessage } from "publint/utils"

const root = fileURLToPath(new URL("..", import.meta.url))

interface Manifest {
  readonly name: string
  readonly exports: Record<string, unknown>
  readonly bin: Record<string, string>
}

/** Packs, and unpacks into `node_modules` of a new project. Returns the folder of the project. */
const install = (folder: string): string => {
  const [packed] = JSON.parse(
    execFileSync("npm", ["pack", "--json", "--ignore-scripts", "--pack-destination", folder], {
      cwd: root,
      encoding: "utf8"
    })
  ) as [{ readonly filename: string }]
  const modules = path.join(folder, "node_modules")
  fs.mkdirSync(path.join(modules, "watertight"), { recursive: true })
  execFileSync("tar", ["-xzf", packed.filename, "--strip-components=1", "-C", path.join(modules, "watertight")], {
    cwd: folder
  })
  for (const name of fs.readdirSync(path.join(root, "node_modules"))) {
    if (name !== ".bin") fs.symlinkSync(path.join(root, "node_modules", name), path.join(modules, name))
  }
  fs.writeFileSync(path.join(folder, "package.json"), JSON.stringify({ type: "module" }))
  return path.join(modules, "watertight")
}

/** What publint says of the manifest, the exports and their files. */
const manifestProblems = async (installed: string, manifest: Manifest): Promise<ReadonlyArray<string>> => {
  const { messages } = await publint({ pkgDir: installed, level: "warning", strict: true, pack: false })
  return messages.flatMap((message) => {
    const text = formatMessage(message, manifest as never, { color: false })
    return text === undefined ? [] : [`publint: ${text}`]
  })
}

/** A program that imports every entry point, checked as TypeScript resolves modules for Node and for bundlers. */
const typeProblems = (folder: string, entryPoints: ReadonlyArray<string>): ReadonlyArray<string> => {
  const imports = entryPoints.map((entryPoint, index) => `export * as entry${index} from "${entryPoint}"`).join("\n")
  fs.writeFileSync(path.join(folder, "consumer.ts"), imports)
  fs.writeFileSync(path.join(folder, "consumer.cts"), `export const load = () => import("${entryPoints[0]}")`)
  return ([["nodenext", "nodenext"], ["esnext", "bundler"]] as const).flatMap(([module, moduleResolution]) => {
    const tsc = path.join(root, "node_modules/typescript/bin/tsc")
    const files = module === "nodenext" ? ["consumer.ts", "consumer.cts"] : ["consumer.ts"]
    const { stdout } = spawnSync(
      process.execPath,
      [
        tsc,
        ...["--noEmit", "--strict", "--target", "es2022", "--lib", "es2023", "--pretty", "false"],
        ...["--module", module, "--moduleResolution", moduleResolution, "--types", "node", "--preserveSymlinks"],
        ...["--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess", ...files]
      ],
      { cwd: folder, encoding: "utf8" }
    )
    // Declarations of other packages may have errors of their own: those are theirs.
    return stdout.split("\n").filter((line) => /^(consumer|node_modules\/watertight\/).*error TS/.test(line))
      .map((line) => `types (${moduleResolution}): ${line}`)
  })
}

/** Every entry point is loaded by `import`, by `require`, and the programs in `bin` are run. */
const runtimeProblems = (folder: string, installed: string, entryPoints: ReadonlyArray<string>, manifest: Manifest) => {
  const run = (what: string, args: ReadonlyArray<string>): ReadonlyArray<string> => {
    const { status, stderr } = spawnSync(process.execPath, args, { cwd: folder, encoding: "utf8" })
    return status === 0 ? [] : [`${what}: ${stderr.trim().split("\n").slice(0, 6).join("\n  ")}`]
  }
  return [
    ...entryPoints.flatMap((name) => [
      ...run(`import "${name}"`, ["--input-type=module", "-e", `await import("${name}")`]),
      ...run(`require("${name}")`, ["--input-type=commonjs", "-e", `require("${name}")`])
    ]),
    ...Object.entries(manifest.bin).flatMap(([name, file]) =>
      run(`${name} --help`, [path.join(installed, file), "--help"])
    )
  ]
}

/** What the package promises to carry, and what it must not. */
const fileProblems = (installed: string): ReadonlyArray<string> => {
  const files = fs.readdirSync(installed, { recursive: true, encoding: "utf8" })
  const stray = files.filter((file) => /(^|\/)(test|node_modules|\.ci|\.git)(\/|$)|\.test\.|\.tsbuildinfo$/.test(file))
  const missing = ["README.md", "LICENSE", "CHANGELOG.md", "llms.txt", "AGENTS.md", "docs/errors.md"]
    .filter((file) => !files.includes(file))
  const maps = files.filter((file) => file.endsWith(".map")).flatMap((file) => {
    const { sources } = JSON.parse(fs.readFileSync(path.join(installed, file), "utf8")) as { sources: Array<string> }
    return sources.map((source) => path.resolve(installed, path.dirname(file), source))
      .filter((source) => !fs.existsSync(source)).map((source) => `${file}: its source ${source} is not in the package`)
  })
  return [
    ...stray.map((file) => `${file} does not belong into the package`),
    ...missing.map((file) => `${file} is missing`),
    ...maps,
    ...files.filter((file) => file.endsWith(".md")).flatMap((file) => deadLinks(installed, file))
  ]
}

const deadLinks = (installed: string, file: string): ReadonlyArray<string> =>
  Array.from(
    fs.readFileSync(path.join(installed, file), "utf8").matchAll(/\]\(([^)#\s]+)(?:#[^)]*)?\)/g),
    (match) => match[1]!
  )
    .filter((target) => !/^\w+:/.test(target) && !fs.existsSync(path.join(installed, path.dirname(file), target)))
    .map((target) => `${file}: its link ${target} leads nowhere in the package`)

const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-package-"))
try {
  const installed = install(folder)
  const manifest = JSON.parse(fs.readFileSync(path.join(installed, "package.json"), "utf8")) as Manifest
  const entryPoints = Object.keys(manifest.exports).filter((name) => name !== "./package.json")
    .map((name) => path.posix.join(manifest.name, name))
  const problems = [
    ...await manifestProblems(installed, manifest),
    ...typeProblems(folder, entryPoints),
    ...runtimeProblems(folder, installed, entryPoints, manifest),
    ...fileProblems(installed)
  ]
  for (const problem of problems) console.error(problem)
  console.log(`${entryPoints.length} entry points, ${problems.length} problems`)
  process.exitCode = problems.length === 0 ? 0 : 1
} finally {
  fs.rmSync(folder, { recursive: true, force: true })
}
