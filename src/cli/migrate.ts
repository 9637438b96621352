/** The commands about the state of a database: migrate, status, baseline, repair. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Migrations from "../migrations/Migrations.ts"
import { columns, Exit, paint } from "./answer.ts"
import { conclude, directory, json, open, table, url } from "./flags.ts"
import { Usage } from "./problems.ts"
import { type Progress, progress } from "./progress.ts"

const millis = (value: number): string => value < 1000 ? `${Math.round(value)} ms` : `${(value / 1000).toFixed(1)} s`

/** Says what happens while it happens, apart from the answer. */
const teller = (bar: Progress) => {
  let [total, done] = [0, 0]
  return (event: Migrations.Event): Effect.Effect<void> =>
    Effect.gen(function*() {
      switch (event._tag) {
        case "Planned":
          total = done + event.count
          return yield* bar.of(total, done)
        case "Started":
          return yield* bar.now(`${event.id}_${event.name}`)
        case "Applied":
          done++
          yield* bar.of(total, done)
          return yield* bar.line(
            `${yield* paint("green", "✓")} ${event.id}_${event.name} ${yield* paint("dim", millis(event.millis))}`
          )
        case "Resumed":
          return yield* bar.line(`↻ ${event.id}_${event.name} goes on behind statement ${event.done}`)
        case "Waiting":
          yield* bar.now("another process is migrating")
          return yield* bar.line(
            `… another process is migrating${event.holder === undefined ? "" : `: ${event.holder}`}`
          )
        case "Blocked":
          return event.attempts % 5 === 1
            ? yield* bar.line(
              `… ${event.id}_${event.name} did not get its locks and comes back (attempt ${event.attempts})`
            )
            : undefined
      }
    })
}

/** `watertight migrate` */
export const migrate = Command.make("migrate", {
  url,
  directory,
  table,
  json,
  to: Flag.Int("to").pipe(Flag.withDescription("The last id to apply"), Flag.withMetavar("ID"), Flag.optional),
  dryRun: Flag.Boolean("dry-run").pipe(
    Flag.withDescription("Say what would be applied, and change nothing"),
    Flag.withDefault(false)
  ),
  outOfOrder: Flag.Boolean("out-of-order").pipe(
    Flag.withDescription("Apply migrations also where a later one is applied already"),
    Flag.withDefault(false)
  ),
  allowMissing: Flag.Boolean("allow-missing").pipe(
    Flag.withDescription("Go on although the files of applied migrations are gone"),
    Flag.withDefault(false)
  ),
  wait: Flag.Int("wait").pipe(
    Flag.withDescription("How many seconds to wait for another process that does not get on. Default: 600"),
    Flag.withMetavar("SECONDS"),
    Flag.withDefault(600)
  )
}, (flags) =>
  conclude(
    "migrate",
    flags.json,
    Effect.scoped(Effect.gen(function*() {
      const layer = yield* open(flags.url)
      const bar = yield* progress(flags.json)
      yield* bar.now("looks at what is applied")
      const options = {
        loader: Migrations.fromDirectory(flags.directory),
        table: flags.table,
        to: Option.getOrUndefined(flags.to),
        outOfOrder: flags.outOfOrder,
        allowMissing: flags.allowMissing,
        wait: `${flags.wait} seconds`,
        onEvent: teller(bar)
      } as const
      if (flags.dryRun) {
        const { entries, problems } = yield* Effect.provide(Migrations.status(options), layer)
        const open = entries.filter(isOpen)
        return {
          command: "migrate",
          exitCode: problems.length > 0 ? Exit.history : Exit.ok,
          data: { dryRun: true, pending: open.map(({ id, name }) => ({ id, name })), problems: problems.map(plain) },
          lines: [
            ...open.map(({ id, name }) => `would apply ${id}_${name}`),
            ...problems.map((problem) => problem.message),
            ...(open.length === 0 && problems.length === 0 ? ["nothing to do"] : [])
          ]
        }
      }
      const { applied, total, warnings } = yield* Effect.provide(Migrations.run(options), layer)
      return {
        command: "migrate",
        exitCode: Exit.ok,
        data: { applied, total, warnings: warnings.map(plain) },
        lines: [
          ...warnings.map((warning) => `warning: ${warning.message}`),
          applied.length === 0
            ? `nothing to do: all ${total} are applied`
            : `${applied.length} applied, ${total} in all`
        ]
      }
    }))
  )).pipe(
    Command.withDescription("Apply what is pending, or wait until another process has done it"),
    Command.withExamples([
      { command: "watertight migrate --url postgres://app@db/shop", description: "Apply everything" },
      { command: "watertight migrate --dry-run --json", description: "Ask in CI what would be done" }
    ])
  )

const isOpen = ({ state }: Migrations.Entry): boolean =>
  state === "pending" || state === "unfinished" || state === "failed" || state === "out of order"

const plain = (reason: { readonly _tag: string; readonly message: string }) => ({
  tag: reason._tag,
  message: reason.message
})

/** `watertight status` */
export const status = Command.make("status", {
  url,
  directory,
  table,
  json,
  exitCode: Flag.Boolean("exit-code").pipe(
    Flag.withDescription(
      `Exit with ${Exit.pending} if something is pending, and with ${Exit.history} if the history does not fit`
    ),
    Flag.withDefault(false)
  )
}, (flags) =>
  conclude(
    "status",
    flags.json,
    Effect.gen(function*() {
      const { entries, problems, warnings } = yield* Effect.provide(
        Migrations.status({ loader: Migrations.fromDirectory(flags.directory), table: flags.table }),
        yield* open(flags.url)
      )
      const exitCode = !flags.exitCode
        ? Exit.ok
        : problems.length > 0
        ? Exit.history
        : entries.some(isOpen)
        ? Exit.pending
        : Exit.ok
      return {
        command: "status",
        exitCode,
        data: { migrations: entries, problems: problems.map(plain), warnings: warnings.map(plain) },
        lines: [
          ...columns(entries.map((entry) => [
            entry.state,
            `${entry.id}_${entry.name}`,
            entry.state === "failed" || entry.state === "unfinished"
              ? `${entry.done} of ${entry.total ?? "?"} statements${
                entry.error === undefined ? "" : `: ${entry.error}`
              }`
              : entry.appliedAt ?? ""
          ])),
          ...warnings.map((warning) => `warning: ${warning.message}`),
          ...problems.map((problem) => `problem: ${problem.message}`),
          ...(entries.length === 0 ? ["there are no migrations"] : [])
        ]
      }
    })
  )).pipe(Command.withDescription("Say which migrations are applied, and which are not"))

/** `watertight baseline` */
export const baseline = Command.make("baseline", {
  url,
  directory,
  table,
  json,
  upTo: Flag.Int("up-to").pipe(
    Flag.withDescription("The last id that the database has already"),
    Flag.withMetavar("ID")
  )
}, (flags) =>
  conclude(
    "baseline",
    flags.json,
    Effect.gen(function*() {
      const taken = yield* Effect.provide(
        Migrations.baseline({
          loader: Migrations.fromDirectory(flags.directory),
          table: flags.table,
          upTo: flags.upTo
        }),
        yield* open(flags.url)
      )
      return {
        command: "baseline",
        exitCode: Exit.ok,
        data: { taken },
        lines: taken.length === 0
          ? ["nothing to do: all of them are recorded"]
          : taken.map(({ id, name }) => `${id}_${name} counts as applied`)
      }
    })
  )).pipe(Command.withDescription("Take a database as it is: migrations up to an id count as applied, and are not run"))

/** `watertight repair` */
export const repair = Command.make("repair", {
  id: Argument.Int("id").pipe(Argument.withDescription("The migration")),
  url,
  directory,
  table,
  json,
  accept: Flag.Boolean("accept").pipe(
    Flag.withDescription("Its file was edited or renamed, and means the same"),
    Flag.withDefault(false)
  ),
  forget: Flag.Boolean("forget").pipe(
    Flag.withDescription("It was not applied after all, or its file is gone for good"),
    Flag.withDefault(false)
  ),
  as: Flag.Literals("as", ["applied", "pending"]).pipe(
    Flag.withDescription("What became of it, or of its statement, as you have found out"),
    Flag.optional
  ),
  statement: Flag.Int("statement").pipe(
    Flag.withDescription("The statement that is in doubt"),
    Flag.withMetavar("NUMBER"),
    Flag.optional
  )
}, (flags) =>
  conclude(
    "repair",
    flags.json,
    Effect.gen(function*() {
      const as = Option.getOrUndefined(flags.as)
      if (Number(flags.accept) + Number(flags.forget) + Number(as !== undefined) !== 1) {
        return yield* new Usage({ problem: "say one of `--accept`, `--forget` and `--as applied|pending`" })
      }
      const { id } = flags
      const repair: Migrations.Repair = flags.accept
        ? { id, accept: true }
        : flags.forget
        ? { id, forget: true }
        : { id, as: as!, statement: Option.getOrUndefined(flags.statement) }
      yield* Effect.provide(
        Migrations.repair({
          loader: Migrations.fromDirectory(flags.directory),
          table: flags.table,
          ...repair
        }),
        yield* open(flags.url)
      )
      return { command: "repair", exitCode: Exit.ok, data: { id }, lines: [`${id}: the record is corrected`] }
    })
  )).pipe(Command.withDescription("Correct what is recorded of a migration. Changes records, and nothing else"))
