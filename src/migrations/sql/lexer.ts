/**
 * Takes the text of a file apart into tokens: words, strings, quoted names, comments and signs.
 *
 * It knows what hides a semicolon from the server: strings in all their forms, dollar quotes, comments, also nested
 * ones. It does not know the grammar.
 */
import * as Result from "effect/Result"

/** Whose lexical rules hold. MariaDB's are those of MySQL. */
export type Dialect = "postgres" | "mysql"

/** What a token is. A `name` is a quoted identifier; `executed` is the opening and the end of a comment that MySQL runs. */
export type Kind = "word" | "name" | "string" | "number" | "sign" | "comment" | "executed"

/** A piece of the text. White space is no token. */
export interface Token {
  readonly kind: Kind
  readonly start: number
  readonly end: number
  /** A word in upper case, a name without its quotes, and the text as it is of anything else. */
  readonly text: string
}

/** A string, a name or a comment that does not end. */
export interface Unterminated {
  readonly what: "string" | "quoted name" | "comment" | "dollar quote"
  readonly offset: number
}

const isSpace = (code: number): boolean => code === 32 || code >= 9 && code <= 13 || code === 0xfeff || code === 0xa0

const isDigit = (code: number): boolean => code >= 48 && code <= 57

const isWordStart = (code: number): boolean =>
  code >= 97 && code <= 122 || code >= 65 && code <= 90 || code === 95 || code > 127

const isWordPart = (code: number): boolean => isWordStart(code) || isDigit(code) || code === 36

/** Reads all tokens of a text. */
export const tokenize = (
  text: string,
  dialect: Dialect
): Result.Result<ReadonlyArray<Token>, Unterminated> => {
  const lexer = new Lexer(text, dialect)
  while (lexer.next());
  return lexer.problem === undefined ? Result.succeed(lexer.tokens) : Result.fail(lexer.problem)
}

/** The line of an offset, counted from 1. */
export const lineOf = (text: string, offset: number): number => {
  let line = 1
  for (let at = text.indexOf("\n"); at >= 0 && at < offset; at = text.indexOf("\n", at + 1)) line++
  return line
}

class Lexer {
  readonly tokens: Array<Token> = []
  problem: Unterminated | undefined
  private at = 0
  /** Whether it is inside a comment that MySQL runs. */
  private isInExecuted = false
  private readonly text: string
  private readonly dialect: Dialect

  constructor(text: string, dialect: Dialect) {
    this.text = text
    this.dialect = dialect
  }

  /** Reads one token. Answers whether there may be more. */
  next(): boolean {
    const { text } = this
    while (this.at < text.length && isSpace(text.charCodeAt(this.at))) this.at++
    if (this.at >= text.length || this.problem !== undefined) return false
    const code = text.charCodeAt(this.at)
    if (this.comment(code) || this.quoted(code) || this.word(code)) return true
    this.push("sign", this.at + 1)
    return true
  }

  private push(kind: Kind, end: number, text = this.text.slice(this.at, end)): void {
    this.tokens.push({ kind, start: this.at, end, text })
    this.at = end
  }

  private fail(what: Unterminated["what"]): void {
    this.problem = { what, offset: this.at }
    this.at = this.text.length
  }

  private comment(code: number): boolean {
    const { at, dialect, text } = this
    const second = text.charCodeAt(at + 1)
    if (dialect === "mysql" && code === 35 || code === 45 && second === 45 && this.isDashComment(at)) {
      const end = text.indexOf("\n", at)
      this.push("comment", end < 0 ? text.length : end)
      return true
    }
    if (this.isInExecuted && code === 42 && second === 47) {
      this.isInExecuted = false
      this.push("executed", at + 2)
      return true
    }
    if (code !== 47 || second !== 42) return false
    const executed = dialect === "mysql" ? /^\/\*M?!\d*/.exec(text.slice(at, at + 12)) : null
    if (executed === null) this.blockComment()
    else {
      this.isInExecuted = true
      this.push("executed", at + executed[0].length)
    }
    return true
  }

  /** MySQL wants a space after the dashes, so that `1--1` is a difference. */
  private isDashComment(at: number): boolean {
    const next = this.text.charCodeAt(at + 2)
    return this.dialect === "postgres" || Number.isNaN(next) || next <= 32
  }

  /** PostgreSQL's comments may be nested in each other. */
  private blockComment(): void {
    const mark = /\/\*|\*\//g
    mark.lastIndex = this.at + 2
    let depth = 1
    for (let match = mark.exec(this.text); match !== null; match = mark.exec(this.text)) {
      if (match[0] === "*/") depth--
      else if (this.dialect === "postgres") depth++
      if (depth === 0) return this.push("comment", mark.lastIndex)
    }
    this.fail("comment")
  }

  private quoted(code: number): boolean {
    const { dialect, text } = this
    switch (code) {
      case 39:
        this.string(this.at, dialect === "mysql")
        return true
      case 34:
        if (dialect === "mysql") this.string(this.at, true)
        else this.name(34)
        return true
      case 96:
        if (dialect === "postgres") return false
        this.name(96)
        return true
      case 36:
        return dialect === "postgres" && this.dollarQuoted()
      case 69:
      case 101:
        if (dialect === "mysql" || text.charCodeAt(this.at + 1) !== 39) return false
        this.string(this.at + 1, true)
        return true
      default:
        return false
    }
  }

  private string(opening: number, hasEscapes: boolean): void {
    const end = this.endOf(opening, hasEscapes)
    if (end < 0) this.fail("string")
    else this.push("string", end)
  }

  private name(quote: number): void {
    const end = this.endOf(this.at, false)
    if (end < 0) return this.fail("quoted name")
    const sign = String.fromCharCode(quote)
    this.push("name", end, this.text.slice(this.at + 1, end - 1).replaceAll(sign + sign, sign))
  }

  /** The offset behind what is quoted from `opening` on; a doubled quote is none. */
  private endOf(opening: number, hasEscapes: boolean): number {
    const { text } = this
    const quote = text.charCodeAt(opening)
    for (let index = opening + 1; index < text.length; index++) {
      const code = text.charCodeAt(index)
      if (code === 92 && hasEscapes) index++
      else if (code === quote) {
        if (text.charCodeAt(index + 1) !== quote) return index + 1
        index++
      }
    }
    return -1
  }

  private dollarQuoted(): boolean {
    const tag = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y
    tag.lastIndex = this.at
    const opening = tag.exec(this.text)
    if (opening === null) return false
    const end = this.text.indexOf(opening[0], tag.lastIndex)
    if (end < 0) this.fail("dollar quote")
    else this.push("string", end + opening[0].length)
    return true
  }

  private word(code: number): boolean {
    if (!isWordStart(code) && !isDigit(code)) return false
    let end = this.at + 1
    while (end < this.text.length && isWordPart(this.text.charCodeAt(end))) end++
    const text = this.text.slice(this.at, end)
    this.push(isDigit(code) ? "number" : "word", end, text.toUpperCase())
    return true
  }
}
