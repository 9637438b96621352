/** Statements that make sense only on a connection that is held, and not on whichever one is free. */
import { NeedsConnection } from "../../failure/NeedsConnection.ts"
import { type Profile, profileOf, split, takesLock } from "../statement/statements.ts"
import { tokensOf } from "../statement/tokens.ts"

const transaction = "`Transaction.run` or `sql.withTransaction`"
const connection = "`sql.reserve`, which holds a connection until its scope closes"

const lock = "`AdvisoryLock.withLock`"

/** Why a statement must not be run by itself on the pool. A text of several statements runs on one connection. */
export const needsConnection = (sql: string, profile: Profile): NeedsConnection | undefined => {
  const instead = insteadOf(sql, profile)
  if (instead === undefined || sql.includes(";") && split(sql, false).length > 1) return undefined
  return new NeedsConnection({ statement: rows.has(profile.words) ? "GET_LOCK" : profile.words, instead })
}

/**
 * Whether a text may leave a transaction open: several statements, one of which may begin one, or something that runs
 * statements which are not to be seen.
 */
export const mayLeaveOpen = (sql: string, profile: Profile): boolean =>
  sql.includes(";")
    ? split(sql, false).some((piece) => mayBegin(profileOf(piece.texts.join("?"))))
    : mayBegin(profile)

const mayBegin = ({ ends, plain, words }: Profile): boolean => !plain && ends !== "commits" && !harmless.test(words)

/** What belongs to a session, and to no transaction. */
const harmless = /^(?:USE|KILL|PREPARE|DEALLOCATE|SAVEPOINT|RELEASE|ROLLBACK|COMMIT|(?:CREATE|DROP) TEMPORARY|LOAD)\b/

/** Statements about rows, which may call functions. */
const rows = new Set(["SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH", "VALUES", "TABLE", "DO"])

const insteadOf = (sql: string, { words }: Profile): string | undefined => {
  const first = words.split(" ", 1)[0]!
  if (rows.has(first)) return takesLock(sql) ? lock : undefined
  switch (first) {
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
      return words === "SET TRANSACTION"
        ? "the option `isolation` or `access` of `Transaction.run`"
        : setsAutocommit(sql)
        ? transaction
        : undefined
    case "XA":
    case "HANDLER":
    case "LOCK":
    case "UNLOCK":
    case "BACKUP":
      return connection
    case "FLUSH":
      return locksTables(sql) ? connection : undefined
    default:
      return undefined
  }
}

/** Whether a SET is about autocommit of this session. */
const setsAutocommit = (sql: string): boolean => {
  if (!/autocommit/i.test(sql)) return false
  const tokens = tokensOf(sql, false)
  return tokens.some((token, index) => {
    const isIt = token === "autocommit" || token === "@@autocommit" ||
      token === "`" && /[`"]autocommit[`"]/i.test(sql)
    if (!isIt || tokens[index + 1] !== "=" && tokens[index + 1] !== ":") return false
    const scope = tokens[index - 1] === "." ? tokens[index - 2] : tokens[index - 1]
    return scope !== "global" && scope !== "@@global" && scope !== "persist" && scope !== "@@persist"
  })
}

/** Whether tables stay locked: a FLUSH with a read lock, or for an export. */
const locksTables = (sql: string): boolean => {
  const tokens = tokensOf(sql, false)
  return tokens.some((token, index) =>
    token === "lock" && tokens[index - 1] === "read" || token === "export" && tokens[index - 1] === "for"
  )
}
