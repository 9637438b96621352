/**
 * Reads a text of SQL word by word, as the server's own scanner does: comments are passed over, and what stands in a
 * string is a string, whatever it looks like.
 */

/** What has been read. */
export const Token = {
  /** A keyword, or a name without quotes: in small letters. */
  Word: "Word",
  /** A name in quotes, without them. */
  Name: "Name",
  /** A string of any kind: what is between its quotes, as it is written. */
  Text: "Text",
  /** Anything else: one character. */
  Symbol: "Symbol"
} as const
export type Token = typeof Token[keyof typeof Token]

const word = /[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*/y
const number = /(?:\d|\.\d)[\w.]*/y
const parameter = /\$\d+/y
const dollarQuote = /\$(?:[A-Za-z_\u0080-\uffff][\w\u0080-\uffff]*)?\$/y
const blank = /[ \t\n\r\v\f]*(?:--[^\n\r]*)?/y

/** Where a string or a quoted name ends that begins at `start` with its quote. Twice the quote stands for itself. */
export const endOfQuoted = (sql: string, start: number, escapes: boolean): number => {
  const quote = sql[start]!
  let at = start + 1
  if (escapes) {
    for (; at < sql.length; at++) {
      if (sql[at] === "\\") at++
      else if (sql[at] === quote && sql[++at] !== quote) return at
    }
    return sql.length
  }
  for (;;) {
    at = sql.indexOf(quote, at)
    if (at < 0) return sql.length
    if (sql[at + 1] !== quote) return at + 1
    at += 2
  }
}

export class Lexer {
  /** What kind of thing has been read last. */
  token: Token = Token.Symbol
  /** What it is. */
  value = ""
  /** Where it begins, and where it ends. */
  start = 0
  end = 0
  private readonly sql: string

  constructor(sql: string, from = 0) {
    this.sql = sql
    this.end = from
  }

  /** Reads on. Answers whether there was anything left. */
  next(): boolean {
    const { sql } = this
    this.end = this.skip()
    const start = this.start = this.end
    if (start >= sql.length) {
      this.value = ""
      this.token = Token.Symbol
      return false
    }
    const code = sql.charCodeAt(start)
    if (code === 0x27) return this.text(false, 1)
    if (code === 0x22) return this.name(0)
    if (code === 0x24) return this.dollar()
    if (this.match(word)) return this.wordOrPrefix()
    if (!this.match(number)) this.end = start + 1
    this.token = Token.Symbol
    this.value = sql.slice(start, this.end)
    return true
  }

  /** Whether the last thing was this word, without quotes. */
  isWord(word: string): boolean {
    return this.token === Token.Word && this.value === word
  }

  /** Whether the last thing was this character. */
  isSymbol(symbol: string): boolean {
    return this.token === Token.Symbol && this.value === symbol
  }

  private match(pattern: RegExp): boolean {
    pattern.lastIndex = this.start
    if (!pattern.test(this.sql)) return false
    this.end = pattern.lastIndex
    return true
  }

  /** A name without quotes, or what stands before a string or a quoted name: `E'…'`, `U&"…"`. */
  private wordOrPrefix(): boolean {
    const { end, sql, start } = this
    const next = sql.charCodeAt(end)
    const first = sql.charCodeAt(start) | 0x20
    if (next === 0x27 && end === start + 1) {
      if (first === 0x65) return this.text(true, 2)
      if (first === 0x62 || first === 0x78 || first === 0x6e) return this.text(false, 2)
    }
    if (next === 0x26 && first === 0x75 && end === start + 1) {
      if (sql[end + 1] === "'") return this.text(false, 3)
      if (sql[end + 1] === "\"") return this.name(2)
    }
    this.token = Token.Word
    this.value = sql.slice(start, end).toLowerCase()
    return true
  }

  private text(escapes: boolean, prefix: number): boolean {
    this.end = endOfQuoted(this.sql, this.start + prefix - 1, escapes)
    this.token = Token.Text
    this.value = this.sql.slice(this.start + prefix, this.end - 1)
    return true
  }

  private name(prefix: number): boolean {
    this.end = endOfQuoted(this.sql, this.start + prefix, false)
    const name = this.sql.slice(this.start + prefix + 1, this.end - 1).replaceAll("\"\"", "\"")
    this.token = Token.Name
    this.value = prefix === 0 ? name : unescape(name)
    return true
  }

  private dollar(): boolean {
    const { sql, start } = this
    if (this.match(dollarQuote)) {
      const quote = sql.slice(start, this.end)
      const end = sql.indexOf(quote, this.end)
      this.token = Token.Text
      this.value = sql.slice(this.end, end < 0 ? sql.length : end)
      this.end = end < 0 ? sql.length : end + quote.length
      return true
    }
    if (!this.match(parameter)) this.end = start + 1
    this.token = Token.Symbol
    this.value = sql.slice(start, this.end)
    return true
  }

  /** Where the next thing begins, behind blanks and comments. */
  private skip(): number {
    const { sql } = this
    let at = this.end
    for (;;) {
      blank.lastIndex = at
      blank.test(sql)
      const after = blank.lastIndex
      if (sql.charCodeAt(after) === 0x2f && sql.charCodeAt(after + 1) === 0x2a) at = endOfComment(sql, after)
      else if (after === at) return at
      else at = after
    }
  }
}

/** `U&"d\0061t\+000061"` is a name with escapes. */
const unescape = (name: string): string =>
  name.replace(/\\(?:\+([0-9a-f]{6})|([0-9a-f]{4}))/gi, (_, long?: string, short?: string) => {
    const code = parseInt(long ?? short!, 16)
    return code > 0x10ffff ? "" : String.fromCodePoint(code)
  })

/** Where a comment ends that begins here. Comments may be nested. */
export const endOfComment = (sql: string, start: number): number => {
  const marks = /\/\*|\*\//g
  marks.lastIndex = start
  for (let depth = 0;;) {
    const mark = marks.exec(sql)
    if (mark === null) return sql.length
    depth += mark[0] === "/*" ? 1 : -1
    if (depth === 0) return marks.lastIndex
  }
}
