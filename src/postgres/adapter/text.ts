import * as Result from "effect/Result"
import { invalid, type InvalidOption } from "./invalid.ts"

/** An option that is a text of something outside. */
export const text = (option: string, value: string | undefined): Result.Result<string | undefined, InvalidOption> =>
  Result.gen(function*() {
    if (value === undefined) return undefined
    if (typeof value !== "string") return yield* invalid(option, "must be a string")
    if (value === "") return yield* invalid(option, "must not be empty")
    if (value.includes("\u0000")) return yield* invalid(option, "must not contain a NUL")
    return value
  })
