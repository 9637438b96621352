/** Finds the programs of a database server on this machine, and on Debian installs them when they are missing. */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as fs from "node:fs"
import * as path from "node:path"
import { ServerError } from "./ServerError.ts"
import { run } from "./ServerProcess.ts"

/** What a database server needs from this machine. */
export interface Requirement {
  /** As people call it: `PostgreSQL`. */
  readonly name: string
  /** Alternatives: the first that is found decides the folder. */
  readonly programs: ReadonlyArray<string>
  /** Folders to search after the `PATH`. */
  readonly folders: () => ReadonlyArray<string>
  /** The Debian package. */
  readonly debian: string
  /** The Homebrew formula. */
  readonly homebrew: string
  /** The environment variable that names a running server instead. */
  readonly variable: string
}

const versionOf = (folder: string): number => Number(/(\d+(\.\d+)?)/.exec(folder)?.[1] ?? 0)

/** The folders `<parent>/<version>/<rest>`, newest version first. */
export const versioned = (parent: string, pattern: RegExp, rest: string): ReadonlyArray<string> =>
  fs.existsSync(parent)
    ? fs.readdirSync(parent).filter((name) => pattern.test(name)).sort((a, b) => versionOf(b) - versionOf(a))
      .map((name) => path.join(parent, name, rest))
    : []

/** The full path of a program of the given folders, or `undefined`. */
export const which = (
  programs: ReadonlyArray<string>,
  folders: ReadonlyArray<string>
): string | undefined => {
  for (const folder of [...(process.env["PATH"] ?? "").split(path.delimiter), ...folders]) {
    for (const program of programs) {
      const file = path.join(folder, program)
      try {
        fs.accessSync(file, fs.constants.X_OK)
        // Debian links a few of the programs into the PATH; their companions lie beside the real one.
        return fs.realpathSync(file)
      } catch {
        // Not here.
      }
    }
  }
  return undefined
}

/** Whether the server's programs are on this machine now. */
export const isInstalled = (requirement: Requirement): boolean =>
  which(requirement.programs, requirement.folders()) !== undefined

/** The path of the server's main program, installing it first where that is possible. */
export const locate = Effect.fnUntraced(function*(requirement: Requirement): Effect.fn.Return<string, ServerError> {
  const found = which(requirement.programs, requirement.folders())
  if (found !== undefined) {
    return found
  }
  if (process.getuid?.() === 0 && which(["apt-get"], []) !== undefined) {
    yield* installing.withPermit(aptInstall(requirement))
    const installed = which(requirement.programs, requirement.folders())
    if (installed !== undefined) {
      return installed
    }
  }
  return yield* Effect.fail(new ServerError({ message: whatToDo(requirement) }))
})

/** What a person is told when a server is missing. */
export const whatToDo = (requirement: Requirement): string =>
  [
    `${requirement.name} is not installed: found none of ${requirement.programs.join(", ")} in the PATH nor in the ` +
    "usual places. Either",
    `  install it:          apt-get install ${requirement.debian}   or   brew install ${requirement.homebrew}`,
    `  or name a server:    ${requirement.variable}=${
      requirement.name === "PostgreSQL" ? "postgres" : "mysql"
    }://user:password@host/database`
  ].join("\n")

// dpkg allows one installation at a time.
const installing = Semaphore.makeUnsafe(1)

/**
 * Installs a Debian package without starting its system service, which would take the server's usual port and run as
 * long as the machine: a `policy-rc.d` that answers 101 is Debian's way to say "do not start services".
 */
const aptInstall = (requirement: Requirement): Effect.Effect<void, ServerError> => {
  if (isInstalled(requirement)) {
    return Effect.void
  }
  const policy = "/usr/sbin/policy-rc.d"
  const environment = { DEBIAN_FRONTEND: "noninteractive" }
  return Effect.acquireUseRelease(
    Effect.sync(() => {
      const ours = !fs.existsSync(policy)
      if (ours) {
        fs.writeFileSync(policy, "#!/bin/sh\nexit 101\n", { mode: 0o755 })
      }
      process.stderr.write(`${requirement.name} is missing: apt-get install ${requirement.debian} ...\n`)
      return ours
    }),
    () =>
      run("apt-get", ["update", "-q"], { environment, timeout: 300 }).pipe(
        // A stale list may still do.
        Effect.ignore,
        Effect.andThen(
          run(
            "apt-get",
            ["install", "-qy", "--no-install-recommends", "-oDPkg::Lock::Timeout=120", requirement.debian],
            {
              environment,
              timeout: 600
            }
          )
        ),
        Effect.mapError((error) =>
          new ServerError({ message: `${whatToDo(requirement)}\n\nInstalling it failed: ${error.message}` })
        ),
        Effect.asVoid
      ),
    (ours) => Effect.sync(() => ours && fs.rmSync(policy, { force: true }))
  )
}
