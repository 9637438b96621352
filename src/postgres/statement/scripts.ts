/**
 * The statements of a script. The server takes a script apart by itself; this is for saying in which line it failed, for
 * running one statement after the other, and for the data that stands behind `COPY … FROM stdin` in a dump.
 */
import type { SqlError } from "effect/sql/SqlError"
import { field } from "../../failure/record.ts"
import { Lexer, Token } from "./Lexer.ts"

/** Where in a script a statement is. */
export interface Place {
  /** Which statement it is, counted from 1. */
  readonly statement: number
  /** The line in which it fails, or begins if the server does not say more. Counted from 1. */
  readonly line: number
}

/** A statement of a script. */
export interface ScriptStatement {
  /** Where its text begins and ends, without the semicolon. */
  readonly start: number
  readonly end: number
  /** Where the data begins and ends that `COPY … FROM stdin` is to be given. */
  readonly data: readonly [start: number, end: number] | undefined
  /** Whether it begins or ends a transaction. */
  readonly isControl: boolean
}

/** A script that has been taken apart. */
export interface Parsed {
  readonly statements: ReadonlyArray<ScriptStatement>
  /** What cannot be run, and where it is. */
  readonly problem: { readonly what: string; readonly at: number } | undefined
  /** Where the words to `psql` begin and end that are no SQL and mean nothing here. */
  readonly asides: ReadonlyArray<readonly [start: number, end: number]>
}

/** A script as the server takes it: every place in it stays where it is. */
export const sqlOf = (script: string, { asides }: Parsed): string =>
  asides.reduceRight((text, [start, end]) => text.slice(0, start) + " ".repeat(end - start) + text.slice(end), script)

const completed = field<number>("completedStatements")

/** Writes down how many statements of a text had been completed when it failed. */
export const markCompleted = (error: SqlError, statements: number): SqlError => {
  completed.set(error, statements)
  return error
}

/** Where the text begins that has failed: the script, or the statement of it that was sent by itself. */
export interface Sent {
  readonly start: number
  /** Which statement of the script was its first, counted from 0. */
  readonly first: number
  /** Whether it is a statement by itself. */
  readonly isAlone: boolean
}

export const placeOfFailure = (
  script: string,
  { statements }: Parsed,
  error: SqlError,
  { first, isAlone, start }: Sent
): Place | undefined => {
  const count = completed.get(error) ?? (isAlone ? 0 : undefined)
  if (count === undefined) return undefined
  const position = Number((error.reason.cause as { readonly position?: unknown } | undefined)?.position)
  // The server counts characters, and nothing is run of a text that it cannot parse.
  const at = Number.isInteger(position) && position > 0
    ? offsetOf(script, start, position)
    : statements[first + count]?.start
  if (at === undefined) return undefined
  let statement = 0
  while (statement < statements.length && statements[statement]!.start <= at) statement++
  return { statement: Math.max(1, statement), line: lineOf(script, at) }
}

const offsetOf = (script: string, start: number, position: number): number => {
  let offset = start
  while (--position > 0 && offset < script.length) offset += script.codePointAt(offset)! > 0xffff ? 2 : 1
  return offset
}

/** The line of a place, counted from 1. */
export const lineOf = (script: string, offset: number): number => {
  let line = 1
  for (let at = script.indexOf("\n"); at >= 0 && at < offset; at = script.indexOf("\n", at + 1)) line++
  return line
}

/** Where each statement begins. Those that consist of nothing but comments do not count, as the server does not. */
export const statementStarts = (script: string): ReadonlyArray<number> =>
  parseScript(script).statements.map(({ start }) => start)

/**
 * Whether a statement that was completed has ended the transaction that it stood in. The tag of ROLLBACK is also that
 * of ROLLBACK TO, so the text has to tell.
 */
export const endsTransaction = (tag: string, text: string): boolean =>
  tag === "COMMIT" || tag === "PREPARE TRANSACTION" ||
  tag === "ROLLBACK" && statementStarts(text).some((start) => !isRollbackTo(new Lexer(text, start)))

const isRollbackTo = (lexer: Lexer): boolean => {
  if (!lexer.next() || !endings.has(lexer.value)) return true
  if (!lexer.next()) return false
  if (lexer.isWord("work") || lexer.isWord("transaction")) lexer.next()
  return lexer.isWord("to")
}

const endings = new Set(["commit", "end", "rollback", "abort", "prepare"])

/** Takes a script apart. */
export const parseScript = (script: string): Parsed => new ScriptReader(script).read()

const control = new Set(["begin", "start", "commit", "end", "rollback", "abort"])

/** What `psql` is told by the dumps that `pg_dump` makes. */
const ofDumps = /\\(?:un)?restrict\b[^\n]*/y

class ScriptReader {
  private readonly script: string
  private readonly lexer: Lexer
  private readonly statements: Array<ScriptStatement> = []
  private problem: Parsed["problem"] = undefined
  private readonly asides: Array<readonly [start: number, end: number]> = []
  /** Where the statement begins that is being read, if one is. */
  private start: number | undefined = undefined
  /** Where it ends as far as it has been read. */
  private end = 0
  private first = ""
  private previous = ""
  /** How deep it is in `BEGIN ATOMIC … END`, in which semicolons end no statement. */
  private depth = 0
  /** How many parentheses are open: in those of `CREATE RULE … DO (a; b)` semicolons end no statement either. */
  private parentheses = 0
  private isCopyIn = false

  constructor(script: string) {
    this.script = script
    this.lexer = new Lexer(script)
  }

  read(): Parsed {
    const { lexer } = this
    while (lexer.next()) {
      if (lexer.isSymbol(";") && this.depth === 0 && this.parentheses === 0) this.finish(true)
      else if (this.start === undefined && lexer.isSymbol("\\") && this.problem === undefined) this.command()
      else this.take()
    }
    this.finish(false)
    return { statements: this.statements, problem: this.problem, asides: this.asides }
  }

  private take(): void {
    const { lexer } = this
    const word = lexer.token === Token.Word ? lexer.value : ""
    if (this.start === undefined) {
      this.start = lexer.start
      this.first = word
    }
    this.end = lexer.end
    if (lexer.isSymbol("(")) this.parentheses++
    else if (lexer.isSymbol(")")) this.parentheses = Math.max(0, this.parentheses - 1)
    if (word === "atomic" && this.previous === "begin" || this.depth > 0 && word === "case") this.depth++
    else if (this.depth > 0 && word === "end") this.depth--
    if (word === "stdin" && this.previous === "from" && this.first === "copy") this.isCopyIn = true
    this.previous = word
  }

  /** A statement ends. */
  private finish(atSemicolon: boolean): void {
    const { end, first, start } = this
    this.start = undefined
    this.previous = ""
    this.depth = 0
    this.parentheses = 0
    if (start === undefined) return
    const data = this.isCopyIn ? this.data(start, atSemicolon) : undefined
    this.isCopyIn = false
    this.statements.push({ start, end, data, isControl: control.has(first) })
  }

  /** The lines up to one with nothing but `\.` in it. */
  private data(start: number, atSemicolon: boolean): readonly [number, number] | undefined {
    const { lexer, script } = this
    const restOfLine = /[ \t\r]*\n/y
    restOfLine.lastIndex = lexer.end
    const mark = /^\\\.\r?$/gm
    if (atSemicolon && restOfLine.test(script)) {
      mark.lastIndex = restOfLine.lastIndex
      const found = mark.exec(script)
      if (found !== null) {
        lexer.end = mark.lastIndex
        return [restOfLine.lastIndex, found.index]
      }
    }
    this.problem ??= {
      what: "COPY FROM stdin has its data in the lines behind it, up to a line with nothing but \\.: there are none",
      at: start
    }
    return undefined
  }

  /** A command of `psql`. */
  private command(): void {
    const { lexer, script } = this
    ofDumps.lastIndex = lexer.start
    if (ofDumps.test(script)) {
      lexer.end = ofDumps.lastIndex
      this.asides.push([lexer.start, lexer.end])
      return
    }
    const line = script.slice(lexer.start).split(/\s/, 1)[0]!
    this.problem = { what: `${line} is a command of psql, and not SQL`, at: lexer.start }
  }
}
