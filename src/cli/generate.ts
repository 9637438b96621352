/** `watertight generate`: models of the tables, written from the schema of a database. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Glob from "effect/Glob"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import * as SqlClient from "effect/sql/SqlClient"
import { codecs } from "../generate/codecs.ts"
import { describe } from "../generate/describe.ts"
import { emit, SameName } from "../generate/emit.ts"
import { compare, importExtension, write } from "../generate/files.ts"
import { Exit } from "./answer.ts"
import { conclude, json, open, ownTables, table, url } from "./flags.ts"
import { Usage } from "./problems.ts"
import { progress } from "./progress.ts"

const flags = {
  url,
  table,
  json,
  out: Flag.String("out").pipe(
    Flag.withAlias("o"),
    Flag.withDescription("The folder that they are written into. Default: models"),
    Flag.withMetavar("FOLDER"),
    Flag.withDefault("models")
  ),
  check: Flag.Boolean("check").pipe(
    Flag.withDescription("Change nothing, and exit with 1 if the files are not those of the schema"),
    Flag.withDefault(false)
  ),
  schema: Flag.String("schema").pipe(
    Flag.withDescription("Only this schema; may be given several times. Default: all, on MySQL the current database"),
    Flag.withMetavar("NAME"),
    Flag.atLeast(0)
  ),
  exclude: Flag.String("exclude").pipe(
    Flag.withDescription("Leave out tables with such a name, with or without their schema; may be given several times"),
    Flag.withMetavar("PATTERN"),
    Flag.atLeast(0)
  ),
  codec: Flag.Literals("codec", codecs).pipe(
    Flag.withDescription("A codec that the program has chosen; may be given several times"),
    Flag.atLeast(0)
  ),
  camel: Flag.Boolean("camel").pipe(
    Flag.withDescription("The client turns snake_case into camelCase"),
    Flag.withDefault(false)
  ),
  extension: Flag.Literals("extension", ["ts", "js", "none"]).pipe(
    Flag.withDescription("What imports end with. Default: as tsconfig.json allows it"),
    Flag.optional
  )
}

export const generate = Command.make("generate", flags, (flags) =>
  conclude(
    "generate",
    flags.json,
    Effect.scoped(Effect.gen(function*() {
      const bar = yield* progress(flags.json)
      const path = yield* Path.Path
      const excluded = [...ownTables(flags.table), ...flags.exclude].map((pattern) => Glob.make(pattern, { dot: true }))
      yield* bar.now("reads the schema")
      const { description, isPostgres } = yield* Effect.provide(
        Effect.gen(function*() {
          const sql = yield* SqlClient.SqlClient
          const isPostgres = sql.onDialectOrElse({ pg: () => true, orElse: () => false })
          const isExcluded = (name: string) => excluded.some((glob) => Glob.match(glob, name.replaceAll("/", "_")))
          return { isPostgres, description: yield* describe(isPostgres, { schemas: flags.schema, isExcluded }) }
        }),
        yield* open(flags.url)
      )
      const extension = Option.isSome(flags.extension)
        ? ({ ts: ".ts", js: ".js", none: "" } as const)[flags.extension.value]
        : yield* importExtension(flags.out)
      const files = emit(description, { isPostgres, codecs: flags.codec, isCamel: flags.camel, extension })
      if (files instanceof SameName) {
        return yield* new Usage({ problem: `${files.table} has two columns that would both be called ${files.name}` })
      }
      const difference = yield* compare(flags.out, files)
      if (difference.foreign.length > 0) {
        return yield* new Usage({
          problem: `${difference.foreign.map((name) => path.join(flags.out, name)).join(", ")} ` +
            "was not written by this command: move it, or choose another folder with `--out`"
        })
      }
      const { added, changed, removed } = difference
      const count = added.length + changed.length + removed.length
      if (!flags.check) yield* write(flags.out, files, difference)
      const [add, change, remove] = flags.check
        ? ["is missing", "is not up to date", "has no table any more"]
        : ["is new", "has changed", "is gone"]
      return {
        command: "generate",
        exitCode: flags.check && count > 0 ? Exit.found : Exit.ok,
        data: { check: flags.check, folder: flags.out, tables: description.tables.length, added, changed, removed },
        lines: [
          ...added.map((name) => `${path.join(flags.out, name)} ${add}`),
          ...changed.map((name) => `${path.join(flags.out, name)} ${change}`),
          ...removed.map((name) => `${path.join(flags.out, name)} ${remove}`),
          count === 0
            ? `nothing to do: the models of ${description.tables.length} tables are up to date`
            : flags.check
            ? "run `watertight generate`"
            : `models of ${description.tables.length} tables`
        ]
      }
    }))
  )).pipe(
    Command.withDescription("Write Effect models of the tables, from the schema of a database"),
    Command.withExamples([
      { command: "watertight generate --out src/models", description: "Write them" },
      { command: "watertight generate --out src/models --check", description: "Ask in CI whether they are up to date" }
    ])
  )
