/**
 * What can be told of a statement from its text: whether it may share a connection, whether it leaves something behind
 * in the session, and whether it ends a transaction.
 *
 * The text is only read as far as that needs. Where it does not tell, such as for CALL, the worst is assumed for the
 * session, and the server's status flags are the evidence for the transaction.
 */

import { CompoundStatement } from "../../values/CompoundStatement.ts"
import { endOfComment, endOfLine, endOfQuoted, isLineComment, skipComment, type Token, tokensOf } from "./tokens.ts"

/** What is known of a statement before it runs. */
export interface Profile {
  /** Its first words, for messages: `CREATE TABLE`. */
  readonly words: string
  /** Whether it does nothing but read or write rows, so that others may be behind it on the wire. */
  readonly plain: boolean
  /** Whether what it does may outlive the borrower: a setting, a variable, a temporary table, a lock. */
  readonly changesSession: boolean
  /** Whether it ends an open transaction: `commits` without being asked to, or because it is `control`. */
  readonly ends: "no" | "commits" | "control"
  /** Whether it begins a new transaction or ends one by ROLLBACK: allowed where another has been given up. */
  readonly clears: boolean
  /** Whether it is DDL that does nothing where what it makes is there: `CREATE TABLE IF NOT EXISTS`. */
  readonly isIdempotent: boolean
  /** Whether it runs other statements, which are not to be seen, and which may end a transaction and begin another one. */
  readonly runsOthers: boolean
  /** How many parameters it takes, unless that depends on the session. */
  placeholders: number | undefined
}

const plain = (words: string): Profile => ({
  words,
  plain: true,
  changesSession: false,
  ends: "no",
  clears: false,
  isIdempotent: false,
  runsOthers: false,
  placeholders: undefined
})

const profile = (words: string, rest: Partial<Profile>): Profile => ({ ...plain(words), plain: false, ...rest })

/** Statements that only read or write rows. */
const rowStatements = new Set([
  "SELECT",
  "INSERT",
  "UPDATE",
  "DELETE",
  "REPLACE",
  "WITH",
  "VALUES",
  "TABLE",
  "SHOW",
  "EXPLAIN",
  "DESC",
  "DESCRIBE",
  "DO",
  "CHECKSUM",
  "HELP",
  ""
])

/** Statements that commit an open transaction first. */
const committing = new Set([
  "ALTER",
  "CACHE",
  "CHANGE",
  "CHECK",
  "CREATE",
  "DROP",
  "FLUSH",
  "GRANT",
  "IMPORT",
  "INSTALL",
  "LOCK",
  "OPTIMIZE",
  "RENAME",
  "REPAIR",
  "RESET",
  "RESTART",
  "REVOKE",
  "SHUTDOWN",
  "STOP",
  "TRUNCATE",
  "UNINSTALL",
  "UNLOCK"
])

/** Statements that run others. MariaDB has what is otherwise the body of a procedure as a statement. */
const runners = new Set(["CALL", "EXECUTE", "IF", "CASE", "FOR", "LOOP", "REPEAT", "WHILE", "DECLARE"])

/** Without any of these there is no need to look closer. */
const suspicious = /@|get_lock|release_lock|release_all_locks/i

const lockFunction = /^(?:get_lock|release_lock|release_all_locks)$/

/** What a plain statement can do to its session: set a user variable, take or give back a lock by name. */
const changesSession = (sql: string): boolean => {
  if (!suspicious.test(sql)) return false
  const tokens = tokensOf(sql, false)
  return tokens.some((token, index) => {
    if (lockFunction.test(token)) return tokens[index + 1] === "("
    if (!token.startsWith("@")) return false
    // A name in quotes is a word of its own.
    const behind = index + (token === "@" ? 2 : 1)
    return tokens[behind] === ":" && tokens[behind + 1] === "=" || intoVariable(tokens, index)
  })
}

/** Whether a variable is one of those behind INTO. */
const intoVariable = (tokens: ReadonlyArray<Token>, index: number): boolean => {
  let at = index - 1
  while (tokens[at] === "," || tokens[at]?.startsWith("@") === true || tokens[at] === "`" || tokens[at] === "'") at--
  return tokens[at] === "into"
}

/** The locks by name that a statement takes and does not give back itself. */
export const takesLock = (sql: string): boolean => {
  if (!/get_lock/i.test(sql)) return false
  const tokens = tokensOf(sql, false)
  const calls = (name: RegExp) => tokens.some((token, index) => name.test(token) && tokens[index + 1] === "(")
  return calls(/^get_lock$/) && !calls(/^release_(?:lock|all_locks)$/)
}

/** Tells what can be told. */
export const profileOf = (sql: string): Profile => {
  const reader = new Reader(sql)
  const first = reader.word()
  if (rowStatements.has(first)) {
    return changesSession(sql) ? profile(first, { changesSession: true }) : plain(first)
  }
  const second = reader.word()
  const words = second === "" ? first : `${first} ${second}`
  switch (first) {
    case "SET":
      switch (second) {
        case "GLOBAL":
        case "PERSIST":
        case "PERSIST_ONLY":
        case "DEFAULT":
          // What follows a comma may be about the session.
          return profile(words, { changesSession: sql.includes(",") })
        case "PASSWORD":
          return profile(words, { ends: "commits" })
        default:
          return profile(words, { changesSession: true, runsOthers: second === "STATEMENT" })
      }
    case "BEGIN":
      return second === "NOT"
        ? profile("BEGIN NOT ATOMIC", { changesSession: true, runsOthers: true })
        : profile(words, { ends: "control", clears: true })
    case "START":
      return second === "TRANSACTION"
        ? profile(words, { ends: "control", clears: true })
        : profile(words, { ends: "commits" })
    case "COMMIT":
      return profile(words, { ends: "control" })
    case "ROLLBACK": {
      const to = second === "TO" || second === "WORK" && reader.word() === "TO"
      return to ? profile("ROLLBACK TO", {}) : profile(words, { ends: "control", clears: true })
    }
    case "ANALYZE":
      // MariaDB's ANALYZE of a statement runs it and tells how.
      return second === "TABLE" || second === "LOCAL" || second === "NO_WRITE_TO_BINLOG"
        ? profile(words, { ends: "commits" })
        : profile(words, {})
    case "XA":
      return profile(words, { ends: "control", changesSession: true })
    case "SAVEPOINT":
    case "RELEASE":
    case "KILL":
    case "LOAD":
      return profile(words, first === "LOAD" && second === "INDEX" ? { ends: "commits" } : {})
    case "CREATE":
    case "DROP": {
      let word = second
      if (word === "OR") {
        reader.word()
        word = reader.word()
      }
      if (word === "TEMPORARY") return profile(`${first} TEMPORARY`, { changesSession: true })
      return profile(`${first} ${word}`, {
        ends: "commits",
        // The database may be that of the session, which then has none.
        changesSession: first === "DROP" && (word === "DATABASE" || word === "SCHEMA"),
        isIdempotent: first === "CREATE" && makesOnce(word, reader)
      })
    }
    case "LOCK":
    case "UNLOCK":
    case "FLUSH":
      return profile(words, { ends: "commits", changesSession: true })
    default:
      // CALL, EXECUTE, PREPARE, USE, HANDLER, compound statements, and what is not known.
      return committing.has(first)
        ? profile(words, { ends: "commits" })
        : profile(words, { changesSession: true, runsOthers: runners.has(first) })
  }
}

/** Whether `IF NOT EXISTS` follows, of a table or an index. */
const makesOnce = (word: string, reader: Reader): boolean => {
  if (word === "UNIQUE" && reader.word() !== "INDEX") return false
  return (word === "TABLE" || word === "INDEX" || word === "UNIQUE") &&
    reader.word() === "IF" && reader.word() === "NOT" && reader.word() === "EXISTS"
}

/** Profiles by text, bounded: statements that are built from values would otherwise stay for ever. */
export class Profiles {
  private readonly known = new Map<string, Profile>()
  private readonly limit: number

  constructor(limit: number) {
    this.limit = limit
  }

  get(sql: string): Profile {
    let found = this.known.get(sql)
    if (found === undefined) {
      found = profileOf(sql)
      found.placeholders = placeholdersOf(sql)
      if (this.known.size >= this.limit) this.known.delete(this.known.keys().next().value!)
      this.known.set(sql, found)
    }
    return found
  }
}

const isSpace = (code: number): boolean => code === 32 || code >= 9 && code <= 13

const isWordPart = (code: number): boolean =>
  code >= 97 && code <= 122 || code >= 65 && code <= 90 || code === 95 || code >= 48 && code <= 57 || code === 36 ||
  code > 127

/** Reads words, past white space, comments and opening parentheses. */
class Reader {
  private readonly sql: string
  private at = 0

  constructor(sql: string) {
    this.sql = sql
  }

  word(): string {
    const { sql } = this
    this.at = skipBlank(sql, this.at)
    const start = this.at
    while (this.at < sql.length && isWordPart(sql.charCodeAt(this.at))) this.at++
    return sql.slice(start, this.at).toUpperCase()
  }
}

/** The next position that is neither white space, comment, parenthesis nor semicolon. */
const skipBlank = (sql: string, from: number): number => {
  let at = from
  while (at < sql.length) {
    const code = sql.charCodeAt(at)
    if (isSpace(code) || code === 40 || code === 59) {
      at++
    } else if (code === 47 && sql.charCodeAt(at + 1) === 42) {
      // What stands in /*! and /*M! is executed.
      const executed = /^\/\*M?!\d*/.exec(sql.slice(at, at + 12))
      at = executed === null ? endOfComment(sql, at) : at + executed[0].length
    } else if (code === 42 && sql.charCodeAt(at + 1) === 47) {
      at += 2
    } else if (isLineComment(sql, at)) {
      at = endOfLine(sql, at)
    } else {
      break
    }
  }
  return at
}

/** A text cut at its placeholders: one more piece than there are placeholders. */
export interface Pieces {
  readonly texts: ReadonlyArray<string>
}

/**
 * Cuts a text into statements, and each of them at its placeholders. What looks like a semicolon or a placeholder
 * inside strings, quoted identifiers and comments is none, and a semicolon inside a compound statement ends nothing. A
 * line with `DELIMITER`, which the clients of MySQL know, says what ends the statements behind it.
 */
export const split = (sql: string, noBackslashEscapes: boolean): ReadonlyArray<Pieces> =>
  new Splitter(sql, noBackslashEscapes).split()

const delimiterLine = /^[ \t]*delimiter[ \t]+\S/im

class Splitter {
  private readonly sql: string
  private readonly noBackslashEscapes: boolean
  private readonly statements: Array<Pieces> = []
  /** What semicolons are inside of, if there are any. */
  private readonly compound: CompoundStatement | undefined
  private readonly hasDelimiters: boolean
  private delimiter = ";"
  private texts: Array<string> = []
  private start = 0
  private at = 0
  private isEmpty = true

  constructor(sql: string, noBackslashEscapes: boolean) {
    this.sql = sql
    this.noBackslashEscapes = noBackslashEscapes
    this.compound = sql.includes(";") ? new CompoundStatement() : undefined
    this.hasDelimiters = delimiterLine.test(sql)
  }

  split(): ReadonlyArray<Pieces> {
    const { sql } = this
    while (this.at < sql.length) if (!this.isAtDelimiter() && !this.comment()) this.next(sql.charCodeAt(this.at))
    this.end()
    return this.statements
  }

  /** Ends a statement where it is. */
  private end(): void {
    this.texts.push(this.sql.slice(this.start, this.at))
    if (!this.isEmpty) this.statements.push({ texts: this.texts })
    this.texts = []
    this.isEmpty = true
    this.compound?.reset()
  }

  private isAtDelimiter(): boolean {
    const { delimiter } = this
    if (!this.sql.startsWith(delimiter, this.at) || delimiter === ";" && this.compound?.isOpen === true) return false
    this.end()
    this.start = this.at += delimiter.length
    return true
  }

  /** Passes a comment. What stands in an executable one is read as what it is. */
  private comment(): boolean {
    const end = skipComment(this.sql, this.at)
    if (end === this.at) return false
    if (this.sql.startsWith("/*!", this.at) || this.sql.startsWith("/*M!", this.at)) this.isEmpty = false
    this.at = end
    return true
  }

  private next(code: number): void {
    const { compound, sql } = this
    if (isSpace(code)) {
      this.at++
      return
    }
    if (isWordPart(code)) return this.word()
    this.isEmpty = false
    compound?.read(code === 34 ? "'" : sql[this.at]!)
    switch (code) {
      case 39:
      case 34:
      case 96:
        this.at = endOfQuoted(sql, this.at, this.noBackslashEscapes)
        break
      case 63:
        this.texts.push(sql.slice(this.start, this.at))
        this.start = ++this.at
        break
      default:
        this.at++
    }
  }

  private word(): void {
    const { delimiter, sql } = this
    const from = this.at
    do this.at++
    while (isWordPart(sql.charCodeAt(this.at)) && (delimiter === ";" || !sql.startsWith(delimiter, this.at)))
    const isFirst = this.isEmpty && this.texts.length === 0
    if (isFirst && this.hasDelimiters && /^delimiter$/i.test(sql.slice(from, this.at))) return this.readDelimiter()
    this.isEmpty = false
    this.compound?.read(sql.slice(from, this.at).toUpperCase())
  }

  private readDelimiter(): void {
    const { at, sql } = this
    this.at = this.start = endOfLine(sql, at)
    this.delimiter = sql.slice(at, this.at).trim() || ";"
  }
}

/** How many placeholders a text has. What a backslash means is for the session to say. */
const placeholdersOf = (sql: string): number | undefined =>
  !sql.includes("?")
    ? 0
    : sql.includes("\\")
    ? undefined
    : split(sql, false).reduce((sum, piece) => sum + piece.texts.length - 1, 0)
