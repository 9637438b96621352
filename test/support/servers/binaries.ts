/**
 * Finds the programs of a database server: on this machine, else among what was downloaded before, else it downloads
 * them into the cache. Nothing is installed.
 */
import * as Effect from "effect/Effect"
import * as Semaphore from "effect/Semaphore"
import * as fs from "node:fs"
import * as path from "node:path"
import * as Embedded from "./embedded.ts"
import { ServerError } from "./ServerError.ts"
import * as Unpack from "./unpack.ts"

/** What a database server needs from this machine. */
export interface Requirement {
  /** As people call it: `PostgreSQL`. */
  readonly name: string
  /** Alternatives: the first that is found decides the folder. */
  readonly programs: ReadonlyArray<string>
  /** The name under which a program is called tells it what to be, so that no link to it may be resolved. */
  readonly byName?: boolean | undefined
  /** Folders to search after the `PATH`. */
  readonly folders: () => ReadonlyArray<string>
  /** What to unpack where the programs are not on this machine; none where that does not run. */
  readonly debian?: Unpack.Package | undefined
  /** Whether a package of npm has it too. */
  readonly npm?: boolean | undefined
  /** How to install it, where it cannot be unpacked. */
  readonly install: string
  /** The environment variable that names a running server instead; none where there is no such thing. */
  readonly variable?: string | undefined
}

const versionOf = (folder: string): number => Number(/(\d+(\.\d+)?)/.exec(folder)?.[1] ?? 0)

/** The folders `<parent>/<version>/<rest>`, newest version first. */
export const versioned = (parent: string, pattern: RegExp, rest: string): ReadonlyArray<string> =>
  fs.existsSync(parent)
    ? fs.readdirSync(parent).filter((name) => pattern.test(name)).sort((a, b) => versionOf(b) - versionOf(a))
      .map((name) => path.join(parent, name, rest))
    : []

const isExecutable = (file: string): boolean => {
  try {
    fs.accessSync(file, fs.constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Every program of these names in the `PATH` and then in the given folders. */
const all = (programs: ReadonlyArray<string>, folders: ReadonlyArray<string>): ReadonlyArray<string> =>
  [...(process.env["PATH"] ?? "").split(path.delimiter), ...folders]
    .flatMap((folder) => programs.map((program) => path.join(folder, program)))
    .filter(isExecutable)

/**
 * The full path of a program in the `PATH` or in the given folders, or `undefined`. Debian links a few of the programs
 * into the `PATH`; their companions lie beside the real one.
 */
export const which = (programs: ReadonlyArray<string>, folders: ReadonlyArray<string>): string | undefined => {
  const file = all(programs, folders)[0]
  return file === undefined ? undefined : fs.realpathSync(file)
}

/** The path of the server's main program on this machine or in the cache, if it is there now. */
const found = ({ byName, debian, folders, npm, programs }: Requirement): string | undefined => {
  const cached = [
    debian === undefined ? undefined : Unpack.unpacked(debian),
    npm === true ? Embedded.downloaded() : undefined
  ]
  const files = all(programs, [...folders(), ...cached.filter((folder) => folder !== undefined)])
  // A link of this name may lead to another server: `mysqld` to that of MariaDB.
  return byName === true
    ? files[0]
    : files.map((file) => fs.realpathSync(file)).find((file) => programs.includes(path.basename(file)))
}

/** The path of the server's main program, which is downloaded first if it has to be. */
export const locate = Effect.fnUntraced(function*(requirement: Requirement): Effect.fn.Return<string, ServerError> {
  return found(requirement) ?? (yield* downloading.withPermit(download(requirement)))
})

// One at a time, so that two tests do not load the same thing.
const downloading = Semaphore.makeUnsafe(1)

const download = Effect.fnUntraced(function*(requirement: Requirement): Effect.fn.Return<string, ServerError> {
  const sources = [
    ...(requirement.debian !== undefined && Unpack.canUnpack() ? [Unpack.unpack(requirement.debian)] : []),
    ...(requirement.npm === true ? [Embedded.download] : [])
  ]
  const errors: Array<string> = []
  for (const source of sources) {
    const before = found(requirement)
    if (before !== undefined) return before
    const error = yield* source.pipe(Effect.as(undefined), Effect.catch(Effect.succeed))
    if (error !== undefined) errors.push(error.message)
  }
  const now = found(requirement)
  if (now !== undefined) return now
  return yield* Effect.fail(new ServerError({ message: [whatToDo(requirement), ...errors].join("\n\n") }))
})

/** What a person is told when a server is missing. */
export const whatToDo = ({ install, name, programs, variable }: Requirement): string =>
  [
    `${name} is missing: found none of ${
      programs.join(", ")
    } in the PATH nor in the usual places, and it could not be ` +
    "downloaded. Either",
    `  install it:          ${install}`,
    ...(variable === undefined
      ? []
      : [
        `  or name a server:    ${variable}=${
          name === "PostgreSQL" ? "postgres" : "mysql"
        }://user:password@host/database`
      ]),
    "  or leave it out:     WATERTIGHT_TEST_REQUIRE names the servers without which a run fails"
  ].join("\n")
