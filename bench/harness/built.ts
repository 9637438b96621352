/** The library as a user gets it: built. Node's own compiler of TypeScript alone takes forty megabytes. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "../..")

/** What Node is told where the sources are to be run instead. */
export const fromSource = "--conditions=watertight-source"

/** What Node has to be told to run the library as it is published. Where it cannot be built, the sources have to do. */
export const published = (): ReadonlyArray<string> => options ??= build() ? [] : [fromSource]

let options: ReadonlyArray<string> | undefined

const build = (): boolean => {
  const isBuilt = () => newest(path.join(root, "dist"), ".js") > newest(path.join(root, "src"), ".ts")
  if (!isBuilt()) spawnSync(process.execPath, ["scripts/build.ts"], { cwd: root, stdio: "ignore" })
  return isBuilt()
}

/** When the newest file with this end was written. */
const newest = (folder: string, end: string): number =>
  fs.existsSync(folder)
    ? Math.max(
      0,
      ...fs.readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile() && entry.name.endsWith(end))
        .map((entry) => fs.statSync(path.join(entry.parentPath, entry.name)).mtimeMs)
    )
    : 0
