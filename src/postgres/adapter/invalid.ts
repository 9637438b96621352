import * as Result from "effect/Result"
import { InvalidOptions } from "../../options/InvalidOptions.ts"

export type InvalidOption = InvalidOptions

/** An option of `Postgres` that cannot work. */
export const invalidOption = (option: string, problem: string): InvalidOptions =>
  new InvalidOptions({ module: "Postgres", option, problem })

export const invalid = (option: string, problem: string): Result.Result<never, InvalidOptions> =>
  Result.fail(invalidOption(option, problem))
