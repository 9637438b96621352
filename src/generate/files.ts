/** Compares a folder with what should be in it, and writes it. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import type { PlatformError } from "effect/PlatformError"
import { header } from "./emit.ts"

/** How a folder differs from what should be in it. */
export interface Difference {
  readonly added: ReadonlyArray<string>
  readonly changed: ReadonlyArray<string>
  /** Files that were written once, and whose tables are gone. */
  readonly removed: ReadonlyArray<string>
  /** Files that stand in the way and were not written by this program. */
  readonly foreign: ReadonlyArray<string>
}

/** Tells what a folder lacks. Changes nothing. */
export const compare = Effect.fnUntraced(function*(
  folder: string,
  files: ReadonlyMap<string, string>
): Effect.fn.Return<Difference, PlatformError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const names = (yield* fs.exists(folder)) ? yield* fs.readDirectory(folder) : []
  const difference = {
    added: Array.from(files.keys()).filter((name) => !names.includes(name)),
    changed: new Array<string>(),
    removed: new Array<string>(),
    foreign: new Array<string>()
  }
  for (const name of names.toSorted()) {
    const wanted = files.get(name)
    if (!name.endsWith(".ts")) continue
    const text = (yield* fs.readFileString(path.join(folder, name))).replaceAll("\r\n", "\n")
    if (!text.startsWith(header)) {
      if (wanted !== undefined) difference.foreign.push(name)
    } else if (wanted === undefined) {
      difference.removed.push(name)
    } else if (wanted !== text) {
      difference.changed.push(name)
    }
  }
  return difference
})

/** Writes what is missing or different, and removes what was written for tables that are gone. */
export const write = Effect.fnUntraced(function*(
  folder: string,
  files: ReadonlyMap<string, string>,
  difference: Difference
): Effect.fn.Return<void, PlatformError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  yield* fs.makeDirectory(folder, { recursive: true })
  // Removed first: where case means nothing, a new name may be an old one.
  yield* Effect.forEach(difference.removed, (name) => fs.remove(path.join(folder, name)), { discard: true })
  yield* Effect.forEach(
    [...difference.added, ...difference.changed],
    (name) => fs.writeFileString(path.join(folder, name), files.get(name)!),
    { discard: true }
  )
})

/** What imports have to end with, as the configuration of TypeScript above a folder says. */
export const importExtension = Effect.fnUntraced(function*(
  folder: string
): Effect.fn.Return<".ts" | ".js", PlatformError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  let at = path.resolve(folder)
  while (true) {
    const file = path.join(at, "tsconfig.json")
    if (yield* fs.exists(file)) return allowsTs.test(yield* fs.readFileString(file)) ? ".ts" : ".js"
    const above = path.dirname(at)
    if (above === at) return ".ts"
    at = above
  }
})

const allowsTs = /"(?:allowImportingTsExtensions|rewriteRelativeImportExtensions)"\s*:\s*true/
