/** `watertight drift`: whether a database is what its migrations make. */
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Glob from "effect/Glob"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as TextDiff from "effect/TextDiff"
import { compare, type Difference } from "../../drift/compare.ts"
import { reprint } from "../../drift/reprint.ts"
import { read, type Scope } from "../../drift/Shape.ts"
import * as Migrations from "../../migrations/Migrations.ts"
import { Exit, paint } from "../answer.ts"
import { conclude, directory, json, open, ownTables, table, url } from "../flags.ts"
import { progress } from "../progress.ts"
import { shadow } from "./shadow.ts"

export const drift = Command.make("drift", {
  url,
  directory,
  table,
  json,
  shadow: Flag.String("shadow").pipe(
    Flag.withDescription(
      "Where the migrations are applied: `pglite`, `database` for one on the server that is dropped again, or the URL " +
        "of another server. Default: PGlite for PostgreSQL where that can do it"
    ),
    Flag.withMetavar("WHERE"),
    Flag.withDefault("auto")
  ),
  schema: Flag.String("schema").pipe(
    Flag.withDescription("Only this schema; may be given several times. Default: all, on MySQL the current database"),
    Flag.withMetavar("NAME"),
    Flag.atLeast(0)
  ),
  ignore: Flag.String("ignore").pipe(
    Flag.withDescription(
      "Leave out tables, types and functions with such a name, with or without their schema; several times"
    ),
    Flag.withMetavar("PATTERN"),
    Flag.atLeast(0)
  )
}, (flags) =>
  conclude(
    "drift",
    flags.json,
    Effect.scoped(Effect.gen(function*() {
      const bar = yield* progress(flags.json)
      yield* bar.now("looks at what is applied")
      const live = yield* Layer.build(yield* open(flags.url))
      const source = { loader: Migrations.fromDirectory(flags.directory), table: flags.table }
      const { entries } = yield* Migrations.status(source).pipe(Effect.provideContext(live))
      const applied = new Set(
        entries.filter(({ state }) => state === "applied" || state === "baseline").map(({ id }) => id)
      )
      const migrations = (yield* source.loader).filter(({ id }) => applied.has(id))
      const patterns = [...ownTables(flags.table), ...flags.ignore].map((pattern) => Glob.make(pattern, { dot: true }))
      const scope: Scope = {
        schemas: flags.schema,
        isIgnored: (name) => patterns.some((pattern) => Glob.match(pattern, name.replaceAll("/", "_")))
      }
      const url = Option.getOrElse(flags.url, () => Redacted.make(""))
      const made = yield* shadow(url, flags.shadow, migrations, bar)
      yield* bar.of(0, 0)
      yield* bar.now("compares")
      const expected = yield* read(scope).pipe(Effect.provideContext(made))
      const found = yield* read(scope).pipe(Effect.provideContext(live))
      const all = compare(expected, found)
      const isPostgres = /^(?:postgres|pglite)/.test(Redacted.value(url))
      const differences = isPostgres ? yield* reprint(all).pipe(Effect.provideContext(made)) : all
      return {
        command: "drift",
        exitCode: differences.length > 0 ? Exit.found : Exit.ok,
        data: {
          migrations: migrations.length,
          differences: differences.map((difference) => ({ ...difference, foundPart: undefined }))
        },
        lines: differences.length === 0
          ? [`the database is what its ${migrations.length} migrations make`]
          : [...yield* print(differences), `${differences.length} differences`]
      }
    }))
  )).pipe(
    Command.withDescription("Compare a database with what its migrations make. Changes nothing in it"),
    Command.withExamples([
      { command: "watertight drift", description: "Say what somebody has changed by hand" },
      { command: "watertight drift --ignore 'pg_stat_*' --json", description: "The same in CI" }
    ])
  )

/** How two texts of several lines differ, with the lines around. */
const longText = Effect.fnUntraced(
  function*(title: string, expected: string, found: string): Effect.fn.Return<ReadonlyArray<string>> {
    const edits = TextDiff.lines(`${expected}\n`, `${found}\n`)
    const all = TextDiff.unified(edits).split("\n").filter((line) => !/^(?:---|\+\+\+|@@|\\)/.test(line) && line !== "")
    return [
      ...title.trim() === "" || title === "query " ? [] : [`  ${title}`],
      ...yield* Effect.forEach(all, (line) =>
        line.startsWith("-") ? paint("red", `  ${line}`) : line.startsWith("+") ?
          paint("green", `  ${line}`)
          : Effect.succeed(`  ${line}`))
    ]
  }
)

/** The differences below the things that they are in. */
const print = Effect.fnUntraced(
  function*(differences: ReadonlyArray<Difference>): Effect.fn.Return<ReadonlyArray<string>> {
    const lines = [
      `${yield* paint("red", "- as the migrations make it")}   ${yield* paint("green", "+ as the database has it")}`
    ]
    let thing = ""
    for (const { expected, found, kind, name, part, partName } of differences) {
      if (part === undefined && (expected === undefined || found === undefined)) {
        const sign = expected === undefined ? "+" : "-"
        lines.push("", yield* paint(expected === undefined ? "green" : "red", `${sign} ${kind} ${name}`))
        continue
      }
      if (thing !== `${kind} ${name}`) {
        thing = `${kind} ${name}`
        lines.push("", yield* paint("bold", thing))
      }
      if (expected?.includes("\n") || found?.includes("\n")) {
        lines.push(...yield* longText(part === undefined ? "" : `${part} ${partName}`, expected ?? "", found ?? ""))
        continue
      }
      const title = part === undefined ? "" : `${part}${partName === "" ? "" : ` ${partName}`}: `
      if (expected !== undefined) lines.push(yield* paint("red", `  - ${title}${expected}`))
      if (found !== undefined) lines.push(yield* paint("green", `  + ${title}${found}`))
    }
    return [...lines, ""]
  }
)
