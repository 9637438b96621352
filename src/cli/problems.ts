/** What can be wrong, and the exit code that says so. */
import * as Data from "effect/Data"
import { isSqlError } from "effect/sql/SqlError"
import type * as MigrationsError from "../migrations/MigrationsError.ts"
import { InvalidOptions } from "../options/InvalidOptions.ts"
import { Exit } from "./answer.ts"

/** The command or its configuration cannot work. */
export class Usage extends Data.TaggedError("Usage")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** Something that should answer does not. */
export class Unreached extends Data.TaggedError("Unreached")<{ readonly problem: string }> {
  override get message(): string {
    return this.problem
  }
}

/** What a failure is to scripts and to people. */
export const describe = (
  error: unknown
): { readonly exitCode: number; readonly tag: string; readonly message: string } => {
  if (error instanceof Usage) return { exitCode: Exit.usage, tag: "Usage", message: error.message }
  if (error instanceof Unreached) return { exitCode: Exit.unreachable, tag: "Unreached", message: error.message }
  if (error instanceof InvalidOptions) return { exitCode: Exit.usage, tag: "InvalidOptions", message: error.message }
  if (isSqlError(error)) return { exitCode: Exit.unreachable, tag: "SqlError", message: error.message }
  if (isMigrationsError(error)) {
    return { exitCode: codeOf(error.reason), tag: error.reason._tag, message: error.message }
  }
  return { exitCode: Exit.found, tag: "Error", message: error instanceof Error ? error.message : String(error) }
}

const isMigrationsError = (error: unknown): error is MigrationsError.MigrationsError =>
  typeof error === "object" && error !== null && "_tag" in error && error._tag === "MigrationsError"

const codeOf = (reason: MigrationsError.Reason): number => {
  switch (reason._tag) {
    case "Failed":
    case "Overtaken":
      return Exit.found
    case "InvalidFile":
    case "ImportFailed":
    case "Refused":
      return Exit.usage
    case "Interrupted":
      return Exit.interrupted
    case "Duplicate":
    case "Changed":
    case "Renamed":
    case "Missing":
    case "OutOfOrder":
      return Exit.history
    case "Busy":
    case "Blocked":
      return Exit.busy
  }
}
