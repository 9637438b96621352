/**
 * Where a parameter may be a JSON document, and where it is a value that is stored as it is.
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
import { type Token, tokensOf } from "./tokens.ts"

/** A `?` that is a parameter, among the words and signs of a statement. */
const placeholder = "?"

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

/** What a placeholder is. */
const Place = { Other: 0, Stored: 1, Document: 2 } as const
type Place = typeof Place[keyof typeof Place]

/** Finds for each placeholder what it is. */
const placesOf = (sql: string, noBackslashEscapes: boolean): ReadonlyArray<Place> => {
  const tokens = tokensOf(sql, noBackslashEscapes)
  const places: Array<Place> = []
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
          (group === undefined ? inSet && isAssigned(tokens, index) : group.isRow && isWhole(tokens, index))
            ? Place.Stored
            : group !== undefined && isDocumentOf(tokens, index, group)
            ? Place.Document
            : Place.Other
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

const known = new Map<string, ReadonlyArray<Place>>()
const maxKnown = 500

/** Whether the parameter at `index`, counted from 0, may be a document. */
export const takesJson = (sql: string, index: number, noBackslashEscapes: boolean): boolean =>
  (placeOf(sql, index, noBackslashEscapes) ?? Place.Other) !== Place.Other

/** Whether it is a whole value of a row, or the whole right side of an assignment. */
export const isStored = (sql: string, index: number, noBackslashEscapes: boolean): boolean =>
  placeOf(sql, index, noBackslashEscapes) === Place.Stored

const placeOf = (sql: string, index: number, noBackslashEscapes: boolean): Place | undefined => {
  // What a backslash means depends on the session, so such a text is not remembered.
  if (sql.includes("\\")) return placesOf(sql, noBackslashEscapes)[index]
  let places = known.get(sql)
  if (places === undefined) {
    places = placesOf(sql, noBackslashEscapes)
    if (known.size >= maxKnown) known.delete(known.keys().next().value!)
    known.set(sql, places)
  }
  return places[index]
}
