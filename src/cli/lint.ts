/** `watertight lint` */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import { fromDirectory } from "../migrations/directory.ts"
import * as Lint from "../migrations/Lint.ts"
import { Exit } from "./answer.ts"
import { conclude, directory, json, url } from "./flags.ts"
import { Usage } from "./problems.ts"

export const lint = Command.make("lint", {
  url,
  directory,
  json,
  dialect: Flag.Literals("dialect", ["postgres", "mysql"]).pipe(
    Flag.withDescription("Whose statements they are. Default: as the URL says"),
    Flag.optional
  ),
  after: Flag.Int("after").pipe(
    Flag.withDescription("Look only at migrations with a higher id"),
    Flag.withMetavar("ID"),
    Flag.withDefault(0)
  )
}, (flags) =>
  conclude(
    "lint",
    flags.json,
    Effect.gen(function*() {
      const dialect = Option.getOrUndefined(flags.dialect) ?? dialectOf(Option.getOrUndefined(flags.url))
      if (dialect === undefined) {
        return yield* new Usage({ problem: "say whose statements they are: `--dialect postgres` or `--dialect mysql`" })
      }
      const files = yield* fromDirectory(flags.directory)
      const skipped = new Set(files.filter((file) => file.id <= flags.after).map(({ file }) => file))
      const findings = Lint.checkAll(files, dialect).filter(({ file }) => !skipped.has(file))
      return {
        command: "lint",
        exitCode: findings.length > 0 ? Exit.found : Exit.ok,
        data: { findings },
        lines: findings.length === 0
          ? [`${files.length} migrations, nothing found`]
          : [
            ...findings.flatMap((finding) => [
              `${finding.file}:${finding.line} ${finding.rule}`,
              `  ${finding.problem}`,
              `  instead: ${finding.safe}`
            ]),
            `${findings.length} found. Who knows better writes into the file: -- watertight: allow=<rule> <reason>`
          ]
      }
    })
  )).pipe(Command.withDescription("Look for statements that have stopped programs"))

const dialectOf = (url: Redacted.Redacted<string> | undefined): Lint.Dialect | undefined => {
  if (url === undefined) return undefined
  const text = Redacted.value(url)
  return /^(?:postgres|pglite)/.test(text) ? "postgres" : /^(?:mysql|mariadb)/.test(text) ? "mysql" : undefined
}
