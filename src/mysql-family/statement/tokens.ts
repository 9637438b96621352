/** The words and signs of a statement, without its comments. What stands in an executable comment is no comment. */
export type Token = string

/** Cuts a text into words in lower case, quoted names as `` ` ``, strings as `'`, and single signs. */
export const tokensOf = (sql: string, noBackslashEscapes: boolean): ReadonlyArray<Token> => {
  const tokens: Array<Token> = []
  const word = /[\p{L}\p{N}_$@]+/uy
  let at = 0
  while (at < sql.length) {
    const end = skipComment(sql, at)
    if (end > at) {
      at = end
      continue
    }
    const char = sql[at]!
    if (char === "'" || char === "\"" || char === "`") {
      tokens.push(char === "'" ? "'" : "`")
      at = endOfQuoted(sql, at, noBackslashEscapes)
      continue
    }
    word.lastIndex = at
    const found = word.exec(sql)
    if (found !== null) {
      tokens.push(found[0].toLowerCase())
      at = word.lastIndex
      continue
    }
    if (char.trim() !== "") tokens.push(char)
    at++
  }
  return tokens
}

export const isLineComment = (sql: string, at: number): boolean => {
  const code = sql.charCodeAt(at)
  if (code === 35) return true
  if (code !== 45 || sql.charCodeAt(at + 1) !== 45) return false
  const next = sql.charCodeAt(at + 2)
  return Number.isNaN(next) || next <= 32
}

export const endOfLine = (sql: string, at: number): number => {
  const end = sql.indexOf("\n", at)
  return end < 0 ? sql.length : end + 1
}

export const endOfComment = (sql: string, at: number): number => {
  const end = sql.indexOf("*/", at + 2)
  return end < 0 ? sql.length : end + 2
}

/** The position after a comment that begins at `at`, which is `at` if there is none. What is executed is no comment. */
export const skipComment = (sql: string, at: number): number => {
  if (sql.startsWith("/*", at)) {
    const executed = /^\/\*M?!\d*/.exec(sql.slice(at, at + 12))
    return executed === null ? endOfComment(sql, at) : at + executed[0].length
  }
  if (sql.startsWith("*/", at)) return at + 2
  return isLineComment(sql, at) ? endOfLine(sql, at) : at
}

/** The position after a string or a quoted identifier that begins at `at`. */
export const endOfQuoted = (sql: string, at: number, noBackslashEscapes: boolean): number => {
  const quote = sql.charCodeAt(at)
  const escapes = quote !== 96 && !noBackslashEscapes
  let index = at + 1
  while (index < sql.length) {
    const code = sql.charCodeAt(index)
    if (code === 92 && escapes) index += 2
    else if (code === quote) {
      if (sql.charCodeAt(index + 1) !== quote) return index + 1
      index += 2
    } else index++
  }
  return sql.length
}
