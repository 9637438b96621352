/** All commands. */
import * as Command from "effect/cli/Command"
import { create } from "./create.ts"
import { lint } from "./lint.ts"
import { baseline, migrate, repair, status } from "./migrate.ts"

export const app = Command.make("watertight").pipe(
  Command.withDescription("Migrations and checks for PostgreSQL, PGlite, MySQL and MariaDB"),
  Command.withSubcommands([migrate, status, create, baseline, repair, lint])
)
