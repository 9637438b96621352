/** Migrations from the files of a directory. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Path from "effect/Path"
import * as Migration from "./Migration.ts"
import * as MigrationsError from "./MigrationsError.ts"
import { checksum } from "./plan/checksum.ts"

const named = /^(\d+)_([^.]+)\.(sql|js|ts|mjs|mts)$/

/** What lies beside migrations and is none of them: type declarations, source maps, what is no code. */
const beside = /^\.|\.d\.m?ts$|\.map$/

/** What looks like a migration, so that a wrong name is a mistake. */
const candidate = /\.(?:sql|[mc]?[jt]s)$/i

/**
 * Migrations from the files of a directory: `<id>_<name>.sql`, and `.ts`, `.js`, `.mts` or `.mjs` with an effect as
 * the default export.
 *
 * **Details**
 *
 * A file that looks like a migration and is not named like one is an error, because it would never be applied.
 *
 * @category loaders
 * @since 0.2.0
 */
export const fromDirectory = (directory: string): Migration.Loader<FileSystem.FileSystem | Path.Path> =>
  Effect.gen(function*() {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const files = yield* Effect.mapError(
      fs.readDirectory(directory),
      (cause) => invalid(directory, `cannot be read: ${cause.message}`)
    )
    const chosen: Array<readonly [file: string, match: RegExpExecArray]> = []
    for (const file of [...files].sort()) {
      if (beside.test(file)) continue
      const match = named.exec(file)
      if (match !== null) chosen.push([file, match])
      else if (candidate.test(file)) {
        return yield* invalid(
          path.join(directory, file),
          "is not named `<id>_<name>.sql` or `<id>_<name>.ts`, and would never be applied"
        )
      }
    }
    return yield* Effect.forEach(chosen, ([file, match]) => load(directory, file, match), { concurrency: 16 })
  })

const load = Effect.fnUntraced(function*(
  directory: string,
  name: string,
  match: RegExpExecArray
): Effect.fn.Return<Migration.Migration, MigrationsError.MigrationsError, FileSystem.FileSystem | Path.Path> {
  const fs = yield* FileSystem.FileSystem
  const path = yield* Path.Path
  const file = path.join(directory, name)
  const step = { id: Number(match[1]), name: match[2]!, file }
  if (!Number.isSafeInteger(step.id)) return yield* invalid(file, "has an id with too many digits")
  const kind = match[3]!
  const text = yield* Effect.mapError(
    fs.readFileString(file),
    (cause) => invalid(file, `cannot be read: ${cause.message}`)
  )
  if (kind === "sql") return yield* Effect.fromResult(Migration.fromText(step, text))
  const source = { kind, checksum: checksum(text) }
  // The file was read, so its absolute path is a good one.
  const url = yield* Effect.orDie(path.toFileUrl(path.resolve(file)))
  return Migration.fromCode(
    step,
    Effect.flatMap(importFile(step, url), (loaded) => Migration.codeOf(step, loaded)),
    source
  )
})

const importFile = (
  step: { readonly id: number; readonly name: string },
  url: URL
): Effect.Effect<unknown, MigrationsError.MigrationsError> =>
  Effect.tryPromise({
    try: () => import(/* @vite-ignore */ /* webpackIgnore: true */ url.href),
    catch: (cause) =>
      MigrationsError.failWith(
        new MigrationsError.ImportFailed({
          ...step,
          problem: `could not be imported: ${cause instanceof Error ? cause.message : String(cause)}`,
          cause
        })
      )
  })

const invalid = (file: string, problem: string): MigrationsError.MigrationsError =>
  MigrationsError.failWith(new MigrationsError.InvalidFile({ file, line: undefined, problem }))
