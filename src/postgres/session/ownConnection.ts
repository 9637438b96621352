/** Statements that make sense only on a connection that is held, and not on whichever one is free. */
import { NeedsConnection } from "../../failure/NeedsConnection.ts"
import { Lexer, Token } from "../statement/Lexer.ts"
import { statementStarts } from "../statement/scripts.ts"

const transaction = "`Transaction.run` or `sql.withTransaction`"
const inside = "it inside `Transaction.run` or `sql.withTransaction`"
const nested = "`Transaction.run` inside another one, which is a savepoint"
const isolation = "the options `isolation` and `access` of `Transaction.run`"
const lock = "`AdvisoryLock.withLock`, or `AdvisoryLock.inTransaction`"
const stream = "`.stream` of the statement, which reads with a cursor, or a cursor inside `Transaction.run`"
const listen = "`Notifications.listen`"

/** A text without any of these words needs no closer look. */
const suspicious =
  /\b(?:begin|start|commit|end|rollback|abort|savepoint|release|prepare|set|declare|fetch|move|lock|listen|pg_(?:try_)?advisory\w*|set_config)\b|u&"/i

/** Why a statement must not be run by itself on the pool. A text of several statements runs on one connection. */
export const needsConnection = (sql: string): NeedsConnection | undefined => {
  if (!suspicious.test(sql)) return undefined
  const lexer = new Lexer(sql)
  const words = firstWords(lexer)
  const refused = byWords(words) ?? byCalls(sql, words[0])
  return refused === undefined || sql.includes(";") && statementStarts(sql).length > 1 ? undefined : refused
}

const firstWords = (lexer: Lexer): ReadonlyArray<string> => {
  const words: Array<string> = []
  while (words.length < 3 && lexer.next()) {
    if (lexer.token === Token.Word) words.push(lexer.value)
    else if (words.length > 0 || !lexer.isSymbol(";") && !lexer.isSymbol("(")) break
  }
  return words
}

const refuse = (statement: string, instead: string): NeedsConnection =>
  new NeedsConnection({ statement: statement.toUpperCase(), instead })

const byWords = ([first, second]: ReadonlyArray<string>): NeedsConnection | undefined => {
  switch (first) {
    case "begin":
    case "abort":
    case "end":
      return refuse(first, transaction)
    case "commit":
    case "rollback":
      // What was prepared is ended from anywhere, and outside of transactions only.
      return second === "prepared" ? undefined : refuse(first, transaction)
    case "start":
    case "prepare":
      return second === "transaction" ? refuse(`${first} ${second}`, transaction) : undefined
    case "savepoint":
    case "release":
      return refuse(first, nested)
    case "set":
      if (second === "transaction") return refuse("set transaction", isolation)
      return second === "local" || second === "constraints" ? refuse(`set ${second}`, inside) : undefined
    case "lock":
      return refuse(first, inside)
    case "declare":
    case "fetch":
    case "move":
      return refuse(first, stream)
    case "listen":
      return refuse(first, listen)
    default:
      return undefined
  }
}

const runs = new Set(["select", "with", "values", "insert", "update", "delete", "merge", "table"])

/**
 * A lock of the session is gone before the next statement, unless this one gives it back itself. What is for the
 * transaction is gone with this statement, which is of use only to something else in it.
 */
const byCalls = (sql: string, first: string | undefined): NeedsConnection | undefined => {
  if (first === undefined || !runs.has(first)) return undefined
  const called = callsOf(sql)
  const isAlone = first === "select" && !called.has("from")
  for (const name of called) {
    if (ofSession.test(name)) {
      if (!called.has("pg_advisory_unlock") && !called.has("pg_advisory_unlock_shared")) return refuse(name, lock)
    } else if (isAlone && ofTransaction.test(name)) return refuse(name, lock)
    else if (isAlone && name === "set_config … true") return refuse("set_config for the transaction", inside)
  }
  return undefined
}

const ofSession = /^pg_(?:try_)?advisory_lock(?:_shared)?$/
const ofTransaction = /^pg_(?:try_)?advisory_xact_lock(?:_shared)?$/

/** The server's functions that a statement calls, and `from` if it reads from anything. */
const callsOf = (sql: string): ReadonlySet<string> => {
  const found = new Set<string>()
  const lexer = new Lexer(sql)
  const open: Array<string> = []
  let last = ""
  let before = ""
  let schema = ""
  while (lexer.next()) {
    const value = lexer.token === Token.Text ? "'" : lexer.value
    if (lexer.isSymbol("(")) {
      const name = before === "." && schema !== "pg_catalog" ? "" : last
      open.push(name)
      if (/^[a-z]/.test(name)) found.add(name)
    } else if (lexer.isSymbol(")")) {
      if (open.pop() === "set_config" && last === "true" && before === ",") found.add("set_config … true")
    } else if (lexer.isWord("from")) found.add("from")
    schema = before
    before = last
    last = value
  }
  return found
}
