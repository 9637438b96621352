/** Rows of options that say how a database is reached, which all of them share. */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import type { LookupFunction } from "node:net"
import { userInfo } from "node:os"
import type * as Tls from "node:tls"
import type { Check } from "../options/Options.ts"
import { type Password, passwordProblem } from "../options/password.ts"

/** What is wrong with an option, which is known before it is known whose option it is. */
export interface Wrong {
  readonly option: string
  readonly problem: string
}

/** A row whose problem is a whole sentence. */
export const checked = <A>(problemOf: (value: unknown) => string | undefined): Check<A | undefined> => ({
  default: undefined,
  parse: (value) => {
    const problem = problemOf(value)
    return problem === undefined ? Result.succeed(value as A) : Result.fail(problem)
  }
})

/** Whether a text has characters that no name has, such as a line break. */
export const hasControl = (text: string): boolean => /\p{Cc}/u.test(text)

/** A name of something outside: no blanks around it, which come out of files and mails, and no control characters. */
export const name = checked<string>((value) => {
  if (typeof value !== "string") return "must be a string"
  if (value === "") return "must not be empty"
  if (value.includes("\u0000")) return "must not contain a NUL"
  if (value !== value.trim()) return "has white space around it: trim it"
  return hasControl(value) ? "must not contain control characters" : undefined
})

const secret = "must be wrapped in `Redacted.make`, so that it is never shown"

export const url = checked<Redacted.Redacted>((value) => Redacted.isRedacted(value) ? undefined : secret)

/** The port of a server. */
export const port = checked<number>((value) => isPort(value) ? undefined : "must be between 1 and 65535")

export const isPort = (value: unknown): boolean =>
  Number.isInteger(value) && Number(value) >= 1 && Number(value) <= 65_535

export const lookup = checked<LookupFunction>((value) =>
  typeof value === "function" ? undefined : "must be a function, as `lookup` of `net.connect`"
)

export const family = checked<4 | 6>((value) => value === 4 || value === 6 ? undefined : "must be 4 or 6")

export const password = checked<Password>((value) =>
  Redacted.isRedacted(value) ? passwordProblem(Redacted.value(value)) : Effect.isEffect(value) ? undefined : secret
)

export const ssl = checked<boolean | Tls.ConnectionOptions>((value) =>
  typeof value === "boolean" || typeof value === "object" && value !== null
    ? undefined
    : "must be true, false or options of `tls.connect`"
)

/** How names of columns are written in the program or in the database. */
export const transform = checked<(name: string) => string>((value) =>
  typeof value === "function" ? undefined : "must be a function from a name to a name"
)

/** Who connects where nobody is named: whoever runs the program. */
export const systemUser = (): Result.Result<string, Wrong> =>
  Result.try({
    try: () => userInfo().username,
    catch: () => ({ option: "username", problem: "is missing, and the system does not say who runs this program" })
  })
