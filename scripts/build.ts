/**
 * Builds `dist`: types one file each, code in few files.
 *
 * A program that imports an entry point of 180 modules looks for each of them on the disk, reads and links it, which
 * takes longer than to run them. So what entry points share is joined. What is imported when it is needed stays apart.
 */
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"
import { rolldown } from "rolldown"

const root = path.resolve(import.meta.dirname, "..")

interface Manifest {
  readonly bin: Readonly<Record<string, string>>
  readonly exports: Readonly<Record<string, string | { readonly default: string }>>
}

/** The files that `package.json` names, by their place in `dist`, without what they end with. */
const entries = (): Readonly<Record<string, string>> => {
  const { bin, exports } = JSON.parse(fs.readFileSync(path.join(root, "package.json"), "utf8")) as Manifest
  const files = [
    ...Object.values(exports).flatMap((entry) => typeof entry === "string" ? [] : [entry.default]),
    ...Object.values(bin)
  ]
  return Object.fromEntries(files.map((file) => {
    const name = file.replace(/^\.\/dist\/(.*)\.js$/, "$1")
    return [name, path.join(root, "src", `${name}.ts`)]
  }))
}

fs.rmSync(path.join(root, "dist"), { recursive: true, force: true })
const tsc = path.join(root, "node_modules/typescript/bin/tsc")
execFileSync(process.execPath, [tsc, "-p", "tsconfig.build.json"], { cwd: root, stdio: "inherit" })

const build = await rolldown({
  cwd: root,
  input: entries(),
  platform: "node",
  // Peers, and Node itself.
  external: (id) => !id.startsWith(".") && !path.isAbsolute(id)
})
await build.write({
  dir: path.join(root, "dist"),
  format: "esm",
  sourcemap: true,
  entryFileNames: "[name].js",
  chunkFileNames: "chunks/[name]-[hash].js",
  comments: { annotation: true, legal: true, jsdoc: false }
})
await build.close()
