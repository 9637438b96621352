/** The folder in which downloaded servers are kept from run to run. */
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const variable = "WATERTIGHT_TEST_CACHE"

/**
 * The folder for what is downloaded. Root's own home is closed to the users that the servers run as, so root has one
 * that everybody can read.
 */
export const cacheFolder = (): string => {
  const given = process.env[variable]
  if (given !== undefined && given !== "") return path.resolve(given)
  return process.getuid?.() === 0
    ? "/var/cache/watertight-test"
    : path.join(process.env["XDG_CACHE_HOME"] ?? path.join(os.homedir(), ".cache"), "watertight-test")
}

/** A new folder in the cache, to be filled and then renamed. Everybody can read it. */
export const draftFolder = (name: string): string => {
  fs.mkdirSync(cacheFolder(), { recursive: true, mode: 0o755 })
  const draft = fs.mkdtempSync(path.join(cacheFolder(), `.${name}-`))
  fs.chmodSync(draft, 0o755)
  return draft
}

/** Gives a draft its name. Where another process was faster, its folder stays: both are equally good. */
export const keepDraft = (draft: string, folder: string): void => {
  try {
    fs.renameSync(draft, folder)
  } catch {
    fs.rmSync(draft, { recursive: true, force: true })
  }
}
