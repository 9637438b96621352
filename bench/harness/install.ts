/** Installs what the benchmark compares with, on the first run and when the lock file has changed. */
import { spawnSync } from "node:child_process"
import * as fs from "node:fs"

const candidates = `${import.meta.dirname}/../candidates`
const folders = [candidates, `${candidates}/effect3`, `${candidates}/prisma`]

export const install = (): void => {
  for (const folder of folders) {
    const installed = `${folder}/node_modules/.package-lock.json`
    const isCurrent = fs.existsSync(installed) &&
      fs.statSync(installed).mtimeMs >= fs.statSync(`${folder}/package-lock.json`).mtimeMs
    if (isCurrent) continue
    process.stderr.write("Installing the libraries that are compared ...\n")
    // The npm that runs us, where one does.
    const npm = process.env["npm_execpath"]
    const [command, args] = npm === undefined ? ["npm", ["ci"]] as const : [process.execPath, [npm, "ci"]] as const
    // Nothing that is compared needs its install script.
    const { status } = spawnSync(command, [...args, "--ignore-scripts", "--no-audit", "--no-fund"], {
      cwd: folder,
      stdio: ["ignore", "inherit", "inherit"]
    })
    if (status !== 0) throw new Error(`npm ci in ${folder} failed`)
    if (fs.existsSync(`${folder}/schema.prisma`)) generate(folder)
  }
}

/** Prisma's client is generated. The engine for migrations, which is not on npm, only has to be there for that. */
const generate = (folder: string): void => {
  const { status } = spawnSync(process.execPath, ["node_modules/prisma/build/index.js", "generate"], {
    cwd: folder,
    env: { ...process.env, PRISMA_SCHEMA_ENGINE_BINARY: process.execPath },
    stdio: ["ignore", "ignore", "inherit"]
  })
  if (status !== 0) throw new Error(`prisma generate in ${folder} failed`)
}
