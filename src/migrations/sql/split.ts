/**
 * Cuts a file into its statements.
 *
 * A semicolon ends a statement unless it is hidden in a string, a comment or parentheses, or stands in the body of a
 * routine: `BEGIN ATOMIC … END` on PostgreSQL, compound statements on MySQL. `DELIMITER` of MySQL's clients is
 * understood. What belongs to a client and not to SQL is refused with its line.
 */
import * as Result from "effect/Result"
import { CompoundStatement } from "../../values/CompoundStatement.ts"
import { type Dialect, lineOf, type Token, tokenize, type Unterminated } from "./lexer.ts"

/** A statement of a file. */
export interface Statement {
  /** As it is in the file, without the comments before it and the semicolon behind it. */
  readonly text: string
  /** Where in the file that begins. */
  readonly start: number
  /** In which line of the file it begins, counted from 1. */
  readonly line: number
  /** Its tokens without comments. Their offsets are those of the file. */
  readonly tokens: ReadonlyArray<Token>
}

/** Why a file cannot be cut. */
export interface Unsplittable {
  readonly line: number
  /** What is wrong, as a sentence without its subject. */
  readonly problem: string
}

const refuse = (text: string, offset: number, problem: string): Result.Result<never, Unsplittable> =>
  Result.fail({ line: lineOf(text, offset), problem })

/** Cuts a file. */
export const split = (text: string, dialect: Dialect): Result.Result<ReadonlyArray<Statement>, Unsplittable> => {
  const tokens = tokenize(text, dialect)
  if (Result.isFailure(tokens)) return unterminated(text, dialect, tokens.failure)
  const statements = dialect === "mysql" && hasDelimiter(tokens.success)
    ? splitDelimited(text, tokens.success)
    : cut(text, tokens.success, dialect)
  return refusal(text, statements) ?? Result.succeed(statements)
}

const unterminated = (
  text: string,
  dialect: Dialect,
  { offset, what }: Unterminated
): Result.Result<never, Unsplittable> => {
  // The data of a COPY is no SQL, and may well look like a string that does not end.
  const before = tokenize(text.slice(0, offset), dialect)
  const copied = Result.isSuccess(before) ? refusal(text, cut(text, before.success, dialect)) : undefined
  return copied ?? refuse(text, offset, `has a ${what} that does not end`)
}

const cut = (text: string, tokens: ReadonlyArray<Token>, dialect: Dialect): ReadonlyArray<Statement> => {
  const statements: Array<Statement> = []
  const bodies = dialect === "postgres" ? new PostgresBodies() : new MysqlBodies()
  let current: Array<Token> = []
  for (const token of tokens) {
    if (token.kind === "comment") continue
    if (token.kind === "sign" && token.text === ";" && !bodies.isOpen) {
      push(statements, text, current)
      current = []
      bodies.reset()
      continue
    }
    current.push(token)
    if (token.kind !== "executed") bodies.read(token, current)
  }
  push(statements, text, current)
  return statements
}

const push = (statements: Array<Statement>, text: string, tokens: ReadonlyArray<Token>): void => {
  const plain = tokens.filter((token) => token.kind !== "executed")
  if (plain.length === 0) return
  const { start } = tokens[0]!
  statements.push({ text: text.slice(start, tokens.at(-1)!.end), start, line: lineOf(text, start), tokens: plain })
}

// ---------------------------------------------------------------------------------------------------------------------
// Bodies
// ---------------------------------------------------------------------------------------------------------------------

/** Tells whether a semicolon is inside of something. */
interface Bodies {
  readonly isOpen: boolean
  read(token: Token, statement: ReadonlyArray<Token>): void
  reset(): void
}

const isWord = (token: Token | undefined, ...words: ReadonlyArray<string>): boolean =>
  token !== undefined && token.kind === "word" && words.includes(token.text)

const isSign = (token: Token | undefined, sign: string): boolean =>
  token !== undefined && token.kind === "sign" && token.text === sign

/** Parentheses, as in `CREATE RULE … DO (a; b)`, and `BEGIN ATOMIC … END` of a routine. */
class PostgresBodies implements Bodies {
  private parentheses = 0
  private blocks = 0

  get isOpen(): boolean {
    return this.parentheses > 0 || this.blocks > 0
  }

  read(token: Token, statement: ReadonlyArray<Token>): void {
    if (isSign(token, "(")) this.parentheses++
    else if (isSign(token, ")")) this.parentheses = Math.max(0, this.parentheses - 1)
    else if (isWord(token, "ATOMIC") && isWord(statement.at(-2), "BEGIN")) this.blocks++
    else if (this.blocks > 0 && isWord(token, "CASE")) this.blocks++
    else if (this.blocks > 0 && isWord(token, "END")) this.blocks--
  }

  reset(): void {
    this.parentheses = 0
    this.blocks = 0
  }
}

/** The compound statements of routines, triggers and events, and those of MariaDB. */
class MysqlBodies implements Bodies {
  private readonly compound = new CompoundStatement()

  get isOpen(): boolean {
    return this.compound.isOpen
  }

  read({ kind, text }: Token): void {
    this.compound.read(kind === "name" ? "`" : kind === "string" ? "'" : text)
  }

  reset(): void {
    this.compound.reset()
  }
}

// ---------------------------------------------------------------------------------------------------------------------
// DELIMITER
// ---------------------------------------------------------------------------------------------------------------------

const hasDelimiter = (tokens: ReadonlyArray<Token>): boolean => tokens.some((token) => isWord(token, "DELIMITER"))

const splitDelimited = (text: string, tokens: ReadonlyArray<Token>): ReadonlyArray<Statement> => {
  const statements: Array<Statement> = []
  const bodies = new MysqlBodies()
  let delimiter = ";"
  let current: Array<Token> = []
  /** The end of a delimiter or of its line; tokens before it were read already. */
  let skipTo = 0
  const end = () => {
    push(statements, text, current)
    current = []
    bodies.reset()
  }
  for (const token of tokens) {
    if (token.kind === "comment" || token.start < skipTo) continue
    if (current.length === 0 && isWord(token, "DELIMITER")) {
      const line = /[^\n]*/y
      line.lastIndex = token.end
      delimiter = line.exec(text)![0].trim() || ";"
      skipTo = line.lastIndex
      continue
    }
    const at = delimiterIn(text, token, delimiter)
    if (at < 0 || delimiter === ";" && bodies.isOpen) {
      current.push(token)
      if (token.kind !== "executed") bodies.read(token)
      continue
    }
    // `END$$` is one word to the lexer.
    if (at > 0) {
      const cutAt = token.start + at
      current.push({ ...token, end: cutAt, text: token.text.slice(0, at) })
    }
    skipTo = token.start + at + delimiter.length
    end()
  }
  end()
  return statements
}

const delimiterIn = (text: string, token: Token, delimiter: string): number => {
  if (token.kind === "sign") return text.startsWith(delimiter, token.start) ? 0 : -1
  return token.kind === "word" || token.kind === "number" ? text.slice(token.start, token.end).indexOf(delimiter) : -1
}

// ---------------------------------------------------------------------------------------------------------------------
// What is no SQL
// ---------------------------------------------------------------------------------------------------------------------

const refusal = (
  text: string,
  statements: ReadonlyArray<Statement>
): Result.Result<never, Unsplittable> | undefined => {
  for (const { tokens } of statements) {
    const { start } = tokens[0]!
    if (isSign(tokens[0], "\\")) {
      return refuse(text, start, "has a command of psql, which is no SQL: take it out")
    }
    if (
      isWord(tokens[0], "COPY") && tokens.some((token, at) => isWord(token, "STDIN") && isWord(tokens[at - 1], "FROM"))
    ) {
      return refuse(
        text,
        start,
        "has COPY … FROM STDIN, whose data is no SQL: use INSERT, or `Copy` in a TypeScript file"
      )
    }
    if (isWord(tokens[0], "SOURCE") && tokens.length === 2) {
      return refuse(text, start, "has a command of the mysql client, which is no SQL: take it out")
    }
  }
  return undefined
}
