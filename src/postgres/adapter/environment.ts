/**
 * The variables that libpq reads. They are not read here: what a program connects to is said by the program. But who has
 * set one may rely on it, so one that would have decided something is refused instead of passed over.
 */
import type * as Result from "effect/Result"
import { env } from "node:process"
import { invalid, type InvalidOption } from "./invalid.ts"

/** What is left for a default to decide. */
export interface Undecided {
  readonly place: boolean
  readonly username: boolean
  readonly database: boolean
  readonly password: boolean
  readonly tls: boolean
}

type Row = readonly [variables: ReadonlyArray<string>, decides: keyof Undecided, option: string]

const rows: ReadonlyArray<Row> = [
  [["PGHOST", "PGHOSTADDR", "PGPORT", "PGSERVICE"], "place", "url"],
  [["PGUSER"], "username", "username"],
  [["PGDATABASE"], "database", "database"],
  [["PGPASSWORD"], "password", "password"],
  [["PGSSLMODE", "PGSSLROOTCERT", "PGSSLCERT", "PGSSLKEY"], "tls", "sslmode"]
]

/** A variable is not to be had where a runtime forbids it, and decides nothing then. */
const isSet = (name: string): boolean => {
  try {
    return (env[name] ?? "") !== ""
  } catch {
    return false
  }
}

/** Refuses to connect by a default where a variable of libpq says something else. */
export const refuseEnvironment = (undecided: Undecided): Result.Result<never, InvalidOption> | undefined => {
  for (const [variables, decides, option] of rows) {
    const found = undecided[decides] ? variables.find(isSet) : undefined
    if (found !== undefined) {
      return invalid(
        option,
        `is not given, and the variable ${found} is set, which is not read: give the option, or unset the variable`
      )
    }
  }
  return undefined
}
