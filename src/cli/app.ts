/** All commands, and how they end. */
import * as CliError from "effect/cli/CliError"
import * as Command from "effect/cli/Command"
import * as Effect from "effect/Effect"
import { CommandFailed, Exit } from "./answer.ts"
import { create } from "./create.ts"
import { doctor } from "./doctor/doctor.ts"
import { drift } from "./drift/drift.ts"
import { generate } from "./generate.ts"
import { lint } from "./lint.ts"
import { baseline, migrate, repair, status } from "./migrate.ts"
import { top } from "./top/top.ts"

const app = Command.make("watertight").pipe(
  Command.withDescription("Migrations and checks for PostgreSQL, PGlite, MySQL and MariaDB"),
  Command.withSubcommands([migrate, status, create, baseline, repair, lint, drift, generate, doctor, top])
)

/** Runs the command that the arguments name. What there is to say has been said when it fails. */
export const runApp = (version: string, args: ReadonlyArray<string>) =>
  Command.runWith(app, { version })(args).pipe(
    Effect.catchIf(CliError.isCliError, (error) =>
      error._tag === "ShowHelp" && error.errors.length === 0
        ? Effect.void
        : new CommandFailed({ exitCode: Exit.usage, message: error.message }))
  )
