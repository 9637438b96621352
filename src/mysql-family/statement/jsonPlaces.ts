/**
 * Where a parameter may be a JSON document.
 *
 * The server does not say what it wants: it describes no parameters, or not reliably, and it takes the text `[5]` for the
 * number 0 where it compares it with an id. So an object or an array is JSON only at a place that a document can have:
 *
 * | place                                                  | example                                   |
 * | ------------------------------------------------------ | ----------------------------------------- |
 * | a whole value of a row                                 | `insert into t (doc) values (?)`          |
 * | the whole right side of an assignment                  | `update t set doc = ?`                    |
 * | an argument of a function of JSON, and of MEMBER OF    | `json_contains(doc, ?)`, `cast(? as json)` |
 *
 * Everywhere else it is refused before anything is sent.
 */
import { endOfQuoted, skipComment } from "./statements.ts"

type Token = string

/** A `?` that is a parameter, among the words and signs of a statement. */
const placeholder = "?"

/** Cuts a text into words in lower case, quoted names as `` ` ``, strings as `'`, and single signs. */
const tokensOf = (sql: string, noBackslashEscapes: boolean): ReadonlyArray<Token> => {
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

/** What is between parentheses. */
interface Group {
  /** What stands before it: a word for a function, `values` for a row. */
  readonly before: Token
  /** Whether it is one of the rows of VALUES. */
  readonly isRow: boolean
}

const isWord = (token: Token | undefined): boolean => token !== undefined && (token === "`" || /^[\p{L}_]/u.test(token))

/** Functions that take documents. `of` is that of MEMBER OF. */
const takesDocuments = /^(?:json_\w+|st_geomfromgeojson|of)$/

const afterAssignment = new Set([undefined, ",", ")", ";", "where", "order", "limit", "on", "returning", "as"])

/** Finds for each placeholder whether a document may stand there. */
const placesOf = (sql: string, noBackslashEscapes: boolean): ReadonlyArray<boolean> => {
  const tokens = tokensOf(sql, noBackslashEscapes)
  const places: Array<boolean> = []
  const groups: Array<Group> = []
  let inValues = false
  let inSet = false
  for (let index = 0; index < tokens.length; index++) {
    const token = tokens[index]!
    const group = groups.at(-1)
    switch (token) {
      case "(": {
        const before = tokens[index - 1] ?? ""
        const isRow = inValues && groups.length === 0 &&
          (before === "values" || before === "value" || before === "," || before === "row")
        groups.push({ before, isRow })
        break
      }
      case ")":
        groups.pop()
        break
      case "values":
      case "value":
        if (groups.length === 0) inValues = true
        break
      case "on":
      case "select":
      case "as":
        if (groups.length === 0) inValues = false
        break
      case "set":
      case "update":
        // ON DUPLICATE KEY UPDATE assigns; UPDATE by itself names tables first.
        if (groups.length === 0) inSet = token === "set" || tokens[index - 1] === "key"
        break
      case "where":
      case "returning":
        if (groups.length === 0) inSet = false
        break
      case ";":
        inValues = false
        inSet = false
        break
      case placeholder:
        places.push(
          group === undefined
            ? inSet && isAssigned(tokens, index)
            : group.isRow && isWhole(tokens, index) || isDocumentOf(tokens, index, group)
        )
        break
    }
  }
  return places
}

/** Whether it is an element by itself, and no part of an expression. */
const isWhole = (tokens: ReadonlyArray<Token>, index: number): boolean => {
  const before = tokens[index - 1]
  const after = tokens[index + 1]
  return (before === "(" || before === ",") && (after === ")" || after === ",")
}

/** Whether it is the right side of `column = ?`, and that a part of SET. */
const isAssigned = (tokens: ReadonlyArray<Token>, index: number): boolean => {
  if (tokens[index - 1] !== "=" || !afterAssignment.has(tokens[index + 1])) return false
  let at = index - 2
  if (tokens[at] === ":") at--
  if (!isWord(tokens[at])) return false
  while (tokens[at - 1] === "." && isWord(tokens[at - 2])) at -= 2
  const before = tokens[at - 1]
  return before === "set" || before === "," || before === "update"
}

const isDocumentOf = (tokens: ReadonlyArray<Token>, index: number, { before }: Group): boolean => {
  if (takesDocuments.test(before)) return isWhole(tokens, index)
  return (before === "cast" && tokens[index + 1] === "as" || before === "convert" && tokens[index + 1] === ",") &&
    tokens[index + 2] === "json"
}

const known = new Map<string, ReadonlyArray<boolean>>()
const maxKnown = 500

/** Whether the parameter at `index`, counted from 0, may be a document. */
export const takesJson = (sql: string, index: number, noBackslashEscapes: boolean): boolean => {
  // What a backslash means depends on the session, so such a text is not remembered.
  if (sql.includes("\\")) return placesOf(sql, noBackslashEscapes)[index] === true
  let places = known.get(sql)
  if (places === undefined) {
    places = placesOf(sql, noBackslashEscapes)
    if (known.size >= maxKnown) known.delete(known.keys().next().value!)
    known.set(sql, places)
  }
  return places[index] === true
}
