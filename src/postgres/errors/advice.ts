/** What to do about an error for which the server has no hint of its own. Never with a value. */
import type * as PgProtocol from "@effect/sql-pg/PgProtocol"

const byCode: Readonly<Record<string, string>> = {
  "25006": "the transaction may only read: it has `access: \"read only\"`, or the server is a standby",
  "28000": "see the user in `url`, and the server's pg_hba.conf",
  "28P01": "see the user and the password in `url`",
  "3D000": "create the database, or correct its name in `url`",
  "40P01": "lock rows in one order, for example by id; docs/transactions.md has a section about deadlocks",
  "42501": "grant the right to the user, or use another one",
  "53300": "the server has no connection left: lower `pool.max`, or raise max_connections",
  "55P03": "another transaction has the lock: see pg_blocking_pids, or raise `lockTimeout`"
}

const byText: ReadonlyArray<readonly [code: string, text: RegExp, advice: string]> = [
  ["42601", /multiple commands/, "send one statement at a time, or all of them with `Script.run`"],
  ["57014", /statement timeout/, "raise `statementTimeout`, or the limit of this one with `StatementTimeout.within`"],
  ["28000", /role "[^"]*" does not exist/, "create the role, or correct the user in `url`"]
]

export const adviceFor = ({ code, message = "" }: PgProtocol.ErrorFields): string | undefined => {
  if (code === undefined) return undefined
  return byText.find(([of, text]) => of === code && text.test(message))?.[2] ?? byCode[code]
}

/**
 * Which parameter has which type, of a text that its type does not accept. The server names both, and the value between
 * them, which is left out.
 */
export const describeUnfit = ({ code, message = "", where = "" }: PgProtocol.ErrorFields): string | undefined => {
  if (code !== "22P02" && code !== "22007") return undefined
  const type = /^invalid input (?:syntax for type|value for enum) ("?[\w .]+"?)(?=:)/.exec(message)?.[1]
  if (type === undefined) return undefined
  const parameter = /^(?:unnamed )?portal (?:"[^"]*" )?parameter (\$\d+)\b/.exec(where)?.[1]
  return `${
    parameter === undefined ? "a value" : `parameter ${parameter}`
  } is not of the form that its type requires, which is ${type}`
}
