/** Statements that make sense only on a connection that is held, and not on whichever one is free. */
import { NeedsConnection } from "../../failure/NeedsConnection.ts"
import { type Profile, split } from "../statement/statements.ts"

const transaction = "`Transaction.run` or `sql.withTransaction`"
const connection = "`sql.reserve`, which holds a connection until its scope closes"

const lock = "`AdvisoryLock.withLock`"

const lockByName = /\bget_lock\s*\(/i

/** Why a statement must not be run by itself on the pool. A text of several statements runs on one connection. */
export const needsConnection = (sql: string, profile: Profile): NeedsConnection | undefined => {
  const instead = insteadOf(sql, profile)
  if (instead === undefined || sql.includes(";") && split(sql, false).length > 1) return undefined
  return new NeedsConnection({ statement: profile.words === "SELECT" ? "GET_LOCK" : profile.words, instead })
}

const insteadOf = (sql: string, { words }: Profile): string | undefined => {
  switch (words.split(" ", 1)[0]) {
    case "BEGIN":
      return words === "BEGIN NOT ATOMIC" ? undefined : transaction
    case "START":
      return words === "START TRANSACTION" ? transaction : undefined
    case "COMMIT":
    case "ROLLBACK":
    case "SAVEPOINT":
    case "RELEASE":
      return transaction
    case "SET":
      return words === "SET TRANSACTION" ? "the option `isolation` or `access` of `Transaction.run`" : undefined
    case "XA":
    case "HANDLER":
      return connection
    case "LOCK":
    case "UNLOCK":
      return words.endsWith("INSTANCE") ? undefined : connection
    case "SELECT":
    case "DO":
      return lockByName.test(sql) ? lock : undefined
    default:
      return undefined
  }
}
