/** The commit that the working tree is compared with, in a folder of its own. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import * as os from "node:os"
import * as path from "node:path"

const root = path.resolve(import.meta.dirname, "../..")

const git = (...args: ReadonlyArray<string>): string =>
  execFileSync("git", args, { cwd: root, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim()

/** What is compared with when nothing is named: what is not committed yet, or else the last commit. */
export const defaultCommit = (): string =>
  git("status", "--porcelain", "--untracked-files=no", "--", "src") === "" ? "HEAD^" : "HEAD"

/**
 * Checks a commit out, with the benchmark of the working tree in it: both sides are measured by the same code. Yields
 * its `bench` folder.
 */
export const checkout = (commit: string): Effect.Effect<string, Error, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.try({
      try: () => {
        const folder = fs.mkdtempSync(path.join(os.tmpdir(), "watertight-guard-"))
        git("worktree", "add", "--quiet", "--force", "--detach", folder, commit)
        return folder
      },
      catch: (cause) => new Error(`Cannot check out ${commit}: ${(cause as Error).message}`, { cause })
    }),
    (folder) =>
      Effect.sync(() => {
        git("worktree", "remove", "--force", folder)
      })
  ).pipe(Effect.map((folder) => {
    fs.symlinkSync(path.join(root, "node_modules"), path.join(folder, "node_modules"))
    const bench = path.join(folder, "bench")
    fs.rmSync(bench, { recursive: true, force: true })
    fs.cpSync(path.join(root, "bench"), bench, {
      recursive: true,
      filter: (from) => !["node_modules", "results"].includes(path.basename(from))
    })
    return bench
  }))
