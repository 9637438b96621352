/** What all commands can be told. */
import * as Flag from "effect/cli/Flag"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type * as Redacted from "effect/Redacted"
import { announcementTable } from "../cache/Announcements.ts"
import { journalTable } from "../migrations/run/journal.ts"
import { keyTable } from "../transaction/idempotency.ts"
import { type Answer, answer, type CommandFailed, failure } from "./answer.ts"
import { type DatabaseLayer, databaseOf } from "./database.ts"
import { describe, Usage } from "./problems.ts"

/** The database. */
export const url = Flag.Redacted("url").pipe(
  Flag.withDescription("The database: postgres://, mysql://, mariadb:// or pglite:<folder>. Default: $DATABASE_URL"),
  Flag.withMetavar("URL"),
  Flag.withFallbackConfig(Config.Redacted("DATABASE_URL")),
  Flag.optional
)

/** Where the migrations are. */
export const directory = Flag.String("directory").pipe(
  Flag.withAlias("d"),
  Flag.withDescription("The folder of the migrations. Default: migrations"),
  Flag.withMetavar("FOLDER"),
  Flag.withDefault("migrations")
)

/** For programs. */
export const json = Flag.Boolean("json").pipe(
  Flag.withDescription("Print one JSON object, and nothing else, on the standard output"),
  Flag.withDefault(false)
)

/** The table of Effect's `Migrator`. */
export const table = Flag.String("table").pipe(
  Flag.withDescription("The table that says what is applied. Default: effect_sql_migrations"),
  Flag.withMetavar("TABLE"),
  Flag.withDefault("effect_sql_migrations")
)

/** The tables that are kept beside those of the program, and are no part of its schema. */
export const ownTables = (table: string): ReadonlyArray<string> => [
  table,
  journalTable,
  keyTable,
  announcementTable
]

/** The layer of the database that was named. */
export const open = (given: Option.Option<Redacted.Redacted<string>>): Effect.Effect<DatabaseLayer, Usage> =>
  Effect.flatMap(named(given), databaseOf)

/** The URL of the database that was named. */
export const named = (
  given: Option.Option<Redacted.Redacted<string>>
): Effect.Effect<Redacted.Redacted<string>, Usage> =>
  Option.match(given, {
    onNone: () => Effect.fail(new Usage({ problem: "no database was named: give `--url`, or set DATABASE_URL" })),
    onSome: Effect.succeed
  })

/** Prints what a command has found, or why it failed. */
export const conclude = <E, R>(
  command: string,
  isJson: boolean,
  work: Effect.Effect<Answer, E, R>
): Effect.Effect<void, CommandFailed, R> =>
  Effect.matchEffect(work, {
    onFailure: (error) => failure(command, describe(error), isJson),
    onSuccess: (found) => answer(found, isJson)
  })
